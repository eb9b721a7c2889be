//! A peer over any link that sends bytes as it likes, and reads messages.

use std::time::Duration;

use bytes::BytesMut;
use cpc_codecs::PostcardCodec;
use cpc_framework::codec::{Codec as _, Decoder};
use cpc_framework::transport::{Connection, Endpoint, Transport};
use cpc_framework::types::{Handshake, Message};
use cpc_transports::{NodeIdentity, QuicTransport, TcpTransport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::deadline::within;

/// The largest frame that it takes.
const CAP: usize = 4 << 20;
/// For what should happen at once, on a busy machine.
const PROMPT: Duration = Duration::from_secs(60);

/// A connection to a node in postcard, over TCP or QUIC.
#[derive(Debug)]
pub struct Framed {
    connection: Connection,
    decoder: Box<dyn Decoder>,
    buffer: BytesMut,
}

impl Framed {
    /// Dials a node on 127.0.0.1, over QUIC with a new key each time, and says nothing.
    pub async fn dial(link: &str, port: u16) -> Self {
        let transport: Box<dyn Transport> = match link {
            "tcp+postcard" => Box::new(TcpTransport::default()),
            "quic+postcard" => Box::new(QuicTransport::new(&NodeIdentity::generate().unwrap(), "postcard").unwrap()),
            _ => panic!("{link} is none of the links of this peer"),
        };
        let to = Endpoint::new(format!("127.0.0.1:{port}"));
        let connection = within(PROMPT, "a connection", transport.dial(&to)).await.unwrap();
        Self { connection, decoder: PostcardCodec.decoder(), buffer: BytesMut::new() }
    }

    /// Dials a node, and waits for its handshake.
    pub async fn greeted(link: &str, port: u16, hello: &Handshake) -> Self {
        let mut peer = Self::dial(link, port).await;
        peer.send(&frame(&Message::Handshake(hello.clone()))).await;
        peer.next(|message| matches!(message, Message::Handshake(_)).then_some(())).await.expect("a handshake");
        peer
    }

    /// Sends bytes; false where the node has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let writer = &mut self.connection.control.writer;
        let sending = async { writer.write_all(bytes).await.is_ok() && writer.flush().await.is_ok() };
        within(PROMPT, "the node to read what it is sent", sending).await
    }

    /// What `pick` takes of the next message that it takes; none where the node closes before.
    pub async fn next<T>(&mut self, pick: impl Fn(&Message) -> Option<T>) -> Option<T> {
        let reading = async {
            loop {
                while let Some(message) = self.decoder.decode(&mut self.buffer, CAP).unwrap() {
                    if let Some(found) = pick(&message) {
                        return Some(found);
                    }
                }
                match self.connection.control.reader.read_buf(&mut self.buffer).await {
                    Ok(1..) => {}
                    _ => return None,
                }
            }
        };
        within(PROMPT, "a message, or the end of the connection", reading).await
    }
}

/// A message as it goes over the wire.
pub fn frame(message: &Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    PostcardCodec.encode(message, CAP, &mut out).unwrap();
    out.into()
}
