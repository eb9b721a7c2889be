use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::codec::{Codec, EncodeError};
use crate::types::Message;

/// A message on its way to any number of peers: each codec frames it once, not once for each peer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    message: Message,
    /// Frames are remembered up to so many bytes in all; what is beyond is framed anew each time.
    keeps: usize,
    frames: Mutex<Vec<(&'static str, Result<Bytes, EncodeError>)>>,
}

impl Outgoing {
    pub(crate) fn new(message: Message) -> Self {
        Self::keeping(message, usize::MAX)
    }

    /// One that is kept for a while, and holds frames of at most so many bytes meanwhile.
    pub(crate) fn keeping(message: Message, frames: usize) -> Self {
        Self { message, keeps: frames, frames: Mutex::default() }
    }

    /// The message.
    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    /// The frame for a codec.
    pub(crate) fn frame(&self, codec: &dyn Codec, cap: usize) -> Result<Bytes, EncodeError> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = frames.iter().find(|(name, _)| *name == codec.name()) {
            return frame.clone();
        }
        let mut out = BytesMut::new();
        let frame = codec.encode(&self.message, cap, &mut out).map(|()| out.freeze());
        let length = |frame: &Result<Bytes, EncodeError>| frame.as_ref().map_or(0, Bytes::len);
        let kept: usize = frames.iter().map(|(_, frame)| length(frame)).sum();
        if kept.saturating_add(length(&frame)) <= self.keeps {
            frames.push((codec.name(), frame.clone()));
        }
        frame
    }
}
