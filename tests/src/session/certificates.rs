//! Certificates, good and bad, made anew for each test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection};

/// An authority of one test.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What kind of certificate is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A server's.
    Server,
    /// A server's that is not valid any more.
    Expired,
    /// A client's.
    Client,
}

/// A certificate and its key.
#[derive(Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
}

impl Authority {
    /// A new authority.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = params(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Its certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for `name`.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn sign(&self, kind: Kind, name: &str) -> Identity {
        let mut params = params(name, &[name]);
        params.extended_key_usages = vec![match kind {
            Kind::Server | Kind::Expired => ExtendedKeyUsagePurpose::ServerAuth,
            Kind::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        if kind == Kind::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.0).expect("a certificate");
        Identity {
            certificate: signed.der().clone(),
            certificate_pem: signed.pem(),
            key,
        }
    }
}

fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, common_name);
    params
}

impl Identity {
    /// Writes `name.pem` and `name.key` below `directory`, and gives both paths.
    ///
    /// # Panics
    ///
    /// When they cannot be written.
    #[must_use]
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        let (certificate, key) = (directory.join(certificate), directory.join(key));
        std::fs::write(&certificate, &self.certificate_pem).expect("a certificate");
        std::fs::write(&key, self.key.serialize_pem()).expect("a key");
        (certificate, key)
    }

    /// A server of this certificate that takes any client.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        self.config(None)
    }

    /// A server of this certificate that takes clients that `authority` has signed.
    #[must_use]
    pub fn server_for(&self, authority: &Authority) -> Arc<ServerConfig> {
        self.config(Some(authority))
    }

    fn config(&self, authority: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.expect("versions of TLS");
        let builder = match authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let root = authority.0.der().clone();
                roots.add(root).expect("the authority");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("a verifier"))
            }
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let config = builder.with_single_cert(vec![self.certificate.clone()], key);
        let config = Arc::new(config.expect("a certificate and its key"));
        ServerConnection::new(Arc::clone(&config)).expect("a usable configuration");
        config
    }
}
