use bytes::{Bytes, BytesMut};

use super::connection::Link;
use crate::limits::Limits;
use crate::store::{ByteBudget, ChainStore, StoreError};
use crate::types::{BlockLink, Height, Message, WireBlock};

/// The answer to a `get_blocks`, as a frame: as many blocks as there are, up to the protocol's number, and as fit the byte
/// budget *on the wire*; the first one always.
pub(super) async fn answer(
    store: &dyn ChainStore,
    link: &Link,
    from: Height,
    to: Height,
    limits: &Limits,
) -> Result<Bytes, AnswerError> {
    let mut blocks =
        if from > to { Vec::new() } else { store.blocks(from..=to, ByteBudget(limits.get_blocks_bytes)).await? };
    // A text codec needs more bytes than the store does; how many more the last answer has shown.
    let mut count = link.answer_sizes.fitting(blocks.iter().map(|block| block.bytes.len()), limits.get_blocks_bytes);
    loop {
        blocks.truncate(count);
        let stored: usize = blocks.iter().map(|block| block.bytes.len()).sum();
        let message = Message::BlocksResponse { blocks: blocks.iter().map(WireBlock::from).collect(), malformed: None };
        let mut frame = BytesMut::new();
        link.codec.encode(&message, limits.frame_response_max, &mut frame)?;
        link.answer_sizes.learn(stored, frame.len());
        if frame.len() <= limits.get_blocks_bytes || count <= 1 {
            return Ok(frame.freeze());
        }
        count = (count * limits.get_blocks_bytes / frame.len()).clamp(1, count - 1);
    }
}

/// How much of our own chain is read at a time to look up links.
pub(super) const LOOK_UP: ByteBudget = ByteBudget(1 << 20);

/// The places of our own blocks of these heights, as far as they exist.
pub(super) async fn own_links(store: &dyn ChainStore, from: Height, to: Height) -> Result<Vec<BlockLink>, StoreError> {
    let mut links: Vec<BlockLink> = Vec::new();
    let mut next = from;
    while next <= to {
        let blocks = store.blocks(next..=to, LOOK_UP).await?;
        let Some(last) = blocks.last() else { break };
        next = last.link.height + 1;
        links.extend(blocks.iter().map(|block| block.link));
    }
    Ok(links)
}

/// An answer cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Encode(#[from] crate::codec::EncodeError),
}

/// How many bytes a stored byte takes on the wire, as learnt from answers.
#[derive(Debug, Default)]
pub(crate) struct AnswerSizes {
    /// In 1/256; zero until an answer was sent.
    factor: std::sync::atomic::AtomicUsize,
}

const ONE: usize = 256;

impl AnswerSizes {
    /// How many of the blocks with these stored sizes are expected to fit; at least one, if there is one.
    fn fitting(&self, sizes: impl Iterator<Item = usize>, budget: usize) -> usize {
        let factor = match self.factor.load(std::sync::atomic::Ordering::Relaxed) {
            0 => ONE,
            factor => factor,
        };
        let mut wire = 0usize;
        let mut count = 0;
        for size in sizes {
            wire = wire.saturating_add(size.saturating_mul(factor) / ONE);
            if wire > budget && count > 0 {
                break;
            }
            count += 1;
        }
        count
    }

    fn learn(&self, stored: usize, wire: usize) {
        if let Some(factor) = wire.saturating_mul(ONE).checked_div(stored) {
            self.factor.store(factor.max(1), std::sync::atomic::Ordering::Relaxed);
        }
    }
}
