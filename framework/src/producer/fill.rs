use std::sync::Arc;

use crate::limits::Limits;
use crate::mempool::Mempool;
use crate::types::{MAX_BLOCK_TXS, NetworkParams, Transaction, json_length};

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
    json_length::transaction(tx) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mempool::tx_bytes;
    use crate::producer::any_block;
    use crate::types::Address;

    #[test]
    fn whatever_the_pool_takes_fits_a_block_that_every_node_takes() {
        let limits = Limits::default();
        let mut tx = any_block().txs[0].clone();
        // Nothing takes more bytes in JSON for its bytes in the pool.
        let room = limits.pool_tx_bytes - tx_bytes(&tx);
        tx.to_address = Some(Address::new("\u{1}".repeat(room)));
        assert_eq!(tx_bytes(&tx), limits.pool_tx_bytes);
        assert!(wire_bytes(&tx) > 5 * limits.pool_tx_bytes);
        assert!(wire_bytes(&tx) <= limits.frame_max - HEADER_ROOM);
        assert!(limits.frame_max <= limits.block_max());
    }
}
