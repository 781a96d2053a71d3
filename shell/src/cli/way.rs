//! How servers are reached, for the verbs that reach one.

use std::path::PathBuf;

use clap::Args;

use super::error::{Exit, Failed};
use crate::net::{Proxies, ProxyError, SetupError, TransportOptions};

/// The options of connections.
#[derive(Debug, Args)]
pub(super) struct Way {
    /// Trust these authorities, too
    #[arg(long, value_name = "PEM")]
    ca_file: Option<PathBuf>,
    /// Show this certificate to the server
    #[arg(long, value_name = "PEM", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "PEM", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Let the token go over plain connections to other machines
    #[arg(long)]
    allow_insecure: bool,
}

impl Way {
    /// The options, with the proxies of the environment.
    pub(super) fn options(&self) -> Result<TransportOptions, Failed> {
        Ok(TransportOptions {
            ca_file: self.ca_file.clone(),
            client_certificate: self.client_cert.clone(),
            client_key: self.client_key.clone(),
            allow_insecure: self.allow_insecure,
            proxies: Proxies::from_process()?,
        })
    }
}

impl From<ProxyError> for Failed {
    fn from(error: ProxyError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

impl From<SetupError> for Failed {
    fn from(error: SetupError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}
