//! The bounds of a subscription.

use crate::limits::{LimitsError, limits};

limits! {
    /// The bounds of one subscription. Whatever can grow has one, and none can be switched off;
    /// retries are bounded by the [`Policy`](crate::backoff::Policy).
    Limits, LimitsBuilder;
    counts {
        /// The longest message that the server may send, in bytes.
        max_message_bytes = 16_777_216 in 1_024 ..= 268_435_456;
        /// How many requests of the server may wait for their answers.
        max_pending_requests = 256 in 1 ..= 65_536;
        /// How many bytes the ids and inputs of those requests may take.
        max_pending_bytes = 8_388_608 in 1_024 ..= 268_435_456;
        /// How many frames wait to be sent, also while there is no connection.
        max_outbox_frames = 256 in 1 ..= 65_536;
        /// How many bytes those frames may take.
        max_outbox_bytes = 8_388_608 in 1_024 ..= 268_435_456;
    }
    spans {
        /// From a dial to the open connection: the token, the name, the proxy, TLS and the
        /// upgrade.
        dial_timeout = 20_000 ms in 1 ..= 600_000;
        /// From a refused dial to the word whether there is another token.
        token_timeout = 30_000 ms in 1 ..= 600_000;
        /// From ping to ping; a pong is due before the next one.
        ping_interval = 30_000 ms in 1 ..= 3_600_000;
        /// From the ping after a sleep to its pong; no longer than `ping_interval` counts.
        probe_timeout = 10_000 ms in 1 ..= 3_600_000;
        /// A timeout that is handled so much after it was due means that the machine slept.
        sleep_lateness = 30_000 ms in 1 ..= 86_400_000;
    }
}

impl Limits {
    /// The most memory, in bytes, that one subscription holds, whatever the server does: what
    /// waits to be sent, what waits for an answer, and the books about both. The message that
    /// is being read is the transport's, and has at most
    /// [`max_message_bytes`](Limits::max_message_bytes).
    #[must_use]
    pub const fn worst_case_bytes(&self) -> usize {
        let entries = self
            .max_pending_requests
            .saturating_add(self.max_outbox_frames);
        // A growing queue has room for up to twice what it holds.
        entries
            .saturating_mul(2 * ENTRY_BYTES)
            .saturating_add(self.max_pending_bytes)
            .saturating_add(self.max_outbox_bytes)
    }
}

/// The place of one request or frame in its queue, in bytes.
pub(super) const ENTRY_BYTES: usize = 48;

impl LimitsBuilder {
    /// Checks every range and every relation between limits.
    ///
    /// # Errors
    ///
    /// [`LimitsError::OutOfRange`].
    pub fn build(self) -> Result<Limits, LimitsError> {
        self.0.check_ranges()?;
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed_and_bounded() {
        assert_eq!(Limits::builder().build(), Ok(Limits::DEFAULT));
        assert_eq!(Limits::default().ping_interval().as_secs(), 30);
        let error = Limits::builder().max_outbox_frames(0).build();
        assert!(matches!(error, Err(LimitsError::OutOfRange { .. })));
        assert_eq!(
            Limits::DEFAULT.worst_case_bytes(),
            2 * 8_388_608 + 512 * 2 * ENTRY_BYTES
        );
    }
}
