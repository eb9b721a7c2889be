//! One connection of a Byzantine peer.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use super::super::oracle::Oracle;
use super::super::rng::Rng;
use super::Attack;
use super::forge::{Forger, decoded, random_hash, random_link};
use crate::codec::Codec;
use crate::transport::{Connection, Duplex};
use crate::types::{ANNOUNCE, BlockLink, EncodedBlock, Handshake, Height, MAX_ANNOUNCED_TXS, Message, Tip, WireBlock};

/// No frame is larger than what a victim takes.
const FRAME: usize = 32 << 20;
/// A victim that reads nothing for so long is left alone.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most blocks of one answer.
const MOST: u64 = 500;

/// What it takes to talk.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) attack: Attack,
    pub(super) codec: Arc<dyn Codec>,
    pub(super) oracle: Oracle,
    pub(super) network: String,
    pub(super) forger: Forger,
    pub(super) until: Instant,
    /// The first height that the victim asked for.
    pub(super) asked: Option<Height>,
    pub(super) rng: Rng,
}

/// The connection is over.
pub(super) struct Over;

pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

impl Talk {
    pub(super) async fn run(mut self, connection: Connection, dialled: bool) {
        let Duplex { mut reader, mut writer } = connection.control;
        let mut decoder = self.codec.decoder();
        let (mut buffer, mut greeted) = (BytesMut::new(), false);
        if dialled {
            if self.attack == Attack::Early && self.early(&mut writer).await.is_err() {
                return;
            }
            if self.greet(&mut writer).await.is_err() {
                return;
            }
            greeted = true;
        }
        let mut next = Instant::now();
        while Instant::now() < self.until {
            let reads = self.attack != Attack::NotReading || !greeted;
            tokio::select! {
                biased;
                read = reader.read_buf(&mut buffer), if reads => {
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                    while let Ok(Some(message)) = decoder.decode(&mut buffer, FRAME) {
                        let done = match message {
                            Message::Handshake(hello) if self.attack == Attack::Mirror => {
                                greeted = true;
                                self.send(&mut writer, &Message::Handshake(hello)).await
                            }
                            Message::Handshake(_) if !std::mem::replace(&mut greeted, true) => self.greet(&mut writer).await,
                            Message::GetBlocks { from_height, to_height } => {
                                self.answer(&mut writer, from_height, to_height).await
                            }
                            _ => Ok(()),
                        };
                        if done.is_err() {
                            return;
                        }
                    }
                }
                () = sleep_until(next.min(self.until)) => {
                    next = Instant::now() + self.rng.millis(100..=8000);
                    if greeted && self.act(&mut writer).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn greet(&mut self, writer: &mut Writer) -> Result<(), Over> {
        match self.attack {
            Attack::Garbage if self.rng.percent(30) => self.garbage(writer).await,
            Attack::SlowBytes if self.rng.percent(50) => Ok(()),
            _ => {
                let hello = Message::Handshake(self.hello());
                self.send(writer, &hello).await
            }
        }
    }

    /// What nobody takes who has not been greeted.
    async fn early(&mut self, writer: &mut Writer) -> Result<(), Over> {
        let best = self.oracle.best().map_or(0, |best| best.height);
        let message = match self.rng.below(4) {
            0 => Message::GetBlocks { from_height: 0, to_height: Height::MAX },
            1 => Message::BlocksResponse { blocks: self.honest(0, best), malformed: None },
            2 => Message::NewTx(Arc::new(self.forger.transaction())),
            _ => match self.forged(best, best + 1).pop() {
                Some(block) => Message::NewBlock(block),
                None => return Ok(()),
            },
        };
        self.send(writer, &message).await
    }

    pub(super) fn hello(&mut self) -> Handshake {
        let best = self.oracle.best();
        let chain = best.map(|best| self.oracle.branch(best.hash, usize::MAX)).unwrap_or_default();
        let legacy = self.rng.percent(15);
        Handshake {
            node_id: "mallory:7000".into(),
            p2p_port: if self.rng.percent(50) { 7000 } else { 0 },
            protocol_version: 1,
            network: self.network.clone(),
            best_height: self.claim(best),
            best_hash: best.map(|best| best.hash),
            genesis_hash: chain.first().map(|block| block.link.hash),
            features: (!legacy).then(|| vec![ANNOUNCE.to_owned()]),
            nonce: (!legacy).then(|| self.rng.bits()),
        }
    }

    fn claim(&mut self, best: Option<Tip>) -> Option<Height> {
        let height = best.map_or(0, |best| best.height);
        match self.attack {
            Attack::Heights => match self.rng.below(4) {
                0 => Some(Height::MAX),
                1 => None,
                2 => Some(height / 2),
                _ => Some(height + self.rng.within(1..=10_000)),
            },
            Attack::Decoy => Some(height + self.rng.within(1000..=10_000)),
            Attack::FakeFork | Attack::StaleFork | Attack::SignedFork | Attack::Corrupt => {
                Some(height + self.rng.within(1..=12))
            }
            _ => Some(height),
        }
    }

    /// Answers a question of the victim.
    async fn answer(&mut self, writer: &mut Writer, from: Height, to: Height) -> Result<(), Over> {
        let to = to.min(from.saturating_add(MOST - 1));
        let blocks = match self.attack {
            Attack::Heights => match self.rng.below(4) {
                0 => return Ok(()),
                1 => return Err(Over),
                2 => Vec::new(),
                _ => self.honest(from, from),
            },
            Attack::SlowBytes | Attack::NotReading | Attack::Flood => return Ok(()),
            Attack::Decoy => match self.decoy(from) {
                Some(block) => vec![block],
                None => return Ok(()),
            },
            Attack::FakeFork | Attack::SignedFork => self.forged(from, to),
            Attack::StaleFork => self.stale(from, to),
            Attack::Corrupt => {
                let mut blocks = self.honest(from, to);
                let at = self.rng.below(blocks.len());
                if let Some(place) = blocks.get_mut(at)
                    && let Some(bad) = self.forger.corrupted(&self.real(from, to)[at])
                {
                    *place = bad.into();
                }
                blocks
            }
            Attack::Unasked => self.honest(from.saturating_sub(2), to),
            _ => self.honest(from, to),
        };
        self.send(writer, &Message::BlocksResponse { blocks, malformed: None }).await
    }

    /// Does something unasked.
    async fn act(&mut self, writer: &mut Writer) -> Result<(), Over> {
        let best = self.oracle.best();
        let height = best.map_or(0, |best| best.height);
        match self.attack {
            Attack::Heights | Attack::FakeFork | Attack::StaleFork | Attack::SignedFork | Attack::Decoy => {
                let hello = Message::Handshake(self.hello());
                self.send(writer, &hello).await?;
                if let Some(best) = best
                    && !matches!(self.attack, Attack::Heights | Attack::Decoy)
                    && let Some(block) = self.forged(best.height, best.height + 2).pop()
                {
                    self.send(writer, &Message::NewBlock(block)).await?;
                }
                Ok(())
            }
            Attack::Corrupt => {
                let Some(good) = self.real(height, height).pop() else { return Ok(()) };
                let Some(bad) = self.forger.corrupted(&good) else { return Ok(()) };
                self.send(writer, &Message::NewBlock(bad.into())).await
            }
            Attack::BadProposals => match self.forger.proposal(&self.oracle) {
                Some(block) => self.send(writer, &Message::NewBlock(block.into())).await,
                None => Ok(()),
            },
            Attack::Unasked => {
                let blocks = self.honest(height.saturating_sub(3), height);
                self.send(writer, &Message::BlocksResponse { blocks, malformed: None }).await
            }
            Attack::Flood => self.flood(writer, height).await,
            Attack::Garbage => self.garbage(writer).await,
            Attack::Amplify | Attack::NotReading => {
                for _ in 0..10 {
                    let to_height = if self.rng.percent(50) { Height::MAX } else { height };
                    self.send(writer, &Message::GetBlocks { from_height: 0, to_height }).await?;
                }
                Ok(())
            }
            Attack::SlowBytes => {
                let hello = Message::Handshake(self.hello());
                let frame = self.frame(&hello);
                let at = self.rng.below(frame.len());
                self.write(writer, frame.get(at..=at).unwrap_or_default()).await
            }
            Attack::Ahead => match self.forger.proposal_ahead(&self.oracle) {
                Some(block) => self.send(writer, &Message::NewBlock(block.into())).await,
                None => Ok(()),
            },
            Attack::Spam => {
                for _ in 0..10 {
                    let tx = self.forger.spam();
                    self.send(writer, &Message::NewTx(Arc::new(tx))).await?;
                }
                Ok(())
            }
            Attack::Early => self.early(writer).await,
            Attack::Bombs => self.bombs(writer, height).await,
            Attack::Errors => self.errors(writer, height).await,
            Attack::Churn | Attack::Crowd | Attack::Mirror => Ok(()),
        }
    }

    async fn flood(&mut self, writer: &mut Writer, height: Height) -> Result<(), Over> {
        for _ in 0..20 {
            let message = match self.rng.below(6) {
                0 => self.honest(0, height).pop().map(Message::NewBlock),
                1 => self.forged(height, height + 1).pop().map(Message::NewBlock),
                2 => Some(Message::NewTx(Arc::new(self.forger.transaction()))),
                3 => {
                    let far = height + self.rng.within(0..=5000);
                    let blocks = (0..3).map(|_| random_link(&mut self.rng, far)).collect();
                    Some(Message::NewHashes { blocks, txs: vec![random_hash(&mut self.rng)] })
                }
                4 => {
                    let txs = (0..MAX_ANNOUNCED_TXS / 16).map(|_| random_hash(&mut self.rng)).collect();
                    Some(Message::GetData { blocks: vec![random_hash(&mut self.rng)], txs })
                }
                _ => {
                    let at = self.rng.within(0..=height);
                    self.honest(at, at).pop().map(Message::NewBlock)
                }
            };
            if let Some(message) = message {
                self.send(writer, &message).await?;
            }
        }
        Ok(())
    }

    async fn garbage(&mut self, writer: &mut Writer) -> Result<(), Over> {
        let mut bytes: Vec<u8> = (0..self.rng.below(3000)).map(|_| self.rng.bits().to_le_bytes()[0]).collect();
        match self.rng.below(3) {
            0 => bytes.push(b'\n'),
            1 => {
                // A message that begins well.
                bytes = self.frame(&Message::GetBlocks { from_height: 0, to_height: 9 });
                let at = self.rng.below(bytes.len());
                let bit = 1 << self.rng.below(8);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
            }
            _ => {}
        }
        self.write(writer, &bytes).await
    }

    /// Blocks of the best chain, as they are.
    pub(super) fn real(&self, from: Height, to: Height) -> Vec<EncodedBlock> {
        let Some(best) = self.oracle.best() else { return Vec::new() };
        let mut chain = self.oracle.branch(best.hash, usize::MAX);
        chain.retain(|block| (from..=to).contains(&block.link.height));
        chain
    }

    pub(super) fn honest(&self, from: Height, to: Height) -> Vec<WireBlock> {
        self.real(from, to).iter().map(WireBlock::from).collect()
    }

    /// The range on a made-up branch, which leaves the best chain a few blocks below its end.
    fn forged(&mut self, from: Height, to: Height) -> Vec<WireBlock> {
        let best = self.oracle.best().map_or(0, |best| best.height);
        let leaves = best.saturating_sub(self.rng.within(0..=6)).max(from.saturating_sub(1).min(best));
        let parent = self.real(leaves, leaves).pop();
        let parent = parent.and_then(|at| Some((at.link.tip(), decoded(&at)?.header.timestamp)));
        let mut blocks = self.honest(from, leaves.min(to));
        let first = parent.map_or(0, |(tip, _)| tip.height + 1);
        let count = usize::try_from(to.saturating_add(1).saturating_sub(first).min(12)).unwrap_or(0);
        let made_up = self.forger.branch(parent, count);
        blocks.extend(made_up.into_iter().filter(|block| block.header.height >= from).map(WireBlock::from));
        blocks
    }

    /// A block that links to nothing, from where the victim first asked; none for a search, which asks for lower ones.
    fn decoy(&mut self, at: Height) -> Option<WireBlock> {
        let first = *self.asked.get_or_insert(at);
        let best = self.oracle.best()?;
        let time = decoded(&self.real(best.height, best.height).pop()?)?.header.timestamp;
        let below = at.checked_sub(1).filter(|_| at >= first)?;
        let parent = Tip { height: below, hash: random_hash(&mut self.rng) };
        self.forger.branch(Some((parent, time)), 1).pop().map(WireBlock::from)
    }

    /// The range on a branch that honest nodes have left, or on the best one where there is none.
    fn stale(&mut self, from: Height, to: Height) -> Vec<WireBlock> {
        let stale = self.oracle.stale(64);
        let Some(BlockLink { hash, .. }) = self.rng.pick(&stale).copied() else { return self.honest(from, to) };
        let branch = self.oracle.branch(hash, usize::MAX);
        branch.iter().filter(|block| (from..=to).contains(&block.link.height)).map(WireBlock::from).collect()
    }

    pub(super) fn frame(&self, message: &Message) -> Vec<u8> {
        let mut frame = BytesMut::new();
        // Whatever cannot be framed is not sent.
        let _ = self.codec.encode(message, FRAME, &mut frame);
        frame.to_vec()
    }

    pub(super) async fn send(&self, writer: &mut Writer, message: &Message) -> Result<(), Over> {
        self.write(writer, &self.frame(message)).await
    }

    pub(super) async fn write(&self, writer: &mut Writer, bytes: &[u8]) -> Result<(), Over> {
        match timeout(PATIENCE, writer.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }
}
