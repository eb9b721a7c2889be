//! Every bound that keeps a node upright among hostile or broken peers, in one value.
//!
//! The row is that of `attacks.md`, where the bound's purpose stands. All values can be changed; the defaults are:
//!
//! | limit | default | row | enforced in | reason |
//! |---|---|---|---|---|
//! | `frame_before_handshake` | 2 KiB | 1 | `engine/connection.rs` | a handshake has a few hundred bytes, and nothing else is taken before it |
//! | `frame_max` | 4 MiB | 1 | `engine/connection.rs` | the largest block that gossip carries, with room for text |
//! | `frame_response_max` | 32 MiB | 1 | `engine/requests.rs` | legacy peers put 500 blocks, however large, into one frame |
//! | `response_frames_at_once` | 1 | 1 | `engine/connection.rs` | one such frame is all that the budget can bear besides |
//! | `handshake_timeout` | 5 s | 2 | `engine/handshake.rs` | one small frame each way, over the slowest link |
//! | `frame_timeout` | 20 s | 2 | `engine/connection.rs` | 4 MiB at 2 Mbit/s; whoever drips bytes holds a buffer no longer |
//! | `idle_timeout` | 60 s | 2 | `engine/connection.rs` | tips are told of far more often |
//! | `pending_inbound` | 64 | 2 | `peers/guard.rs` | as many as there are places to fill |
//! | `pending_per_address` | 5 | 2 | `peers/guard.rs` | one address must not hold up who comes from others |
//! | `get_blocks_count` | 500 | 9 | `engine/serving.rs` | the protocol's own bound |
//! | `get_blocks_bytes` | 1 MiB | 9 | `engine/serve.rs` | a question of 60 bytes must not cost more |
//! | `get_blocks_queue` | 4 | 9 | `engine/serving.rs` | what a peer asks for ahead over a long line; more only waits here |
//! | `served_range_memory` | 10 s | 9 | `engine/serving.rs` | an honest peer asks for the same again after a time-out only |
//! | `new_block_queue_per_peer` | 64 | 11 | `engine/gossip.rs` | what may come while one block is imported |
//! | `new_block_queue` | 256 | 11 | `engine/gossip.rs` | four peers at their bound; gossip that is dropped comes by sync |
//! | `new_block_ahead` | 1024 | 11 | `engine/gossip.rs` | beyond it only a sync can link what comes |
//! | `seen_cache` | 100000 | 12 | `engine/core.rs` | ten times the pool: what was seen once is not looked at again |
//! | `known_blocks_per_peer` | 1024 | 12 | `peers/known.rs` | no block further back is gossip |
//! | `known_txs_per_peer` | 4096 | 12 | `peers/known.rs` | more than are on their way to one peer |
//! | `pool_txs` | 10000 | 13 | `mempool/checks.rs` | some hundred blocks full |
//! | `pool_bytes` | 64 MiB | 13 | `mempool/moving.rs` | what 10,000 usual transactions take six times over, and what a small machine can spare |
//! | `pool_tx_bytes` | 128 KiB | 13 | `mempool/checks.rs` | a few large ones must not fill the pool |
//! | `pool_per_sender` | 64 | 13 | `mempool/checks.rs` | the reference's bound; one sender must not fill the pool |
//! | `pool_nonce_gap` | 64 | 14 | `mempool/checks.rs` | as many as one sender may have in the pool |
//! | `pool_wait` | 1 h | 14 | `mempool/moving.rs` | what was lost on the way has come again long before |
//! | `pool_waiting_percent` | 25 | 14 | `mempool/checks.rs` | what cannot be included must not keep out what can |
//! | `pool_replacement_percent` | 10 | 15 | `mempool/checks.rs` | each replacement costs everybody a message |
//! | `addresses` | 1024 | 16 | `peers/address_book.rs` | far more than a node dials in a day |
//! | `addresses_per_source` | 32 | 16 | `peers/address_book.rs` | no single peer can fill the book |
//! | `address_forgotten_after` | 168 h | 16 | `peers/address_book.rs` | a week's outage is no end |
//! | `dial_interval` | 100 ms | 17 | `peers/dialer.rs` | nobody can make us flood others |
//! | `dial_backoff_configured` | 1 s to 60 s | 17 | `peers/dialer.rs` | the operator wants it back soon, and for ever |
//! | `dial_backoff` | 30 s to 1 h | 17 | `peers/dialer.rs` | there are others |
//! | `outbound` | 8 | 18 | `peers/dialer.rs` | enough that some are honest; nobody else can take these |
//! | `inbound` | 64 | 18 | `peers/guard.rs` | what the budget serves side by side |
//! | `anchors` | 2 | 18 | `peers/address_book.rs` | whoever waits for a restart to surround us meets them |
//! | `inbound_per_address` | 1 | 18 | `peers/guard.rs` | another place costs another address |
//! | `exempt_loopback` | true | 18 | `peers/guard.rs` | many nodes on one machine share it |
//! | `accept_interval` | 1 s | 21 | `peers/guard.rs` | no honest peer comes more often for long |
//! | `accept_burst` | 8 | 21 | `peers/guard.rs` | several nodes behind one address that start together |
//! | `addresses_tracked` | 4096 | 21 | `peers/guard/rate.rs` | some 400 KiB a table; the one that matters least makes room |
//! | `outbox_bytes` | 8 MiB | 22 | `engine/connection.rs` | two of the largest frames |
//! | `outbox_messages` | 4096 | 22 | `engine/connection.rs` | what a second of full load brings |
//! | `outbox_stall` | 10 s | 22 | `engine/writer.rs` | a reader that lives takes something within it |
//! | `ban_threshold` | 100 | 23 | `peers/score.rs` | one proved forgery, or several slips |
//! | `score_half_life` | 10 min | 23 | `peers/score.rs` | faults of long ago do not add up |
//! | `ban_time` | 1 h | 23 | `peers/score.rs` | long enough to make attacks dear; bans expire |
//! | `ban_time_max` | 24 h | 23 | `peers/score.rs` | an address changes hands |
//! | `penalties` | 256 | 23 | `peers/penalties.rs` | enough for an operator to see what goes on |
//! | `penalties_per_peer` | 8 | 23 | `peers/penalties.rs` | one must not push out those of others |
//! | `clock_warning` | 10 s | 25 | `engine/clocks.rs` | before the 15 s at which blocks are held back |
//! | `log_interval` | 1 min | 26 | `peers/log_limiter.rs` | a day of one fault is 1440 lines |
//! | `log_burst` | 8 | 26 | `engine/connections.rs` | several peers may stand behind one address |
//! | `legacy_timeout` | 60 s | legacy | `engine/requests.rs` | applying 500 blocks keeps one busy for half a minute |
//! | `legacy_handshake_repeat` | 20 s | legacy | `engine/core.rs` | later versions drop who is silent for 45 s |
//! | `legacy_frames_skipped` | 8 | legacy | `engine/handshake.rs` | v1 broadcasts to every socket, greeted or not |
//! | `legacy_reconnect` | 60 s to 1 h | legacy | `engine/stuck.rs` | v1 begins a sync only with the first handshake of a connection |
//! | `network_memory` | 64 MiB | all | `engine/connection.rs` | a full pool, a node at rest and this stay below 160 MiB |
//!
//! `inbound_per_address` is 8 on devnet ([`Limits::for_network`]). How far a block may be ahead of our clock (row 25) is no limit of a node but
//! a rule of the chain: [`MAX_SECONDS_AHEAD`](crate::rules::MAX_SECONDS_AHEAD). Bounds that nobody chooses are in `LIMITS.md`, below this table's
//! purposes.

use std::time::Duration;

/// The bounds of a node. See the [module documentation](self) for the table of defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a frame before the handshake is done: a handshake needs a few hundred, and nothing else is taken.
    pub frame_before_handshake: usize,
    /// Bytes of a frame after the handshake: the largest block that gossip carries.
    pub frame_max: usize,
    /// Bytes of a frame while our own `get_blocks` is outstanding: legacy peers answer with 500 blocks, however large.
    pub frame_response_max: usize,
    /// How many connections may hold a frame above [`frame_max`](Self::frame_max) at a time: what bounds their memory.
    pub response_frames_at_once: usize,
    /// Time for the whole handshake: it is one small frame each way.
    pub handshake_timeout: Duration,
    /// Time from a frame's first byte to its last: whoever drips bytes holds a buffer no longer.
    pub frame_timeout: Duration,
    /// Silence after which a connection is closed (not a legacy peer's: those are silent by nature).
    pub idle_timeout: Duration,
    /// Inbound connections whose handshake is not done, in all.
    pub pending_inbound: usize,
    /// Inbound connections whose handshake is not done, of one address.
    pub pending_per_address: usize,

    /// Blocks in an answer to `get_blocks`: the protocol's own bound.
    pub get_blocks_count: u64,
    /// Bytes of blocks in an answer to `get_blocks` (but always one block): a small request must not cost a large answer.
    pub get_blocks_bytes: usize,
    /// `get_blocks` of one peer that wait, besides the one that is being answered; the oldest makes room for a further one, and the log says so.
    pub get_blocks_queue: usize,
    /// How long a range served to a peer is remembered: asked again within this time, it waits.
    pub served_range_memory: Duration,

    /// `new_block` that wait for their check, of one peer.
    pub new_block_queue_per_peer: usize,
    /// `new_block` that wait for their check, in all.
    pub new_block_queue: usize,
    /// Blocks above our tip: of a `new_block` further up only the claim is noted.
    pub new_block_ahead: u64,
    /// Ids of blocks and transactions that are remembered as seen.
    pub seen_cache: usize,
    /// Blocks that a peer is remembered to know.
    pub known_blocks_per_peer: usize,
    /// Transactions that a peer is remembered to know.
    pub known_txs_per_peer: usize,

    /// Transactions in the pool.
    pub pool_txs: usize,
    /// Bytes of the transactions in the pool, their bookkeeping included.
    pub pool_bytes: usize,
    /// Bytes of one transaction in the pool: a few large ones must not fill it.
    pub pool_tx_bytes: usize,
    /// Transactions of one sender in the pool: the reference's bound.
    pub pool_per_sender: usize,
    /// How far above the account's nonce a pooled transaction's may be.
    pub pool_nonce_gap: u64,
    /// How long a transaction waits in the pool for a lower nonce.
    pub pool_wait: Duration,
    /// The part of the pool, in percent of [`pool_txs`](Self::pool_txs), that may wait for lower nonces.
    pub pool_waiting_percent: usize,
    /// How much more a transaction must pay, in percent, to replace one of the same sender and nonce.
    pub pool_replacement_percent: u128,

    /// Addresses in the address book and in `peers.json`.
    pub addresses: usize,
    /// Addresses learnt from one source: no single peer can fill the book.
    pub addresses_per_source: usize,
    /// How long an address that nobody configured may fail before it is forgotten.
    pub address_forgotten_after: Duration,
    /// Time between two dials: nobody can make us flood others.
    pub dial_interval: Duration,
    /// First and longest pause before a configured address is dialled again.
    pub dial_backoff_configured: Backoff,
    /// First and longest pause before any other address is dialled again.
    pub dial_backoff: Backoff,
    /// Connections that we dialled. Nobody else can take these.
    pub outbound: usize,
    /// Connections that others dialled.
    pub inbound: usize,
    /// Outbound peers that are dialled first after a restart: whoever waits for a restart to surround us meets them.
    pub anchors: usize,
    /// Connections that one address dialled.
    pub inbound_per_address: usize,
    /// Whether bounds per address and bans leave loopback alone: many nodes on one machine share it.
    pub exempt_loopback: bool,
    /// Time after which an address may connect once more.
    pub accept_interval: Duration,
    /// How many connections an address may make at once before [`accept_interval`](Self::accept_interval) holds.
    pub accept_burst: u32,
    /// Addresses that accepts, scores, bans and log lines are counted for, in each of these tables.
    pub addresses_tracked: usize,

    /// Bytes that wait to be sent to one peer.
    pub outbox_bytes: usize,
    /// Messages that wait to be sent to one peer.
    pub outbox_messages: usize,
    /// How long a peer may take nothing of what waits for it before it is closed.
    pub outbox_stall: Duration,

    /// Points at which a peer is banned.
    pub ban_threshold: u32,
    /// Time in which a peer's points halve: faults of long ago do not add up.
    pub score_half_life: Duration,
    /// The length of a first ban; each further one is twice as long.
    pub ban_time: Duration,
    /// The length of the longest ban.
    pub ban_time_max: Duration,
    /// Penalties that are remembered with their proofs, of all peers: enough for an operator to see what goes on.
    pub penalties: usize,
    /// Penalties that are remembered of one peer: it must not push out those of others.
    pub penalties_per_peer: usize,

    /// Difference between our clock and our peers' that operators are warned of: well before blocks are held back.
    pub clock_warning: Duration,
    /// Time between two log lines of one kind about one peer.
    pub log_interval: Duration,
    /// Lines of one kind that several peers behind one address may cause within [`log_interval`](Self::log_interval): that they come and go, and
    /// why they are refused.
    pub log_burst: u32,

    /// Deadline for what a legacy peer is asked: applying 500 blocks keeps it busy for half a minute.
    pub legacy_timeout: Duration,
    /// Silence of ours after which our handshake is repeated to a legacy peer: later versions drop us after 45 s.
    pub legacy_handshake_repeat: Duration,
    /// Frames up to [`frame_max`](Self::frame_max) that a dialler skips before an acceptor's handshake: v1 broadcasts to every socket.
    pub legacy_frames_skipped: usize,
    /// How long a legacy peer may be behind us without moving before we see to it that it is not stuck, and how long at most between two new
    /// connections for that: v1 begins a sync only with the first handshake of one (protocol.md section 2).
    pub legacy_reconnect: Backoff,

    /// Bytes that all queues of the network and of the import may hold together: see [`memory`](crate::memory) for how they are shared out.
    pub network_memory: usize,
}

/// A pause that doubles from the first to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after this many earlier ones, shortened at random by up to a quarter, so that many who failed
    /// together do not try again together.
    pub fn pause(&self, earlier: u32, rng: &mut dyn FnMut() -> u64) -> Duration {
        // 2^20 of the shortest sensible pause (1 ms) is beyond any longest one.
        let full = self.first.saturating_mul(1 << earlier.min(20)).min(self.longest);
        let quarter = u64::try_from(full.as_millis() / 4).unwrap_or(u64::MAX);
        full.saturating_sub(Duration::from_millis(rng() % quarter.saturating_add(1)))
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_before_handshake: 2 * KIB,
            frame_max: 4 * MIB,
            frame_response_max: 32 * MIB,
            response_frames_at_once: 1,
            handshake_timeout: Duration::from_secs(5),
            frame_timeout: Duration::from_secs(20),
            idle_timeout: MINUTE,
            pending_inbound: 64,
            pending_per_address: 5,
            get_blocks_count: 500,
            get_blocks_bytes: MIB,
            get_blocks_queue: 4,
            served_range_memory: Duration::from_secs(10),
            new_block_queue_per_peer: 64,
            new_block_queue: 256,
            new_block_ahead: 1024,
            seen_cache: 100_000,
            known_blocks_per_peer: 1024,
            known_txs_per_peer: 4096,
            pool_txs: 10_000,
            pool_bytes: 64 * MIB,
            pool_tx_bytes: 128 * KIB,
            pool_per_sender: 64,
            pool_nonce_gap: 64,
            pool_wait: HOUR,
            pool_waiting_percent: 25,
            pool_replacement_percent: 10,
            addresses: 1024,
            addresses_per_source: 32,
            address_forgotten_after: 7 * 24 * HOUR,
            dial_interval: Duration::from_millis(100),
            dial_backoff_configured: Backoff { first: Duration::from_secs(1), longest: MINUTE },
            dial_backoff: Backoff { first: Duration::from_secs(30), longest: HOUR },
            outbound: 8,
            inbound: 64,
            anchors: 2,
            inbound_per_address: 1,
            exempt_loopback: true,
            accept_interval: Duration::from_secs(1),
            accept_burst: 8,
            addresses_tracked: 4096,
            outbox_bytes: 8 * MIB,
            outbox_messages: 4096,
            outbox_stall: Duration::from_secs(10),
            ban_threshold: 100,
            score_half_life: 10 * MINUTE,
            ban_time: HOUR,
            ban_time_max: 24 * HOUR,
            penalties: 256,
            penalties_per_peer: 8,
            clock_warning: Duration::from_secs(10),
            log_interval: MINUTE,
            log_burst: 8,
            legacy_timeout: MINUTE,
            legacy_handshake_repeat: Duration::from_secs(20),
            legacy_frames_skipped: 8,
            legacy_reconnect: Backoff { first: MINUTE, longest: HOUR },
            network_memory: 64 * MIB,
        }
    }
}

/// Inbound connections per address on devnet, where several nodes often share a machine.
const DEVNET_INBOUND_PER_ADDRESS: usize = 8;

impl Limits {
    /// The defaults of a network.
    pub fn for_network(network: &str) -> Self {
        let mut limits = Self::default();
        if network == crate::types::Network::Devnet.name() {
            limits.inbound_per_address = DEVNET_INBOUND_PER_ADDRESS;
        }
        limits
    }

    /// The longest block that is taken from a peer, in bytes as JSON: what a node of default limits reads as an answer. What is longer could be
    /// had in other codecs, and not given to such a node in this one.
    pub fn block_max(&self) -> usize {
        // What may come unasked is taken, whatever an answer may have.
        self.frame_response_max.max(self.frame_max).min(longest_block() + ENVELOPE).saturating_sub(ENVELOPE)
    }
}

/// What an answer of one block has besides it as JSON, in bytes, or more: `{"type":"blocks_response","payload":{"request_id":` and so on.
const ENVELOPE: usize = 256;

/// The longest block that is taken at all, in bytes as JSON: what nodes of default limits read.
pub(crate) fn longest_block() -> usize {
    Limits::default().frame_response_max - ENVELOPE
}

#[cfg(test)]
mod tests;
