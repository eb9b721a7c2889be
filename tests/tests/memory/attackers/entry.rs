//! Attacks on the way in: before, with and around the handshake.

use bytes::BytesMut;
use cpc_framework::types::Message;

use super::ammunition::Ammunition;
use super::wire::Wire;
use super::{Attack, FRAME};

impl Wire {
    pub(super) async fn enter(&mut self, attack: Attack, ammunition: &Ammunition) -> Option<()> {
        match attack {
            Attack::EarlyTalk => self.talk_early(ammunition).await,
            Attack::Echo => {
                if let Some(own) = ammunition.own_hello() {
                    return self.say(own).await;
                }
                self.say(&ammunition.hello(attack, self.number, None)).await?;
                ammunition.learn_hello(self.hear().await?);
                None
            }
            Attack::StolenName => {
                self.is_greeted().await;
                self.flood(Attack::BlockFlood, ammunition).await
            }
            Attack::FalseAddress => {
                let listener = self.listener.take()?;
                let _dialled = listener.accept().await.ok()?;
                self.tally().done();
                Some(())
            }
            // Silence.
            _ => Some(()),
        }
    }

    /// Waits for the node's handshake.
    pub(super) async fn is_greeted(&mut self) {
        while let Some(message) = self.hear().await {
            if matches!(message, Message::Handshake(_)) {
                self.tally().done();
                return;
            }
        }
    }

    async fn talk_early(&mut self, ammunition: &Ammunition) -> Option<()> {
        let question = Message::GetBlocks { from_height: 0, to_height: 499 };
        if self.number.is_multiple_of(2) {
            return self.say(&question).await;
        }
        // Something large in place of a handshake.
        let mut out = BytesMut::new();
        ammunition.codec().encode(&question, FRAME, &mut out).unwrap();
        self.send(ammunition.large_block()).await
    }
}
