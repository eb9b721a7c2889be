//! Attacks that send as fast as the node takes it, or ask so.

use std::time::Duration;

use bytes::BytesMut;
use cpc_framework::types::{Hash32, Message};
use cpc_tests::wire;

use super::ammunition::Ammunition;
use super::wire::Wire;
use super::{Attack, FRAME};

/// Between two frames of attacks that cost the node more time than memory: it is to be kept busy, and others too.
const NEXT: Duration = Duration::from_millis(50);

/// How much shorter than the longest frame is one whose end never comes, so that it is not refused for its length.
const HEADROOM: usize = 8 << 10;

impl Wire {
    /// Goes on until the node ends it.
    pub(super) async fn flood(&mut self, attack: Attack, ammunition: &Ammunition) -> Option<()> {
        match attack {
            Attack::EndlessFrame => {
                // The other half has to be fought for.
                let half = self.endless_frame("new_block", FRAME, FRAME / 2).await?;
                self.tally().done();
                self.go_on(FRAME - half - HEADROOM).await
            }
            Attack::NameFlood => self.names().await,
            Attack::DeepJson => self.over_and_over(&[deep("["), deep(r#"{"a":"#)].map(line), true).await,
            Attack::Bombs => self.over_and_over(&bombs(), true).await,
            Attack::Noise => {
                let noise = if self.is_json() { noise() } else { vec![ammunition.swapped_block().into()] };
                self.over_and_over(&noise, true).await
            }
            Attack::BlockFlood | Attack::StolenName => self.over_and_over(ammunition.bad_blocks(), false).await,
            Attack::TxFlood => self.over_and_over(ammunition.txs(), false).await,
            Attack::NonceGaps => self.over_and_over(ammunition.gaps(), true).await,
            Attack::Replacements => self.over_and_over(ammunition.replacements(), true).await,
            Attack::Again => self.over_and_over(ammunition.again(), true).await,
            _ => None,
        }
    }

    async fn over_and_over<F: AsRef<[u8]>>(&mut self, frames: &[F], pause: bool) -> Option<()> {
        for at in self.number.. {
            self.send(frames[at % frames.len()].as_ref()).await?;
            self.tally().done();
            if pause {
                tokio::time::sleep(NEXT).await;
            }
        }
        Some(())
    }

    /// Begins a frame of nearly the longest length. Gives how many bytes of it were sent: so many, or a little less.
    pub(super) async fn endless_frame(&mut self, kind: &str, longest: usize, bytes: usize) -> Option<usize> {
        let length = longest - HEADROOM;
        let head = if self.is_json() {
            format!(r#"{{"type": "{kind}", "payload": {{"x": ""#).into_bytes()
        } else {
            let tag = if kind == "new_block" { 1 } else { 4 };
            postcard(length, &[tag])
        };
        self.send(&head).await?;
        let bytes = bytes - 2 * HEADROOM;
        self.go_on(bytes).await?;
        Some(bytes + head.len())
    }

    async fn go_on(&mut self, bytes: usize) -> Option<()> {
        let piece = vec![b'x'; 64 << 10];
        for at in (0..bytes).step_by(piece.len()) {
            self.send(&piece[..piece.len().min(bytes - at)]).await?;
        }
        Some(())
    }

    /// Whether anybody reads the answers is the node's to find out.
    pub(super) async fn ask_for_all(&mut self, height: u64) {
        for from in 0.. {
            let (from_height, to_height) = (from % (height / 2), from % (height / 2) + 499 - from % 200);
            if self.say(&Message::GetBlocks { from_height, to_height }).await.is_none() {
                return;
            }
            self.tally().done();
            // Five of them wait at the node; more would be dropped.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks for other ranges, for headers, and for the same again, and reads what comes.
    pub(super) async fn ask_and_read(&mut self, height: u64) -> Option<()> {
        for n in 0u64.. {
            let (from_height, to_height) = (n % height, height);
            let question = match n % 3 {
                0 => Message::GetBlocks { from_height, to_height },
                1 => Message::GetHeaderChain { from_height: 0, to_height: height - n % height }.with_id(Some(n)),
                _ => Message::GetBlocks { from_height: 0, to_height: 99 },
            };
            self.say(&question).await?;
            // The same again is not answered for 10 s.
            let answer = async {
                while !matches!(self.hear().await?, Message::BlocksResponse { .. } | Message::Numbered { .. }) {}
                self.tally().done();
                Some(())
            };
            if let Ok(None) = tokio::time::timeout(Duration::from_secs(1), answer).await {
                return None;
            }
        }
        Some(())
    }

    async fn names(&mut self) -> Option<()> {
        for round in 0u64.. {
            let name = |at: u64| {
                let mut hash = [0; 32];
                hash[..8].copy_from_slice(&(round * 1024 + at).to_le_bytes());
                hash[8..16].copy_from_slice(&(self.number as u64).to_le_bytes());
                Hash32(hash)
            };
            let names = Message::NewHashes { blocks: Vec::new(), txs: (0..1024).map(name).collect() };
            self.say(&names).await?;
            self.tally().done();
            tokio::time::sleep(NEXT).await;
        }
        Some(())
    }
}

/// A frame of postcard that claims `length` bytes, and begins with these.
fn postcard(length: usize, begin: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [b"\xc7cpc\x01".as_slice(), &length, begin].concat()
}

/// Lists of every message that has any, with counts of up to all that 64 bits hold and nothing behind.
fn bombs() -> Vec<Vec<u8>> {
    const MOST: [&[u8]; 3] = [
        &[0x80, 0x80, 0x80, 0x80, 0x01],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ];
    let mut bombs = Vec::new();
    for tag in 0..10u8 {
        for count in MOST {
            // Behind a number of its own, or at once.
            for lead in [[].as_slice(), &[1]] {
                let body = [&[tag], lead, count, &[0; 16]].concat();
                bombs.push(postcard(body.len(), &body));
            }
        }
    }
    bombs
}

fn deep(opening: &str) -> String {
    const DEPTH: usize = 100_000;
    wire::message("new_tx", &format!(r#"{{"tx": {}"#, opening.repeat(DEPTH)))
}

fn line(text: String) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    bytes.push(b'\n');
    bytes
}

/// Faults that the log tells of, with much to tell.
fn noise() -> Vec<BytesMut> {
    let long = "y".repeat(100 << 10);
    let texts = [
        wire::message(&long, "{}"),
        wire::new_tx(&format!(r#"{{"tx_type": "{long}"}}"#)),
        format!(r#"{{"type": "new_block", "payload": {{"block": {{"header": {{"height": "{long}"}}}}}}}}"#),
        format!("garbage {long}"),
    ];
    texts.map(|text| line(text).as_slice().into()).into()
}
