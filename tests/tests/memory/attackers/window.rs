//! Attacks on the window of the sync: what is given there waits for a block that never comes.

use std::time::Duration;

use bytes::Bytes;
use cpc_framework::types::{Block, Hash32, Message, Payload, Transaction, WireBlock};
use tokio::time::timeout;

use super::Attack;
use super::ammunition::Ammunition;
use super::wire::{Asked, Wire};

/// Of a recipient. Longer answers are seldom whole before their sender must go, where memory is short.
const LONG: usize = 900 << 10;
/// What stands behind a small block.
const BEHIND: usize = 900 << 10;
/// As many of a few bytes each as a small answer may have for the memory that they take.
const SMALL_TXS: usize = 120;
/// Whoever is not asked for so long is not believed any more, and comes again.
const NOT_ASKED: Duration = Duration::from_secs(3);

impl Wire {
    /// Goes on until the node ends it, or asks no more.
    pub(super) async fn fill_window(&mut self, attack: Attack, ammunition: &Ammunition) -> Option<()> {
        for nth in self.number.. {
            let asked = timeout(NOT_ASKED, self.is_asked()).await.ok()??;
            if asked.from == ammunition.height() + 1 {
                continue;
            }
            let blocks = given(attack, ammunition, &asked, nth);
            self.say(&Message::BlocksResponse { blocks, malformed: None }.with_id(asked.id)).await?;
            self.tally().done();
        }
        Some(())
    }
}

fn given(attack: Attack, ammunition: &Ammunition, asked: &Asked, nth: usize) -> Vec<WireBlock> {
    let last = ammunition.blocks().last().unwrap();
    let mut block = Block { txs: last.txs[..1].to_vec(), ..last.clone() };
    block.header.height = asked.from;
    match attack {
        Attack::LongRecipients => block.txs[0].to_address = Some("x".repeat(LONG).into()),
        Attack::Dense => {
            let small = r#"{"tx_type":"STAKE","from_address":"","amount":0,"nonce":0}"#;
            let small: Transaction = serde_json::from_str(small).unwrap();
            block.txs = vec![small; SMALL_TXS];
        }
        _ if nth.is_multiple_of(2) => {
            let garbage = WireBlock::Encoded(Bytes::from(vec![0xff; BEHIND]));
            return vec![block.into(), garbage];
        }
        _ => {
            let mut stranger = block.clone();
            (stranger.header.height, stranger.header.prev_hash) = (asked.from + 1, Hash32([7; 32]));
            stranger.txs[0].payload = Payload::new(&format!(r#"{{"x":"{}"}}"#, "x".repeat(BEHIND))).unwrap();
            return vec![block.into(), stranger.into()];
        }
    }
    vec![block.into()]
}
