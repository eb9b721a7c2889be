//! Row 26: errors that are to fill the log.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cpc_framework::limits::Limits;
use cpc_framework::store::memory::MemoryStore;
use cpc_framework::store::{StoreError, StoreErrorKind};
use cpc_framework::testkit::store::{HookedStore, StoreCall, StoreHooks};
use cpc_tests::deadline::until;
use cpc_tests::process::Process;
use cpc_tests::raw::Socket;
use cpc_tests::vectors::{Chain, candidates};
use cpc_tests::wire::{self, Hello};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::{KIB, SYNC, honest, inside, running};

/// One fault of each kind that is told of, from one address, on connections of their own where the node closes for it.
async fn one_of_each(port: u16, chain: &Chain, round: usize) {
    const HOST: &str = "127.0.0.2";
    let hello = Hello::modern(&chain.up_to(60));
    let stranger = Hello { network: format!("net-{round}"), ..hello.clone() };
    let other_chain = Hello { genesis_hash: Some(chain.hashes[7].clone()), ..hello.clone() };
    let forged: Vec<String> = candidates()
        .into_iter()
        .filter(|candidate| candidate.must == "reject" && !candidate.name.contains("an hour ahead"))
        .map(|candidate| wire::new_block(candidate.block.get()))
        .collect();
    let mut closing = vec![
        wire::get_blocks(0, 1),
        stranger.line(),
        other_chain.line(),
        "no json at all".to_owned(),
        format!("{{\"type\": \"{}\"", "x".repeat(4 * KIB)),
    ];
    for fault in [wire::blocks_response(&chain.lines[61..63]), forged[round % forged.len()].clone()] {
        closing.push(format!("{}\n{fault}", hello.line()));
    }
    for lines in closing {
        let mut socket = Socket::connect_from(HOST, port).await;
        socket.try_send(format!("{lines}\n").as_bytes()).await;
        // Some are closed for it, others not: that is other tests' matter.
        drop(socket);
    }
    let (mut socket, _) = Socket::greeted_from(HOST, port, &hello).await;
    let long = "y".repeat(100 * KIB);
    for line in [
        wire::message(&long, "{}"),
        format!(r#"{{"type": "new_block", "payload": {{"block": {{"header": {{"height": "{long}"}}}}}}}}"#),
        wire::new_tx(&format!(r#"{{"tx_type": "{long}"}}"#)),
        format!("garbage {long}"),
        wire::new_block(&chain.lines[62].replacen(r#""tx_root":""#, r#""tx_root":"0"#, 1)),
        wire::new_tx(&chain.transactions(61)[0].replacen(
            r#""signature":""#,
            &format!(r#""signature":"{round:08x}"#),
            1,
        )),
    ] {
        socket.try_send(format!("{line}\n").as_bytes()).await;
    }
    for height in 0..10 {
        socket.try_send(format!("{}\n", wire::get_blocks(height, height + 400)).as_bytes()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn row_26_a_flood_of_errors_of_every_kind_makes_at_most_100_lines_and_32_kib() {
    const ROUNDS: usize = 40;
    /// Kinds of lines times one a minute, or eight where several peers could stand behind an address.
    const LINES: usize = 100;
    const BYTES: usize = 32 * KIB;
    /// The longest line: what peers write is cut.
    const LONGEST: usize = 512;
    let chain = Chain::fork();
    let (_dir, node) = running(&chain.up_to(60)).await;
    let before = node.stderr().len();
    let done = honest::syncs_while(&node, chain, async |round| one_of_each(node.port(), chain, round).await).await;
    for round in done..ROUNDS {
        one_of_each(node.port(), chain, round).await;
    }
    everything_was_read(&node, chain).await;
    let log = node.stderr().split_off(before);
    assert!(log.lines().count() <= LINES, "{} lines:\n{log}", log.lines().count());
    assert!(log.len() <= BYTES, "{} bytes:\n{log}", log.len());
    let longest = log.lines().map(str::len).max().unwrap();
    assert!(longest <= LONGEST, "{longest} bytes in a line:\n{log}");
    // It is the kinds that are told of, not the first few lines of any.
    for kind in ["malformed", "of network", "nobody asked for", "before the handshake", "is invalid"] {
        assert!(log.contains(kind), "nothing about {kind:?}:\n{log}");
    }
}

/// What was sent is in the sockets' buffers: a last connection is served after it.
async fn everything_was_read(node: &Process, chain: &Chain) {
    let (mut socket, _) = Socket::greeted_from("127.0.0.3", node.port(), &Hello::modern(chain)).await;
    assert_eq!(socket.ask(3, 3).await.len(), 1);
}

#[tokio::test]
async fn row_26_what_is_held_back_is_counted_and_told_of_in_the_next_interval() {
    const INTERVAL: Duration = Duration::from_secs(1);
    const FAULTS: usize = 500;
    let lines = Lines::default();
    let _capture = tracing::subscriber::set_default(lines.clone());
    let chain = Chain::fork();
    let limits = Limits { log_interval: INTERVAL, ..inside::limits("devnet") };
    let node = inside::builder(chain, limits).start().await.unwrap();
    let (mut socket, _) =
        Socket::greeted_from("127.0.0.2", inside::port(&node), &Hello::modern(chain).without_blocks()).await;
    for _ in 0..FAULTS {
        socket.send(&wire::message("nonsense", "{}")).await;
    }
    // One line at once, and later, with the next fault, the number of those before it.
    let counted = async || {
        socket.send(&wire::message("nonsense", "{}")).await;
        let told: Vec<String> = lines.0.lock().unwrap().iter().filter(|line| about_nonsense(line)).cloned().collect();
        let more = |line: &String| line.split("more=").nth(1)?.split(' ').next()?.parse::<usize>().ok();
        let held_back: usize = told.iter().filter_map(more).sum();
        (held_back + told.iter().filter(|line| !line.contains("repeated")).count() >= FAULTS).then_some(told)
    };
    let told = until(SYNC, "all to be counted", counted).await;
    let seconds = told.len();
    assert!(seconds <= 10, "{seconds} lines for {FAULTS} faults: {told:?}");
    node.shutdown().await;
}

#[tokio::test]
async fn row_26_questions_that_cannot_be_answered_are_answered_with_nothing_and_told_of_once() {
    let lines = Lines::default();
    let _capture = tracing::subscriber::set_default(lines.clone());
    let chain = Chain::fork().up_to(5);
    let disk = Arc::new(HookedStore { inner: MemoryStore::new(), hooks: BadDisk::default() });
    let node = inside::builder(&chain, inside::limits("devnet")).store(Arc::clone(&disk)).start().await.unwrap();
    let hello = Hello::modern(&chain).without_blocks();
    let (mut socket, _) = Socket::greeted_from("127.0.0.2", inside::port(&node), &hello).await;
    for block in &chain.lines {
        socket.send(&wire::new_block(block)).await;
    }
    inside::has(&node, &chain).await;
    disk.hooks.0.store(true, Ordering::Release);
    for from in 0..=5 {
        for to in from..=5 {
            assert_eq!(socket.ask(from, to).await.len(), 0, "{from} to {to}");
        }
    }
    let told = lines.0.lock().unwrap().iter().filter(|line| line.contains("cannot be answered")).count();
    assert_eq!(told, 1);
    node.shutdown().await;
}

/// A disk from which nothing can be read any more, once it is so.
#[derive(Debug, Default)]
struct BadDisk(AtomicBool);

impl StoreHooks for BadDisk {
    fn before(&self, call: StoreCall) -> Result<(), StoreError> {
        if call == StoreCall::Blocks && self.0.load(Ordering::Acquire) {
            return Err(StoreError::new(StoreErrorKind::Corrupt, "a bad sector"));
        }
        Ok(())
    }
}

fn about_nonsense(line: &str) -> bool {
    line.contains("unknown message type") || line.contains("unreadable: repeated")
}

/// All log lines of this thread.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}
