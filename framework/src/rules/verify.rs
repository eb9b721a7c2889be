use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::ed25519::KeyPoints;
use super::hasher::HashedBlock;
use super::keys::Scheme;
use super::transaction::{self, TxFault};
use super::{Hasher, Rejection, Rule, SignatureCheck, SignatureFault, schedule, signature};
use crate::fast_map::FastSet;
use crate::types::{Genesis, Hash32, HashRules, Header, Height, HexText, Tip, Transaction};

/// How far a block may be ahead of the clock, in seconds (protocol.md section 4, block validity 2).
pub const MAX_SECONDS_AHEAD: u64 = 15;

/// All checks that need neither state nor clock. Cheap to clone; shared by import, pool and producer.
#[derive(Debug, Clone)]
pub struct Verifier {
    genesis: Arc<Genesis>,
    hasher: Hasher,
    known_keys: KeyPoints,
}

impl Verifier {
    /// The verifier of a chain.
    pub fn new(genesis: Arc<Genesis>) -> Self {
        let hasher = Hasher::new(&genesis);
        Self { genesis, hasher, known_keys: KeyPoints::default() }
    }

    /// The hasher.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The genesis.
    pub fn genesis(&self) -> &Arc<Genesis> {
        &self.genesis
    }

    /// Everything about a block that depends on itself alone, but for signatures: chain id, scheme, roots over the body,
    /// gas sums and limits, block 0's parent, repeated transactions, and for each transaction its type, limits, fee, payload and sender.
    ///
    /// # Errors
    /// The first rule that the block breaks.
    pub fn check_block(&self, block: &HashedBlock) -> Result<(), Rejection> {
        let header = &block.block.header;
        self.check_header(header, block.block.pq_sig_scheme_id)?;
        let tx_root = self.hasher.tx_root(&block.tx_hashes);
        if header.tx_root != tx_root {
            let detail = format!("expected {tx_root}, found {}", header.tx_root);
            return Err(self.stricter(header.height, Rule::TxRoot, detail));
        }
        check_repeats(header.height, &block.block.txs)?;
        let mut gas_used = 0u64;
        for (i, tx) in block.block.txs.iter().enumerate() {
            let base_gas = self.check_transaction(tx).map_err(|fault| self.tx_rejection(header.height, i, &fault))?;
            gas_used = gas_used.saturating_add(base_gas);
        }
        if header.gas_used != gas_used {
            let detail = format!("expected {gas_used}, found {}", header.gas_used);
            return Err(Rejection::new(header.height, Rule::GasUsed, detail));
        }
        self.check_compute_root(header, &block.block.txs)
    }

    fn check_header(&self, header: &Header, scheme_id: u32) -> Result<(), Rejection> {
        let height = header.height;
        if header.chain_id != self.genesis.chain_id {
            let detail = format!("expected {:?}, found {:?}", self.genesis.chain_id, header.chain_id);
            return Err(self.stricter(height, Rule::ChainId, detail));
        }
        let scheme = Scheme::of(self.hasher.rules()).id();
        if scheme_id != scheme {
            let detail = format!("expected pq_sig_scheme_id {scheme}, found {scheme_id}");
            return Err(self.stricter(height, Rule::SignatureScheme, detail));
        }
        if height == 0 && header.prev_hash != Hash32::ZERO {
            let detail = format!("expected {} for block 0, found {}", Hash32::ZERO, header.prev_hash);
            return Err(self.stricter(height, Rule::PrevHash, detail));
        }
        let limit = self.genesis.params.block_gas_limit;
        if header.gas_limit > limit {
            let detail = format!("expected gas_limit at most {limit}, found {}", header.gas_limit);
            return Err(Rejection::new(height, Rule::GasLimit, detail));
        }
        if header.gas_used > header.gas_limit {
            let detail = format!("expected gas_used at most {}, found {}", header.gas_limit, header.gas_used);
            return Err(Rejection::new(height, Rule::GasLimit, detail));
        }
        Ok(())
    }

    fn check_compute_root(&self, header: &Header, txs: &[Transaction]) -> Result<(), Rejection> {
        let root = self
            .hasher
            .compute_root(txs)
            .map_err(|(i, why)| Rejection::new(header.height, Rule::TxPayload, format!("transaction {i}: {why}")))?;
        if header.compute_root == root {
            return Ok(());
        }
        let show = |root: Option<Hash32>| root.map_or("none".to_owned(), |root| root.to_string());
        let detail = format!("expected {}, found {}", show(root), show(header.compute_root));
        Err(Rejection::new(header.height, Rule::ComputeRoot, detail))
    }

    /// All rules for a transaction by itself but its signature; gives its base gas.
    ///
    /// # Errors
    /// The first rule that it breaks, in the order of the reference's pool.
    pub fn check_transaction(&self, tx: &Transaction) -> Result<u64, TxFault> {
        let base_gas = self.check_transaction_limits(tx)?;
        self.check_transaction_sender(tx)?;
        Ok(base_gas)
    }

    /// The cheap part of [`check_transaction`](Self::check_transaction): gas price, type, gas limit, fee; gives the base gas.
    /// The reference's pool looks at its own limits after these.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_transaction_limits(&self, tx: &Transaction) -> Result<u64, TxFault> {
        transaction::check_limits(&self.genesis, tx)
    }

    /// The other part of [`check_transaction`](Self::check_transaction): signature and key present, the key the sender's,
    /// recipient and payload what the type needs.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check_transaction_sender(&self, tx: &Transaction) -> Result<(), TxFault> {
        transaction::check_sender(self.hasher.rules(), tx)?;
        transaction::check_content(self.hasher.rules(), tx)
    }

    /// Verifies the signature of a single transaction over its hash.
    ///
    /// # Errors
    /// The signature is invalid, or signature or key cannot be read.
    pub fn verify_transaction(&self, tx: &Transaction, hash: &Hash32) -> Result<(), TxFault> {
        transaction::signature_check(&self.hasher, 0, tx, *hash)?
            .verify()
            .map_err(|fault| TxFault::of_signature(tx, fault))
    }

    /// The sender and the signature of each of these transactions, with their hashes: signatures as batches where that is
    /// faster.
    pub fn verify_transactions(&self, txs: &[(&Transaction, Hash32)]) -> Vec<Result<(), TxFault>> {
        let read = |at: usize, tx: &Transaction, hash: Hash32| {
            self.check_transaction_sender(tx)?;
            transaction::signature_check(&self.hasher, at, tx, hash)
        };
        let (mut verdicts, mut checks) = (Vec::with_capacity(txs.len()), Vec::with_capacity(txs.len()));
        for (at, (tx, hash)) in txs.iter().enumerate() {
            verdicts.push(read(at, tx, *hash).map(|check| checks.push(check)));
        }
        for (check, verdict) in checks.iter().zip(signature::verify_each(&checks, &self.known_keys)) {
            if let (Some(at), Err(fault)) = (check.tx, verdict)
                && let Some((tx, _)) = txs.get(at)
            {
                verdicts[at] = Err(TxFault::of_signature(tx, fault));
            }
        }
        verdicts
    }

    /// How a block stands to its parent (`None` for block 0): height, link, time. Gives the round.
    ///
    /// # Errors
    /// The rule that the block breaks.
    pub fn check_parent(&self, header: &Header, parent: Option<Parent>) -> Result<u64, Rejection> {
        let reject = |rule, expected: &dyn fmt::Display, found: &dyn fmt::Display| {
            Err(Rejection::new(header.height, rule, format!("expected {expected}, found {found}")))
        };
        let Some(parent) = parent else {
            return if header.height == 0 { Ok(0) } else { reject(Rule::Height, &0, &header.height) };
        };
        let height = parent.tip.height.saturating_add(1);
        if header.height != height {
            return reject(Rule::Height, &height, &header.height);
        }
        if header.prev_hash != parent.tip.hash {
            return reject(Rule::PrevHash, &parent.tip.hash, &header.prev_hash);
        }
        match header.timestamp.checked_sub(parent.timestamp) {
            None | Some(0) => {
                reject(Rule::Timestamp, &format_args!("more than the parent's {}", parent.timestamp), &header.timestamp)
            }
            Some(distance) => Ok(schedule::round(distance, self.genesis.params.block_time)),
        }
    }

    /// Whether the block is at most 15 s ahead of `now` (unix seconds).
    ///
    /// # Errors
    /// [`Rule::FutureTimestamp`]
    pub fn check_clock(&self, header: &Header, now: u64) -> Result<(), Rejection> {
        let latest = now.saturating_add(MAX_SECONDS_AHEAD);
        if header.timestamp <= latest {
            return Ok(());
        }
        let detail =
            format!("expected at most {latest} ({MAX_SECONDS_AHEAD} s after our clock), found {}", header.timestamp);
        Err(Rejection::new(header.height, Rule::FutureTimestamp, detail))
    }

    /// The check of a block's own signature by the key of its proposer.
    ///
    /// # Errors
    /// There is no signature, or signature or key cannot be read.
    pub fn block_signature(&self, block: &HashedBlock, pub_key: &HexText) -> Result<SignatureCheck, Rejection> {
        let reject = |detail| Rejection::new(block.link.height, Rule::BlockSignature, detail);
        let signature = &block.block.pq_signature;
        if signature.is_empty() {
            return Err(reject("pq_signature is missing".to_owned()));
        }
        SignatureCheck::new(self.hasher.rules(), None, pub_key, signature, block.link.hash)
            .map_err(|error| reject(error.to_string()))
    }

    /// The checks of the signatures of a block's transactions, but for those whose hash `known` says were verified before.
    ///
    /// # Errors
    /// A signature or key cannot be read.
    pub fn transaction_signatures(
        &self,
        block: &HashedBlock,
        known: &dyn Fn(&Transaction, &Hash32) -> bool,
    ) -> Result<Vec<SignatureCheck>, Rejection> {
        let mut checks = Vec::with_capacity(block.block.txs.len());
        for (i, (tx, hash)) in block.block.txs.iter().zip(&block.tx_hashes).enumerate() {
            if !known(tx, hash) {
                let check = transaction::signature_check(&self.hasher, i, tx, *hash)
                    .map_err(|fault| self.tx_rejection(block.link.height, i, &fault))?;
                checks.push(check);
            }
        }
        Ok(checks)
    }

    /// Runs checks, as a batch where that is faster; gives the index of the first that fails. Every way of running gives the same verdicts.
    ///
    /// # Errors
    /// The index of the first check that fails.
    pub fn verify<C: Borrow<SignatureCheck>>(&self, checks: &[C]) -> Result<(), usize> {
        signature::verify(checks, &self.known_keys)
    }

    /// The rejection that stands for a failed check of this block.
    pub fn signature_rejection(&self, block: &HashedBlock, check: &SignatureCheck) -> Rejection {
        let height = block.link.height;
        // Why it failed is worked out again: a batch does not tell, and it happens once a block at most.
        let fault = check.verify().err().unwrap_or(SignatureFault::Invalid);
        if let Some((i, tx)) = check.tx.and_then(|i| Some((i, block.block.txs.get(i)?))) {
            return self.tx_rejection(height, i, &TxFault::of_signature(tx, fault));
        }
        let detail = match fault {
            SignatureFault::Key(error) => error.to_string(),
            SignatureFault::Invalid => format!("not a signature of {}", block.block.header.proposer_address),
        };
        Rejection::new(height, Rule::BlockSignature, detail)
    }

    /// The rejection of a block that cannot be decoded. Under v1 rules that may be one which the reference takes (a negative
    /// amount, a number as text), so that nobody is at fault for it.
    pub fn unreadable(&self, height: Height, error: &dyn fmt::Display) -> Rejection {
        self.stricter(height, Rule::Encoding, error.to_string())
    }

    fn tx_rejection(&self, height: Height, at: usize, fault: &TxFault) -> Rejection {
        let detail = format!("transaction {at}: {fault}");
        match fault {
            TxFault::Type(_) => self.stricter(height, Rule::TxType, detail),
            fault => Rejection::new(height, fault.rule(), detail),
        }
    }

    /// A rejection of what reference v1 accepts.
    fn stricter(&self, height: Height, rule: Rule, detail: String) -> Rejection {
        let stricter_than_v1 = self.hasher.rules() == HashRules::ComputechainV1;
        Rejection { stricter_than_v1, ..Rejection::new(height, rule, detail) }
    }
}

/// A transaction that stands twice breaks the rule of nonces, whatever the state.
fn check_repeats(height: Height, txs: &[Transaction]) -> Result<(), Rejection> {
    let mut seen = FastSet::default();
    seen.reserve(txs.len());
    match txs.iter().position(|tx| !seen.insert((&tx.from_address, tx.nonce))) {
        None => Ok(()),
        Some(i) => {
            let detail = format!("transaction {i}: an earlier one of its sender has used its nonce {}", txs[i].nonce);
            Err(Rejection::new(height, Rule::TxNonce, detail))
        }
    }
}

/// What a block's checks need of its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Height and hash.
    pub tip: Tip,
    /// Unix seconds.
    pub timestamp: u64,
}
