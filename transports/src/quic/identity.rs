//! A node's key, as TLS wants it.

use std::fmt;

use cpc_framework::transport::PeerId;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use ring::hmac;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// What an Ed25519 private key is preceded by in PKCS #8 (RFC 8410 section 7).
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What an Ed25519 public key is preceded by in a certificate (RFC 8410 section 4).
const SPKI_ED25519: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The Ed25519 key of a node, and a certificate of it that nobody but itself has signed. The key is zeroised when dropped, and never printed.
///
/// The certificate only carries the key: peers take any, and know each other by the key that TLS proves.
pub struct NodeIdentity {
    secret: Box<Zeroizing<[u8; 32]>>,
    id: PeerId,
    certificate: CertificateDer<'static>,
}

impl NodeIdentity {
    /// The identity of an Ed25519 secret key (the seed of RFC 8032).
    ///
    /// # Errors
    /// The cryptographic library cannot use the key; no such key is known.
    pub fn from_secret(secret: impl Into<Zeroizing<[u8; 32]>>) -> Result<Self, IdentityError> {
        let secret = Box::new(secret.into());
        let key = KeyPair::try_from(&*pkcs8(&secret)).map(Zeroizing::new).map_err(IdentityError::new)?;
        let id = key.public_key_raw().try_into().map(PeerId).map_err(IdentityError::new)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "cpc-node");
        let certificate = params.self_signed(&*key).map_err(IdentityError::new)?.der().clone();
        Ok(Self { secret, id, certificate })
    }

    /// A new random identity.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(secret.as_mut()).map_err(IdentityError::new)?;
        Self::from_secret(secret)
    }

    /// The public key: what peers know this node by.
    pub fn peer_id(&self) -> PeerId {
        self.id
    }

    /// The secret key, to be kept in a file that only its owner can read.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// A secret for another purpose, the same after a restart.
    pub(super) fn derived(&self, purpose: &str) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.secret[..]), purpose.as_bytes())
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(super) fn private_key(&self) -> Zeroizing<PrivatePkcs8KeyDer<'static>> {
        pkcs8(&self.secret)
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIdentity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An identity could not be made or put to use.
#[derive(Debug, thiserror::Error)]
#[error("the node key cannot be used: {0}")]
pub struct IdentityError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl IdentityError {
    pub(super) fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// The key in a certificate's "subject public key info", if it is an Ed25519 key.
pub(super) fn ed25519_key(spki: &[u8]) -> Option<PeerId> {
    spki.strip_prefix(&SPKI_ED25519)?.try_into().ok().map(PeerId)
}

fn pkcs8(secret: &[u8; 32]) -> Zeroizing<PrivatePkcs8KeyDer<'static>> {
    Zeroizing::new([&PKCS8_ED25519[..], secret].concat().into())
}
