//! A peer that only sends, as fast as its socket takes it: frames are made beforehand, so that sending is writing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::BytesMut;
use cpc_framework::codec::Codec;
use cpc_framework::types::{ANNOUNCE, Handshake, Message};

/// No frame that we make is larger.
const CAP: usize = 4 << 20;

/// One message as it goes over the wire, added to `out`.
pub fn frame(codec: &dyn Codec, message: &Message, out: &mut BytesMut) {
    codec.encode(message, CAP, out).unwrap();
}

/// A TCP connection to a node, with the handshake done on our side. What the node sends is read and thrown away.
#[derive(Debug)]
pub struct Feeder {
    stream: TcpStream,
    drain: Option<JoinHandle<()>>,
}

impl Feeder {
    /// Dials a node at `host:port` and introduces itself as a node of `network` with an empty chain.
    pub fn connect(address: &str, codec: &Arc<dyn Codec>, network: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut incoming = stream.try_clone().unwrap();
        let drain = std::thread::spawn(move || {
            let mut forgotten = vec![0; 64 << 10];
            while matches!(incoming.read(&mut forgotten), Ok(1..)) {}
        });
        let mut feeder = Self { stream, drain: Some(drain) };
        let mut hello = BytesMut::new();
        frame(codec.as_ref(), &Message::Handshake(handshake(network)), &mut hello);
        feeder.send(&hello);
        feeder
    }

    /// Writes frames; returns once the kernel has taken all of them.
    pub fn send(&mut self, frames: &[u8]) {
        self.stream.write_all(frames).unwrap();
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        // The node may have ended it before.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(drain) = self.drain.take() {
            let _ = drain.join();
        }
    }
}

fn handshake(network: &str) -> Handshake {
    Handshake {
        node_id: "127.0.0.1:1".to_owned(),
        p2p_port: 0,
        protocol_version: 1,
        network: network.to_owned(),
        best_height: None,
        best_hash: None,
        genesis_hash: None,
        features: Some(vec![ANNOUNCE.to_owned()]),
        nonce: None,
    }
}
