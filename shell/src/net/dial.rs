//! Why a dial failed: the core's fact, and words for people.

use std::io;

use hallway_core::session::event::DialFailure;

use super::http::NoHead;
use super::tls;

/// Why there is no connection. The words hold no secrets.
#[derive(Debug)]
pub(crate) struct DialError {
    pub(crate) failure: DialFailure,
    pub(crate) detail: String,
}

impl DialError {
    pub(crate) fn new(failure: DialFailure, detail: impl ToString) -> Self {
        Self {
            failure,
            detail: detail.to_string(),
        }
    }

    pub(crate) fn unreachable(detail: impl ToString) -> Self {
        Self::new(DialFailure::Unreachable, detail)
    }
}

/// An error of the connection before it was open. Under TLS 1.3 a server refuses our
/// certificate only after its handshake, so that any read may say it.
impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        let failure = tls::failure(&error).unwrap_or(DialFailure::Unreachable);
        Self::new(failure, error)
    }
}

impl From<NoHead> for DialError {
    fn from(error: NoHead) -> Self {
        match error {
            NoHead::Io(error) => error.into(),
            NoHead::Ended => Self::unreachable(error),
            NoHead::Malformed | NoHead::TooLong => Self::new(DialFailure::NotWebSocket, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{AlertDescription, CertificateError, Error};

    fn of(error: Error) -> DialFailure {
        DialError::from(io::Error::new(io::ErrorKind::InvalidData, error)).failure
    }

    #[test]
    fn every_error_has_its_failure() {
        for kind in [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::InvalidData,
        ] {
            let error = DialError::from(io::Error::from(kind));
            assert_eq!(error.failure, DialFailure::Unreachable, "{kind}");
        }
        for error in [
            Error::InvalidCertificate(CertificateError::UnknownIssuer),
            Error::InvalidCertificate(CertificateError::Expired),
            Error::InvalidCertificate(CertificateError::NotValidForName),
            Error::NoCertificatesPresented,
            Error::AlertReceived(AlertDescription::UnknownCA),
            Error::AlertReceived(AlertDescription::CertificateRequired),
            Error::AlertReceived(AlertDescription::BadCertificate),
        ] {
            assert_eq!(of(error.clone()), DialFailure::Untrusted, "{error}");
        }
        for error in [
            Error::AlertReceived(AlertDescription::InternalError),
            Error::DecryptError,
            Error::General("x".to_owned()),
        ] {
            assert_eq!(of(error.clone()), DialFailure::Unreachable, "{error}");
        }
        for (error, failure) in [
            (NoHead::Ended, DialFailure::Unreachable),
            (NoHead::Malformed, DialFailure::NotWebSocket),
            (NoHead::TooLong, DialFailure::NotWebSocket),
        ] {
            assert_eq!(DialError::from(error).failure, failure);
        }
    }
}
