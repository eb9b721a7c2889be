//! What is computed of a message before the engine sees it, where it holds up nobody but its sender.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::connection::{Inbound, NewTx};
use super::peer::{Part, Wanted};
use super::weight::{Weight, let_go_of_frame};
use crate::codec::DecodeError;
use crate::memory::DECODED;
use crate::rules::{HashedBlock, Hasher};
use crate::types::{BlockLink, Hash32, MAX_HEADERS, Message, MessageKind, Transaction, WireBlock, encoding};

/// What is no larger is decoded without a look at how much memory that takes.
const ROOM_FOR_SMALL: usize = 64 * 1024;
/// A transaction that some rule may take has so many bytes in every codec: half a signature, a key, the address of a key, and what else there is.
const LEAST_SIGNED: usize = 96;
/// Room is made at once for the blocks of an answer up to so many, which are all that anybody asks for.
const BLOCKS_OF_AN_ANSWER: usize = 500;

/// What names all the bytes of a transaction.
pub(super) fn id_of(tx: &Transaction) -> Hash32 {
    Hash32(Sha256::digest(encoding::encode_transaction(tx)).into())
}

/// A transaction with its hashes.
pub(super) fn prepare_tx(hasher: &Hasher, tx: Arc<Transaction>, place: Option<OwnedSemaphorePermit>) -> NewTx {
    let hash = hasher.transaction_hash(&tx);
    let id = id_of(&tx);
    NewTx { tx, hash, id, place }
}

/// Decodes and hashes what is still to be: here, where it holds up nobody but its sender.
pub(super) fn prepare(hasher: &Hasher, message: Message, bytes: usize) -> Inbound {
    match message {
        Message::Numbered { id, message } => prepare_with(hasher, Some(id), *message, bytes),
        message => prepare_with(hasher, None, message, bytes),
    }
}

fn prepare_with(hasher: &Hasher, id: Option<u64>, message: Message, bytes: usize) -> Inbound {
    match message {
        Message::Handshake(handshake) => Inbound::Handshake(handshake),
        Message::NewBlock(block) => match hash(hasher, &block).and_then(|block| Room::of(bytes).take(block)) {
            Ok(mut block) => {
                let_go_of_frame(std::slice::from_mut(&mut block), bytes);
                Inbound::NewBlock(block)
            }
            Err(why) => unreadable(MessageKind::NewBlock, &why),
        },
        Message::NewTx(tx) => Inbound::NewTxs(vec![prepare_tx(hasher, tx, None)]),
        Message::NewHashes { blocks, txs } => Inbound::NewHashes { blocks, txs },
        Message::GetData { blocks, txs } => Inbound::GetData { blocks, txs },
        Message::GetBlocks { from_height: from, to_height: to } => {
            Inbound::Asked(Wanted { id, part: Part::Block, from, to })
        }
        Message::GetHeaderChain { from_height: from, to_height: to } => {
            Inbound::Asked(Wanted { id, part: Part::Header, from, to })
        }
        Message::HeaderChain { headers } => {
            // What cannot be read is worth as much as nothing: whoever asked must hear that an answer came.
            let links = link_headers(hasher, &headers).unwrap_or_else(|why| {
                tracing::debug!("headers that cannot be read: {why}");
                Vec::new()
            });
            Inbound::Headers { id, links, bytes }
        }
        Message::Numbered { message, .. } => unreadable(message.kind(), "two numbers"),
        Message::BlocksResponse { blocks, mut malformed } => {
            let mut hashed = Vec::with_capacity(blocks.len().min(BLOCKS_OF_AN_ANSWER));
            let mut room = Room::of(bytes);
            for block in &blocks {
                match hash(hasher, block).and_then(|block| room.take(block)) {
                    Ok(block) => hashed.push(block),
                    Err(why) => {
                        malformed = Some(why);
                        break;
                    }
                }
            }
            let_go_of_frame(&mut hashed, bytes);
            let weight = Weight::of(&hashed, bytes);
            Inbound::Blocks { id, blocks: hashed, malformed, bytes, weight }
        }
    }
}

/// The memory that the blocks of one frame may take once decoded, in proportion to its bytes: for honest ones more than enough; small transactions
/// without signatures would take far more.
struct Room(usize);

impl Room {
    fn of(frame: usize) -> Self {
        Self((2 * DECODED).saturating_mul(frame).saturating_add(ROOM_FOR_SMALL))
    }

    fn take(&mut self, block: HashedBlock) -> Result<HashedBlock, String> {
        self.0 = self.0.checked_sub(block.block.memory()).ok_or("its blocks take too much memory once decoded")?;
        Ok(block)
    }
}

fn hash(hasher: &Hasher, block: &WireBlock) -> Result<HashedBlock, String> {
    if let WireBlock::Encoded(bytes) = block
        && bytes.len() > ROOM_FOR_SMALL
        && encoding::transactions_in(bytes).map_err(|error| error.to_string())? > (bytes.len() / LEAST_SIGNED) as u64
    {
        return Err("it has more transactions than its bytes can hold signatures".to_owned());
    }
    hasher.hash_wire_block(block).map_err(|error| error.to_string())
}

/// The places of headers that stand one behind the other, each of which must name the one before it as its parent.
fn link_headers(hasher: &Hasher, headers: &[u8]) -> Result<Vec<BlockLink>, String> {
    let mut links: Vec<BlockLink> = Vec::new();
    for header in encoding::headers(headers) {
        let header = header.map_err(|error| error.to_string())?;
        let link = BlockLink { height: header.height, hash: hasher.header_hash(&header), prev_hash: header.prev_hash };
        if links.last().is_some_and(|parent| !link.extends(Some(&parent.tip()))) {
            return Err(format!("the header of block {} does not link to the one before it", link.height));
        }
        if links.len() as u64 == MAX_HEADERS {
            return Err(format!("more than {MAX_HEADERS} headers"));
        }
        links.push(link);
    }
    Ok(links)
}

fn unreadable(kind: MessageKind, why: &str) -> Inbound {
    Inbound::Unreadable { error: DecodeError::Malformed(format!("{}: {why}", kind.name())) }
}
