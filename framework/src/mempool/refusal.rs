use crate::rules::TxFault;

/// Why the pool does not take a transaction. [`reason`](Self::reason) has the reference's words for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum Refusal {
    /// It is in the pool.
    AlreadyInPool,
    /// It breaks a rule that needs no state.
    Fault(#[from] TxFault),
    /// As many transactions wait for the check of their signatures as may.
    Busy,
    /// The pool is full, in number or in bytes.
    PoolFull,
    /// The sender has as many transactions in the pool as one may have.
    SenderLimit,
    /// It is larger than a transaction in the pool may be.
    TooLarge {
        /// Its size in memory, in bytes.
        bytes: usize,
        /// The bound.
        most: usize,
    },
    /// An address has a colon in it, which v1 nodes cannot store.
    Colon {
        /// Which address.
        address: String,
    },
    /// The account has used this nonce.
    NonceUsed {
        /// The transaction's.
        nonce: u64,
        /// The account's.
        next: u64,
    },
    /// The nonce is too far above the account's.
    NonceGap {
        /// The transaction's.
        nonce: u64,
        /// The account's.
        next: u64,
        /// The bound.
        most: u64,
    },
    /// It would wait, for a lower nonce or for funds, and as many as may wait do.
    WaitingFull {
        /// The bound.
        most: usize,
    },
    /// One with this sender and nonce is in the pool, and this one does not pay enough more.
    Replacement {
        /// The nonce.
        nonce: u64,
        /// The fee that would do.
        needed: u128,
    },
}

impl Refusal {
    /// The reason in the words of the reference's pool (protocol.md section 4); our own words where it has no such check.
    pub fn reason(&self) -> String {
        match self {
            Self::AlreadyInPool => "already_in_pool".into(),
            Self::Fault(fault) => fault.reason(),
            Self::Busy => "busy: too many transactions wait to be verified, try again".into(),
            Self::PoolFull => "mempool_full".into(),
            Self::SenderLimit => "sender_limit_exceeded".into(),
            Self::TooLarge { bytes, most } => format!("transaction_too_large: {bytes} bytes > max {most}"),
            Self::Colon { address } => format!("invalid_address: {address} has a colon in it"),
            Self::NonceUsed { nonce, next } => format!("nonce {nonce} < next_nonce {next}"),
            Self::NonceGap { nonce, next, most } => format!("nonce {nonce} > next_nonce {next} + {most}"),
            Self::WaitingFull { most } => {
                format!("too_many_waiting: {most} transactions wait for lower nonces or funds")
            }
            Self::Replacement { nonce, needed } => {
                format!("replacement_underpriced: nonce {nonce} is taken, fee must be at least {needed}, and covered")
            }
        }
    }

    /// Whether the same transaction may be taken later, once others have left the pool.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Busy | Self::PoolFull | Self::SenderLimit | Self::WaitingFull { .. })
    }

    /// Whether nobody who checks transactions can have passed this one on: it is not signed by its sender. All other
    /// reasons depend on state, on limits, or on how strict one is.
    pub fn is_proof(&self) -> bool {
        matches!(self, Self::Fault(TxFault::Signature(_) | TxFault::Sender { .. }))
    }
}
