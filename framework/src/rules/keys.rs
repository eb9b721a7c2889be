//! Keys, signatures and the addresses that keys give.

use crate::types::{Address, Hash32, HashRules, HexText};

/// The bech32 prefix of account addresses.
pub const ACCOUNT_PREFIX: &str = "cpc";

/// The bech32 prefix of validator addresses.
pub const VALIDATOR_PREFIX: &str = "cpcvalcons";

/// A signature scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// ECDSA over secp256k1: the reference's.
    Secp256k1,
    /// Ed25519, accepted by the rule of ZIP 215: that of our own networks.
    Ed25519,
}

impl Scheme {
    /// The scheme of a family of hash rules.
    pub fn of(rules: HashRules) -> Self {
        match rules {
            HashRules::ComputechainV1 => Self::Secp256k1,
            HashRules::Canonical => Self::Ed25519,
        }
    }

    /// The number in a block's `pq_sig_scheme_id`.
    pub fn id(self) -> u32 {
        match self {
            Self::Secp256k1 => 1,
            Self::Ed25519 => 237,
        }
    }
}

/// A secret key. Zeroised when dropped; never printed.
pub struct SecretKey {
    scheme: Scheme,
    bytes: [u8; 32],
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKey").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

/// A key or signature cannot be used; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

impl SecretKey {
    /// A new key from the operating system's randomness.
    pub fn generate(_scheme: Scheme) -> Self {
        todo!()
    }

    /// Reads 64 hexadecimal digits, as in `validator_key.hex`.
    ///
    /// # Errors
    /// The text is no key of this scheme.
    pub fn from_hex(_scheme: Scheme, _text: &str) -> Result<Self, KeyError> {
        todo!()
    }

    /// 64 hexadecimal digits. Keep them secret.
    pub fn to_hex(&self) -> String {
        hex::encode(self.bytes)
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The public key, as canonical text.
    pub fn public_key(&self) -> HexText {
        todo!()
    }

    /// The address of the public key under a prefix.
    pub fn address(&self, _prefix: &str) -> Address {
        todo!()
    }

    /// Signs a hash.
    pub fn sign(&self, _hash: &Hash32) -> HexText {
        todo!()
    }
}

/// The address of a public key, given as text, under a prefix.
///
/// # Errors
/// The text spells no bytes, or no public key of this family's scheme, or the prefix is none.
pub fn address_of(_rules: HashRules, _pub_key: &HexText, _prefix: &str) -> Result<Address, KeyError> {
    todo!()
}
