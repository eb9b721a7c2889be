//! One connection's bytes on their way, in virtual time.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::rng::Rng;

/// So many bytes are on their way in one direction before the writer waits: about what a socket's buffers hold.
const PIPE_BYTES: usize = 64 * 1024;

/// How long bytes are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// At least so long.
    pub least: Duration,
    /// And up to so much longer, each time anew. What was sent first still arrives first.
    pub jitter: Duration,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Wire(Mutex<Flow>);

#[derive(Debug)]
struct Flow {
    latency: Latency,
    rng: Rng,
    /// What is on its way, with the time of its arrival.
    chunks: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// When the last of it arrives.
    last: Instant,
    /// Nothing moves, for as long as it lasts.
    stalled: bool,
    /// The writer has ended.
    finished: bool,
    /// The reader has gone.
    abandoned: bool,
    /// The connection broke.
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wire {
    pub(super) fn new(latency: Latency, rng: Rng) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Flow {
            latency,
            rng,
            chunks: VecDeque::new(),
            bytes: 0,
            last: Instant::now(),
            stalled: false,
            finished: false,
            abandoned: false,
            broken: false,
            reader: None,
            writer: None,
        })))
    }

    /// Lets nothing through, or all again.
    pub(super) fn stall(&self, stalled: bool) {
        self.change(|flow| flow.stalled = stalled);
    }

    /// Breaks the connection: what is on its way is lost, and both sides are told.
    pub(super) fn reset(&self) {
        self.change(|flow| {
            flow.broken = true;
            flow.chunks.clear();
        });
    }

    /// Whether nothing will come through any more.
    pub(super) fn is_over(&self) -> bool {
        let flow = self.lock();
        flow.broken || flow.abandoned
    }

    fn change(&self, change: impl FnOnce(&mut Flow)) {
        let wakers = {
            let mut flow = self.lock();
            change(&mut flow);
            [flow.reader.take(), flow.writer.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Flow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flow {
    fn push(&mut self, bytes: Bytes) {
        let jitter = u64::try_from(self.latency.jitter.as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(self.rng.within(0..=jitter));
        self.last = self.last.max(Instant::now() + self.latency.least + jitter);
        self.bytes += bytes.len();
        self.chunks.push_back((self.last, bytes));
    }
}

/// One side of a connection.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) reads: Arc<Wire>,
    pub(super) writes: Arc<Wire>,
    /// Until what comes next has arrived.
    arrival: Option<Pin<Box<Sleep>>>,
}

impl Side {
    pub(super) fn new(reads: &Arc<Wire>, writes: &Arc<Wire>) -> Self {
        Self { reads: Arc::clone(reads), writes: Arc::clone(writes), arrival: None }
    }

    fn finish(&self) {
        self.writes.change(|flow| {
            if !std::mem::replace(&mut flow.finished, true) {
                // An empty chunk is the end, which takes as long as anything else.
                flow.push(Bytes::new());
            }
        });
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.finish();
        self.reads.change(|flow| flow.abandoned = true);
    }
}

impl AsyncRead for Side {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let arrives = {
                let mut flow = this.reads.lock();
                if flow.broken {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                let now = Instant::now();
                let arrives = flow.chunks.front().map(|(at, _)| *at).filter(|_| !flow.stalled);
                if arrives.is_some_and(|at| at <= now) {
                    this.arrival = None;
                    let Some((_, chunk)) = flow.chunks.front_mut() else { return Poll::Ready(Ok(())) };
                    let taken = chunk.len().min(buf.remaining());
                    buf.put_slice(&chunk[..taken]);
                    chunk.advance(taken);
                    let done = chunk.is_empty();
                    // The end stays in front: whoever reads on finds it again.
                    if done && taken > 0 {
                        flow.chunks.pop_front();
                    }
                    flow.bytes -= taken;
                    let writer = flow.writer.take();
                    drop(flow);
                    writer.into_iter().for_each(Waker::wake);
                    return Poll::Ready(Ok(()));
                }
                flow.reader = Some(cx.waker().clone());
                arrives
            };
            let Some(at) = arrives else {
                this.arrival = None;
                return Poll::Pending;
            };
            let sleep = this.arrival.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if sleep.deadline() != at {
                sleep.as_mut().reset(at);
            }
            std::task::ready!(sleep.as_mut().poll(cx));
        }
    }
}

impl AsyncWrite for Side {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (reader, taken) = {
            let mut flow = self.writes.lock();
            if flow.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if flow.abandoned || flow.finished {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = PIPE_BYTES.saturating_sub(flow.bytes);
            if room == 0 {
                flow.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let taken = bytes.len().min(room);
            flow.push(Bytes::copy_from_slice(&bytes[..taken]));
            (flow.reader.take(), taken)
        };
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}
