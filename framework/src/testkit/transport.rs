//! The conformance suite of [`Transport`]: run it over a transport by [`transport_suite!`](crate::transport_suite).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::messages::Messages;
use crate::transport::{Connection, Duplex, Endpoint, Incoming, Listener, PeerId, Transport, TransportErrorKind};

/// The two sides of a transport, and where to listen.
#[derive(Debug, Clone)]
pub struct TransportFixture {
    /// Listens.
    pub listener: Arc<dyn Transport>,
    /// Dials.
    pub dialler: Arc<dyn Transport>,
    /// An address of this machine with port 0.
    pub at: Endpoint,
}

/// Makes a module with one test for each sentence of the [`Transport`] contract.
///
/// ```
/// # mod example {
/// use std::sync::Arc;
///
/// use cpc_framework::testkit::transport::TransportFixture;
/// use cpc_framework::transport::Endpoint;
/// use cpc_framework::transport::memory::MemoryNetwork;
///
/// fn fixture() -> TransportFixture {
///     let network = MemoryNetwork::new();
///     TransportFixture {
///         listener: Arc::new(network.member("listener")),
///         dialler: Arc::new(network.member("dialler")),
///         at: Endpoint::new("listener:0"),
///     }
/// }
///
/// cpc_framework::transport_suite!(memory, fixture());
/// # }
/// ```
#[macro_export]
macro_rules! transport_suite {
    ($module:ident, $fixture:expr) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $crate::transport_suite! { @tests $fixture;
                what_one_side_writes_the_other_reads_in_order_and_whole
                both_directions_flow_at_once_and_a_full_one_never_stalls_the_other
                a_reader_that_does_not_read_makes_the_writer_wait
                the_end_of_the_writer_is_the_end_of_the_readers_stream
                dropping_the_writer_is_the_end_of_the_readers_stream
                close_ends_both_directions_on_both_sides_promptly
                close_wakes_who_waits_and_is_seen_by_closed
                listen_on_port_0_reports_the_real_port
                listen_on_a_taken_port_fails_and_names_the_address
                dial_to_where_nobody_listens_fails_within_ten_seconds_and_names_the_address
                an_address_that_is_none_is_refused
                a_pinned_key_reaches_whoever_proves_it_and_nobody_else
                a_dropped_dial_leaves_no_connection_behind
                accept_is_cancel_safe
                a_remote_that_does_nothing_delays_nobody
                dropping_the_listener_frees_its_address
            }
        }
    };
    (@tests $fixture:expr; $($case:ident)*) => {
        $(#[test] fn $case() {
            $crate::testkit::transport::run(async { $crate::testkit::transport::$case(&$fixture).await });
        })*
    };
}

/// Runs a case on a runtime of its own, under a time limit.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system gives two threads");
    runtime.block_on(async { timeout(3 * PROMPTLY, case).await.expect("the case ends in time") });
}

/// What must happen soon has this long on a busy machine.
const PROMPTLY: Duration = Duration::from_secs(20);
/// A writer that made no progress for so long is taken to wait for its reader.
const STALLED: Duration = Duration::from_millis(500);
/// More than the buffers of any connection should hold.
const MORE_THAN_BUFFERS_HOLD: usize = 64 * 1024 * 1024;

/// What one side writes the other reads, in order and whole.
pub async fn what_one_side_writes_the_other_reads_in_order_and_whole(fixture: &TransportFixture) {
    let (dialled, accepted) = pair(fixture).await;
    let sent = Messages::from_printed_seed().bytes(1024 * 1024);
    transfer(dialled.control.writer, accepted.control.reader, &sent).await;
    transfer(accepted.control.writer, dialled.control.reader, &sent).await;
}

/// Both directions flow at once; a full one never stalls the other.
pub async fn both_directions_flow_at_once_and_a_full_one_never_stalls_the_other(fixture: &TransportFixture) {
    let (mut dialled, accepted) = pair(fixture).await;
    fill(&mut dialled.control).await;
    let sent = Messages::from_printed_seed().bytes(1024 * 1024);
    transfer(accepted.control.writer, dialled.control.reader, &sent).await;
}

/// A reader that does not read makes the writer wait; nothing grows without bound.
pub async fn a_reader_that_does_not_read_makes_the_writer_wait(fixture: &TransportFixture) {
    let (mut dialled, mut accepted) = pair(fixture).await;
    let written = fill(&mut dialled.control).await;
    let mut read = vec![0; written];
    soon(accepted.control.reader.read_exact(&mut read)).await.expect("what was taken arrives");
    soon(dialled.control.writer.write_all(b"more")).await.expect("there is room again");
}

/// The end of the writer is the end of the reader's stream, after all that was written; the other direction goes on.
pub async fn the_end_of_the_writer_is_the_end_of_the_readers_stream(fixture: &TransportFixture) {
    let (mut dialled, mut accepted) = pair(fixture).await;
    dialled.control.writer.write_all(b"last words").await.expect("the stream is open");
    dialled.control.writer.shutdown().await.expect("the stream is open");
    let mut read = Vec::new();
    soon(accepted.control.reader.read_to_end(&mut read)).await.expect("the stream ends in order");
    assert_eq!(read, b"last words");
    transfer(accepted.control.writer, dialled.control.reader, b"the other direction goes on").await;
}

/// A writer that is dropped ends its direction as `shutdown` does.
pub async fn dropping_the_writer_is_the_end_of_the_readers_stream(fixture: &TransportFixture) {
    let (mut dialled, mut accepted) = pair(fixture).await;
    dialled.control.writer.write_all(b"last words").await.expect("the stream is open");
    drop(dialled.control.writer);
    let mut read = Vec::new();
    soon(accepted.control.reader.read_to_end(&mut read)).await.expect("the stream ends in order");
    assert_eq!(read, b"last words");
}

/// `close` ends both directions on both sides promptly.
pub async fn close_ends_both_directions_on_both_sides_promptly(fixture: &TransportFixture) {
    let (mut dialled, mut accepted) = pair(fixture).await;
    dialled.control.writer.write_all(b"unread").await.expect("the stream is open");
    accepted.handle.close("test");
    accepted.handle.close("a second time does nothing");
    for side in [&mut accepted.control, &mut dialled.control] {
        ends(side).await;
    }
}

/// `close` wakes whoever waits in a read or write, and is seen by `closed` on both sides.
pub async fn close_wakes_who_waits_and_is_seen_by_closed(fixture: &TransportFixture) {
    let (mut dialled, mut accepted) = pair(fixture).await;
    let handle = Arc::clone(&dialled.handle);
    fill(&mut dialled.control).await;
    let Duplex { mut reader, mut writer } = dialled.control;
    let reading = tokio::spawn(async move { reader.read_u8().await.map(drop) });
    let writing = tokio::spawn(async move { writer.write_all(&vec![0; MORE_THAN_BUFFERS_HOLD]).await });
    let watching = tokio::spawn(async move { handle.closed().await });
    // Long enough for all three to wait; it may come too late for none of them.
    assert!(timeout(STALLED / 5, accepted.handle.closed()).await.is_err(), "an open connection is not closed");
    dialled.handle.close("test");
    assert!(soon(reading).await.expect("no panic").is_err(), "a closed connection gives no byte");
    assert!(soon(writing).await.expect("no panic").is_err(), "a closed connection takes no bytes");
    soon(watching).await.expect("no panic");
    soon(dialled.handle.closed()).await;
    ends(&mut accepted.control).await;
    soon(accepted.handle.closed()).await;
}

/// `listen` on port 0 reports the real port.
pub async fn listen_on_port_0_reports_the_real_port(fixture: &TransportFixture) {
    let listener = fixture.listen().await;
    let local = listener.local();
    assert_ne!(local.host_port().expect("the address has a port").1, 0, "{local}");
    let other = fixture.listen().await;
    assert_ne!(local, other.local(), "each listener has its own port");
}

/// `listen` on a taken port fails and names the address.
pub async fn listen_on_a_taken_port_fails_and_names_the_address(fixture: &TransportFixture) {
    let listener = fixture.listen().await;
    let local = Endpoint::new(listener.local().address);
    let error = fixture.listener.listen(&local).await.expect_err("the port is taken");
    assert_eq!(error.kind, TransportErrorKind::AddressInUse, "{error}");
    assert!(error.to_string().contains(&local.address), "{error}");
}

/// `dial` to a place where nobody listens fails within ten seconds with an error that names the address.
pub async fn dial_to_where_nobody_listens_fails_within_ten_seconds_and_names_the_address(fixture: &TransportFixture) {
    let listener = fixture.listen().await;
    let gone = listener.local();
    drop(listener);
    let dialled = timeout(Duration::from_secs(10), fixture.dialler.dial(&gone)).await.expect("within ten seconds");
    let error = dialled.expect_err("nobody listens there");
    assert!(matches!(error.kind, TransportErrorKind::Unreachable | TransportErrorKind::TimedOut), "{error}");
    assert!(error.is_transient());
    assert!(error.to_string().contains(&gone.address), "{error}");
}

/// An address that is none of the transport's is refused at once, with an error that names it.
pub async fn an_address_that_is_none_is_refused(fixture: &TransportFixture) {
    for text in ["", "no-port", "host:99999"] {
        let bad = Endpoint::new(text);
        let dialled = fixture.dialler.dial(&bad).await.expect_err("that is no address");
        let listened = fixture.listener.listen(&bad).await.expect_err("that is no address");
        for error in [dialled, listened] {
            assert_eq!(error.kind, TransportErrorKind::BadEndpoint, "{error}");
            assert!(error.to_string().contains(text) && !error.is_transient(), "{error}");
        }
    }
}

/// An endpoint that pins a key reaches whoever proves it and nobody else; where no key is proved, it reaches nobody.
pub async fn a_pinned_key_reaches_whoever_proves_it_and_nobody_else(fixture: &TransportFixture) {
    let mut listener = fixture.listen().await;
    let address = listener.local().address;
    let (dialled, _accepted) = connect(fixture, listener.as_mut()).await;
    let serving = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok(incoming) = listener.accept().await {
            kept.push(incoming.upgrade.await);
        }
    });
    let pinned = |identity| Endpoint { identity: Some(identity), ..Endpoint::new(address.clone()) };
    if let Some(identity) = dialled.identity {
        let again = soon(fixture.dialler.dial(&pinned(identity))).await.expect("that is its key");
        assert_eq!(again.identity, Some(identity));
    }
    let error = soon(fixture.dialler.dial(&pinned(PeerId([7; 32])))).await.expect_err("nobody has that key");
    assert!(matches!(error.kind, TransportErrorKind::Refused | TransportErrorKind::BadEndpoint), "{error}");
    serving.abort();
}

/// A dial that is dropped leaves no connection behind.
pub async fn a_dropped_dial_leaves_no_connection_behind(fixture: &TransportFixture) {
    let mut listener = fixture.listen().await;
    let (dialler, local) = (Arc::clone(&fixture.dialler), listener.local());
    let dialling = tokio::spawn(async move {
        for _ in 0..8 {
            tokio::select! { biased; _ = dialler.dial(&local) => {}, () = tokio::task::yield_now() => {} }
        }
        let mut whole = dialler.dial(&local).await.expect("somebody listens there");
        whole.control.writer.write_u8(1).await.expect("the stream is open");
        whole
    });
    let mut upgrades = tokio::task::JoinSet::new();
    let mut live = 0;
    // Once the last dial has come through, the others have only to end.
    while live == 0 || !upgrades.is_empty() {
        tokio::select! {
            incoming = listener.accept(), if live == 0 => {
                let upgrade = incoming.expect("the listener lives").upgrade;
                upgrades.spawn(async move {
                    match upgrade.await {
                        Ok(mut connection) => usize::from(connection.control.reader.read_u8().await.is_ok()),
                        Err(_) => 0,
                    }
                });
            }
            Some(ended) = upgrades.join_next() => live += ended.expect("no panic"),
        }
    }
    assert_eq!(live, 1);
    soon(dialling).await.expect("no panic");
}

/// `accept` is cancel-safe: a dropped call loses no connection.
pub async fn accept_is_cancel_safe(fixture: &TransportFixture) {
    const DIALS: u8 = 16;
    let mut listener = fixture.listen().await;
    let local = listener.local();
    let dials: Vec<_> = (0..DIALS)
        .map(|number| {
            let (dialler, local) = (Arc::clone(&fixture.dialler), local.clone());
            tokio::spawn(async move {
                let mut connection = dialler.dial(&local).await.expect("somebody listens there");
                connection.control.writer.write_u8(number).await.expect("the stream is open");
                connection
            })
        })
        .collect();
    let mut upgrades = tokio::task::JoinSet::new();
    while upgrades.len() < usize::from(DIALS) {
        // Polled once and dropped, over and over.
        let accepted =
            tokio::select! { biased; it = listener.accept() => Some(it), () = tokio::task::yield_now() => None };
        if let Some(incoming) = accepted {
            let Incoming { upgrade, .. } = incoming.expect("the listener lives");
            upgrades.spawn(async move {
                let mut connection = upgrade.await.expect("the dialler goes on");
                connection.control.reader.read_u8().await.expect("the dialler has sent its number")
            });
        }
    }
    let mut numbers = soon(upgrades.join_all()).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (0..DIALS).collect::<Vec<_>>());
    for dial in dials {
        soon(dial).await.expect("no panic");
    }
}

/// A remote that does nothing delays neither `accept` nor anybody's `upgrade`.
pub async fn a_remote_that_does_nothing_delays_nobody(fixture: &TransportFixture) {
    let mut listener = fixture.listen().await;
    let (dialler, local) = (Arc::clone(&fixture.dialler), listener.local());
    let idle = tokio::spawn(async move { dialler.dial(&local).await });
    // Its upgrade is never driven, as if it never answered.
    let held = soon(listener.accept()).await.expect("the listener lives");
    let (dialled, accepted) = connect(fixture, listener.as_mut()).await;
    transfer(dialled.control.writer, accepted.control.reader, b"not delayed").await;
    drop(held);
    idle.abort();
}

/// Dropping the listener frees its address.
pub async fn dropping_the_listener_frees_its_address(fixture: &TransportFixture) {
    let listener = fixture.listen().await;
    let local = listener.local();
    drop(listener);
    let again = async {
        loop {
            match fixture.listener.listen(&local).await {
                Ok(listener) => return listener,
                Err(error) => assert_eq!(error.kind, TransportErrorKind::AddressInUse, "{error}"),
            }
            // The address may be freed by another task, but soon.
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(soon(again).await.local(), local);
}

impl TransportFixture {
    async fn listen(&self) -> Box<dyn Listener> {
        self.listener.listen(&self.at).await.expect("the fixture's address is free")
    }
}

/// Both sides of a new connection.
async fn pair(fixture: &TransportFixture) -> (Connection, Connection) {
    let mut listener = fixture.listen().await;
    connect(fixture, listener.as_mut()).await
}

async fn connect(fixture: &TransportFixture, listener: &mut dyn Listener) -> (Connection, Connection) {
    let local = listener.local();
    let accept = async {
        let incoming = listener.accept().await.expect("the listener lives");
        incoming.upgrade.await.expect("the dialler goes on")
    };
    let (dialled, accepted) = soon(async { tokio::join!(fixture.dialler.dial(&local), accept) }).await;
    (dialled.expect("somebody listens there"), accepted)
}

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PROMPTLY, future).await.expect("it takes no more than 20 s")
}

/// Writes until nothing more is taken, and gives the number of bytes that were.
async fn fill(stream: &mut Duplex) -> usize {
    let mut written = 0;
    let piece = vec![7; 64 * 1024];
    while let Ok(count) = timeout(STALLED, stream.writer.write(&piece)).await {
        written += count.expect("the stream is open");
        assert!(written < MORE_THAN_BUFFERS_HOLD, "{written} bytes were taken, and nobody reads");
    }
    written
}

/// Sends bytes and the end of the stream, and checks that this is what arrives.
async fn transfer(
    mut writer: impl tokio::io::AsyncWrite + Unpin,
    mut reader: impl tokio::io::AsyncRead + Unpin,
    bytes: &[u8],
) {
    let write = async {
        writer.write_all(bytes).await.expect("the stream is open");
        writer.shutdown().await.expect("the stream is open");
    };
    let mut arrived = Vec::new();
    let (read, ()) = soon(async { tokio::join!(reader.read_to_end(&mut arrived), write) }).await;
    read.expect("the stream ends in order");
    assert!(arrived == bytes, "{} bytes were sent and {} others arrived", bytes.len(), arrived.len());
}

/// Checks that reading ends and that writing fails, though what is under way may still come or go.
async fn ends(stream: &mut Duplex) {
    let mut rest = [0; 1024];
    let read = async { while matches!(stream.reader.read(&mut rest).await, Ok(1..)) {} };
    soon(read).await;
    let write = async { while stream.writer.write(&[0; 1024]).await.is_ok() && stream.writer.flush().await.is_ok() {} };
    soon(write).await;
}
