//! Peers that do what no honest one does (attacks.md), over the same network and codec as everybody.
//!
//! They know more than any real attacker could: every block that any honest node has committed, as soon as it has.

mod bombs;
mod forge;
mod talk;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use self::forge::Forger;
use self::talk::Talk;
use super::load;
use super::network::{Member, SimNetwork};
use super::oracle::Oracle;
use super::rng::Rng;
use super::scenario::ByzantinePlan;
use crate::codec::Codec;
use crate::rules::Hasher;
use crate::transport::{Endpoint, Transport as _};
use crate::types::Genesis;

/// What a Byzantine peer does on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Claims heights that are too high, fall, or are the highest number there is, and delivers little or nothing (rows 6, 10).
    Heights,
    /// Serves a branch that it made up, signed by nobody who may (row 8).
    FakeFork,
    /// Serves branches that were left, under higher claims (row 8).
    StaleFork,
    /// Passes on blocks that it has changed: signature, roots, time, proposer, body (rows 11, 24).
    Corrupt,
    /// Sends answers unasked, and other ranges than those asked for (row 7).
    Unasked,
    /// Floods with blocks, transactions, announcements and questions, old, made up and doubled (rows 11 to 13).
    Flood,
    /// Sends bytes that are no messages (rows 1, 5).
    Garbage,
    /// Asks for the same blocks again and again (row 9).
    Amplify,
    /// Asks, and does not read (row 22).
    NotReading,
    /// Comes and goes (row 21).
    Churn,
    /// Sends a byte now and then (row 2).
    SlowBytes,
    /// Sends anything before its handshake, blocks and answers too (row 5).
    Early,
    /// Sends signed transactions of its own that leave gaps, replace each other, or are nested deep (rows 3, 14, 15).
    Spam,
    /// Sends its victim's handshake back, nonce and all: as if the victim had met itself (rows 19, 20).
    Mirror,
    /// Comes with a crowd, under many names at once, and says nothing more than its greeting (row 18).
    Crowd,
    /// Claims the most, shows a block that links to nothing, and answers no question of where its branch leaves ours (row 8).
    Decoy,
    /// Sends messages whose counts and lengths claim more than there is (row 4).
    Bombs,
    /// Makes one mistake after the other that a node tells of (row 26).
    Errors,
    /// With a validator's key: proposes blocks of its turn in times to come (row 25).
    Ahead,
    /// With a validator's key: proposes blocks in its turn whose state is wrong.
    BadProposals,
    /// With a validator's key: serves a long branch, all signed by it, that nobody can apply (row 8).
    SignedFork,
}

impl Attack {
    /// Those that need no validator's key.
    pub const ANYBODYS: [Self; 11] = [
        Self::Heights,
        Self::FakeFork,
        Self::StaleFork,
        Self::Corrupt,
        Self::Unasked,
        Self::Flood,
        Self::Garbage,
        Self::Amplify,
        Self::NotReading,
        Self::Churn,
        Self::SlowBytes,
    ];

    /// Those that need no validator's key either, and came later: seeds draw them apart.
    pub(super) const LATER: [Self; 4] = [Self::Early, Self::Spam, Self::Mirror, Self::Crowd];

    /// Nor do these, which came later still.
    pub(super) const LATEST: [Self; 2] = [Self::Bombs, Self::Errors];
}

/// So many come with a crowd: more than half of the inbound places of a node.
const CROWD: usize = 40;

/// What a Byzantine peer is made of.
#[derive(Debug, Clone)]
pub(super) struct Byzantine {
    pub(super) name: String,
    pub(super) plan: ByzantinePlan,
    pub(super) network: SimNetwork,
    pub(super) codec: Arc<dyn Codec>,
    pub(super) oracle: Oracle,
    pub(super) genesis: Arc<Genesis>,
    pub(super) victims: Vec<Endpoint>,
    pub(super) rng: Rng,
}

impl Byzantine {
    /// Lets it loose, until the set is dropped.
    pub(super) fn start(mut self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let victims = self.victims.clone();
        for victim in victims {
            let rng = self.rng.fork();
            tasks.spawn(self.clone().pester(victim, rng));
        }
        let rng = self.rng.fork();
        tasks.spawn(self.lurk(rng));
        tasks
    }

    /// Dials one victim again and again, now and then under a new name.
    async fn pester(self, victim: Endpoint, mut rng: Rng) {
        let mut alias = 0;
        loop {
            let pause = if rng.percent(30) { 50..=500 } else { 500..=20_000 };
            tokio::time::sleep(rng.millis(pause)).await;
            if rng.percent(15) {
                alias += 1;
            }
            let host = if alias == 0 { self.name.clone() } else { format!("{}x{alias}", self.name) };
            if let Ok(connection) = self.network.member(&host).dial(&victim).await {
                let talk = self.talk(&mut rng);
                let crowd = if talk.attack == Attack::Crowd { self.crowd(&victim, &mut rng) } else { JoinSet::new() };
                talk.run(connection, true).await;
                drop(crowd);
            }
        }
    }

    /// Many more at once, each under a name of its own.
    fn crowd(&self, victim: &Endpoint, rng: &mut Rng) -> JoinSet<()> {
        let mut crowd = JoinSet::new();
        for number in 0..CROWD {
            let member = self.network.member(&format!("{}c{number}", self.name));
            let (victim, talk) = (victim.clone(), self.talk_of(Attack::Crowd, rng));
            crowd.spawn(async move {
                if let Ok(connection) = member.dial(&victim).await {
                    talk.run(connection, true).await;
                }
            });
        }
        crowd
    }

    /// Takes whoever dials.
    async fn lurk(self, mut rng: Rng) {
        let member: Member = self.network.member(&self.name);
        let Ok(mut listener) = member.listen(&place(&self.name)).await else { return };
        let mut guests = JoinSet::new();
        while let Ok(incoming) = listener.accept().await {
            while guests.try_join_next().is_some() {}
            let talk = self.talk(&mut rng);
            guests.spawn(async move {
                if let Ok(connection) = incoming.upgrade.await {
                    talk.run(connection, false).await;
                }
            });
        }
    }

    fn talk(&self, rng: &mut Rng) -> Talk {
        let attack = rng.pick(&self.plan.attacks).copied().unwrap_or(Attack::Heights);
        self.talk_of(attack, rng)
    }

    fn talk_of(&self, attack: Attack, rng: &mut Rng) -> Talk {
        let validator = self.plan.validator.map(load::validator_key);
        let hasher = Hasher::new(&self.genesis);
        Talk {
            attack,
            codec: Arc::clone(&self.codec),
            oracle: self.oracle.clone(),
            network: self.genesis.network.clone(),
            forger: Forger { hasher, validator, genesis: Arc::clone(&self.genesis), rng: rng.fork() },
            until: tokio::time::Instant::now() + lasting(attack, rng),
            asked: None,
            rng: rng.fork(),
        }
    }
}

fn lasting(attack: Attack, rng: &mut Rng) -> Duration {
    if attack == Attack::Churn { rng.millis(0..=300) } else { rng.millis(1000..=90_000) }
}

/// Where a host of the simulation listens.
pub(super) fn place(host: &str) -> Endpoint {
    Endpoint::new(format!("{host}:7000"))
}
