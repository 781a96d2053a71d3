//! The bounds of a session client of the relay.

use crate::limits::{LimitsError, limits};

limits! {
    /// The bounds of one session client and of its parts. Whatever can grow has one, and none
    /// can be switched off; retries are bounded by the [`Policy`](crate::backoff::Policy).
    Limits, LimitsBuilder;
    counts {
        /// The longest frame that is sent, in bytes, also when the server takes longer ones.
        max_frame_bytes = 1_000_000 in 256 ..= 268_435_456;
        /// How many frames wait to be written to the socket.
        max_queued_frames = 256 in 1 ..= 65_536;
        /// How many bytes those frames may take.
        max_queued_bytes = 8_388_608 in 256 ..= 1_073_741_824;
        /// How many of our events wait for their acknowledgement.
        max_pending_acks = 256 in 1 ..= 65_536;
        /// How many of the server's events wait for ours.
        max_owed_acks = 256 in 1 ..= 65_536;
        /// How many messages wait to be stored by the server.
        max_outbox_messages = 10_000 in 1 ..= 1_000_000;
        /// How many bytes of contents and ids they may take.
        max_outbox_bytes = 67_108_864 in 1 ..= 1_073_741_824;
        /// How many messages are posted at once; the server takes 100.
        max_batch_messages = 100 in 1 ..= 100;
        /// How many bytes of contents and ids are posted at once.
        max_batch_bytes = 8_388_608 in 1 ..= 104_857_600;
        /// How many messages are fetched at once; the server gives 500.
        max_page_messages = 100 in 1 ..= 500;
        /// How many bytes one page may take.
        max_page_bytes = 67_108_864 in 256 ..= 1_073_741_824;
        /// How many rows of numbers of our own messages beyond a gap are remembered. When there
        /// is no room for more, no more messages are sent until the gap was fetched.
        max_own_numbers = 1_024 in 1 ..= 65_536;
        /// How often a gap is fetched in vain before it is given up.
        max_vain_fetches = 5 in 1 ..= 1_000;
        /// How many nonces of others are remembered, and how many of ours, to know a message that is
        /// given twice.
        max_seen_nonces = 4_096 in 1 ..= 1_048_576;
        /// How many updates of one value may wait, or have outcomes that nobody took.
        max_updates = 64 in 1 ..= 65_536;
        /// How often an update is merged before it is a conflict.
        max_merges = 8 in 1 ..= 1_000;
        /// How many bytes the plaintext of metadata, of the agent state, or of a title may take.
        max_value_bytes = 786_432 in 256 ..= 104_857_600;
        /// How many methods are served.
        max_methods = 64 in 1 ..= 4_096;
        /// How often the registration of a method is repeated on one connection.
        max_registrations = 3 in 1 ..= 100;
    }
    spans {
        /// From a dial to the engine's first packet.
        connect_timeout = 20_000 ms in 1 ..= 600_000;
        /// From the authentication to the server's consent.
        join_timeout = 20_000 ms in 1 ..= 600_000;
        /// From one `ping` of ours to the next.
        probe_interval = 10_000 ms in 1 ..= 3_600_000;
        /// From such a `ping`, or from the last sign of life after it, to its acknowledgement.
        probe_timeout = 5_000 ms in 1 ..= 3_600_000;
        /// From an event of ours to its acknowledgement.
        ack_timeout = 10_000 ms in 1 ..= 600_000;
        /// From an event of the server's to our acknowledgement; the server waits 30 s.
        answer_timeout = 30_000 ms in 1 ..= 3_600_000;
        /// From a post to its answer.
        post_timeout = 60_000 ms in 1 ..= 600_000;
        /// From a fetch to its answer.
        fetch_timeout = 60_000 ms in 1 ..= 600_000;
        /// How long an update may take in all, the wait for a connection included.
        update_timeout = 120_000 ms in 1 ..= 86_400_000;
        /// From the registration of a method to its confirmation.
        register_timeout = 10_000 ms in 1 ..= 600_000;
        /// From one sign of life of a machine to the next.
        alive_interval = 20_000 ms in 1 ..= 600_000;
        /// From the end of the session to the end of the client, sent or not.
        end_timeout = 10_000 ms in 1 ..= 600_000;
        /// A timeout that is handled so much after it was due means that the machine slept.
        sleep_lateness = 30_000 ms in 1 ..= 86_400_000;
    }
}

/// The place of one entry in any of the books, in bytes.
pub(crate) const ENTRY_BYTES: usize = 128;

impl Limits {
    /// The most memory, in bytes, that one session client holds, whatever the server does:
    /// what waits to be sent, what was fetched and not taken, both values, and the books about
    /// all of it. The frame that is being read is the transport's.
    #[must_use]
    pub const fn worst_case_bytes(&self) -> usize {
        let entries = self
            .max_queued_frames
            .saturating_add(self.max_pending_acks)
            .saturating_add(self.max_owed_acks)
            .saturating_add(self.max_outbox_messages)
            .saturating_add(self.max_page_messages)
            .saturating_add(self.max_own_numbers)
            .saturating_add(self.max_seen_nonces.saturating_mul(4))
            .saturating_add(self.max_updates.saturating_mul(2))
            .saturating_add(self.max_methods.saturating_mul(4))
            .saturating_add(FIXED_ENTRIES);
        // A growing queue has room for up to twice what it holds. Each value may be held twice,
        // opened and as it is being written; so may the title and the report of usage.
        entries
            .saturating_mul(2 * ENTRY_BYTES)
            .saturating_add(self.max_queued_bytes)
            .saturating_add(self.max_outbox_bytes)
            .saturating_add(self.max_page_bytes)
            .saturating_add(self.max_value_bytes.saturating_mul(5))
    }
}

/// What a client holds that no limit names: its own fields, the frames that have room of their
/// own, and the authentication.
const FIXED_ENTRIES: usize = 64;

impl LimitsBuilder {
    /// Checks every range and every relation between limits.
    ///
    /// # Errors
    ///
    /// [`LimitsError::OutOfRange`], or [`LimitsError::Inverted`] when a frame could never be
    /// queued.
    pub fn build(self) -> Result<Limits, LimitsError> {
        let limits = self.0;
        limits.check_ranges()?;
        if limits.max_frame_bytes > limits.max_queued_bytes {
            return Err(LimitsError::Inverted {
                name: "max_frame_bytes",
                bound: "max_queued_bytes",
            });
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: R9.1c
    #[test]
    fn the_defaults_are_allowed_and_bounded() {
        assert_eq!(Limits::builder().build(), Ok(Limits::DEFAULT));
        assert_eq!(Limits::default().connect_timeout().as_secs(), 20);
        assert_eq!(Limits::default().max_batch_messages(), 100);
        let error = Limits::builder().max_methods(0).build();
        assert!(matches!(error, Err(LimitsError::OutOfRange { .. })));
        let mut inverted = Limits::builder();
        inverted.set("max_queued_bytes", 999_999).unwrap();
        assert!(matches!(
            inverted.build(),
            Err(LimitsError::Inverted { .. })
        ));
        let (small, all) = (Limits::builder().max_methods(1), Limits::DEFAULT);
        let small = small.build().unwrap().worst_case_bytes();
        assert_eq!(all.worst_case_bytes() - small, 63 * 4 * 2 * ENTRY_BYTES);
        assert!(all.worst_case_bytes() < 160 << 20);
    }
}
