//! Attacks of peers that claim to have more than the node, and are asked for it.

use cpc_framework::types::{Block, Message, WireBlock};

use super::ammunition::Ammunition;
use super::wire::{Asked, Wire};
use super::{ANSWER, Attack};

impl Wire {
    pub(super) async fn answer(&mut self, attack: Attack, ammunition: &Ammunition) -> Option<()> {
        if attack == Attack::Unasked {
            let blocks = vec![WireBlock::from(ammunition.blocks()[3].clone())];
            return self.say(&Message::BlocksResponse { blocks, malformed: None }).await;
        }
        loop {
            let asked = self.is_asked().await?;
            match attack {
                Attack::Liar => {
                    self.tally().done();
                    return self.endless_frame("blocks_response", ANSWER, ANSWER).await.map(|_| ());
                }
                Attack::Bloat => {
                    self.tally().done();
                    return self.send(ammunition.bloat()).await;
                }
                _ => {
                    let blocks = answered(attack, ammunition, &asked);
                    let blocks = blocks.into_iter().map(WireBlock::from).collect();
                    self.say(&Message::BlocksResponse { blocks, malformed: None }.with_id(asked.id)).await?;
                    self.tally().done();
                }
            }
        }
    }
}

/// What one who has bad things only answers.
fn answered(attack: Attack, ammunition: &Ammunition, asked: &Asked) -> Vec<Block> {
    let of = |chain: &[Block], from: u64| -> Vec<Block> {
        let at = |height: u64| usize::try_from(height).unwrap_or(usize::MAX).min(chain.len());
        let end = at(asked.to.saturating_add(1)).min(at(from) + 500);
        chain.get(at(from)..end.max(at(from))).unwrap_or_default().to_vec()
    };
    match attack {
        Attack::WrongRange => of(ammunition.blocks(), asked.from + 1),
        Attack::Fork => of(ammunition.branch(), asked.from),
        Attack::Swapped => {
            let mut blocks = of(ammunition.blocks(), asked.from);
            for block in &mut blocks {
                block.txs.reverse();
            }
            blocks
        }
        Attack::Ahead => of(ammunition.ahead(), asked.from),
        _ => Vec::new(),
    }
}
