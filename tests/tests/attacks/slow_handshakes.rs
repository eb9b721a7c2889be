//! Row 2: the 5 seconds of the handshake begin when the connection comes, over links too that have something to settle before it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cpc_framework::transport::{Endpoint, Transport as _};
use cpc_tests::datadir::Datadir;
use cpc_tests::deadline::within;
use cpc_tests::process::Process;
use cpc_tests::raw::Socket;
use cpc_tests::vectors::Chain;
use cpc_transports::{NodeIdentity, QuicTransport};
use tokio::io::AsyncReadExt as _;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::{NODE, SYNC, honest};

#[tokio::test(flavor = "multi_thread")]
async fn row_2_over_tcp_auto_a_late_first_byte_buys_no_time() {
    const LATE: Duration = Duration::from_secs(4);
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(5)).await;
    let node = Process::run_over(NODE, dir.path(), &["tcp+auto"], &[]).await;
    let start = Instant::now();
    let mut socket = Socket::connect(node.port()).await;
    assert!(socket.stays_open(LATE).await);
    assert!(socket.try_send(b"{").await);
    socket.closed(SYNC).await;
    let took = start.elapsed();
    assert!((4.5..7.5).contains(&took.as_secs_f64()), "closed after {took:?}");
    honest::syncs(&node, chain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_2_over_quic_a_slow_security_handshake_buys_no_time() {
    /// Each way. The security handshake takes a round trip.
    const DELAY: Duration = Duration::from_millis(1500);
    let chain = Chain::fork();
    let dir = Datadir::holding(NODE, &chain.up_to(5)).await;
    let node = Process::run_over(NODE, dir.path(), &["quic+json", "tcp+json"], &[]).await;
    let (between, _tasks) = delayed(([127, 0, 0, 1], node.port()).into(), DELAY).await;
    let transport = QuicTransport::new(&NodeIdentity::generate().unwrap(), "json").unwrap();
    let start = Instant::now();
    let mut silent =
        within(SYNC, "a QUIC connection", transport.dial(&Endpoint::new(between.to_string()))).await.unwrap();
    assert!(start.elapsed() >= 2 * DELAY, "nothing was delayed");
    let _ = within(SYNC, "the node to close", silent.control.reader.read_to_end(&mut Vec::new())).await;
    // What is said comes late both ways.
    let took = start.elapsed().saturating_sub(2 * DELAY);
    assert!((4.5..7.0).contains(&took.as_secs_f64()), "closed after {took:?}");
}

/// A place where datagrams to `target`, and its answers, come later by `delay`. Serves one client.
async fn delayed(target: SocketAddr, delay: Duration) -> (SocketAddr, JoinSet<()>) {
    let [front, back] = [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
    let at = front.local_addr().unwrap();
    let (front, back) = (Arc::new(front), Arc::new(back));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut client = target;
        let (mut asked, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut later = JoinSet::new();
        loop {
            let (data, by, to) = tokio::select! {
                read = front.recv_from(&mut asked) => {
                    let Ok((length, from)) = read else { continue };
                    client = from;
                    (asked[..length].to_vec(), Arc::clone(&back), target)
                }
                read = back.recv_from(&mut answer) => {
                    let Ok((length, _)) = read else { continue };
                    (answer[..length].to_vec(), Arc::clone(&front), client)
                }
            };
            later.spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = by.send_to(&data, to).await;
            });
        }
    });
    (at, tasks)
}
