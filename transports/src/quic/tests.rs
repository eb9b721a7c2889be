use cpc_framework::testkit::transport::TransportFixture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn node(secret: u8, codec: &str) -> QuicTransport {
    QuicTransport::new(&NodeIdentity::from_secret([secret; 32]).unwrap(), codec).unwrap()
}

fn fixture() -> TransportFixture {
    TransportFixture {
        listener: Arc::new(node(1, "json")),
        dialler: Arc::new(node(2, "json")),
        at: Endpoint::new("127.0.0.1:0"),
    }
}

fn fixture_with_bulk() -> TransportFixture {
    TransportFixture { dialler: Arc::new(node(2, "json").with_bulk_stream()), ..fixture() }
}

cpc_framework::transport_suite!(quic, fixture());
cpc_framework::transport_suite!(quic_with_bulk, fixture_with_bulk());

/// What becomes of a dial, on both sides.
async fn meet(
    dialler: QuicTransport,
    listener: QuicTransport,
    pin: Option<PeerId>,
) -> (Result<Connection, TransportError>, Result<Connection, TransportError>) {
    let mut listening = listener.listen(&Endpoint::new("127.0.0.1:0")).await.unwrap();
    let to = Endpoint { identity: pin, ..listening.local() };
    let accepting = async { listening.accept().await.unwrap().upgrade.await };
    tokio::join!(dialler.dial(&to), accepting)
}

#[test]
fn a_key_has_the_identity_that_rfc_8032_gives_it() {
    let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let identity: Endpoint = format!("{secret}@").parse().unwrap();
    let identity = NodeIdentity::from_secret(identity.identity.unwrap().0).unwrap();
    let expected = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    assert_eq!(identity.peer_id().to_string(), expected);
    assert!(!format!("{identity:?}").contains("9d61"), "a secret is not shown");
    assert_ne!(NodeIdentity::generate().unwrap().peer_id(), NodeIdentity::generate().unwrap().peer_id());
}

#[tokio::test]
async fn each_side_knows_the_others_key() {
    let (dialler, listener) = (node(2, "json"), node(1, "json"));
    let (dialled, accepted) = meet(dialler.clone(), listener.clone(), Some(listener.peer_id())).await;
    assert_eq!(dialled.unwrap().identity, Some(listener.peer_id()));
    assert_eq!(accepted.unwrap().identity, Some(dialler.peer_id()));
}

#[tokio::test]
async fn another_node_at_a_pinned_address_is_refused_by_its_key() {
    let (listener, meant) = (node(1, "json"), node(3, "json"));
    let (dialled, accepted) = meet(node(2, "json"), listener.clone(), Some(meant.peer_id())).await;
    let error = dialled.unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::Refused);
    let text = error.to_string();
    assert!(text.contains(&listener.peer_id().to_string()) && text.contains(&meant.peer_id().to_string()), "{text}");
    let error = accepted.unwrap_err();
    assert!(error.to_string().contains("another node was meant"), "{error}");
}

#[tokio::test]
async fn a_codec_mismatch_is_refused_at_once_and_both_sides_name_both() {
    let start = tokio::time::Instant::now();
    let (dialled, accepted) = meet(node(2, "postcard"), node(1, "json"), None).await;
    for error in [dialled.unwrap_err(), accepted.unwrap_err()] {
        assert_eq!(error.kind, TransportErrorKind::Refused);
        let text = error.to_string();
        assert!(text.contains("json") && text.contains("postcard"), "{text}");
    }
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_bulk_stream_carries_its_own_bytes() {
    let (dialled, accepted) = meet(node(2, "json").with_bulk_stream(), node(1, "json"), None).await;
    let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
    let (mut near, mut far) = (dialled.bulk.take().unwrap(), accepted.bulk.take().unwrap());
    near.writer.write_all(b"bulk").await.unwrap();
    dialled.control.writer.write_all(b"news").await.unwrap();
    let mut read = [0; 4];
    accepted.control.reader.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"news");
    far.reader.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"bulk");
}

#[tokio::test]
async fn a_close_tells_the_other_side_why() {
    let (dialled, accepted) = meet(node(2, "json"), node(1, "json"), None).await;
    let (dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
    dialled.handle.close("no longer needed");
    let error = accepted.control.reader.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("no longer needed"), "{error}");
}

#[tokio::test]
async fn a_peer_that_shows_no_certificate_is_refused() {
    let listener = node(1, "json");
    let mut listening = listener.listen(&Endpoint::new("127.0.0.1:0")).await.unwrap();
    let bare = tls::anonymous_client(vec![b"cpc/1/json".to_vec()]);
    let mut dialler = node(2, "json");
    dialler.client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(bare).unwrap()));
    let local = listening.local();
    let accepting = async { listening.accept().await.unwrap().upgrade.await };
    let (_dialled, accepted) = tokio::join!(dialler.dial(&local), accepting);
    assert_eq!(accepted.unwrap_err().kind, TransportErrorKind::Refused);
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends_with_its_time() {
    let listener = node(1, "json");
    let mut listening = listener.listen(&Endpoint::new("127.0.0.1:0")).await.unwrap();
    // A connection without a stream: the handshake of TLS is done, ours is not.
    let to = listening.local().address.parse().unwrap();
    let dialling = node(2, "json");
    let endpoint = Endpoint::new("test");
    let failed = Failed { doing: "cannot reach", endpoint: &endpoint };
    let accepting = async { listening.accept().await.unwrap().upgrade.await };
    let (connection, accepted) = tokio::join!(dialling.connect(failed, to), accepting);
    assert_eq!(accepted.unwrap_err().kind, TransportErrorKind::TimedOut);
    drop(connection);
}

#[tokio::test]
async fn a_dial_of_a_port_without_quic_says_how_to_write_a_node_over_tcp() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Endpoint::new(listener.local_addr().unwrap().to_string());
    let error = node(1, "postcard").dial(&to).await.unwrap_err();
    assert_eq!(error.kind, TransportErrorKind::TimedOut, "{error}");
    assert!(error.to_string().ends_with(&format!("write tcp+json://{to}")), "{error}");
}
