use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// The body of an answer, and the place of its request: given back once the last byte of it is freed, which is when the
/// socket has taken it or the connection has ended. That the body was read to its end would be too early, since the server
/// has all of it in a buffer of its own then.
#[derive(Debug)]
pub(super) struct Held {
    body: Body,
    place: Arc<OwnedSemaphorePermit>,
}

impl Held {
    pub(super) fn new(body: Body, place: OwnedSemaphorePermit) -> Self {
        Self { body, place: Arc::new(place) }
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        let held = |bytes| Bytes::from_owner(HeldBytes { bytes, _place: Arc::clone(&self.place) });
        frame.map_ok(|frame| frame.map_data(held))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A part of the body, wherever it is by now.
struct HeldBytes {
    bytes: Bytes,
    _place: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
