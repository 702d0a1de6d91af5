//! TLS as a client, whose first flight is sent in the SYN.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// The certificates that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Certificates of the authorities that this host trusts.
    SystemRoots,
    /// Any certificate.
    Any,
}

/// Returns the TLS configuration for a host. Every connection does a full handshake, because a resumed one would
/// measure something else.
pub(super) fn client(
    trust: Trust,
    host: &str,
    with_http: bool,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?;
    let mut config = match trust {
        Trust::SystemRoots => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
        Trust::Any => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    if with_http {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    Ok((Arc::new(config), name(host)?))
}

/// Returns the bytes that the connection has to send.
pub(super) fn outgoing(connection: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.wants_write() {
        // Writing to memory does not fail.
        if connection.write_tls(&mut bytes).is_err() {
            break;
        }
    }
    bytes
}

/// Returns the reason why the handshake failed, and what to do about it.
pub(super) fn explain(error: &Error) -> String {
    let advice = match error {
        Error::InvalidCertificate(_) => {
            "; add its authority to those of this host (SSL_CERT_FILE names a file of them), or accept any \
             certificate with --insecure"
        }
        Error::InvalidMessage(_) => "; check that this port uses TLS",
        _ => "",
    };
    format!("TLS: {error}{advice}")
}

fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |e| format!(" ({e})"));
        return Err(format!(
            "TLS: this host has no certificate authorities{why}; install them (ca-certificates), name a \
             file of them in SSL_CERT_FILE, or accept any certificate with --insecure"
        ));
    }
    Ok(roots)
}

fn name(host: &str) -> Result<ServerName<'static>, String> {
    let host = host.split('%').next().unwrap_or(host);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(ServerName::from(address));
    }
    let host = host.trim_end_matches('.').to_owned();
    ServerName::try_from(host.clone()).map_err(|e| format!("TLS: {host}: {e}"))
}

/// Accepts any certificate, for `--insecure`. The signatures of the handshake are still verified.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
