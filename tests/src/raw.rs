//! A bare socket to a node, for what no well-behaved peer would do.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::deadline::{until, within};
use crate::process::{PATIENCE, Process};
use crate::vectors::Chain;
use crate::wire::{self, BlockText, Greeting, Hello, Received};

/// How long a node may take to answer what it answers at once.
pub const PROMPT: Duration = Duration::from_secs(5);

/// A socket, read line by line by whoever holds it.
#[derive(Debug)]
pub struct Socket {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    partial: Vec<u8>,
}

impl Socket {
    /// Connects, and says nothing.
    pub async fn connect(port: u16) -> Self {
        let stream = within(PROMPT, "a TCP connection", TcpStream::connect(("127.0.0.1", port))).await.unwrap();
        Self::new(stream)
    }

    /// Connects from another address of this machine, such as 127.0.0.2, and says nothing.
    pub async fn connect_from(host: &str, port: u16) -> Self {
        Self::new(stream_from(host, port).await)
    }

    /// Connects from another address of this machine, sends `hello`, and waits for the node's handshake.
    pub async fn greeted_from(host: &str, port: u16, hello: &Hello) -> (Self, Greeting) {
        let mut socket = Self::connect_from(host, port).await;
        socket.send(&hello.line()).await;
        let greeting = socket.next(PATIENCE, "the node's handshake", Received::greeting).await;
        (socket, greeting)
    }

    /// Around a connection that exists.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer, partial: Vec::new() }
    }

    /// Connects, sends `hello`, and waits for the node's handshake.
    pub async fn greeted(port: u16, hello: &Hello) -> (Self, Greeting) {
        let mut socket = Self::connect(port).await;
        socket.send(&hello.line()).await;
        let greeting = socket.next(PROMPT, "the node's handshake", Received::greeting).await;
        (socket, greeting)
    }

    /// Only sends from now on.
    pub fn talker(self) -> Talker {
        let Self { mut reader, writer, .. } = self;
        let (answered, answers) = watch::channel(0);
        let end = tokio::spawn(async move {
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
                if line.starts_with(br#"{"type":"blocks_response""#) {
                    answered.send_modify(|count| *count += 1);
                }
                line.clear();
            }
        });
        Talker { writer, end, asked: 0, answers }
    }

    /// Sends a line.
    pub async fn send(&mut self, line: &str) {
        assert!(self.try_send(format!("{line}\n").as_bytes()).await, "the node closed before it took a line");
    }

    /// Sends bytes; false where the node has closed.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        within(PATIENCE, "the node to read what it is sent", self.writer.write_all(bytes)).await.is_ok()
    }

    /// The next line; none once the connection has ended. Cancel-safe.
    pub async fn line(&mut self) -> Option<String> {
        match self.reader.read_until(b'\n', &mut self.partial).await {
            Ok(read) if read > 0 || !self.partial.is_empty() => {
                let line = std::mem::take(&mut self.partial);
                Some(String::from_utf8(line).unwrap().trim_end().to_owned())
            }
            _ => None,
        }
    }

    /// The next message that `pick` takes, skipping others.
    ///
    /// # Panics
    /// None comes in time, or the node closes.
    pub async fn next<T>(&mut self, limit: Duration, what: &str, pick: impl Fn(&Received) -> Option<T>) -> T {
        within(limit, what, async {
            loop {
                let line = self.line().await.unwrap_or_else(|| panic!("the node closed; waiting for {what}"));
                if let Some(found) = Received::read(&line).as_ref().and_then(&pick) {
                    return found;
                }
            }
        })
        .await
    }

    /// Asks for a range and waits for the answer.
    pub async fn ask(&mut self, from: u64, to: u64) -> Vec<BlockText> {
        self.send(&wire::get_blocks(from, to)).await;
        self.next(PROMPT, "an answer to get_blocks", Received::blocks).await
    }

    /// Waits for the node to end the connection, skipping what comes before, and gives the messages skipped.
    pub async fn closed(&mut self, limit: Duration) -> Vec<Received> {
        within(limit, "the node to close the connection", async {
            let mut before = Vec::new();
            while let Some(line) = self.line().await {
                before.extend(Received::read(&line));
            }
            before
        })
        .await
    }

    /// Whether the connection is still open after `time` (what comes meanwhile is skipped).
    pub async fn stays_open(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, async { while self.line().await.is_some() {} }).await.is_err()
    }
}

/// A socket that only sends: what comes is read and forgotten, as fast as it comes, so that it is no slow reader.
#[derive(Debug)]
pub struct Talker {
    writer: OwnedWriteHalf,
    end: JoinHandle<()>,
    asked: u64,
    answers: watch::Receiver<u64>,
}

impl Talker {
    /// Sends lines; false where the node has closed.
    pub async fn send<S: AsRef<str>>(&mut self, lines: &[S]) -> bool {
        let text: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
        within(PATIENCE, "the node to read what it is sent", self.writer.write_all(text.as_bytes())).await.is_ok()
    }

    /// Waits until the node has taken all that was sent before, and answered what came behind it; false where it closes instead.
    pub async fn is_heard(&mut self) -> bool {
        // Another range each time: the same would wait.
        let (height, due) = (self.asked, self.asked + 1);
        self.asked = due;
        self.send(&[wire::get_blocks(height, height)]).await
            && within(PATIENCE, "an answer", self.answers.wait_for(|answers| *answers >= due)).await.is_ok()
    }

    /// Whether the node has ended the connection.
    pub fn is_closed(&self) -> bool {
        self.end.is_finished()
    }

    /// Waits for the node to end the connection.
    pub async fn closed(&mut self) {
        within(PATIENCE, "the node to close the connection", &mut self.end).await.unwrap();
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.end.abort();
    }
}

/// A connection to 127.0.0.1 from another address of this machine.
pub async fn stream_from(host: &str, port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(host.parse().unwrap(), 0)).unwrap();
    within(PATIENCE, "a TCP connection", socket.connect(([127, 0, 0, 1], port).into())).await.unwrap()
}

/// Height and hash of a running node's tip, asked by connecting anew as a node without blocks.
pub async fn tip_of(port: u16) -> (i64, Option<String>) {
    let (_socket, greeting) = Socket::greeted(port, &Hello::modern(Chain::fork()).without_blocks()).await;
    (greeting.best_height, greeting.best_hash)
}

/// Waits until a running node's tip is at `height`, and gives its hash.
pub async fn reaches(node: &Process, height: i64, limit: Duration) -> String {
    until(limit, &format!("the node's tip at height {height}"), async || {
        let (at, hash) = tip_of(node.port()).await;
        (at == height).then(|| hash.unwrap_or_default())
    })
    .await
}
