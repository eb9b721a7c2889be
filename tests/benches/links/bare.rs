//! Bare sockets: what the machine carries without anything of ours.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use quinn::rustls::RootCertStore;
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Written at a time: as much as an answer has.
const PIECE: usize = 1 << 20;

/// Read at a time.
const WINDOW: usize = 64 * 1024;

/// Bytes per second of a TCP connection over loopback.
pub(crate) async fn tcp(bytes: usize) -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap());
    let (writer, reader) = tokio::join!(dialled, listener.accept());
    rate(writer.unwrap(), reader.unwrap().0, bytes).await
}

/// Bytes per second of a stream of quinn over loopback, with the settings that it has by itself.
pub(crate) async fn quic(bytes: usize) -> f64 {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = quinn::rustls::pki_types::PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let server = ServerConfig::with_single_cert(vec![cert.der().clone()], key.into()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let listener = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let dialler = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let client = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
    let dialled = dialler.connect_with(client, listener.local_addr().unwrap(), "localhost").unwrap();
    let accepted = async { listener.accept().await.unwrap().await.unwrap() };
    let (near, far) = tokio::join!(dialled, accepted);
    let mut writer = near.unwrap().open_uni().await.unwrap();
    writer.write_all(&[0]).await.unwrap();
    let reader = far.accept_uni().await.unwrap();
    rate(writer, reader, bytes).await
}

async fn rate<W, R>(mut writer: W, mut reader: R, bytes: usize) -> f64
where
    W: AsyncWrite + Unpin + Send + 'static,
    R: AsyncRead + Unpin,
{
    let start = Instant::now();
    let writing = tokio::spawn(async move {
        let piece = vec![7; PIECE];
        for _ in 0..bytes / PIECE {
            writer.write_all(&piece).await.unwrap();
        }
        writer
    });
    let mut window = vec![0; WINDOW];
    let mut left = bytes / PIECE * PIECE;
    while left > 0 {
        left = left.saturating_sub(reader.read(&mut window).await.unwrap());
    }
    let rate = super::throughput::per_second(bytes, start);
    drop(writing.await.unwrap());
    rate
}
