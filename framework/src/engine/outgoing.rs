use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use crate::codec::{Codec, EncodeError};
use crate::types::Message;

/// A message on its way to any number of peers: each codec frames it once, not once for each peer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    message: Message,
    frames: Mutex<Vec<(&'static str, Bytes)>>,
}

impl Outgoing {
    pub(crate) fn new(message: Message) -> Self {
        Self { message, frames: Mutex::default() }
    }

    /// The message.
    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    /// The frame for a codec.
    pub(crate) fn frame(&self, codec: &dyn Codec, cap: usize) -> Result<Bytes, EncodeError> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = frames.iter().find(|(name, _)| *name == codec.name()) {
            return Ok(frame.clone());
        }
        let mut out = BytesMut::new();
        codec.encode(&self.message, cap, &mut out)?;
        let frame = out.freeze();
        frames.push((codec.name(), frame.clone()));
        Ok(frame)
    }
}
