use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use super::budget::Permit;
use super::crowd::{Crowd, Held, Short};
use super::large::{LargeFrame, Right};
use super::loan::Loan;
use super::outbox::{Outbox, OutboxLimits};
use super::peer::Wanted;
use super::preparing::{prepare, prepare_tx};
use super::serve::AnswerSizes;
use super::verifying::TXS_ON_THEIR_WAY;
use super::weight::Weight;
use super::writer::Writer;
use crate::codec::{Codec, DecodeError};
use crate::limits::Limits;
use crate::memory::{DECODED, MemoryShares};
use crate::rules::{HashedBlock, Hasher};
use crate::sync::ConnId;
use crate::transport::{Connection, ConnectionHandle, Duplex};
use crate::types::{BlockLink, Handshake, Hash32, Message, MessageKind, Transaction};

/// How much is asked of a socket at a time.
const READ_CHUNK: usize = 64 * 1024;
/// A buffer that grew beyond this is given back once it is empty; up to here it needs no room of the share of all.
pub(super) const BUFFER_KEPT: usize = READ_CHUNK;
/// How long a connection that we end may take to send what waits.
const FAREWELL: Duration = Duration::from_millis(500);
/// Transactions that go to the engine together, as far as they came together.
const TXS_TOGETHER: usize = 128;
/// So many bytes of a frame tell its type in every codec.
const KIND_SEEN: usize = 64;
/// Why a connection ended while its reader waited for room.
const GONE_WAITING: &str = "closed while it waited for memory";
/// Queued bytes are counted in units of this size.
const BUDGET_UNIT: usize = 1024;

/// What engine and tasks of one connection share.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnId,
    /// Which of the node's links.
    pub(crate) transport: usize,
    pub(crate) codec: Arc<dyn Codec>,
    pub(crate) outbox: Outbox,
    /// What waits for the stream of bulk answers, where the connection has one.
    bulk: Option<Outbox>,
    pub(crate) answer_sizes: AnswerSizes,
    /// What has begun to come, on each of the streams.
    coming: [Held; 2],
    /// It had to go, since others needed the memory that it held.
    crowded_out: AtomicBool,
    handle: Arc<dyn ConnectionHandle>,
    /// Why the stream of bulk answers ended, where it did first.
    bulk_ended: OnceLock<CloseReason>,
    frame_cap: AtomicUsize,
    cap_raised: Notify,
    pub(super) patient: AtomicBool,
    tx_places: Arc<Semaphore>,
    bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
}

impl Link {
    /// The largest frame that is read from now on.
    pub(crate) fn set_frame_cap(&self, cap: usize) {
        self.frame_cap.store(cap, Ordering::Release);
        self.cap_raised.notify_one();
    }

    /// The largest frame that is read now.
    pub(crate) fn frame_cap(&self) -> usize {
        self.frame_cap.load(Ordering::Acquire)
    }

    /// Waits until the connection is over. Cancel-safe.
    pub(crate) async fn over(&self) {
        self.handle.closed().await;
    }

    /// What its streams hold.
    pub(crate) fn held(&self, short: Short) -> impl Iterator<Item = &Held> {
        let (coming, going) = match short {
            Short::Incoming => (self.coming.as_slice(), None),
            Short::Outgoing => ([].as_slice(), Some(self)),
        };
        let outboxes = going.into_iter().flat_map(|link| [Some(&link.outbox), link.bulk.as_ref()]).flatten();
        coming.iter().chain(outboxes.map(Outbox::held))
    }

    /// Others need the memory that it holds.
    pub(crate) fn crowd_out(&self) {
        self.crowded_out.store(true, Ordering::Release);
        self.abort("it held memory that others needed");
    }

    /// Whether it had to go for the memory that it held.
    pub(crate) fn was_crowded_out(&self) -> bool {
        self.crowded_out.load(Ordering::Acquire)
    }

    /// Waits until the engine has taken the first handshake: what came right behind it may be longer than what is read
    /// before one. If it was not taken, the connection ends meanwhile.
    async fn welcomed(&self, limits: &Limits) {
        let raised = async {
            while self.frame_cap.load(Ordering::Acquire) == limits.frame_before_handshake {
                self.cap_raised.notified().await;
            }
        };
        let _ = timeout(limits.handshake_timeout, raised).await;
    }

    /// For a legacy peer: no idle limit, and the long deadlines.
    pub(crate) fn set_patient(&self) {
        self.patient.store(true, Ordering::Release);
    }

    /// Bytes read and written so far.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.bytes_in.load(Ordering::Relaxed), self.bytes_out.load(Ordering::Relaxed))
    }

    /// Where answers to `get_blocks` go: on a stream of their own, if there is one, so that news need not wait behind them.
    pub(crate) fn answers(&self) -> &Outbox {
        self.bulk.as_ref().unwrap_or(&self.outbox)
    }

    /// Takes nothing more to send; what waits is still written. Says whether it was open.
    pub(crate) fn finish(&self) -> bool {
        if let Some(bulk) = &self.bulk {
            bulk.close();
        }
        self.outbox.close()
    }

    /// Ends the connection: what waits is still sent, as far as the peer takes it within [`FAREWELL`].
    pub(crate) fn close(self: &Arc<Self>, reason: &str) {
        if self.finish() {
            let (link, reason) = (Arc::clone(self), reason.to_owned());
            tokio::spawn(async move {
                let _ = timeout(FAREWELL, link.handle.closed()).await;
                link.abort(&reason);
            });
        }
    }

    /// Ends the connection at once.
    pub(crate) fn abort(&self, reason: &str) {
        self.finish();
        self.handle.close(reason);
    }
}

/// What a reader found, with everything computed that needs no state.
#[derive(Debug)]
pub(crate) enum Inbound {
    Handshake(Handshake),
    NewBlock(HashedBlock),
    /// Transactions that came one after the other: what each of them would cost on its own way to the engine is more
    /// than the engine does with it.
    NewTxs(Vec<NewTx>),
    /// A request for blocks or headers.
    Asked(Wanted),
    NewHashes {
        blocks: Vec<BlockLink>,
        txs: Vec<Hash32>,
    },
    GetData {
        blocks: Vec<Hash32>,
        txs: Vec<Hash32>,
    },
    Blocks {
        id: Option<u64>,
        blocks: Vec<HashedBlock>,
        malformed: Option<String>,
        bytes: usize,
        weight: Weight,
    },
    /// Headers, of which only their places matter. They link to each other; ascending.
    Headers {
        id: Option<u64>,
        links: Vec<BlockLink>,
        bytes: usize,
    },
    /// The first bytes of an accepted connection are nothing that its codec can read; nothing more will come of it.
    Foreign {
        error: DecodeError,
    },
    /// A frame that is no message; the stream goes on.
    Unreadable {
        error: DecodeError,
    },
}

/// A transaction, with its hash, and the hash of all its bytes: the chain's hash may leave parts of it uncovered.
#[derive(Debug)]
pub(crate) struct NewTx {
    pub(crate) tx: Arc<Transaction>,
    pub(crate) hash: Hash32,
    pub(crate) id: Hash32,
    /// Its place among those that are on their way to the pool.
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

/// Something that happened on a connection. Holds its share of the inbound budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) conn: ConnId,
    pub(crate) inbound: Inbound,
    pub(crate) _share: Option<OwnedSemaphorePermit>,
    /// The right to hold a large frame, where it is what became of one.
    pub(crate) _large: Option<Box<Right>>,
}

/// What readers tell the engine.
#[derive(Debug)]
pub(crate) enum ConnEvent {
    Received(Received),
    Closed { conn: ConnId, why: CloseReason },
}

/// Why a connection ended, as far as its tasks can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The other side ended it, or the network did.
    Ended(String),
    /// A frame could not be read any further.
    Fatal(DecodeError),
    /// A block that nobody asked for is longer than what is read unasked, which is nobody's fault.
    LargeBlock { cap: usize },
    /// A frame was begun and did not end in time.
    SlowFrame,
    /// Nothing came for too long.
    Idle,
    /// What we wrote was not read for too long.
    NotReading,
    /// Others needed the memory that it held.
    CrowdedOut,
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended(why) => write!(f, "ended by the peer ({why})"),
            Self::Fatal(error) => write!(f, "{error}"),
            Self::LargeBlock { cap } => {
                write!(f, "a block of more than {cap} bytes, which are all that is read unasked: it can be asked for")
            }
            Self::SlowFrame => f.write_str("a message was begun and not finished in time"),
            Self::Idle => f.write_str("nothing came for too long"),
            Self::NotReading => f.write_str("it does not read what we send"),
            Self::CrowdedOut => f.write_str(
                "memory is short, and it held the most for the longest with what it began to send or does not read",
            ),
        }
    }
}

/// What all connections share: queues with their budgets.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    pub(crate) events: mpsc::Sender<ConnEvent>,
    pub(crate) hasher: Hasher,
    pub(crate) limits: Arc<Limits>,
    pub(crate) crowd: Arc<Crowd>,
    budget: Arc<Semaphore>,
    budget_units: u32,
    /// Frames from here on come one at a time in the whole node,
    large_from: usize,
    /// and have so much of the share;
    held_of_one: usize,
    /// what one is longer, held and decoded, the pool gives up meanwhile.
    beyond: usize,
    large_frame: LargeFrame,
}

impl Inbox {
    pub(crate) fn new(events: mpsc::Sender<ConnEvent>, hasher: Hasher, limits: Arc<Limits>) -> Self {
        let shares = MemoryShares::of(limits.network_memory);
        let budget_units = units(shares.inbox);
        Self {
            events,
            hasher,
            crowd: Arc::new(Crowd::new(shares, limits.frame_max)),
            budget: Arc::new(Semaphore::new(budget_units as usize)),
            budget_units,
            large_from: shares.frame().min(limits.frame_max),
            held_of_one: shares.held_of_one(limits.frame_max),
            beyond: 2 * limits.frame_response_max.saturating_sub(shares.held_of_one(limits.frame_max)),
            large_frame: LargeFrame::new(limits.response_frames_at_once),
            limits,
        }
    }

    /// What readers want the pool to give up.
    pub(super) fn loan(&self) -> &Arc<Loan> {
        self.large_frame.loan()
    }

    /// Room for so many bytes, once decoded; for no more than there is at all.
    async fn share(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = units(bytes.saturating_mul(DECODED)).min(self.budget_units);
        Arc::clone(&self.budget).acquire_many_owned(units).await.ok()
    }
}

/// What so many bytes count as.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BUDGET_UNIT).max(1)).unwrap_or(u32::MAX)
}

/// Starts the reader and the writer of a connection.
pub(crate) fn spawn(
    id: ConnId,
    number: usize,
    connection: Connection,
    codec: Arc<dyn Codec>,
    accepted: bool,
    frame_cap: usize,
    inbox: &Inbox,
) -> Arc<Link> {
    let Connection { control: Duplex { reader, writer }, bulk, handle, .. } = connection;
    // Two streams share what one may have waiting.
    let share = if bulk.is_some() { 2 } else { 1 };
    let limits =
        OutboxLimits { bytes: inbox.limits.outbox_bytes / share, frames: inbox.limits.outbox_messages / share };
    let link = Arc::new(Link {
        id,
        transport: number,
        codec,
        outbox: Outbox::new(limits, &inbox.crowd),
        bulk: bulk.is_some().then(|| Outbox::new(limits, &inbox.crowd)),
        bulk_ended: OnceLock::new(),
        answer_sizes: AnswerSizes::default(),
        coming: [inbox.crowd.account(), inbox.crowd.account()],
        crowded_out: AtomicBool::new(false),
        handle,
        frame_cap: AtomicUsize::new(frame_cap),
        cap_raised: Notify::new(),
        patient: AtomicBool::new(false),
        tx_places: Arc::new(Semaphore::new(TXS_ON_THEIR_WAY)),
        bytes_in: AtomicU64::new(0),
        bytes_out: AtomicU64::new(0),
    });
    inbox.crowd.join(&link);
    let not_reading = Arc::new(AtomicBool::new(false));
    let start_writer = |stream, lane| {
        let (link, limits, not_reading) = (Arc::clone(&link), Arc::clone(&inbox.limits), Arc::clone(&not_reading));
        tokio::spawn(async move { Writer { stream, lane, link, limits }.run(&not_reading).await })
    };
    let write = start_writer(writer, Lane::Control);
    let bulk_tasks = bulk.map(|Duplex { reader, writer }| {
        let (link, inbox) = (Arc::clone(&link), inbox.clone());
        let read = tokio::spawn(async move {
            let (stream, shared) = (reader, Arc::clone(&link));
            match Reader::new(stream, Lane::Bulk, shared, inbox, false).run().await {
                // In order, or with the whole connection: the control stream tells.
                CloseReason::Ended(_) => {}
                why => {
                    let _ = link.bulk_ended.set(why);
                    link.abort("the stream of bulk answers cannot be read");
                }
            }
        });
        (read, start_writer(writer, Lane::Bulk))
    });
    let (reading, inbox) = (Arc::clone(&link), inbox.clone());
    tokio::spawn(async move {
        let events = inbox.events.clone();
        let crowd = Arc::clone(&inbox.crowd);
        let mut why = Reader::new(reader, Lane::Control, Arc::clone(&reading), inbox, accepted).run().await;
        if let Some(bulk) = reading.bulk_ended.get() {
            why = bulk.clone();
        }
        reading.abort("the connection is over");
        // The writer ends by itself: its stream is closed.
        let _ = write.await;
        if let Some((read, write)) = bulk_tasks {
            let _ = read.await;
            let _ = write.await;
        }
        crowd.leave(id);
        if not_reading.load(Ordering::Acquire) {
            why = CloseReason::NotReading;
        }
        if reading.was_crowded_out() {
            why = CloseReason::CrowdedOut;
        }
        let _ = events.send(ConnEvent::Closed { conn: id, why }).await;
    });
    link
}

/// Which of a connection's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// All messages; where there is no other, answers too.
    Control,
    /// Answers to `get_blocks`. Nothing may come for as long as nothing is asked.
    Bulk,
}

struct Reader {
    stream: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
    lane: Lane,
    link: Arc<Link>,
    inbox: Inbox,
    /// Room for what has begun to come.
    room: Permit,
    /// The right to hold a large frame.
    large: Option<Box<Right>>,
    /// Room for what can be decoded of the buffer.
    decoding: Option<OwnedSemaphorePermit>,
    /// The other side dialled, and has said nothing yet that could be read.
    fresh: bool,
}

impl Reader {
    fn new(
        stream: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
        lane: Lane,
        link: Arc<Link>,
        inbox: Inbox,
        fresh: bool,
    ) -> Self {
        let room = inbox.crowd.frames.nothing();
        Self { stream, lane, link, inbox, room, large: None, decoding: None, fresh }
    }

    async fn run(mut self) -> CloseReason {
        let mut decoder = self.link.codec.decoder();
        let mut buffer = BytesMut::new();
        // How long the frame at the front of the buffer has been waited for.
        let mut waited = Duration::ZERO;
        let mut txs = Txs::default();
        loop {
            let before = buffer.len();
            let cap = self.link.frame_cap();
            let ready = decoder.is_ready(&buffer, cap);
            if ready && self.decoding.is_none() {
                self.decoding = self.inbox.share(before).await;
            }
            let behind_front = decoder.is_mid_frame();
            let decoded = if ready { decoder.decode(&mut buffer, cap) } else { Ok(None) };
            if behind_front && !decoder.is_mid_frame() {
                // The rest of a frame has come: what follows has its own time.
                waited = Duration::ZERO;
            }
            self.let_go(&mut buffer);
            // Nothing overtakes a transaction, and none waits for what has not come yet.
            if (txs.are_enough() || !matches!(decoded, Ok(Some(Message::NewTx(_)))))
                && let Err(why) = self.hand_over(&mut txs).await
            {
                return why;
            }
            let inbound = match decoded {
                Ok(Some(Message::NewTx(tx))) => {
                    waited = Duration::ZERO;
                    self.fresh = false;
                    match self.take_place(&mut txs).await {
                        Ok(place) => txs.add(prepare_tx(&self.inbox.hasher, tx, place), before - buffer.len()),
                        Err(why) => return why,
                    }
                    continue;
                }
                Ok(Some(message)) => prepare(&self.inbox.hasher, message, before - buffer.len()),
                Ok(None) => {
                    self.decoding = None;
                    match self.read(&mut buffer, decoder.is_mid_frame(), &mut waited).await {
                        Ok(()) => continue,
                        Err(why) => return why,
                    }
                }
                Err(error) if error.is_fatal() => {
                    if let DecodeError::TooLarge { cap } = error
                        && self.is_greeted()
                    {
                        self.read_kind(&mut buffer).await;
                        // Under v1 rules no hash covers all of a block, so that somebody else may have padded it; a node that knows our
                        // bound would not pass it on, one that does not may be honest.
                        if decoder.begun(&buffer) == Some(MessageKind::NewBlock) {
                            return CloseReason::LargeBlock { cap };
                        }
                    }
                    return self.broken(error).await;
                }
                Err(error) => Inbound::Unreadable { error },
            };
            waited = Duration::ZERO;
            self.fresh = false;
            let greeting = matches!(inbound, Inbound::Handshake(_));
            if let Err(why) = self.deliver(inbound, before - buffer.len()).await {
                return why;
            }
            if greeting {
                self.link.welcomed(&self.inbox.limits).await;
            }
        }
    }

    /// What is left behind a long frame must not keep the memory of all of it, nor an empty buffer that of an earlier one.
    fn let_go(&self, buffer: &mut BytesMut) {
        let was_long = self.room.bytes() > 0 && buffer.len() < BUFFER_KEPT;
        if was_long || (buffer.is_empty() && buffer.capacity() > BUFFER_KEPT) {
            let mut fresh = BytesMut::with_capacity(BUFFER_KEPT);
            fresh.extend_from_slice(buffer);
            *buffer = fresh;
        }
    }

    /// Gives the engine a message that took so many bytes.
    async fn deliver(&mut self, inbound: Inbound, bytes: usize) -> Result<(), CloseReason> {
        let units = units(bytes.saturating_mul(DECODED));
        // What has its room already has it for all of the buffer, in whole units.
        let share = match self.decoding.as_mut() {
            Some(decoding) => decoding.split(decoding.num_permits().min(units as usize)),
            None => None,
        };
        self.link.coming[self.lane as usize].moved();
        let received = Received { conn: self.link.id, inbound, _share: share, _large: self.large.take() };
        let sent = self.inbox.events.send(ConnEvent::Received(received)).await;
        sent.map_err(|_| CloseReason::Ended("this node is shutting down".into()))
    }

    /// Gives the engine the transactions that came so far.
    async fn hand_over(&mut self, txs: &mut Txs) -> Result<(), CloseReason> {
        let Txs { txs, bytes } = std::mem::take(txs);
        if txs.is_empty() { Ok(()) } else { self.deliver(Inbound::NewTxs(txs), bytes).await }
    }

    /// A place on the way to the pool. Whoever sends transactions faster than they are verified waits, and nobody else
    /// does; those that hold the places must be on their way meanwhile.
    async fn take_place(&mut self, txs: &mut Txs) -> Result<Option<OwnedSemaphorePermit>, CloseReason> {
        let places = Arc::clone(&self.link.tx_places);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return Ok(Some(place));
        }
        self.hand_over(txs).await?;
        // Nor does anybody wait for the room of what it has sent besides.
        self.decoding = None;
        Ok(places.acquire_owned().await.ok())
    }

    /// Whether more is read than before the handshake.
    fn is_greeted(&self) -> bool {
        self.link.frame_cap() > self.inbox.limits.frame_before_handshake
    }

    /// A codec may refuse a frame by its length alone, before its type has come.
    async fn read_kind(&mut self, buffer: &mut BytesMut) {
        if buffer.len() < KIND_SEEN {
            let _ = timeout(FAREWELL, self.stream.read_buf(buffer)).await;
        }
    }

    /// The stream cannot be read any further.
    async fn broken(mut self, error: DecodeError) -> CloseReason {
        if self.fresh && matches!(error, DecodeError::Desync(_)) {
            let inbound = Inbound::Foreign { error: error.clone() };
            let received = Received { conn: self.link.id, inbound, _share: None, _large: None };
            if self.inbox.events.send(ConnEvent::Received(received)).await.is_ok() {
                // A socket that is closed over unread bytes may take back what it has sent.
                let _ = timeout(FAREWELL, self.drain()).await;
            }
        }
        CloseReason::Fatal(error)
    }

    /// Reads and forgets a bounded amount, until the other side has ended.
    async fn drain(&mut self) {
        let mut forgotten = [0; 1024];
        for _ in 0..READ_CHUNK / forgotten.len() {
            if !matches!(self.stream.read(&mut forgotten).await, Ok(1..)) {
                return;
            }
        }
    }

    /// Waits for more; `mid_frame` where what comes belongs to a frame that has begun, though nothing of it is kept.
    async fn read(&mut self, buffer: &mut BytesMut, mid_frame: bool, waited: &mut Duration) -> Result<(), CloseReason> {
        self.make_room(buffer.len()).await?;
        let limits = &self.inbox.limits;
        let patient = self.link.patient.load(Ordering::Acquire);
        let in_frame = mid_frame || !buffer.is_empty();
        let patience = match (in_frame, patient) {
            (true, false) => Some(limits.frame_timeout.saturating_sub(*waited)),
            (true, true) => Some(limits.legacy_timeout.saturating_sub(*waited)),
            (false, false) if self.lane == Lane::Control => Some(limits.idle_timeout),
            (false, _) => None,
        };
        let slice = self.large_slice()?;
        let patience = slice.map_or(patience, |slice| Some(patience.map_or(slice, |patience| patience.min(slice))));
        buffer.reserve(READ_CHUNK.min(buffer.len().max(4096)));
        let begun = Instant::now();
        let _waits = (self.room.bytes() > 0).then(|| self.link.coming[self.lane as usize].waits());
        let read = self.stream.read_buf(buffer);
        let result = match patience {
            Some(patience) => match timeout(patience, read).await {
                Ok(result) => result,
                // Its time may be over only for what it keeps from others.
                Err(_) if in_frame && slice == Some(patience) => {
                    *waited += begun.elapsed();
                    return Ok(());
                }
                // A peer may have turned patient-worthy while we waited for the first byte of its next message.
                Err(_) if !in_frame && self.link.patient.load(Ordering::Acquire) => return Ok(()),
                Err(_) => return Err(if in_frame { CloseReason::SlowFrame } else { CloseReason::Idle }),
            },
            None => read.await,
        };
        match result {
            Ok(0) => Err(CloseReason::Ended("end of stream".into())),
            Ok(read) => {
                if in_frame {
                    *waited += begun.elapsed();
                }
                self.link.bytes_in.fetch_add(read as u64, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(CloseReason::Ended(error.to_string())),
        }
    }

    /// How long to wait at most until it is looked at again whether others wait for the right to a large frame, which whoever is slow keeps
    /// from them no longer than any frame may take (attacks.md row 2), legacy or not.
    fn large_slice(&self) -> Result<Option<Duration>, CloseReason> {
        /// How often it is looked.
        const LOOK: Duration = Duration::from_secs(1);
        let Some(right) = &self.large else { return Ok(None) };
        if right.held_for() >= self.inbox.limits.frame_timeout && self.inbox.large_frame.is_wanted() {
            return Err(CloseReason::SlowFrame);
        }
        Ok(Some(LOOK))
    }

    /// Room for so many bytes of a frame, and for what is read next. Not being read from is all that waiting for it does to the peer.
    async fn make_room(&mut self, begun: usize) -> Result<(), CloseReason> {
        let wanted = if begun < BUFFER_KEPT { 0 } else { begun + READ_CHUNK };
        let large_from = self.inbox.large_from;
        // Where nothing longer may come, the frame ends there: that is seen without waiting.
        if wanted > large_from && self.link.frame_cap() > large_from && self.large.is_none() {
            self.resize_room(large_from).await?;
            tokio::select! {
                biased;
                right = self.inbox.large_frame.acquire() => self.large = right.map(Box::new),
                () = self.link.over() => return Err(CloseReason::Ended(GONE_WAITING.into())),
            }
        }
        let most = if self.large.is_some() { self.inbox.held_of_one } else { large_from };
        self.resize_room(wanted.min(most)).await?;
        let (beyond, over) = (self.inbox.beyond, self.link.over());
        if let Some(right) = &mut self.large
            && wanted > most
            && !right.has_more()
        {
            tokio::select! {
                biased;
                () = right.take_more(beyond) => {}
                () = over => return Err(CloseReason::Ended(GONE_WAITING.into())),
            }
        }
        Ok(())
    }

    async fn resize_room(&mut self, bytes: usize) -> Result<(), CloseReason> {
        let crowd = &self.inbox.crowd;
        if !self.room.try_resize(bytes) {
            tokio::select! {
                biased;
                () = self.room.resize(bytes, || crowd.relieve(Short::Incoming)) => {}
                () = self.link.over() => return Err(CloseReason::Ended(GONE_WAITING.into())),
            }
        }
        self.link.coming[self.lane as usize].set(self.room.bytes());
        Ok(())
    }
}

/// Transactions that came together.
#[derive(Default)]
struct Txs {
    txs: Vec<NewTx>,
    bytes: usize,
}

impl Txs {
    fn add(&mut self, tx: NewTx, bytes: usize) {
        self.txs.push(tx);
        self.bytes += bytes;
    }

    fn are_enough(&self) -> bool {
        self.txs.len() >= TXS_TOGETHER || self.bytes >= READ_CHUNK
    }
}
