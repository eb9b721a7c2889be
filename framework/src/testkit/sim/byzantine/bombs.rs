//! Messages that claim more than there is (attacks.md row 4), and errors of all kinds (row 26), in whatever codec.

use std::sync::Arc;

use super::forge::{random_hash, random_link};
use super::talk::{Over, Talk, Writer};
use crate::types::{Handshake, Height, Message};

/// What a count or a length may claim: what 28, 32 and 64 bits hold, the last more than any memory has.
const CLAIMS: [u64; 3] = [1 << 28, u32::MAX as u64, u64::MAX];
/// The length of a frame's body, in network order, stands before it within so many bytes, where the codec has one.
const BEGINNING: usize = 16;
/// Messages of one act.
const TOGETHER: usize = 10;

impl Talk {
    /// Messages of all kinds, each with one number in it that claims far more than follows.
    pub(super) async fn bombs(&mut self, writer: &mut Writer, height: Height) -> Result<(), Over> {
        for _ in 0..TOGETHER {
            let message = match self.rng.below(5) {
                0 => self.honest(height, height).pop().map(Message::NewBlock),
                1 => Some(Message::NewTx(Arc::new(self.forger.transaction()))),
                2 => {
                    let blocks = (0..3).map(|_| random_link(&mut self.rng, height)).collect();
                    Some(Message::NewHashes { blocks, txs: vec![random_hash(&mut self.rng)] })
                }
                3 => Some(Message::GetData { blocks: vec![random_hash(&mut self.rng)], txs: Vec::new() }),
                _ => Some(Message::Handshake(self.hello())),
            };
            if let Some(message) = message {
                let frame = self.frame(&message);
                let bomb = self.bomb(&frame);
                self.write(writer, &bomb).await?;
            }
        }
        Ok(())
    }

    /// One fault after the other that a node tells of, until it ends the connection.
    pub(super) async fn errors(&mut self, writer: &mut Writer, height: Height) -> Result<(), Over> {
        for _ in 0..3 * TOGETHER {
            let message = match self.rng.below(20) {
                0 => Some(Message::Handshake(Handshake { network: "another".into(), ..self.hello() })),
                1 => Some(Message::BlocksResponse { blocks: self.honest(height, height), malformed: None }),
                2..=4 => Some(Message::NewTx(Arc::new(self.forger.transaction()))),
                5..=7 => {
                    let good = self.real(height, height).pop();
                    good.and_then(|good| self.forger.corrupted(&good)).map(|bad| Message::NewBlock(bad.into()))
                }
                8..=14 => Some(Message::GetBlocks { from_height: self.rng.within(0..=height), to_height: height }),
                _ => {
                    let frame = self.frame(&Message::GetBlocks { from_height: height, to_height: height });
                    let bomb = self.bomb(&frame);
                    self.write(writer, &bomb).await?;
                    None
                }
            };
            if let Some(message) = message {
                self.send(writer, &message).await?;
            }
        }
        Ok(())
    }

    /// The frame with a claim in place of one byte of its body, as binary or as text; or with only a part of what its length says.
    fn bomb(&mut self, frame: &[u8]) -> Vec<u8> {
        let claim = self.rng.pick(&CLAIMS).copied().unwrap_or(u64::MAX);
        let body = body_of(frame);
        if body.is_some() && self.rng.percent(10) {
            let part = frame.len() - self.rng.below(frame.len() / 2);
            return frame.get(..part).unwrap_or(frame).to_vec();
        }
        let first = body.unwrap_or(0) + 1;
        let at = (first + self.rng.below(frame.len().saturating_sub(first + 1))).min(frame.len());
        let (before, rest) = frame.split_at(at);
        let claim = if body.is_some() { varint(claim) } else { claim.to_string().into_bytes() };
        let mut bomb = [before, &claim, rest.get(1..).unwrap_or_default()].concat();
        if let Some(body) = body
            && let Ok(length) = u32::try_from(bomb.len() - body)
        {
            bomb.splice(body - size_of::<u32>()..body, length.to_be_bytes());
        }
        bomb
    }
}

/// Where the body of a frame begins, where its length stands before it.
fn body_of(frame: &[u8]) -> Option<usize> {
    frame.windows(size_of::<u32>()).take(BEGINNING).enumerate().find_map(|(at, bytes)| {
        let body = at + size_of::<u32>();
        let length = u32::from_be_bytes(bytes.try_into().ok()?);
        (usize::try_from(length).ok()? == frame.len() - body).then_some(body)
    })
}

/// A number in groups of seven bits, the lowest first; all but the last have their top bit set.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number.to_le_bytes()[0] & 0x7f | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_body_behind_its_length_and_none_where_there_is_no_length() {
        assert_eq!(body_of(b"\xc7cpc\x01\0\0\0\x03abc"), Some(9));
        assert_eq!(body_of(b"{\"type\": \"handshake\", \"payload\": {}}\n"), None);
        assert_eq!(varint(u64::MAX).len(), 10);
        assert_eq!(varint(300), [0xac, 2]);
    }
}
