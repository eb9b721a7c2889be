use std::io;

use cpc_framework::node::NodeBuilder;
use cpc_framework::store::ChainStore;
use cpc_framework::store::memory::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::datadir::Datadir;
use crate::init;

mod answers;

const PATIENCE: Duration = Duration::from_secs(20);

/// An RPC of a node without blocks, with limits of one's own.
async fn started(limits: RpcLimits) -> (NodeHandle, Rpc) {
    started_over(MemoryStore::new(), limits).await
}

/// The same, over a store of one's own.
async fn started_over(store: impl ChainStore, limits: RpcLimits) -> (NodeHandle, Rpc) {
    let dir = tempfile::tempdir().unwrap();
    let made = init::new_network(&Datadir::new(dir.path()), None).unwrap();
    let node = NodeBuilder::new(made.genesis).store(store).start().await.unwrap();
    // Of no blocks, so that nobody reads the store but who asks.
    let index = TxIndex::in_memory(Arc::new(MemoryStore::new()), node.genesis());
    let rpc = RpcSocket::bind([127, 0, 0, 1].into(), 0).unwrap().serve(node.clone(), index, limits).unwrap();
    (node, rpc)
}

async fn connect(rpc: &Rpc) -> TcpStream {
    TcpStream::connect(rpc.address()).await.unwrap()
}

async fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// All that comes until the other side ends the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("the connection must end");
    match read {
        Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8(text).unwrap(),
    }
}

/// One request on a connection of its own.
async fn ask(rpc: &Rpc, request: &str) -> String {
    let mut stream = connect(rpc).await;
    write(&mut stream, request).await;
    rest(&mut stream).await
}

const GET: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// A request whose body is never sent whole.
const HALF: &str = "POST /tx/send HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{";

#[tokio::test]
async fn more_requests_than_places_are_refused_until_one_is_done() {
    let (_node, rpc) = started(RpcLimits { requests: 1, ..RpcLimits::default() }).await;
    let mut slow = connect(&rpc).await;
    write(&mut slow, HALF).await;
    let refused = timeout(PATIENCE, async {
        loop {
            let answer = ask(&rpc, GET).await;
            if !answer.starts_with("HTTP/1.1 200") {
                return answer;
            }
        }
    });
    let refused = refused.await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("detail"), "{refused}");
    drop(slow);
    let served = timeout(PATIENCE, async { while !ask(&rpc, GET).await.starts_with("HTTP/1.1 200") {} });
    served.await.unwrap();
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (_node, rpc) = started(RpcLimits { body_time: Duration::from_millis(50), ..RpcLimits::default() }).await;
    let answer = ask(&rpc, HALF).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains(r#"{"detail":"#), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let (_node, rpc) = started(RpcLimits { head_time: Duration::from_millis(50), ..RpcLimits::default() }).await;
    for part in ["", "GET /hea"] {
        let answer = ask(&rpc, part).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    // Also between two requests of a connection.
    let answer = ask(&rpc, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (_node, rpc) = started(RpcLimits::default()).await;
    let answer =
        ask(&rpc, &format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000))).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_connection_too_many_waits_for_its_turn() {
    let (_node, rpc) = started(RpcLimits { connections: 1, ..RpcLimits::default() }).await;
    let mut first = connect(&rpc).await;
    write(&mut first, HALF).await;
    let mut second = connect(&rpc).await;
    write(&mut second, GET).await;
    let early = timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "the second connection was answered while the first one was open");
    drop(first);
    assert!(rest(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_connection_ends_at_its_age_after_the_answer_under_way() {
    let (_node, rpc) = started(RpcLimits { connection_age: Duration::from_millis(50), ..RpcLimits::default() }).await;
    let answer = ask(&rpc, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut stream = connect(&rpc).await;
    write(&mut stream, HALF).await;
    sleep(Duration::from_millis(100)).await;
    write(&mut stream, "123456789").await;
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn stopping_answers_what_is_under_way_and_waits_for_nobody_who_is_slow() {
    let (_node, rpc) = started(RpcLimits { farewell: Duration::from_millis(200), ..RpcLimits::default() }).await;
    let address = rpc.address();
    let (mut idle, mut slow) = (connect(&rpc).await, connect(&rpc).await);
    write(&mut slow, HALF).await;
    // Both are accepted once a later one is answered.
    assert!(ask(&rpc, GET).await.starts_with("HTTP/1.1 200"));
    timeout(PATIENCE, rpc.stop()).await.unwrap();
    assert_eq!(rest(&mut idle).await, "");
    rest(&mut slow).await;
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
}

#[tokio::test]
async fn a_stopped_node_is_not_healthy() {
    let (node, rpc) = started(RpcLimits::default()).await;
    node.shutdown().await;
    let answer = ask(&rpc, GET).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stopped"), "{answer}");
}

#[tokio::test]
async fn a_taken_port_is_said_with_its_option() {
    let (_node, rpc) = started(RpcLimits::default()).await;
    let error = RpcSocket::bind([127, 0, 0, 1].into(), rpc.address().port()).unwrap_err().to_string();
    assert!(error.contains("--port") && error.contains(&rpc.address().to_string()), "{error}");
}
