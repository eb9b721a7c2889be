//! How accounts and validators stand in the state, and how to read them.
//!
//! | key | value |
//! |---|---|
//! | `a/` address | an account |
//! | `v/` address | a validator |
//! | `p/` power (descending), then registration order or address | the address of a validator with at least the minimum stake |
//! | `m/epoch` | the epoch index |
//! | `m/validators` | how many validators were ever registered |
//!
//! Values are in the postcard format. Under v1 rules any text is an address; one that is too long for a key stands
//! under its hash, after a byte that no UTF-8 text contains, with its text in the value.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::{StateKey, StateValue, StateView, StoreError, StoreErrorKind};
use crate::types::{Address, HashRules, HexText};

/// Where accounts stand.
pub(super) const ACCOUNTS: &[u8] = b"a/";
/// Where validators stand.
pub(super) const VALIDATORS: &[u8] = b"v/";
/// Where validators with enough power stand in the order of election.
pub(super) const CANDIDATES: &[u8] = b"p/";
/// The epoch index.
pub(super) const EPOCH: &[u8] = b"m/epoch";
/// How many validators were ever registered.
pub(super) const REGISTERED: &[u8] = b"m/validators";

/// The longest address, in bytes, that stands in a key as it is: a key has at most 1 KiB.
pub(super) const MAX_KEY_ADDRESS: usize = 900;
/// Begins the rest of a key that holds an address's hash: no UTF-8 text contains it.
const HASHED: u8 = 0xff;

/// What an address owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// In the smallest unit (10⁻¹⁸ CPC).
    pub balance: u128,
    /// How many transactions it has made.
    pub nonce: u64,
}

/// Somebody who may be elected to propose blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validator {
    /// The `cpcvalcons` address.
    pub address: Address,
    /// The public key, spelled as first registered.
    pub pub_key: HexText,
    /// The stake, in the smallest unit.
    pub power: u128,
    /// Whether it proposes in this epoch.
    pub is_active: bool,
    /// Who gets its rewards; by default the account of its key.
    pub reward_address: Option<Address>,
    /// How many validators were registered before it.
    pub order: u64,
}

/// The account of an address; `None` where it never existed, which counts as nothing owned and nothing done.
///
/// # Errors
/// The state cannot be read, or is none of this executor's.
pub fn account(view: &dyn StateView, address: &Address) -> Result<Option<Account>, StoreError> {
    let key = account_key(address);
    view.get(&key)?.map(|value| decode_holdings(&key, &value)).transpose()
}

/// Calls `visit` for every account, in the order of their keys, until it returns `false`.
///
/// # Errors
/// The state cannot be read, or is none of this executor's.
pub fn accounts(view: &dyn StateView, visit: &mut dyn FnMut(Address, Account) -> bool) -> Result<(), StoreError> {
    scan_decoded(view, ACCOUNTS, decode_account, &mut |(address, account)| visit(address, account))
}

/// The validator with an address.
///
/// # Errors
/// The state cannot be read, or is none of this executor's.
pub fn validator(view: &dyn StateView, address: &Address) -> Result<Option<Validator>, StoreError> {
    let key = validator_key(address);
    view.get(&key)?.map(|value| decode_validator(&key, &value)).transpose()
}

/// All validators, in order of registration.
///
/// # Errors
/// The state cannot be read, or is none of this executor's.
pub fn validators(view: &dyn StateView) -> Result<Vec<Validator>, StoreError> {
    let mut all = Vec::new();
    scan_decoded(view, VALIDATORS, decode_validator, &mut |validator| {
        all.push(validator);
        true
    })?;
    all.sort_by_key(|validator| validator.order);
    Ok(all)
}

/// The epoch index: how many epochs have ended. `None` where the state is none of this executor's.
///
/// # Errors
/// The state cannot be read.
pub fn epoch(view: &dyn StateView) -> Result<Option<u64>, StoreError> {
    view.get(EPOCH)?.map(|value| decode(EPOCH, &value)).transpose()
}

#[derive(Serialize, Deserialize)]
struct AccountRecord {
    balance: u128,
    nonce: u64,
    /// The address, where the key has but its hash.
    address: Option<Address>,
}

#[derive(Serialize, Deserialize)]
struct ValidatorRecord {
    pub_key: HexText,
    power: u128,
    is_active: bool,
    reward_address: Option<Address>,
    order: u64,
    /// The address, where the key has but its hash.
    address: Option<Address>,
}

pub(super) fn account_key(address: &Address) -> StateKey {
    address_key(ACCOUNTS, address)
}

pub(super) fn validator_key(address: &Address) -> StateKey {
    address_key(VALIDATORS, address)
}

/// Where a validator stands among those who may be elected: more power first; equal power by registration under v1
/// and by address under canonical rules (protocol.md section 4, block validity 6).
pub(super) fn candidate_key(rules: HashRules, validator: &Validator) -> StateKey {
    let mut key = CANDIDATES.to_vec();
    key.extend_from_slice(&(u128::MAX - validator.power).to_be_bytes());
    match rules {
        HashRules::ComputechainV1 => key.extend_from_slice(&validator.order.to_be_bytes()),
        HashRules::Canonical => key.extend_from_slice(validator.address.as_str().as_bytes()),
    }
    key.into()
}

pub(super) fn encode_account(address: &Address, account: Account) -> StateValue {
    encode(&AccountRecord { balance: account.balance, nonce: account.nonce, address: outside_key(address) })
}

pub(super) fn decode_account(key: &[u8], value: &[u8]) -> Result<(Address, Account), StoreError> {
    let record: AccountRecord = decode(key, value)?;
    let address = address_of_key(ACCOUNTS, key, record.address)?;
    Ok((address, Account { balance: record.balance, nonce: record.nonce }))
}

/// [`decode_account`] for whoever knows the address.
pub(super) fn decode_holdings(key: &[u8], value: &[u8]) -> Result<Account, StoreError> {
    let record: AccountRecord = decode(key, value)?;
    Ok(Account { balance: record.balance, nonce: record.nonce })
}

pub(super) fn encode_validator(validator: &Validator) -> StateValue {
    encode(&ValidatorRecord {
        pub_key: validator.pub_key.clone(),
        power: validator.power,
        is_active: validator.is_active,
        reward_address: validator.reward_address.clone(),
        order: validator.order,
        address: outside_key(&validator.address),
    })
}

pub(super) fn decode_validator(key: &[u8], value: &[u8]) -> Result<Validator, StoreError> {
    let record: ValidatorRecord = decode(key, value)?;
    Ok(Validator {
        address: address_of_key(VALIDATORS, key, record.address)?,
        pub_key: record.pub_key,
        power: record.power,
        is_active: record.is_active,
        reward_address: record.reward_address,
        order: record.order,
    })
}

pub(super) fn encode<T: Serialize>(value: &T) -> StateValue {
    /// An account's record, however much it holds: 19 bytes of balance, 10 of nonce, and a byte.
    const USUAL: usize = 30;
    match postcard::to_slice(value, &mut [0; USUAL]) {
        Ok(record) => StateValue::copy_from_slice(record),
        // The only other error is a sequence of unknown length, and no record has one.
        Err(_) => postcard::to_stdvec(value).expect("records have known lengths").into(),
    }
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    match postcard::take_from_bytes(value) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(corrupt(key, &format!("{} bytes left over", rest.len()))),
        Err(error) => Err(corrupt(key, &error.to_string())),
    }
}

pub(super) fn corrupt(key: &[u8], what: &str) -> StoreError {
    let key = key.escape_ascii();
    let message = format!("the state value of \"{key}\" cannot be read: {what}; rebuild the state from the blocks");
    StoreError::new(StoreErrorKind::Corrupt, message)
}

fn address_key(prefix: &[u8], address: &Address) -> StateKey {
    let text = address.as_bytes();
    if text.len() <= MAX_KEY_ADDRESS {
        return StateKey::concat([prefix, text]);
    }
    let mut key = [prefix, &[HASHED]].concat();
    key.extend_from_slice(&Sha256::digest(text));
    key.into()
}

fn outside_key(address: &Address) -> Option<Address> {
    (address.as_bytes().len() > MAX_KEY_ADDRESS).then(|| address.clone())
}

fn address_of_key(prefix: &[u8], key: &[u8], outside: Option<Address>) -> Result<Address, StoreError> {
    if let Some(address) = outside {
        return Ok(address);
    }
    let text = key.strip_prefix(prefix).and_then(|text| std::str::from_utf8(text).ok());
    text.map(Address::new).ok_or_else(|| corrupt(key, "the key holds no address"))
}

fn scan_decoded<T>(
    view: &dyn StateView,
    prefix: &[u8],
    decode: fn(&[u8], &[u8]) -> Result<T, StoreError>,
    visit: &mut dyn FnMut(T) -> bool,
) -> Result<(), StoreError> {
    let mut failure = None;
    view.scan(prefix, &mut |key, value| match decode(key, value) {
        Ok(item) => visit(item),
        Err(error) => {
            failure = Some(error);
            false
        }
    })?;
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Canonical state roots cover these bytes, so they must never change.
    #[test]
    fn keys_and_values_are_frozen() {
        let alice = Address::new("alice");
        assert_eq!(account_key(&alice), "a/alice");
        let account = Account { balance: 10u128.pow(20), nonce: 300 };
        assert_eq!(hex::encode(encode_account(&alice, account)), "8080c098d6c5d7e3eb0aac0200");
        let long = Address::new("ж".repeat(451));
        assert_eq!(account_key(&long).len(), 2 + 1 + 32);
        let value = encode_account(&long, account);
        assert_eq!(decode_account(&account_key(&long), &value).unwrap(), (long, account));

        let validator = Validator {
            address: Address::new("v"),
            pub_key: HexText::from_bytes(&[0xab, 0xcd]),
            power: 1000,
            is_active: true,
            reward_address: Some(alice),
            order: 5,
        };
        assert_eq!(hex::encode(encode_validator(&validator)), "0002abcde80701010600616c6963650500");
        assert_eq!(decode_validator(b"v/v", &encode_validator(&validator)).unwrap(), validator);
        let by_order = candidate_key(HashRules::ComputechainV1, &validator);
        assert_eq!(hex::encode(&by_order[2..]), format!("{}fc17{}05", "ff".repeat(14), "00".repeat(7)));
        assert!(candidate_key(HashRules::Canonical, &validator).ends_with(b"v"));
    }

    #[test]
    fn bytes_left_over_are_an_error_that_names_the_key() {
        let error = decode_account(b"a/bob", &[0, 0, 0, 0]).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Corrupt);
        assert!(error.to_string().contains("a/bob"), "{error}");
    }
}
