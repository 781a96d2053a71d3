//! TLS: what is trusted, who we are, and what its errors mean.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hallway_core::session::event::DialFailure;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, ClientConfig};
use rustls_platform_verifier::Verifier;

use super::route::TransportOptions;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{} cannot be used; {source}; it must be a PEM file", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("{} cannot be used; it holds no certificate; it must be a PEM file", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate without its key, or the other way round.
    #[error("a client certificate needs its key, and a key its certificate; give both")]
    HalfIdentity,
    /// What the files hold cannot be used, or the platform has no roots.
    #[error("TLS cannot be set up; {0}; check the certificate files and the platform's roots")]
    Refused(#[from] rustls::Error),
}

/// The configuration of all connections. Reads files.
pub(crate) fn configure(options: &TransportOptions) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let extra = match &options.ca_file {
        Some(path) => certificates(path)?,
        None => Vec::new(),
    };
    let verifier = Verifier::new_with_extra_roots(extra, provider.clone())?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&options.client_certificate, &options.client_key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Pem {
                path: key.clone(),
                source,
            })?;
            builder.with_client_auth_cert(certificates(certificate)?, key)?
        }
        (Some(_), None) | (None, Some(_)) => return Err(TlsError::HalfIdentity),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Pem {
        path: path.to_owned(),
        source,
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}

/// What an error of a connection means if it is one of TLS that is about trust.
pub(crate) fn failure(error: &io::Error) -> Option<DialFailure> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let is_about_trust = if let rustls::Error::AlertReceived(alert) = error {
        matches!(
            alert,
            // What TLS 1.2 says when it misses our certificate.
            AlertDescription::HandshakeFailure
                | AlertDescription::NoCertificate
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::CertificateRequired
        )
    } else {
        matches!(
            error,
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::InvalidCertRevocationList(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::UnsupportedNameType
        )
    };
    is_about_trust.then_some(DialFailure::Untrusted)
}
