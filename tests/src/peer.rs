//! A scripted peer: it listens or dials, shakes hands, serves a chain with or without faults, and writes down all that it receives.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::deadline::within;
use crate::raw::stream_from;
use crate::vectors::Chain;
use crate::wire::{self, Hello, Received};

/// The most blocks in an answer.
pub const MAX_BLOCKS: usize = 500;

/// What a peer does with a `get_blocks`.
#[derive(Debug, Clone)]
pub enum Answer {
    /// These blocks.
    Blocks(Vec<String>),
    /// This line, whatever it is.
    Line(String),
    /// Nothing, ever.
    Silence,
    /// Ends the connection.
    Close,
    /// The answer, later. What comes in meanwhile is read and waits.
    After(Duration, Box<Answer>),
}

/// A `get_blocks` that a peer received.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// How many came before it, over all connections.
    pub nth: usize,
    /// The first height asked for.
    pub from: u64,
    /// The last height asked for.
    pub to: u64,
}

/// Decides the answer to each request.
pub type Answerer = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

/// How a peer behaves.
#[derive(Clone)]
pub struct Script {
    /// What it says of itself. Listening, it fills in its real port.
    pub hello: Hello,
    /// Lines that it sends before its own handshake when it is dialled.
    pub before_hello: Vec<String>,
    /// Whether it sends its own handshake at all.
    pub greets: bool,
    /// What it does with requests.
    pub answer: Answerer,
}

impl Script {
    /// A reference node that serves all of `chain`.
    pub fn legacy(chain: &Chain) -> Self {
        Self { hello: Hello::legacy(chain), before_hello: Vec::new(), greets: true, answer: honest(chain) }
    }

    /// A node that knows of features and serves all of `chain`.
    pub fn modern(chain: &Chain) -> Self {
        Self { hello: Hello::modern(chain), ..Self::legacy(chain) }
    }

    /// The same with another claim of height.
    pub fn claiming(mut self, height: i64) -> Self {
        self.hello = self.hello.claiming(height);
        self
    }

    /// The same with other answers.
    pub fn answering(mut self, answer: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Self {
        self.answer = Arc::new(answer);
        self
    }
}

impl Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("hello", &self.hello).finish_non_exhaustive()
    }
}

/// Serves what is asked of `chain`, as a well-behaved node does.
pub fn honest(chain: &Chain) -> Answerer {
    let lines = chain.lines.clone();
    Arc::new(move |request| Answer::Blocks(cut(&lines, request)))
}

/// The part of `lines` that `request` asks for, at most [`MAX_BLOCKS`] of it.
pub fn cut(lines: &[String], request: Request) -> Vec<String> {
    let at = |height: u64| usize::try_from(height).unwrap_or(usize::MAX);
    let from = at(request.from).min(lines.len());
    let to = at(request.to.saturating_add(1)).min(lines.len()).clamp(from, from + MAX_BLOCKS);
    lines[from..to].to_vec()
}

/// Something that happened to a peer.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// On which of its connections, counted from 0.
    pub connection: usize,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// A connection was made.
    Opened,
    /// A message came.
    Message(Received),
    /// A line came that is no message.
    Garbage(String),
    /// The other side ended the connection.
    Closed,
}

/// A scripted peer. Clones share it; it ends with the last of them.
#[derive(Debug, Clone)]
pub struct Peer {
    inner: Arc<Inner>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Debug)]
struct Inner {
    script: Mutex<Script>,
    port: Mutex<u16>,
    events: Mutex<Vec<Event>>,
    count: watch::Sender<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    opened: usize,
    requests: usize,
    writers: BTreeMap<usize, Arc<tokio::sync::Mutex<OwnedWriteHalf>>>,
}

impl Peer {
    /// A peer that listens on a port of its own on 127.0.0.1.
    pub async fn listen(script: Script) -> Self {
        Self::listen_at("127.0.0.1:0", script).await
    }

    /// A peer that listens at `address`.
    pub async fn listen_at(address: &str, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let peer = Self::idle(script);
        peer.take_port(listener.local_addr().unwrap().port());
        let inner = Arc::clone(&peer.inner);
        peer.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (id, reader) = inner.open(stream);
                connections.spawn(Arc::clone(&inner).serve(id, reader, Side::Acceptor));
            }
        });
        peer
    }

    /// A peer that dials a node on 127.0.0.1, as its handshake says where it listens (nowhere, unless set).
    pub async fn dial(port: u16, script: Script) -> Self {
        let peer = Self::idle(script);
        peer.dial_again(port).await;
        peer
    }

    /// A peer that dials a node on 127.0.0.1 from another address of this machine, such as 127.0.0.2.
    pub async fn dial_from(host: &str, port: u16, script: Script) -> Self {
        let peer = Self::idle(script);
        peer.dialled(stream_from(host, port).await);
        peer
    }

    /// One more connection to a node.
    pub async fn dial_again(&self, port: u16) {
        let stream = within(Duration::from_secs(5), "a TCP connection", TcpStream::connect(("127.0.0.1", port))).await;
        self.dialled(stream.unwrap());
    }

    fn dialled(&self, stream: TcpStream) {
        let (id, reader) = self.inner.open(stream);
        let inner = Arc::clone(&self.inner);
        self.spawn(inner.serve(id, reader, Side::Dialler));
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        *self.inner.port.lock().unwrap()
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Changes the script for all that comes.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.inner.script.lock().unwrap());
    }

    /// Sends a line on every open connection.
    pub async fn send(&self, line: &str) {
        let writers: Vec<_> = self.inner.state.lock().unwrap().writers.values().cloned().collect();
        assert!(!writers.is_empty(), "no open connection to send on");
        for writer in writers {
            // One that is being closed takes nothing more; the test sees that by its events.
            let _ = writer.lock().await.write_all(format!("{line}\n").as_bytes()).await;
        }
    }

    /// Repeats its handshake, with the hello of the script as it stands.
    pub async fn repeat_hello(&self) {
        let line = self.inner.script.lock().unwrap().hello.line();
        self.send(&line).await;
    }

    /// Ends every open connection.
    pub async fn hang_up(&self) {
        let writers: Vec<_> = self.inner.state.lock().unwrap().writers.values().cloned().collect();
        for writer in writers {
            // One that the other side has ended is gone already.
            let _ = writer.lock().await.shutdown().await;
        }
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.inner.state.lock().unwrap().writers.len()
    }

    /// All that happened so far.
    pub fn events(&self) -> Vec<Event> {
        self.inner.events.lock().unwrap().clone()
    }

    /// All messages of a type so far.
    pub fn received(&self, kind: &str) -> Vec<Received> {
        let events = self.inner.events.lock().unwrap();
        let messages = events.iter().filter_map(|event| match &event.what {
            What::Message(message) if message.kind == kind => Some(message.clone()),
            _ => None,
        });
        messages.collect()
    }

    /// The ranges asked for so far.
    pub fn requests(&self) -> Vec<(u64, u64)> {
        self.received("get_blocks").iter().filter_map(Received::range).collect()
    }

    /// When each connection was made.
    pub fn openings(&self) -> Vec<Instant> {
        let events = self.inner.events.lock().unwrap();
        events.iter().filter(|event| matches!(event.what, What::Opened)).map(|event| event.at).collect()
    }

    /// The longest time, from `start` until now, in which no message came.
    pub fn longest_silence(&self, start: Instant) -> Duration {
        let events = self.events();
        let messages = events.iter().filter(|event| matches!(event.what, What::Message(_))).map(|event| event.at);
        let times: Vec<Instant> = [start].into_iter().chain(messages).chain([Instant::now()]).collect();
        times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or_default()
    }

    /// Waits until `look` finds something in all that happened.
    pub async fn wait<T>(&self, limit: Duration, what: &str, look: impl Fn(&[Event]) -> Option<T>) -> T {
        let mut count = self.inner.count.subscribe();
        within(limit, what, async {
            loop {
                count.borrow_and_update();
                // A copy, so that `look` may ask the peer for more.
                if let Some(found) = look(&self.events()) {
                    return found;
                }
                count.changed().await.unwrap();
            }
        })
        .await
    }

    /// Waits for a message that `pick` takes; those of the past count.
    pub async fn message<T>(&self, limit: Duration, what: &str, pick: impl Fn(&Received) -> Option<T>) -> T {
        self.wait(limit, what, |events| {
            events.iter().find_map(|event| match &event.what {
                What::Message(message) => pick(message),
                _ => None,
            })
        })
        .await
    }

    /// Waits until the node has ended a connection.
    pub async fn closed(&self, limit: Duration) {
        self.wait(limit, "the node to close the connection", |events| {
            events.iter().find(|event| matches!(event.what, What::Closed)).map(|_| ())
        })
        .await;
    }

    /// Whether no connection is closed by the node for `time`.
    pub async fn stays_open(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.closed(time * 2)).await.is_err()
    }

    fn idle(script: Script) -> Self {
        let inner = Inner {
            port: Mutex::new(script.hello.p2p_port),
            script: Mutex::new(script),
            events: Mutex::default(),
            count: watch::Sender::new(0),
            state: Mutex::default(),
        };
        Self { inner: Arc::new(inner), tasks: Arc::default() }
    }

    fn take_port(&self, port: u16) {
        *self.inner.port.lock().unwrap() = port;
        let mut script = self.inner.script.lock().unwrap();
        script.hello = script.hello.clone().listening_on(port);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap().spawn(task);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Acceptor,
    Dialler,
}

impl Inner {
    fn open(&self, stream: TcpStream) -> (usize, OwnedReadHalf) {
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        let id = {
            let mut state = self.state.lock().unwrap();
            let id = state.opened;
            state.opened += 1;
            state.writers.insert(id, Arc::new(tokio::sync::Mutex::new(writer)));
            id
        };
        self.note(id, What::Opened);
        (id, reader)
    }

    fn note(&self, connection: usize, what: What) {
        let count = {
            let mut events = self.events.lock().unwrap();
            events.push(Event { at: Instant::now(), connection, what });
            events.len()
        };
        self.count.send_replace(count);
    }

    async fn serve(self: Arc<Self>, id: usize, reader: OwnedReadHalf, side: Side) {
        let script = || self.script.lock().unwrap().clone();
        if side == Side::Dialler && script().greets {
            self.write(id, &script().hello.line()).await;
        }
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        let mut greeted = false;
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line).await {
                Ok(read) if read > 0 => {}
                _ => break,
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let Some(message) = Received::read(&text) else {
                self.note(id, What::Garbage(text));
                continue;
            };
            self.note(id, What::Message(message.clone()));
            let script = script();
            if message.kind == "handshake" && !greeted {
                greeted = true;
                if script.greets {
                    if side == Side::Acceptor {
                        for line in &script.before_hello {
                            self.write(id, line).await;
                        }
                    }
                    // The acceptor's answer; or the second handshake with which a reference node replies to it.
                    if side == Side::Acceptor || script.hello.features.is_none() {
                        self.write(id, &script.hello.line()).await;
                    }
                }
            }
            if let Some((from, to)) = message.range() {
                let nth = {
                    let mut state = self.state.lock().unwrap();
                    state.requests += 1;
                    state.requests - 1
                };
                if !self.reply(id, (script.answer)(Request { nth, from, to })).await {
                    break;
                }
            }
        }
        self.state.lock().unwrap().writers.remove(&id);
        self.note(id, What::Closed);
    }

    /// False where the connection shall end.
    async fn reply(&self, id: usize, mut answer: Answer) -> bool {
        loop {
            match answer {
                Answer::Blocks(blocks) => self.write(id, &wire::blocks_response(&blocks)).await,
                Answer::Line(line) => self.write(id, &line).await,
                Answer::Silence => {}
                Answer::Close => return false,
                Answer::After(time, then) => {
                    tokio::time::sleep(time).await;
                    answer = *then;
                    continue;
                }
            }
            return true;
        }
    }

    async fn write(&self, id: usize, line: &str) {
        let writer = self.state.lock().unwrap().writers.get(&id).cloned();
        if let Some(writer) = writer {
            // A connection that the other side ended is noted where it is read.
            let _ = writer.lock().await.write_all(format!("{line}\n").as_bytes()).await;
        }
    }
}
