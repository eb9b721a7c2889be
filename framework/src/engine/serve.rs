use bytes::{Bytes, BytesMut};

use super::connection::Link;
use super::peer::{Part, Wanted};
use super::unchecked::Unchecked;
use crate::codec::{Codec, EncodeError};
use crate::limits::Limits;
use crate::store::{ByteBudget, ChainStore, StoreError};
use crate::types::encoding::{self, BlockDecodeError};
use crate::types::{BlockLink, EncodedBlock, Height, Message, WireBlock};

/// The answer to a request, as a frame. To `cost` is added what is read for it, in bytes, whatever becomes of it.
pub(super) async fn answer(
    store: &dyn ChainStore,
    link: &Link,
    unchecked: &Unchecked,
    wanted: Wanted,
    limits: &Limits,
    cost: &mut usize,
) -> Result<Bytes, AnswerError> {
    match wanted.part {
        Part::Block => block_answer(store, link, unchecked, wanted, limits, cost).await,
        Part::Header => {
            // In text each byte takes two.
            let headers = header_chain(store, wanted.from, wanted.to, limits.get_blocks_bytes / 2, cost).await?;
            let mut frame = BytesMut::new();
            let message = Message::HeaderChain { headers }.with_id(wanted.id);
            link.codec.encode(&message, limits.frame_response_max, &mut frame)?;
            Ok(frame.freeze())
        }
    }
}

/// The answer that there is nothing, as a frame.
pub(super) fn nothing(link: &Link, wanted: Wanted, limits: &Limits) -> Result<Bytes, AnswerError> {
    let message = match wanted.part {
        Part::Block => Message::BlocksResponse { blocks: Vec::new(), malformed: None },
        Part::Header => Message::HeaderChain { headers: Bytes::new() },
    };
    let mut frame = BytesMut::new();
    link.codec.encode(&message.with_id(wanted.id), limits.frame_response_max, &mut frame)?;
    Ok(frame.freeze())
}

/// The answer to a `get_blocks`: as many blocks as there are, up to the protocol's number, and as fit the byte
/// budget *on the wire*; the first one always.
async fn block_answer(
    store: &dyn ChainStore,
    link: &Link,
    unchecked: &Unchecked,
    wanted: Wanted,
    limits: &Limits,
    cost: &mut usize,
) -> Result<Bytes, AnswerError> {
    let Wanted { id, from, to, .. } = wanted;
    let blocks = if from > to {
        Vec::new()
    } else {
        unchecked.read(store, from, to, ByteBudget(limits.get_blocks_bytes)).await?
    };
    *cost += blocks.iter().map(|block| block.bytes.len()).sum::<usize>();
    blocks_frame(link.codec.as_ref(), &link.answer_sizes, unchecked, &blocks, id, limits)
}

/// As many of these blocks as fit the byte budget on the wire, as an answer: the first one always, unless no node would read it. Then none:
/// whoever asks has it from another, or waits as for one that is not there yet.
pub(super) fn blocks_frame(
    codec: &dyn Codec,
    sizes: &AnswerSizes,
    unchecked: &Unchecked,
    blocks: &[EncodedBlock],
    id: Option<u64>,
    limits: &Limits,
) -> Result<Bytes, AnswerError> {
    let budget = limits.get_blocks_bytes;
    // A text codec needs more bytes than the store does; how many more the last answer has shown.
    let mut count = sizes.fitting(blocks.iter().map(|block| block.bytes.len()), budget);
    loop {
        let given = &blocks[..count];
        let message = Message::BlocksResponse { blocks: given.iter().map(WireBlock::from).collect(), malformed: None };
        let mut frame = BytesMut::new();
        match codec.encode(&message.with_id(id), limits.frame_response_max, &mut frame) {
            Ok(()) => {}
            Err(error @ EncodeError::TooLarge { .. }) if count > 0 => {
                if count == 1 {
                    unchecked.note_too_long(given[0].link.height, codec.name(), &error);
                }
                count /= 2;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        sizes.learn(given.iter().map(|block| block.bytes.len()).sum(), frame.len());
        if frame.len() <= budget || count <= 1 {
            return Ok(frame.freeze());
        }
        count = (count * budget / frame.len()).clamp(1, count - 1);
    }
}

/// Blocks whose headers are cut out at a time, to begin with.
const HEADERS_AT_A_TIME: u64 = 512;
/// How much is read for the headers of one answer: a small question must not cost much, however large the blocks are.
pub(super) const READ_FOR_HEADERS: usize = 16 << 20;

/// The headers of these blocks, as they stand in the store, ascending: all up to the last, from as low as `budget` bytes allow; the last
/// one always. None where there is no block `to`.
async fn header_chain(
    store: &dyn ChainStore,
    from: Height,
    to: Height,
    budget: usize,
    cost: &mut usize,
) -> Result<Bytes, AnswerError> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let (mut end, mut step) = (to, HEADERS_AT_A_TIME);
    let (mut taken, mut read) = (0usize, 0usize);
    'chunks: while from <= end && read < READ_FOR_HEADERS {
        let start = from.max(end.saturating_sub(step - 1));
        let blocks = store.blocks(start..=end, LOOK_UP).await?;
        let bytes = blocks.iter().map(|block| block.bytes.len()).sum::<usize>();
        read += bytes;
        *cost += bytes;
        if blocks.last().is_none_or(|last| last.link.height != end) {
            if start == end || blocks.is_empty() {
                break;
            }
            // Such a chunk is more than is read at a time.
            step = (blocks.len() as u64 / 2).max(1);
            continue;
        }
        for block in blocks.iter().rev() {
            let header = encoding::header_of(&block.bytes)?;
            taken = taken.saturating_add(header.len());
            if taken > budget && !parts.is_empty() {
                break 'chunks;
            }
            parts.push(header.to_vec());
        }
        let Some(below) = start.checked_sub(1) else { break };
        end = below;
    }
    parts.reverse();
    Ok(parts.concat().into())
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
    Encode(#[from] EncodeError),
    #[error("a stored block: {0}")]
    Stored(#[from] BlockDecodeError),
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
