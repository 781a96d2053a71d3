//! Points in time, as the machines know them.
//!
//! [`Instant`] is monotonic and counts from an origin that the caller chose; it decides
//! deadlines. [`UnixTime`] is wall time; it is only ever printed or compared with what a peer
//! wrote down. Spans are [`core::time::Duration`].

use core::fmt;
use core::time::Duration;

use crate::digits::fixed;

/// A monotonic point in time: nanoseconds since the caller's origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The caller's origin.
    pub const ORIGIN: Instant = Instant(0);

    /// The point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point `span` later, or the end of time (584 years after the origin) if that is
    /// sooner.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// How long it is from `earlier` to this point; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Wall time: whole milliseconds since 1970-01-01T00:00:00Z, up to the end of the year 9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

/// The last millisecond whose ISO 8601 text has a four-digit year.
const LAST_MILLI: u64 = 253_402_300_799_999;

impl UnixTime {
    /// The epoch.
    pub const EPOCH: UnixTime = UnixTime(0);

    /// The point `millis` milliseconds after the epoch, or `None` after the year 9999.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Option<Self> {
        if millis <= LAST_MILLI {
            Some(Self(millis))
        } else {
            None
        }
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// How long it is from `earlier` to this point; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The text of local.md §3, all ASCII: `2026-01-02T03:04:05.678Z`.
    //
    // The date is Howard Hinnant's `civil_from_days`, restricted to years 1970 to 9999, where
    // every intermediate value is positive and below 2^32.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "every operand is bounded by LAST_MILLI; the largest value is days + 719468 < 4e6"
    )]
    #[must_use]
    pub fn iso8601(self) -> [u8; 24] {
        let (days, of_day) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let shifted = days + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let (month, next_year) = if month_from_march < 10 {
            (month_from_march + 3, 0)
        } else {
            (month_from_march - 9, 1)
        };
        let year = era * 400 + year_of_era + next_year;

        let [y0, y1, y2, y3] = fixed(year);
        let [mo0, mo1] = fixed(month);
        let [d0, d1] = fixed(day);
        let [h0, h1] = fixed(of_day / 3_600_000);
        let [mi0, mi1] = fixed(of_day / 60_000 % 60);
        let [s0, s1] = fixed(of_day / 1_000 % 60);
        let [f0, f1, f2] = fixed(of_day % 1_000);
        [
            y0, y1, y2, y3, b'-', mo0, mo1, b'-', d0, d1, b'T', h0, h1, b':', mi0, mi1, b':', s0,
            s1, b'.', f0, f1, f2, b'Z',
        ]
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.iso8601() {
            fmt::Write::write_char(f, char::from(byte))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[track_caller]
    fn text(millis: u64) -> alloc::string::String {
        UnixTime::from_millis(millis).unwrap().to_string()
    }

    /// Covers: L3.4
    #[test]
    fn text_of_known_instants() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_767_323_045_678), "2026-01-02T03:04:05.678Z");
        assert_eq!(text(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(text(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(text(LAST_MILLI), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn the_year_ten_thousand_is_refused() {
        assert_eq!(UnixTime::from_millis(LAST_MILLI + 1), None);
        assert_eq!(UnixTime::from_millis(u64::MAX), None);
    }

    fn is_leap(year: u64) -> bool {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    }

    #[test]
    fn every_day_of_a_whole_cycle_follows_the_one_before() {
        // An independent calendar counts month by month; it repeats after 400 years.
        let (mut year, mut month, mut day) = (1970_u64, 1, 1);
        for days in 0..146_097 {
            let expected = alloc::format!("{year:04}-{month:02}-{day:02}T23:59:59.999Z");
            assert_eq!(text(days * 86_400_000 + 86_399_999), expected);
            let length = match month {
                2 => 28 + u64::from(is_leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
        assert_eq!((year, month, day), (2370, 1, 1));
    }

    #[test]
    fn every_year_begins_where_the_one_before_ends() {
        let mut days = 0;
        for year in 1970..10_000 {
            assert_eq!(
                text(days * 86_400_000),
                alloc::format!("{year}-01-01T00:00:00.000Z")
            );
            days += 365 + u64::from(is_leap(year));
        }
        assert_eq!(days * 86_400_000, LAST_MILLI + 1);
    }

    #[test]
    fn instants_saturate_at_both_ends() {
        let late = Instant::from_nanos(u64::MAX);
        assert_eq!(late.after(Duration::from_nanos(1)), late);
        assert_eq!(Instant::ORIGIN.after(Duration::MAX), late);
        assert_eq!(Instant::ORIGIN.since(late), Duration::ZERO);
        assert_eq!(late.since(Instant::ORIGIN).as_nanos(), u128::from(u64::MAX));
        assert_eq!(
            UnixTime::EPOCH.since(UnixTime::from_millis(5).unwrap()),
            Duration::ZERO
        );
    }
}
