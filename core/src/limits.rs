//! Every bound, its default, and the worst-case memory that they add up to.

use core::fmt;

use crate::framer::Framer;
use crate::local::inbox::Inbox;
use crate::outbox::Outbox;

/// Why a set of limits is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitsError {
    /// No limit has this name.
    Unknown,
    /// The value of the named limit is outside its range, both ends included.
    OutOfRange {
        /// The limit.
        name: &'static str,
        /// The least value, in the unit that the name states (`_timeout`: milliseconds).
        min: u64,
        /// The greatest value, in the same unit.
        max: u64,
    },
    /// The first of the two limits must not be greater than the second.
    Inverted {
        /// The limit that is too great.
        name: &'static str,
        /// The limit that bounds it.
        bound: &'static str,
    },
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("there is no such limit"),
            Self::OutOfRange { name, min, max } => {
                write!(f, "{name} must be between {min} and {max}")
            }
            Self::Inverted { name, bound } => write!(f, "{name} must not exceed {bound}"),
        }
    }
}

impl core::error::Error for LimitsError {}

/// Defines a set of limits once: field, unit, default, range.
macro_rules! limits {
    (
        $(#[$set_doc:meta])*
        $set:ident, $builder:ident;
        counts { $($(#[$count_doc:meta])* $count:ident = $count_default:literal in $count_min:literal ..= $count_max:literal;)* }
        spans { $($(#[$span_doc:meta])* $span:ident = $span_default:literal ms in $span_min:literal ..= $span_max:literal;)* }
    ) => {
        $(#[$set_doc])*
        ///
        /// Counts and bytes are `usize`, spans are whole milliseconds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $set {
            $($count: usize,)*
            $($span: u64,)*
        }

        impl $set {
            /// The defaults.
            pub const DEFAULT: $set = $set {
                $($count: $count_default,)*
                $($span: $span_default,)*
            };

            /// The names of all limits, as the builder's `set` takes them.
            pub const NAMES: &'static [&'static str] =
                &[$(stringify!($count),)* $(stringify!($span),)*];

            $($(#[$count_doc])* #[must_use] pub const fn $count(&self) -> usize { self.$count })*
            $($(#[$span_doc])* #[must_use] pub const fn $span(&self) -> core::time::Duration {
                core::time::Duration::from_millis(self.$span)
            })*

            /// Starts from the defaults.
            #[must_use]
            pub const fn builder() -> $builder {
                $builder(Self::DEFAULT)
            }

            fn check_ranges(&self) -> Result<(), $crate::limits::LimitsError> {
                use $crate::limits::in_range;
                $(in_range(stringify!($count), u64::try_from(self.$count).unwrap_or(u64::MAX), $count_min, $count_max)?;)*
                $(in_range(stringify!($span), self.$span, $span_min, $span_max)?;)*
                Ok(())
            }
        }

        impl Default for $set {
            fn default() -> Self {
                Self::DEFAULT
            }
        }

        #[doc = concat!("A [`", stringify!($set), "`] in the making; each setter is named for its limit.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $builder($set);

        impl $builder {
            $($(#[$count_doc])* #[must_use] pub const fn $count(mut self, value: usize) -> Self {
                self.0.$count = value;
                self
            })*
            $($(#[$span_doc])* #[must_use] pub fn $span(mut self, value: core::time::Duration) -> Self {
                self.0.$span = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
                self
            })*

            /// Sets the limit called `name`; spans are in milliseconds.
            ///
            /// # Errors
            ///
            /// [`LimitsError::Unknown`](crate::limits::LimitsError::Unknown) when there is none
            /// of that name.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), $crate::limits::LimitsError> {
                match name {
                    $(stringify!($count) => self.0.$count = usize::try_from(value).unwrap_or(usize::MAX),)*
                    $(stringify!($span) => self.0.$span = value,)*
                    _ => return Err($crate::limits::LimitsError::Unknown),
                }
                Ok(())
            }
        }
    };
}
pub(crate) use limits;

limits! {
    /// The bounds of a server of the local dialect and of its clients. Whatever can grow has
    /// one, and none can be switched off. Defaults are those of local.md §1 where it has them.
    Limits, LimitsBuilder;
    counts {
        /// The longest frame, in bytes; its newline is not counted, a carriage return is.
        max_frame_bytes = 65_536 in 512 ..= 16_777_216;
        /// How deep a message may nest objects and arrays, itself included.
        max_frame_depth = 512 in 128 ..= 65_536;
        /// How many entries an inbox holds.
        max_inbox_entries = 1_000 in 1 ..= 1_000_000;
        /// How many bytes of kept messages an inbox holds.
        max_inbox_bytes = 2_097_152 in 512 ..= 1_073_741_824;
        /// How many entries of one peer process an inbox holds.
        max_inbox_entries_per_peer = 1_000 in 1 ..= 1_000_000;
        /// How many bytes of kept messages of one peer process an inbox holds.
        max_inbox_bytes_per_peer = 2_097_152 in 512 ..= 1_073_741_824;
        /// How many clients are served at once.
        max_clients = 128 in 1 ..= 65_536;
        /// How many clients of one peer process are served at once.
        max_clients_per_peer = 128 in 1 ..= 65_536;
        /// How many of the clients may not have authenticated yet; the oldest makes room.
        max_unauthenticated_clients = 32 in 1 ..= 65_536;
        /// How many refused clients are kept, beside those served, until they have read why.
        max_refused_clients = 16 in 1 ..= 65_536;
        /// How many bytes of replies wait for one client before its frames do.
        max_outbox_bytes = 65_536 in 1_024 ..= 16_777_216;
        /// How many sends of one client may wait for their answers.
        max_pending_sends = 256 in 1 ..= 65_536;
    }
    spans {
        /// From accept to the first authorised frame.
        auth_timeout = 2_000 ms in 1 ..= 3_600_000;
        /// Without a byte in either direction.
        idle_timeout = 30_000 ms in 1 ..= 86_400_000;
        /// From a connection's last frame or error to its forced end.
        closing_timeout = 1_000 ms in 1 ..= 60_000;
        /// From a send to its answer.
        send_timeout = 5_000 ms in 1 ..= 3_600_000;
        /// From a ping to its pong.
        ping_timeout = 3_000 ms in 1 ..= 3_600_000;
        /// From dialling to the connection.
        connect_timeout = 5_000 ms in 1 ..= 3_600_000;
    }
}

impl Limits {
    /// The most memory, in bytes, that the machines of one server hold for its peers, whatever
    /// the peers do: every connection's buffers at their largest, a full inbox, and the
    /// admission book. It excludes the caller's own fixed costs and allocator rounding.
    #[must_use]
    pub const fn worst_case_bytes(&self) -> usize {
        let connections = self.max_clients.saturating_add(self.max_refused_clients);
        let each = Framer::worst_case_bytes(self)
            .saturating_add(Outbox::worst_case_bytes(self))
            .saturating_add(CONNECTION_OVERHEAD_BYTES);
        connections
            .saturating_mul(each)
            .saturating_add(Inbox::worst_case_bytes(self))
    }
}

/// What one connection holds beside its two buffers: its own fields, its place in the
/// admission book, and what its largest error frame takes.
const CONNECTION_OVERHEAD_BYTES: usize = 1_024;

impl LimitsBuilder {
    /// Checks every range and every relation between limits.
    ///
    /// # Errors
    ///
    /// [`LimitsError::OutOfRange`], or [`LimitsError::Inverted`] when a frame could never fit
    /// into the inbox.
    pub fn build(self) -> Result<Limits, LimitsError> {
        let limits = self.0;
        limits.check_ranges()?;
        for (bound, bytes) in [
            ("max_inbox_bytes", limits.max_inbox_bytes),
            ("max_inbox_bytes_per_peer", limits.max_inbox_bytes_per_peer),
        ] {
            if limits.max_frame_bytes > bytes {
                return Err(LimitsError::Inverted {
                    name: "max_frame_bytes",
                    bound,
                });
            }
        }
        Ok(limits)
    }
}

pub(crate) fn in_range(
    name: &'static str,
    value: u64,
    min: u64,
    max: u64,
) -> Result<(), LimitsError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(LimitsError::OutOfRange { name, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use core::time::Duration;

    /// Covers: L1.1, L1.2, L1.3, L1.4, L1.5, L1.6, L1.7, L1.8, L1.9, L3.35
    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let limits = Limits::default();
        assert_eq!(limits.max_frame_bytes(), 65_536);
        assert_eq!(limits.max_inbox_entries(), 1_000);
        assert_eq!(limits.max_inbox_bytes(), 2_097_152);
        assert_eq!(limits.max_clients(), 128);
        assert_eq!(limits.auth_timeout(), Duration::from_secs(2));
        assert_eq!(limits.idle_timeout(), Duration::from_secs(30));
        assert_eq!(limits.send_timeout(), Duration::from_secs(5));
        assert_eq!(limits.ping_timeout(), Duration::from_secs(3));
        assert_eq!(limits.connect_timeout(), Duration::from_secs(5));
        assert!(limits.max_frame_depth() >= 128);
        assert_eq!(Limits::builder().build(), Ok(limits));
    }

    /// Covers: L1.12
    #[test]
    fn every_limit_is_set_by_its_name_and_checked_at_both_ends() {
        for name in Limits::NAMES {
            let mut ends = [0, u64::MAX].map(|value| {
                let mut builder = Limits::builder();
                builder.set(name, value).unwrap();
                match builder.build() {
                    Err(LimitsError::OutOfRange {
                        name: found,
                        min,
                        max,
                    }) => {
                        assert_eq!(found, *name);
                        (min, max)
                    }
                    other => panic!("{name} = {value} gave {other:?}"),
                }
            });
            ends.sort_unstable();
            assert_eq!(ends[0], ends[1]);
            for value in [ends[0].0, ends[0].1] {
                let mut builder = Limits::builder();
                builder.set(name, value).unwrap();
                let built = builder.build();
                assert!(
                    !matches!(built, Err(LimitsError::OutOfRange { .. })),
                    "{name} = {value} gave {built:?}"
                );
            }
        }
        let mut builder = Limits::builder();
        assert_eq!(builder.set("max_everything", 1), Err(LimitsError::Unknown));
    }

    #[test]
    fn named_setters_and_names_agree() {
        let mut by_name = Limits::builder();
        by_name.set("max_clients", 7).unwrap();
        by_name.set("auth_timeout", 70).unwrap();
        let by_setter = Limits::builder()
            .max_clients(7)
            .auth_timeout(Duration::from_millis(70));
        assert_eq!(by_name, by_setter);
        assert_eq!(by_setter.build().unwrap().auth_timeout().as_millis(), 70);
    }

    #[test]
    fn a_frame_must_fit_into_the_inbox() {
        for bound in ["max_inbox_bytes", "max_inbox_bytes_per_peer"] {
            let mut builder = Limits::builder();
            builder.set(bound, 65_535).unwrap();
            let error = builder.build().unwrap_err();
            assert_eq!(
                error,
                LimitsError::Inverted {
                    name: "max_frame_bytes",
                    bound
                }
            );
            assert!(format!("{error}").contains(bound));
            builder.set(bound, 65_536).unwrap();
            assert!(builder.build().is_ok());
        }
    }

    #[test]
    fn the_worst_case_is_the_product() {
        let limits = Limits::DEFAULT;
        let each = Framer::worst_case_bytes(&limits) + Outbox::worst_case_bytes(&limits) + 1_024;
        assert_eq!(
            limits.worst_case_bytes(),
            144 * each + Inbox::worst_case_bytes(&limits)
        );
        // Stated in the README: 24 MiB with the defaults.
        assert!(
            limits.worst_case_bytes() < 24 << 20,
            "{}",
            limits.worst_case_bytes()
        );
    }

    #[test]
    fn errors_name_the_limit() {
        let error = Limits::builder().max_clients(0).build().unwrap_err();
        assert_eq!(
            format!("{error}"),
            "max_clients must be between 1 and 65536"
        );
        assert_eq!(
            format!("{}", LimitsError::Unknown),
            "there is no such limit"
        );
    }
}
