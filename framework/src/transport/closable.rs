//! Makes a [`Connection`](super::Connection)'s parts out of one stream that knows no way to be ended from outside.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::{ConnectionHandle, Duplex};

/// Splits a stream into its two directions and a handle that ends both.
///
/// `close` drops the stream, whatever its halves are doing: a pending read or write wakes up, reads give the end of the
/// stream and writes fail. So does dropping both halves. Dropping the writer alone shuts that direction down.
/// The connection counts as ended once it was closed, or once both directions have come to their end or failed.
pub fn closable<S>(stream: S) -> (Duplex, Arc<dyn ConnectionHandle>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shared = Arc::new(Shared {
        state: Mutex::new(State { stream: Some(stream), reader: Side::default(), writer: Side::default() }),
        ended: watch::Sender::new(false),
    });
    let duplex =
        Duplex { reader: Box::new(Reader(Arc::clone(&shared))), writer: Box::new(Writer(Arc::clone(&shared))) };
    (duplex, shared)
}

struct Shared<S> {
    state: Mutex<State<S>>,
    ended: watch::Sender<bool>,
}

struct State<S> {
    /// Gone once closed.
    stream: Option<S>,
    reader: Side,
    writer: Side,
}

/// One direction.
#[derive(Default)]
struct Side {
    /// The task that waits for this direction: dropping a stream wakes nobody.
    waiting: Option<Waker>,
    /// It came to its end or failed.
    over: bool,
    /// Its half was dropped.
    dropped: bool,
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // Every change of the state is a single assignment, so a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let (stream, wakers) = {
            let mut state = self.lock();
            (state.stream.take(), [state.reader.waiting.take(), state.writer.waiting.take()])
        };
        drop(stream);
        self.ended.send_replace(true);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// After a half was dropped or came to its end.
    fn settle(&self, state: MutexGuard<'_, State<S>>) {
        let dropped = state.reader.dropped && state.writer.dropped;
        let over = (state.reader.over || state.reader.dropped) && (state.writer.over || state.writer.dropped);
        drop(state);
        if dropped {
            self.end();
        } else if over {
            self.ended.send_replace(true);
        }
    }

    /// Polls the stream for one direction, and notes who waits or that it is over.
    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        side: fn(&mut State<S>) -> &mut Side,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
        is_end: impl FnOnce(&T) -> bool,
        closed: impl FnOnce() -> io::Result<T>,
    ) -> Poll<io::Result<T>>
    where
        S: Unpin,
    {
        let mut state = self.lock();
        let Some(stream) = &mut state.stream else { return Poll::Ready(closed()) };
        let result = poll(Pin::new(stream), cx);
        match &result {
            Poll::Pending => {
                let waiting = &mut side(&mut state).waiting;
                match waiting {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waiting = Some(cx.waker().clone()),
                }
            }
            Poll::Ready(outcome) => {
                if outcome.as_ref().map_or(true, is_end) {
                    side(&mut state).over = true;
                    self.settle(state);
                }
            }
        }
        result
    }
}

impl<S> std::fmt::Debug for Shared<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Closable").field("ended", &*self.ended.borrow()).finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: Send + 'static> ConnectionHandle for Shared<S> {
    fn close(&self, reason: &str) {
        if !*self.ended.borrow() {
            tracing::trace!(reason, "closing a connection");
        }
        self.end();
    }

    async fn closed(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

struct Reader<S>(Arc<Shared<S>>);

impl<S: AsyncRead + Unpin> AsyncRead for Reader<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let space = buf.remaining() > 0;
        self.0
            .poll(
                cx,
                |state| &mut state.reader,
                |stream, cx| stream.poll_read(cx, buf).map_ok(|()| buf.filled().len()),
                |after| space && *after == before,
                || Ok(before),
            )
            .map_ok(drop)
    }
}

impl<S> Drop for Reader<S> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reader.dropped = true;
        self.0.settle(state);
    }
}

struct Writer<S: AsyncWrite + Unpin>(Arc<Shared<S>>);

fn write_after_close<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::NotConnected, "the connection was closed"))
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Writer<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll(
            cx,
            |state| &mut state.writer,
            |stream, cx| stream.poll_write(cx, buf),
            |_| false,
            write_after_close,
        )
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll(
            cx,
            |state| &mut state.writer,
            |stream, cx| stream.poll_write_vectored(cx, bufs),
            |_| false,
            write_after_close,
        )
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |state| &mut state.writer, AsyncWrite::poll_flush, |()| false, write_after_close)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll(cx, |state| &mut state.writer, AsyncWrite::poll_shutdown, |()| true, || Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Drop for Writer<S> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let over = state.writer.over;
        if let Some(stream) = &mut state.stream
            && !over
        {
            // Sockets and pipes shut down at once; for a stream that does not, the end comes with the reader's.
            let _ = Pin::new(stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
        state.writer.dropped = true;
        self.0.settle(state);
    }
}
