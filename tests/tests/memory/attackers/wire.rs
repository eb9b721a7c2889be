use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use cpc_framework::codec::{Codec, Decoder};
use cpc_framework::transport::{Connection, ConnectionHandle, Duplex, Endpoint, Transport};
use cpc_framework::types::{Height, Message};
use cpc_transports::{NodeIdentity, QuicTransport, TcpTransport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use super::ammunition::Ammunition;
use super::{Attack, FRAME, Tally, Target};

/// One connection of an attacker.
pub(super) struct Wire {
    pub(super) number: usize,
    /// Where it says that it listens, where that matters.
    pub(super) listener: Option<TcpListener>,
    connection: Connection,
    codec: Arc<dyn Codec>,
    decoder: Box<dyn Decoder>,
    buffer: BytesMut,
    bytes: Arc<AtomicUsize>,
    tally: Arc<Tally>,
}

/// A question for blocks.
pub(super) struct Asked {
    pub(super) id: Option<u64>,
    pub(super) from: Height,
    pub(super) to: Height,
}

impl Wire {
    /// Connects, and does the handshake where that is not what the attack does itself. None where the node does not take it.
    pub(super) async fn open(
        target: &Target,
        number: usize,
        attack: Attack,
        bytes: &Arc<AtomicUsize>,
        tally: &Arc<Tally>,
    ) -> Option<Self> {
        let codec = Arc::clone(target.ammunition.codec());
        let quic = target.link.starts_with("quic");
        let transport: Box<dyn Transport> = if quic {
            Box::new(QuicTransport::new(&NodeIdentity::generate().unwrap(), codec.name()).unwrap())
        } else {
            Box::new(TcpTransport::default())
        };
        let connection = if attack == Attack::DeafAsker && !quic {
            small_window(target.address).await?
        } else {
            transport.dial(&Endpoint::new(target.address.to_string())).await.ok()?
        };
        let (bytes, tally) = (Arc::clone(bytes), Arc::clone(tally));
        let (decoder, buffer, listener) = (codec.decoder(), BytesMut::new(), None);
        let mut wire = Self { number, listener, connection, codec, decoder, buffer, bytes, tally };
        if attack == Attack::FalseAddress {
            wire.listener = TcpListener::bind("127.0.0.1:0").await.ok();
        }
        if !matches!(attack, Attack::Silence | Attack::EarlyTalk | Attack::Echo) {
            let port = wire.listener.as_ref().map(|listener| listener.local_addr().unwrap().port());
            let hello = target.ammunition.hello(attack, number, port);
            wire.say(&hello).await?;
        }
        Some(wire)
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(super) fn is_json(&self) -> bool {
        self.codec.name() == "json"
    }

    /// Goes on until the node ends it, or the attack does.
    pub(super) async fn attack(mut self, attack: Attack, ammunition: &Ammunition) {
        match attack {
            // Nothing is read, to the end.
            Attack::DeafAsker => return self.ask_for_all(ammunition.height()).await,
            Attack::ComeAndGo => return self.is_greeted().await,
            Attack::GreedyAsker => {
                self.ask_and_read(ammunition.height()).await;
            }
            Attack::Echo => {
                if self.enter(attack, ammunition).await.is_none() {
                    return;
                }
            }
            Attack::Silence | Attack::EarlyTalk | Attack::StolenName | Attack::FalseAddress => {
                self.enter(attack, ammunition).await;
            }
            _ if attack.fills_the_window() => {
                self.fill_window(attack, ammunition).await;
                return;
            }
            _ if attack.lies() || attack == Attack::Unasked => {
                self.answer(attack, ammunition).await;
            }
            _ => {
                self.flood(attack, ammunition).await;
            }
        }
        self.read_to_the_end().await;
        if matches!(attack, Attack::Silence | Attack::EarlyTalk | Attack::Echo | Attack::Unasked) {
            self.tally.done();
        }
    }

    /// None once the node has ended it.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Option<()> {
        for piece in bytes.chunks(64 << 10) {
            self.connection.control.writer.write_all(piece).await.ok()?;
            self.bytes.fetch_add(piece.len(), Ordering::Relaxed);
        }
        self.connection.control.writer.flush().await.ok()
    }

    pub(super) async fn say(&mut self, message: &Message) -> Option<()> {
        let mut out = BytesMut::new();
        self.codec.encode(message, super::ANSWER, &mut out).unwrap();
        self.send(&out).await
    }

    /// The next message. None once the node has ended it.
    pub(super) async fn hear(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.decoder.decode(&mut self.buffer, 2 * FRAME).ok()? {
                return Some(message);
            }
            if self.connection.control.reader.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// Waits for the next question for blocks.
    pub(super) async fn is_asked(&mut self) -> Option<Asked> {
        loop {
            let (id, message) = match self.hear().await? {
                Message::Numbered { id, message } => (Some(id), *message),
                message => (None, message),
            };
            if let Message::GetBlocks { from_height: from, to_height: to } = message {
                return Some(Asked { id, from, to });
            }
        }
    }

    pub(super) async fn read_to_the_end(&mut self) {
        let mut forgotten = vec![0; 64 << 10];
        while matches!(self.connection.control.reader.read(&mut forgotten).await, Ok(1..)) {}
    }
}

/// A TCP connection for which the kernels keep little, so that what is not read stays with the node.
async fn small_window(to: SocketAddr) -> Option<Connection> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let (reader, writer) = socket.connect(to).await.ok()?.into_split();
    Some(Connection {
        remote: Endpoint::new(to.to_string()),
        identity: None,
        control: Duplex { reader: Box::new(reader), writer: Box::new(writer) },
        bulk: None,
        handle: Arc::new(NoHandle),
    })
}

/// Ends with its streams.
#[derive(Debug)]
struct NoHandle;

#[async_trait::async_trait]
impl ConnectionHandle for NoHandle {
    fn close(&self, _reason: &str) {}

    async fn closed(&self) {
        std::future::pending::<()>().await;
    }
}
