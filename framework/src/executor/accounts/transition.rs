//! What a transaction does to the state, and what a proposer earns (protocol.md section 4).

use super::overlay::Overlay;
use super::state::{Account, REGISTERED, Validator, candidate_key};
use crate::executor::ExecuteError;
use crate::rules::keys::{ACCOUNT_PREFIX, VALIDATOR_PREFIX, address_of};
use crate::rules::payload::stake_pub_key;
use crate::rules::{Rejection, Rule};
use crate::store::{StateValue, StoreError};
use crate::types::{Address, Genesis, HashRules, Height, HexText, Transaction, TxType};

/// The reward of the first blocks, in the smallest unit: 10 CPC.
const FIRST_REWARD: u128 = 10_000_000_000_000_000_000;
/// After so many blocks the reward is halved.
const BLOCKS_PER_HALVING: u64 = 1_000_000;

/// A block on its way through execution.
#[derive(Debug)]
pub(super) struct Transition<'a, 'v> {
    pub(super) genesis: &'a Genesis,
    pub(super) height: Height,
    pub(super) overlay: Overlay<'v>,
    /// Sum of base gas so far.
    pub(super) gas: u64,
    /// Sum of base gas × gas price so far.
    pub(super) fees: u128,
    /// Whether somebody staked, so that others may be elected.
    pub(super) staked: bool,
}

impl<'a, 'v> Transition<'a, 'v> {
    pub(super) fn new(genesis: &'a Genesis, height: Height, overlay: Overlay<'v>) -> Self {
        Self { genesis, height, overlay, gas: 0, fees: 0, staked: false }
    }

    pub(super) fn rejection(&self, rule: Rule, detail: impl Into<String>) -> Rejection {
        Rejection::new(self.height, rule, detail)
    }

    /// Applies the transaction that stands at `index`. Where it fails, nothing is changed.
    pub(super) fn apply(&mut self, index: usize, tx: &Transaction) -> Result<(), ExecuteError> {
        let fail = |this: &Self, rule, detail: String| {
            Err(ExecuteError::from(this.rejection(rule, format!("transaction {index}: {detail}"))))
        };
        let Some(base_gas) = tx.tx_type.base_gas() else {
            let mut rejection =
                self.rejection(Rule::TxType, format!("transaction {index}: {} has no rule", tx.tx_type));
            rejection.stricter_than_v1 = true;
            return Err(rejection.into());
        };
        let (sender_place, sender) = self.overlay.account(&tx.from_address)?;
        if tx.nonce != sender.nonce {
            let detail = format!("{} is at nonce {}, got {}", tx.from_address, sender.nonce, tx.nonce);
            return fail(self, Rule::TxNonce, detail);
        }
        let paid = u128::from(base_gas).checked_mul(tx.gas_price);
        let left = paid.and_then(|gas| gas.checked_add(tx.amount)).and_then(|cost| sender.balance.checked_sub(cost));
        let (Some(paid), Some(balance)) = (paid, left) else {
            let (from, amount, price) = (&tx.from_address, tx.amount, tx.gas_price);
            let detail = format!("{from} has {}, needs {amount} + {base_gas} × {price}", sender.balance);
            return fail(self, Rule::TxBalance, detail);
        };
        let (Some(nonce), Some(gas), Some(fees)) =
            (sender.nonce.checked_add(1), self.gas.checked_add(base_gas), self.fees.checked_add(paid))
        else {
            return fail(
                self,
                Rule::TxNonce,
                "the nonce, or the block's gas or fees, exceed what can be counted".into(),
            );
        };
        let sender = Account { balance, nonce };

        match tx.tx_type {
            TxType::Transfer => {
                // An empty one stands for none in the reference.
                let Some(to) = tx.to_address.as_ref().filter(|to| !to.as_str().is_empty()) else {
                    return fail(self, Rule::TxRecipient, "a transfer must have a to_address".into());
                };
                let to_itself = *to == tx.from_address;
                let (place, mut recipient) =
                    if to_itself { (sender_place, sender) } else { self.overlay.account(to)? };
                let Some(credited) = recipient.balance.checked_add(tx.amount) else {
                    return fail(self, Rule::TxBalance, format!("{to} would own more than 2^128"));
                };
                recipient.balance = credited;
                if !to_itself {
                    self.overlay.put_account(sender_place, &tx.from_address, sender);
                }
                self.overlay.put_account(place, to, recipient);
            }
            TxType::Stake => {
                let rules = self.genesis.hash_rules;
                let pub_key = match stake_pub_key(rules, &tx.payload) {
                    Ok(pub_key) => pub_key,
                    Err(detail) => return fail(self, Rule::TxPayload, detail),
                };
                let address = match address_of(rules, &pub_key, VALIDATOR_PREFIX) {
                    Ok(address) => address,
                    Err(error) => return fail(self, Rule::TxPayload, error.to_string()),
                };
                let known = self.overlay.validator(&address)?;
                let power = known.as_ref().map_or(0, |validator| validator.power);
                let Some(power) = power.checked_add(tx.amount) else {
                    return fail(self, Rule::TxBalance, format!("{address} would have more power than 2^128"));
                };
                self.overlay.put_account(sender_place, &tx.from_address, sender);
                self.stake(known, address, pub_key, power, &tx.from_address)?;
            }
            TxType::SubmitResult => self.overlay.put_account(sender_place, &tx.from_address, sender),
            // Base gas says that these have no rule.
            TxType::Unstake | TxType::PocReward => {}
        }
        (self.gas, self.fees) = (gas, fees);
        Ok(())
    }

    fn stake(
        &mut self,
        known: Option<Validator>,
        address: Address,
        pub_key: HexText,
        power: u128,
        staker: &Address,
    ) -> Result<(), StoreError> {
        let validator = if let Some(known) = known {
            self.set_candidate(&known, false)?;
            Validator { power, ..known }
        } else {
            let order = self.overlay.counter(REGISTERED)?;
            self.overlay.put_counter(REGISTERED, order.saturating_add(1))?;
            let reward_address = Some(staker.clone());
            Validator { address, pub_key, power, is_active: false, reward_address, order }
        };
        self.staked = true;
        self.put_validator(&validator)
    }

    /// Writes a validator, and lists it among those who may be elected where its power is enough.
    pub(super) fn put_validator(&mut self, validator: &Validator) -> Result<(), StoreError> {
        self.set_candidate(validator, validator.power >= self.genesis.params.min_stake)?;
        self.overlay.put_validator(validator)
    }

    fn set_candidate(&mut self, validator: &Validator, listed: bool) -> Result<(), StoreError> {
        let key = candidate_key(self.genesis.hash_rules, validator);
        let address = StateValue::copy_from_slice(validator.address.as_str().as_bytes());
        self.overlay.put(&key, listed.then_some(address))
    }

    /// Pays whoever gets the proposer's rewards.
    pub(super) fn reward(&mut self, to: &Address) -> Result<(), ExecuteError> {
        let (place, mut account) = self.overlay.account(to)?;
        let earned = block_reward(self.height).checked_add(self.fees);
        let Some(balance) = earned.and_then(|earned| account.balance.checked_add(earned)) else {
            let detail = format!("the reward would let {to} own more than 2^128");
            return Err(self.rejection(Rule::TxBalance, detail).into());
        };
        account.balance = balance;
        self.overlay.put_account(place, to, account);
        Ok(())
    }
}

/// What a block earns besides its fees.
fn block_reward(height: Height) -> u128 {
    let halvings = u32::try_from(height / BLOCKS_PER_HALVING).unwrap_or(u32::MAX);
    FIRST_REWARD.checked_shr(halvings).unwrap_or(0)
}

/// Who gets a validator's rewards: its reward address, or else the account of its key; nobody where its key is none. An empty reward
/// address stands for none, as in the reference.
pub(super) fn reward_account(rules: HashRules, validator: &Validator) -> Option<Address> {
    match &validator.reward_address {
        Some(address) if !address.as_str().is_empty() => Some(address.clone()),
        _ => address_of(rules, &validator.pub_key, ACCOUNT_PREFIX).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_the_reward_every_million_blocks_down_to_nothing() {
        assert_eq!(block_reward(0), 10_000_000_000_000_000_000);
        assert_eq!(block_reward(999_999), 10_000_000_000_000_000_000);
        assert_eq!(block_reward(1_000_000), 5_000_000_000_000_000_000);
        assert_eq!(block_reward(64_000_000), 0);
        assert_eq!(block_reward(128_000_000), 0);
        assert_eq!(block_reward(u64::MAX), 0);
    }
}
