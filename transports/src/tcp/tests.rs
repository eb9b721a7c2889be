use std::sync::Arc;

use cpc_framework::testkit::transport::TransportFixture;

use super::*;

fn fixture() -> TransportFixture {
    TransportFixture {
        listener: Arc::new(TcpTransport::default()),
        dialler: Arc::new(TcpTransport::default()),
        at: Endpoint::new("127.0.0.1:0"),
    }
}

cpc_framework::transport_suite!(tcp, fixture());

#[tokio::test]
async fn a_name_is_dialled_at_all_its_addresses() {
    let mut listener = TcpTransport::default().listen(&Endpoint::new("127.0.0.1:0")).await.unwrap();
    let port = listener.local().host_port().unwrap().1;
    // `localhost` may stand for ::1 first, where nobody listens.
    let dialled = TcpTransport::default().dial(&Endpoint::new(format!("localhost:{port}"))).await.unwrap();
    assert_eq!(dialled.remote.address, format!("127.0.0.1:{port}"));
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn an_ipv4_peer_of_an_ipv6_socket_has_its_ipv4_address() {
    let Ok(mut listener) = TcpTransport::default().listen(&Endpoint::new("[::]:0")).await else {
        // A machine without IPv6.
        return;
    };
    let port = listener.local().host_port().unwrap().1;
    let _dialled = TcpTransport::default().dial(&Endpoint::new(format!("127.0.0.1:{port}"))).await.unwrap();
    let incoming = listener.accept().await.unwrap();
    assert_eq!(incoming.remote.host_port().unwrap().0, "127.0.0.1");
}

#[tokio::test]
async fn small_writes_leave_at_once_and_silence_is_probed() {
    let mut listener = TcpTransport::default().listen(&Endpoint::new("127.0.0.1:0")).await.unwrap();
    let address: SocketAddr = listener.local().address.parse().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let remote = stream.peer_addr().unwrap();
    let socket = SockRef::from(&stream).try_clone().unwrap();
    let connection = connection(stream, remote).unwrap();
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
    assert_eq!(connection.remote.address, address.to_string());
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn a_dial_that_nobody_answers_ends_with_its_time() {
    // A full backlog answers no further connection.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let to = Endpoint::new(full.local_addr().unwrap().to_string());
    let transport = TcpTransport::default().dial_timeout(Duration::from_millis(300));
    let mut kept = Vec::new();
    let error = loop {
        match transport.dial(&to).await {
            Ok(connection) => kept.push(connection),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, TransportErrorKind::TimedOut, "{error}");
    assert_eq!(error.to_string(), format!("cannot reach {to}: no answer within 0.3 s"));
}

#[tokio::test]
async fn a_dial_of_a_port_without_tcp_says_how_to_write_a_node_over_quic() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = Endpoint::new(socket.local_addr().unwrap().to_string());
    let error = TcpTransport::default().dial(&to).await.unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::Unreachable, "{error}");
    assert!(error.to_string().ends_with(&format!("write quic+postcard://{to}")), "{error}");
}
