use std::io;
use std::sync::Arc;

use crate::limits::Limits;
use crate::mempool::Mempool;
use crate::types::{MAX_BLOCK_TXS, NetworkParams, Transaction};

/// Bytes of a block's frame that are kept for what is no transaction: the envelope, the header with its texts, and the
/// signature take 2 KiB in JSON, the longest of our codecs.
pub const HEADER_ROOM: usize = 64 << 10;

/// What a block on top of our tip is filled with, best first: as many transactions as one may have, and as fit one frame
/// ([`Limits::frame_max`]) in every codec. Gas is left to execution, which knows what is included in the end.
pub fn candidates(pool: &Mempool, params: &NetworkParams, limits: &Limits) -> Vec<Arc<Transaction>> {
    let most = usize::try_from(params.max_txs_per_block).unwrap_or(usize::MAX).min(MAX_BLOCK_TXS);
    let mut room = limits.frame_max.saturating_sub(HEADER_ROOM);
    let mut txs = pool.ready(most);
    let fitting = txs.iter().take_while(|tx| take(&mut room, wire_bytes(tx))).count();
    txs.truncate(fitting);
    txs
}

fn take(room: &mut usize, bytes: usize) -> bool {
    room.checked_sub(bytes).map(|left| *room = left).is_some()
}

/// The bytes of a transaction in JSON, with the comma after it. No codec needs more.
fn wire_bytes(tx: &Transaction) -> usize {
    let mut count = Count(1);
    match serde_json::to_writer(&mut count, tx) {
        Ok(()) => count.0,
        // Nothing in a transaction fails to be written; if it did, it could not be sent either.
        Err(_) => usize::MAX,
    }
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
