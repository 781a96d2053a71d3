//! Where a session is: the base URL, and the paths below it (sessions.md §1, §2).

use crate::net::UrlError;
use crate::net::origin::{Origin, encoded};

/// Why a base URL or an id cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// An id is empty, too long, a path of its own, or no text for a header.
    #[error(
        "the {0} id cannot be used; it is empty, longer than 256 bytes, dots, or holds control characters; give it as the server wrote it"
    )]
    Id(&'static str),
}

/// Where a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    origin: Origin,
    session: String,
    organization: String,
}

impl Endpoint {
    /// The session of this id below `base_url`.
    ///
    /// # Errors
    ///
    /// [`EndpointError`]
    pub fn new(base_url: &str, session: &str, organization: &str) -> Result<Self, EndpointError> {
        let origin = Origin::parse(base_url)?;
        // The organization also stands in a header as it is.
        let is_header = |c: char| c.is_ascii_graphic();
        for (what, id, fits) in [
            ("session", session, !session.contains(char::is_control)),
            (
                "organization",
                organization,
                organization.chars().all(is_header),
            ),
        ] {
            if id.is_empty() || id.len() > 256 || matches!(id, "." | "..") || !fits {
                return Err(EndpointError::Id(what));
            }
        }
        Ok(Self {
            origin,
            session: session.to_owned(),
            organization: organization.to_owned(),
        })
    }

    /// The session's id.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The organization's id.
    #[must_use]
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.origin.is_secure()
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path and query to subscribe at.
    pub(super) fn subscribe_target(&self) -> String {
        format!(
            "{}/v1/sessions/ws/{}/subscribe?organization_uuid={}",
            self.origin.prefix(),
            encoded(&self.session),
            encoded(&self.organization)
        )
    }

    /// The path to post events to.
    pub(super) fn events_target(&self) -> String {
        format!(
            "{}/v1/sessions/{}/events",
            self.origin.prefix(),
            encoded(&self.session)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::UrlError;

    fn endpoint(base: &str) -> Endpoint {
        Endpoint::new(base, "cse_1", "org-1").unwrap()
    }

    /// Covers: S1.1
    #[test]
    fn urls_are_built_below_the_base() {
        let plain = endpoint("https://api.example.com");
        assert_eq!(
            plain.subscribe_target(),
            "/v1/sessions/ws/cse_1/subscribe?organization_uuid=org-1"
        );
        assert_eq!(plain.events_target(), "/v1/sessions/cse_1/events");
        assert_eq!(plain.origin().authority(), "api.example.com");
        assert_eq!(
            (plain.origin().port(), plain.origin().is_secure()),
            (443, true)
        );

        let deep = endpoint("WSS://API.example.com:8443/a/b//");
        assert_eq!(deep.events_target(), "/a/b/v1/sessions/cse_1/events");
        assert_eq!(deep.origin().authority(), "api.example.com:8443");

        assert_eq!(endpoint("http://h:443").origin().authority(), "h:443");
        assert_eq!(endpoint("ws://h").origin().authority(), "h");
        assert_eq!(
            endpoint("ws://[::1]:8080").origin().authority(),
            "[::1]:8080"
        );
        assert_eq!(endpoint("ws://[::1]").origin().port(), 80);
    }

    /// Covers: S1.2
    #[test]
    fn ids_are_percent_encoded() {
        let odd = Endpoint::new("https://h", "a/b c?é", "o&x=#%").unwrap();
        assert_eq!(
            odd.subscribe_target(),
            "/v1/sessions/ws/a%2Fb%20c%3F%C3%A9/subscribe?organization_uuid=o%26x%3D%23%25"
        );
        assert_eq!(
            odd.events_target(),
            "/v1/sessions/a%2Fb%20c%3F%C3%A9/events"
        );
        assert_eq!(odd.session(), "a/b c?é");
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for (base, error) in [
            ("api.example.com", EndpointError::Url(UrlError::Scheme)),
            ("ftp://h", EndpointError::Url(UrlError::Scheme)),
            ("https://", EndpointError::Url(UrlError::Host)),
            ("https://:443", EndpointError::Url(UrlError::Host)),
            ("https://h:", EndpointError::Url(UrlError::Host)),
            ("https://h:0", EndpointError::Url(UrlError::Host)),
            ("https://h:65536", EndpointError::Url(UrlError::Host)),
            ("https://h:+1", EndpointError::Url(UrlError::Host)),
            ("https://[::1", EndpointError::Url(UrlError::Host)),
            ("https://::1", EndpointError::Url(UrlError::Host)),
            ("https://exa!mple", EndpointError::Url(UrlError::Host)),
            ("https://u:p@h", EndpointError::Url(UrlError::Credentials)),
            ("https://h/a?b", EndpointError::Url(UrlError::Path)),
            ("https://h/#", EndpointError::Url(UrlError::Path)),
            ("https://h/a b", EndpointError::Url(UrlError::Path)),
            ("https://h/\r\nx:y", EndpointError::Url(UrlError::Path)),
        ] {
            assert_eq!(Endpoint::new(base, "s", "o").unwrap_err(), error, "{base}");
        }
        for id in ["", ".", "..", "a\r\nX: y", &"x".repeat(257)] {
            assert_eq!(
                Endpoint::new("https://h", id, "o").unwrap_err(),
                EndpointError::Id("session")
            );
            assert_eq!(
                Endpoint::new("https://h", "s", id).unwrap_err(),
                EndpointError::Id("organization")
            );
        }
        assert!(Endpoint::new("https://h", "s", "é").is_err());
    }

    #[test]
    fn loopback_is_this_machine() {
        for (base, loopback) in [
            ("http://localhost", true),
            ("http://127.9.9.9", true),
            ("http://[::1]", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0", false),
        ] {
            assert_eq!(
                endpoint(base).origin().host().is_loopback(),
                loopback,
                "{base}"
            );
        }
    }
}
