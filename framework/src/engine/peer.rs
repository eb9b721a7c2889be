use std::collections::VecDeque;
use std::time::Duration;

use super::fetching::Offered;
use super::offering::Offering;
use super::stuck::Progress;
use crate::limits::Limits;
use crate::peers::{Host, KnownByPeer};
use crate::sync::RequestId;
use crate::transport::{Endpoint, PeerId};
use crate::types::{Handshake, Height};

/// What the engine knows of one connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// Which of the node's links it came by.
    pub(super) link: usize,
    pub(super) remote: Endpoint,
    pub(super) host: Host,
    pub(super) identity: Option<PeerId>,
    pub(super) direction: Way,
    pub(super) since: Duration,
    /// What we show on this connection alone: whoever shows it to us is ourselves, or has copied it.
    pub(super) nonce: u64,
    /// The other side's handshake, once it came and was accepted.
    pub(super) handshake: Option<Handshake>,
    /// Messages of another kind that came before the handshake.
    pub(super) skipped: usize,
    pub(super) known: KnownByPeer,
    /// Whether it fetches what is announced to it.
    pub(super) fetches: bool,
    /// What was announced to it and not fetched yet.
    pub(super) offered: Offered,
    /// How far it was told of our pool, until that is done.
    pub(super) offering: Option<Offering>,
    /// Whether it keeps our requests apart by their numbers.
    pub(super) numbers: bool,
    /// What we asked of it, oldest first: one, or up to `IN_FLIGHT` where it keeps them apart.
    pub(super) outstanding: Vec<Outstanding>,
    /// Ranges whose answers may come late, since we gave up waiting. Oldest first.
    pub(super) forgiven: VecDeque<Forgiven>,
    /// First heights of what a legacy peer was asked for, and has not answered within the longest deadline. Oldest first.
    pub(super) missed: VecDeque<Height>,
    pub(super) serving: Serving,
    /// How far a legacy peer is.
    pub(super) progress: Progress,
    /// Blocks of its gossip that are being imported.
    pub(super) importing: usize,
    /// It was not sent a block, and is to hear of our height once the disk has it.
    pub(super) wants_tip: bool,
    /// When we last sent it anything.
    pub(super) last_sent: Duration,
    /// The address under which an inbound peer may be dialled back.
    pub(super) dial_back: Option<Endpoint>,
    /// Dialled only to see whether a node answers there.
    pub(super) feeler: bool,
    /// Told to go; what else it sends is ignored.
    pub(super) closing: bool,
}

/// Who dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// We did, to this address.
    Out(Endpoint),
    /// It did.
    In,
}

/// What is asked for of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Block,
    /// Its header.
    Header,
}

/// A request of a peer's that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The number that goes back with the answer.
    pub(crate) id: Option<u64>,
    pub(crate) part: Part,
    pub(crate) from: Height,
    pub(crate) to: Height,
}

/// A request of ours that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outstanding {
    pub(super) request: RequestId,
    pub(super) part: Part,
    pub(super) from: Height,
    pub(super) to: Height,
    pub(super) deadline: Duration,
}

/// An answer that may still come, and will be forgiven.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forgiven {
    /// The number that it will carry, where it has one.
    pub(super) id: Option<u64>,
    /// The first height that was asked for.
    pub(super) from: Height,
    /// After this it is not waited for any more: it was dropped.
    pub(super) until: Duration,
}

/// The requests of a peer that wait for our answer.
#[derive(Debug, Default)]
pub(super) struct Serving {
    pub(super) queue: VecDeque<Wanted>,
    /// An answer is being made or waits for room in the outbox.
    pub(super) busy: bool,
    /// Ranges served lately, with the time.
    pub(super) served: VecDeque<((Part, Height, Height), Duration)>,
    /// When the first of those that wait may be served again, where none may now.
    pub(super) resumes_at: Option<Duration>,
}

impl Peer {
    pub(super) fn new(
        link: usize,
        remote: Endpoint,
        identity: Option<PeerId>,
        direction: Way,
        limits: &Limits,
        now: Duration,
    ) -> Self {
        Self {
            link,
            host: Host::of(&remote),
            remote,
            identity,
            direction,
            since: now,
            nonce: 0,
            handshake: None,
            skipped: 0,
            known: KnownByPeer::new(limits),
            fetches: false,
            offered: Offered::new(limits),
            offering: None,
            numbers: false,
            outstanding: Vec::new(),
            forgiven: VecDeque::new(),
            missed: VecDeque::new(),
            serving: Serving::default(),
            progress: Progress::default(),
            importing: 0,
            wants_tip: false,
            last_sent: now,
            dial_back: None,
            feeler: false,
            closing: false,
        }
    }

    /// Whether the handshake is done and the peer is not being closed.
    pub(super) fn is_ready(&self) -> bool {
        self.handshake.is_some() && !self.closing
    }

    pub(super) fn is_legacy(&self) -> bool {
        self.handshake.as_ref().is_some_and(Handshake::is_legacy)
    }

    /// Whether an answer of ours to a request may still be on its way.
    pub(super) fn awaits_answer(&self) -> bool {
        !self.outstanding.is_empty() || !self.forgiven.is_empty()
    }

    /// A name for log lines.
    pub(super) fn label(&self) -> String {
        match (&self.identity, &self.direction) {
            (Some(identity), _) => format!("{identity}@{}", self.remote.address),
            (None, Way::Out(_)) => self.remote.address.clone(),
            (None, Way::In) => format!("{} (inbound)", self.remote.address),
        }
    }
}
