//! What peers are punished for, and how much (`attacks.md` row 23).
//!
//! Only what is proved costs anything: each [`Offence`] carries its proof, something that no honest node sends. What
//! an honest peer may do under load, behind a bad line, on another fork, or with a rule that only we have, is not in
//! the list: time-outs, short or empty answers, wrong claims, unknown messages, blocks that merely do not link.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::host::Host;
use crate::codec::DecodeError;
use crate::limits::Limits;
use crate::mempool;
use crate::rules::Rejection;
use crate::sync::RejectKind;
use crate::transport::{Endpoint, PeerId};
use crate::types::{Hash32, Height, MessageKind};

/// What a peer did that no honest one does, with the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offence {
    /// It delivered a block that breaks a rule of reference v1 too, and whose header commits to its body.
    InvalidBlock {
        /// The block's height.
        height: Height,
        /// The block's hash, where known.
        hash: Option<Hash32>,
        /// Which rule, and how.
        rule: String,
    },
    /// It sent a transaction whose signature is not valid, or whose sender is not the owner of its key.
    InvalidSignatureTx {
        /// The transaction's hash.
        hash: Hash32,
    },
    /// It answered what was not asked, nor had been asked and cancelled.
    UnaskedResponse {
        /// The height of the first block, if there is one.
        first: Option<Height>,
    },
    /// It answered with other blocks than those asked for.
    WrongRange {
        /// The first height asked for.
        from: Height,
        /// The last height asked for.
        to: Height,
        /// What is wrong with the answer.
        detail: String,
    },
    /// It sent a frame that is longer than what is allowed at this point. Not to be held against legacy peers that
    /// have done their handshake: the reference bounds no line, so that those are only closed.
    OversizeFrame {
        /// The cap, in bytes.
        cap: usize,
    },
    /// It dialled us and sent something else before its handshake. Not to be held against acceptors: those of the
    /// reference broadcast to every socket, so that they are closed after some frames.
    BeforeHandshake {
        /// The message's type, where it could be read.
        kind: Option<MessageKind>,
    },
    /// It sent a message of a known type that cannot be read.
    MalformedMessage {
        /// What is wrong.
        detail: String,
    },
    /// Its bytes are no messages of this link's codec.
    UnreadableStream {
        /// What is wrong.
        detail: String,
    },
}

impl Offence {
    /// What a refused block proves against who delivered it: nothing where the reason may be our own state, clock,
    /// store or strictness, or where somebody else may have swapped the body.
    pub fn of_block(rejection: &Rejection, hash: Option<Hash32>) -> Option<Self> {
        (rejection.kind() == RejectKind::Invalid && !rejection.stricter_than_v1).then(|| Self::InvalidBlock {
            height: rejection.height,
            hash,
            rule: format!("{}: {}", rejection.rule, rejection.detail),
        })
    }

    /// What a transaction that the pool refused proves against who sent it.
    pub fn of_transaction(refusal: &mempool::Refusal, hash: Hash32) -> Option<Self> {
        refusal.is_proof().then_some(Self::InvalidSignatureTx { hash })
    }

    /// What a frame that could not be read proves against who sent it: nothing where its type is merely unknown.
    pub fn of_frame(error: &DecodeError) -> Option<Self> {
        match error {
            DecodeError::UnknownType(_) => None,
            DecodeError::Malformed(detail) => Some(Self::MalformedMessage { detail: detail.clone() }),
            DecodeError::TooLarge { cap } => Some(Self::OversizeFrame { cap: *cap }),
            DecodeError::Desync(detail) => Some(Self::UnreadableStream { detail: detail.clone() }),
        }
    }

    /// A short name, for [`LogLimiter`](super::LogLimiter) and counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InvalidBlock { .. } => "invalid block",
            Self::InvalidSignatureTx { .. } => "invalid signature",
            Self::UnaskedResponse { .. } => "unasked response",
            Self::WrongRange { .. } => "wrong range",
            Self::OversizeFrame { .. } => "oversize frame",
            Self::BeforeHandshake { .. } => "before handshake",
            Self::MalformedMessage { .. } => "malformed message",
            Self::UnreadableStream { .. } => "unreadable stream",
        }
    }

    /// Points, in percent of the threshold at which a peer is banned.
    ///
    /// Nobody forwards an invalid block by mistake, since everybody checks blocks before they pass them on. The others
    /// could come of a bug, so that it takes several within a short time.
    fn percent(&self) -> u32 {
        match self {
            Self::InvalidBlock { .. } => 100,
            Self::OversizeFrame { .. } | Self::InvalidSignatureTx { .. } => 34,
            Self::UnaskedResponse { .. } | Self::WrongRange { .. } | Self::UnreadableStream { .. } => 20,
            Self::BeforeHandshake { .. } => 10,
            Self::MalformedMessage { .. } => 4,
        }
    }

    /// Whether the connection is closed even where the peer is not banned yet.
    pub fn closes(&self) -> bool {
        !matches!(self, Self::MalformedMessage { .. } | Self::InvalidSignatureTx { .. })
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidBlock { height, hash: Some(hash), rule } => {
                write!(f, "block {height} ({}) is invalid: {rule}", hash.short())
            }
            Self::InvalidBlock { height, hash: None, rule } => write!(f, "block {height} is invalid: {rule}"),
            Self::InvalidSignatureTx { hash } => write!(f, "transaction {hash} is not signed by its sender"),
            Self::UnaskedResponse { first: Some(first) } => {
                write!(f, "blocks from {first} on, which nobody asked for")
            }
            Self::UnaskedResponse { first: None } => f.write_str("an answer that nobody asked for"),
            Self::WrongRange { from, to, detail } => write!(f, "asked for blocks {from} to {to}: {detail}"),
            Self::OversizeFrame { cap } => write!(f, "a frame of more than {cap} bytes"),
            Self::BeforeHandshake { kind: Some(kind) } => write!(f, "{} before the handshake", kind.name()),
            Self::BeforeHandshake { kind: None } => f.write_str("no handshake at the start"),
            Self::MalformedMessage { detail } => write!(f, "malformed message: {detail}"),
            Self::UnreadableStream { detail } => write!(f, "unreadable stream: {detail}"),
        }
    }
}

/// Whom points count for: a key, or an address where there is no key. A new connection does not wipe them out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The key that the transport proved.
    Key(PeerId),
    /// The address, without its port.
    Address(Host),
}

impl Subject {
    /// Whom a connection's faults count for.
    pub fn of(remote: &Endpoint, identity: Option<&PeerId>) -> Self {
        identity.map_or_else(|| Self::Address(Host::of(remote)), |key| Self::Key(*key))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "{key}"),
            Self::Address(host) => write!(f, "{host}"),
        }
    }
}

/// What an offence cost, for the log and the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Penalty {
    /// A short name of the offence.
    pub offence: &'static str,
    /// The proof, in words.
    pub proof: String,
    /// The points it cost.
    pub points: u32,
    /// All points that count at this moment.
    pub score: u32,
    /// Whether the connection is to be closed.
    pub close: bool,
    /// How long the peer is banned from now on, if it is. The caller hands it to
    /// [`InboundGuard::ban`](super::InboundGuard::ban), which spares loopback.
    pub ban: Option<Duration>,
    /// Whether a ban was due to a peer that the operator configured: that is never banned, but dialled again only after the
    /// longest pause of a configured address ([`Limits::dial_backoff_configured`]).
    pub backed_off: bool,
}

/// The points of all peers.
#[derive(Debug)]
pub struct ScoreBoard {
    threshold: u32,
    half_life: Duration,
    ban: Duration,
    ban_max: Duration,
    capacity: usize,
    records: HashMap<Subject, Record>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    /// Points at the time of the last offence.
    points: f64,
    at: Duration,
    /// Bans so far.
    bans: u32,
    /// When the last ban ended or ends.
    banned_until: Option<Duration>,
}

impl ScoreBoard {
    /// A board without points.
    pub fn new(limits: &Limits) -> Self {
        Self {
            threshold: limits.ban_threshold,
            half_life: limits.score_half_life,
            ban: limits.ban_time,
            ban_max: limits.ban_time_max,
            capacity: limits.addresses_tracked,
            records: HashMap::new(),
        }
    }

    /// Takes an offence; says what it costs.
    pub fn record(&mut self, subject: &Subject, offence: &Offence, now: Duration) -> Penalty {
        let points = self.threshold.saturating_mul(offence.percent()).div_ceil(100);
        if !self.records.contains_key(subject) && self.records.len() >= self.capacity {
            self.make_room(now);
        }
        let (half_life, ban_max) = (self.half_life, self.ban_max);
        let fresh = Record { points: 0.0, at: now, bans: 0, banned_until: None };
        let record = self.records.entry(subject.clone()).or_insert(fresh);
        if !record.remembers_ban(now, ban_max) {
            record.bans = 0;
        }
        record.points = record.points_at(now, half_life) + f64::from(points);
        record.at = now;
        let score = rounded(record.points);
        let ban = (record.points >= f64::from(self.threshold)).then(|| {
            let ban = self.ban.saturating_mul(1 << record.bans.min(20)).min(ban_max);
            record.bans += 1;
            record.banned_until = Some(now + ban);
            record.points = 0.0;
            ban
        });
        Penalty {
            offence: offence.kind(),
            proof: shortened(offence.to_string()),
            points,
            score,
            close: ban.is_some() || offence.closes(),
            ban,
            backed_off: false,
        }
    }

    /// The points of a peer that count now.
    pub fn score(&self, subject: &Subject, now: Duration) -> u32 {
        self.records.get(subject).map_or(0, |record| rounded(record.points_at(now, self.half_life)))
    }

    /// Drops who has no points left, or else who has the fewest.
    fn make_room(&mut self, now: Duration) {
        let (half_life, ban_max) = (self.half_life, self.ban_max);
        self.records.retain(|_, record| record.points_at(now, half_life) >= 1.0 || record.remembers_ban(now, ban_max));
        if self.records.len() >= self.capacity {
            let key = |record: &Record| (record.remembers_ban(now, ban_max), rounded(record.points_at(now, half_life)));
            let least = self.records.iter().min_by_key(|(_, record)| key(record)).map(|(subject, _)| subject.clone());
            least.and_then(|subject| self.records.remove(&subject));
        }
    }
}

impl Record {
    fn points_at(&self, now: Duration, half_life: Duration) -> f64 {
        let halvings = now.saturating_sub(self.at).as_secs_f64() / half_life.as_secs_f64().max(f64::MIN_POSITIVE);
        self.points * (-halvings).exp2()
    }

    /// The length of a ban is remembered, for the next one, as long after its end as the longest ban lasts.
    fn remembers_ban(&self, now: Duration, ban_max: Duration) -> bool {
        self.banned_until.is_some_and(|until| now < until + ban_max)
    }
}

/// Bytes of a proof in words: some repeat what the peer wrote.
const PROOF_BYTES: usize = 256;

fn shortened(mut proof: String) -> String {
    if proof.len() > PROOF_BYTES {
        let end = (0..=PROOF_BYTES).rev().find(|at| proof.is_char_boundary(*at)).unwrap_or_default();
        proof.truncate(end);
        proof.push_str("...");
    }
    proof
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and points are not negative")]
fn rounded(points: f64) -> u32 {
    points.round() as u32
}

#[cfg(test)]
#[path = "score_tests.rs"]
mod tests;
