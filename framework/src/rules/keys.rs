//! Keys, signatures and the addresses that keys give.

use ed25519_dalek::Signer as _;
use ripemd::Ripemd160;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::quirks;
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

/// A secret key. Zeroised when dropped, and moved without a copy left behind; never printed.
pub struct SecretKey {
    scheme: Scheme,
    bytes: Box<Zeroizing<[u8; 32]>>,
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
    ///
    /// # Panics
    /// The operating system has no randomness to give; no safe key can be made then.
    pub fn generate(scheme: Scheme) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(bytes.as_mut()).expect("the operating system must give randomness");
            // One secp256k1 candidate in 2^128 is no key.
            if let Ok(key) = Self::from_bytes(scheme, &bytes) {
                return key;
            }
        }
    }

    /// Reads 64 hexadecimal digits, as in `validator_key.hex`; white space around them is ignored.
    ///
    /// # Errors
    /// The text is no key of this scheme. The message does not repeat it.
    pub fn from_hex(scheme: Scheme, text: &str) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut())
            .map_err(|_| KeyError("a secret key must be 64 hexadecimal digits".into()))?;
        Self::from_bytes(scheme, &bytes)
    }

    fn from_bytes(scheme: Scheme, bytes: &[u8; 32]) -> Result<Self, KeyError> {
        if scheme == Scheme::Secp256k1 {
            secp256k1::SecretKey::from_secret_bytes(*bytes)
                .map_err(|_| KeyError("a secp256k1 secret key must lie between 0 and the group order".into()))?
                .non_secure_erase();
        }
        Ok(Self { scheme, bytes: Box::new(Zeroizing::new(*bytes)) })
    }

    /// 64 hexadecimal digits. Keep them secret: they are zeroised with what is returned here, copies of it are not.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(**self.bytes))
    }

    /// The bytes: of Ed25519 the seed of RFC 8032, of secp256k1 the number, the highest byte first. Keep them secret.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(**self.bytes)
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The public key, as canonical text: 33 bytes (compressed) of secp256k1, 32 of Ed25519.
    pub fn public_key(&self) -> HexText {
        match self.scheme {
            Scheme::Secp256k1 => self.with_secp256k1(|key| HexText::from_bytes(&key.public_key().serialize())),
            Scheme::Ed25519 => HexText::from_bytes(self.ed25519().verifying_key().as_bytes()),
        }
    }

    /// The address of the public key under a prefix.
    pub fn address(&self, prefix: &str) -> Address {
        match self.public_key().canonical_bytes() {
            Some(key) => address_of_bytes(key, prefix),
            None => unreachable!("the text of our own public key is canonical"),
        }
    }

    /// Signs a hash. The same key and hash give the same signature of 64 bytes.
    pub fn sign(&self, hash: &Hash32) -> HexText {
        match self.scheme {
            Scheme::Secp256k1 => self.with_secp256k1(|key| {
                let message = secp256k1::Message::from_digest(hash.0);
                HexText::from_bytes(&key.sign_ecdsa(message).serialize_compact())
            }),
            Scheme::Ed25519 => HexText::from_bytes(&self.ed25519().sign(&hash.0).to_bytes()),
        }
    }

    fn with_secp256k1<T>(&self, act: impl FnOnce(&secp256k1::SecretKey) -> T) -> T {
        let mut key = secp256k1::SecretKey::from_secret_bytes(**self.bytes).expect("checked when it was made");
        let result = act(&key);
        key.non_secure_erase();
        result
    }

    fn ed25519(&self) -> ed25519_dalek::SigningKey {
        ed25519_dalek::SigningKey::from_bytes(&self.bytes)
    }
}

/// The address of a public key, given as text, under a prefix.
///
/// Under v1 rules the address is of whatever bytes the text spells, a key or not; under canonical rules the text must be
/// the canonical spelling of an Ed25519 key.
///
/// # Errors
/// The text spells no bytes, or no key under canonical rules.
pub fn address_of(rules: HashRules, pub_key: &HexText, prefix: &str) -> Result<Address, KeyError> {
    Ok(Address::of_bytes(prefix, &address_bytes(rules, pub_key)?))
}

/// The 20 bytes that a public key's addresses spell under every prefix.
pub(super) fn address_bytes(rules: HashRules, pub_key: &HexText) -> Result<[u8; 20], KeyError> {
    match rules {
        HashRules::ComputechainV1 => Ok(hash_of_key(&v1_bytes(pub_key, "public key")?)),
        HashRules::Canonical => Ok(hash_of_key(ed25519_bytes(pub_key)?)),
    }
}

fn hash_of_key(key: &[u8]) -> [u8; 20] {
    Ripemd160::digest(Sha256::digest(key)).into()
}

fn address_of_bytes(key: &[u8], prefix: &str) -> Address {
    Address::of_bytes(prefix, &hash_of_key(key))
}

/// A secp256k1 public key in a form that the library parses. Parsing finds a square root, which is work worth leaving to
/// where signatures are verified.
#[derive(Debug, Clone)]
pub(super) struct Secp256k1Key {
    bytes: [u8; 65],
    len: usize,
}

impl Secp256k1Key {
    /// Takes 33, 65 or 64 bytes, spelled as Python reads them.
    pub(super) fn read(pub_key: &HexText) -> Result<Self, KeyError> {
        let read = v1_bytes(pub_key, "public key")?;
        let mut bytes = [0; 65];
        match read.len() {
            33 | 65 => bytes[..read.len()].copy_from_slice(&read),
            // x‖y, without the byte that says so.
            64 => {
                bytes[0] = 4;
                bytes[1..].copy_from_slice(&read);
            }
            other => return Err(KeyError(format!("{other} bytes that are no secp256k1 public key"))),
        }
        Ok(Self { bytes, len: if read.len() == 33 { 33 } else { 65 } })
    }

    /// The point, if it is one of the curve.
    pub(super) fn parse(&self) -> Result<secp256k1::PublicKey, KeyError> {
        let bytes = &self.bytes[..self.len];
        secp256k1::PublicKey::from_slice(bytes)
            .map_err(|_| KeyError(format!("{} is no secp256k1 public key", hex::encode(bytes))))
    }
}

/// An ECDSA signature, its s brought into the lower half of the order: libsecp256k1 takes no other, the reference takes
/// both, and r‖s is valid if and only if r‖(n−s) is.
pub(super) fn secp256k1_signature(signature: &HexText) -> Result<secp256k1::ecdsa::Signature, KeyError> {
    let bytes = v1_bytes(signature, "signature")?;
    let mut signature = quirks::signature_numbers(&bytes)
        .and_then(|numbers| secp256k1::ecdsa::Signature::from_compact(&numbers).ok())
        .ok_or_else(|| KeyError(format!("{} bytes that are no ECDSA signature", bytes.len())))?;
    signature.normalize_s();
    Ok(signature)
}

/// An Ed25519 public key by the rule of ZIP 215, spelled canonically.
pub(super) fn ed25519_key(pub_key: &HexText) -> Result<[u8; 32], KeyError> {
    let bytes = *ed25519_bytes(pub_key)?;
    match ed25519_zebra::VerificationKey::try_from(bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(KeyError("32 bytes that are no Ed25519 public key".into())),
    }
}

/// The bytes of an Ed25519 public key; whether they are a point of the curve shows when a signature is verified.
pub(super) fn ed25519_bytes(pub_key: &HexText) -> Result<&[u8; 32], KeyError> {
    pub_key
        .canonical_bytes()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| KeyError("a public key must be 64 lower-case hexadecimal digits".into()))
}

/// The bytes of an Ed25519 signature.
pub(super) fn ed25519_signature(signature: &HexText) -> Result<&[u8; 64], KeyError> {
    signature
        .canonical_bytes()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| KeyError("a signature must be 128 lower-case hexadecimal digits".into()))
}

fn v1_bytes(hex_text: &HexText, what: &str) -> Result<Vec<u8>, KeyError> {
    quirks::bytes_from_hex(hex_text).ok_or_else(|| {
        let shown: String = hex_text.text().chars().take(40).collect();
        KeyError(format!("the {what} {shown:?} is not hexadecimal"))
    })
}

#[cfg(test)]
mod tests;
