//! TLS 1.3 between nodes: each side shows a certificate of its Ed25519 key and proves that it has the key.

use std::sync::Arc;

use cpc_framework::transport::PeerId;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, ServerConfig,
    SignatureScheme, version::TLS13,
};

use super::identity::{IdentityError, NodeIdentity, ed25519_key};

/// What a node that dials offers.
pub(super) fn client(identity: &NodeIdentity, protocols: Vec<Vec<u8>>) -> Result<ClientConfig, IdentityError> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::new)?
        .dangerous()
        .with_custom_certificate_verifier(AnyNode::new(&provider))
        .with_client_cert_resolver(proof(identity)?);
    config.alpn_protocols = protocols;
    // Each connection proves both keys anew.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What a node that listens offers.
pub(super) fn server(identity: &NodeIdentity, protocols: Vec<Vec<u8>>) -> Result<ServerConfig, IdentityError> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::new)?
        .with_client_cert_verifier(AnyNode::new(&provider))
        .with_cert_resolver(proof(identity)?);
    config.alpn_protocols = protocols;
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// What a node proves its key with. rustls would take the key's text and drop it as it is; so it only looks at ours, which is zeroised.
fn proof(identity: &NodeIdentity) -> Result<Arc<SingleCertAndKey>, IdentityError> {
    let key = ring::sign::any_eddsa_type(&identity.private_key()).map_err(IdentityError::new)?;
    Ok(Arc::new(CertifiedKey::new(vec![identity.certificate()], key).into()))
}

/// The key in the certificate that a peer has shown.
pub(super) fn key_of(certificate: &CertificateDer<'_>) -> Result<PeerId, Error> {
    let info = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    ed25519_key(&info).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// Takes a certificate of any Ed25519 key: which key is whose is known to those who pin it, not to an authority.
/// That the peer has the key is checked by its signature over the handshake.
#[derive(Debug)]
struct AnyNode(WebPkiSupportedAlgorithms);

impl AnyNode {
    fn new(provider: &CryptoProvider) -> Arc<Self> {
        Arc::new(Self(provider.signature_verification_algorithms))
    }

    fn check(certificate: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !chain.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        key_of(certificate).map(drop)
    }
}

/// What a verifier of either side checks of a signature: rustls has a trait for each side, and the same methods in both.
macro_rules! signatures_of_any_node {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::Tls12NotOffered.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &self.0)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    };
}

impl ServerCertVerifier for AnyNode {
    signatures_of_any_node!();

    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::check(certificate, chain).map(|()| ServerCertVerified::assertion())
    }
}

impl ClientCertVerifier for AnyNode {
    signatures_of_any_node!();

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::check(certificate, chain).map(|()| ClientCertVerified::assertion())
    }
}

/// A client that takes any node and shows no certificate of its own.
#[cfg(test)]
pub(super) fn anonymous_client(protocols: Vec<Vec<u8>>) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(AnyNode::new(&provider))
        .with_no_client_auth();
    config.alpn_protocols = protocols;
    config
}
