//! Numbers by their digits, however they are spelled.

/// A number by its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// A whole one from 0 to `u64::MAX`.
    Whole(u64),
    /// It is less than 0.
    Negative,
    /// It has a part behind the point.
    Fraction,
    /// A whole one that does not fit.
    Beyond,
}

impl Number {
    /// Reads a valid JSON number.
    pub(super) fn read(number: &str) -> Self {
        let (is_negative, magnitude) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = || integer.bytes().chain(fraction.bytes());
        if digits().all(|digit| digit == b'0') {
            return Self::Whole(0);
        }
        if is_negative {
            return Self::Negative;
        }
        // What is beyond the type moves any digit but 0 out of range or below the point.
        let is_small = exponent.starts_with('-');
        let exponent = exponent.parse::<i32>().ok().map(i64::from);
        let length = i64::try_from(integer.len()).unwrap_or(i64::MAX);
        let Some(point) = exponent.map(|exponent| length.saturating_add(exponent)) else {
            return if is_small {
                Self::Fraction
            } else {
                Self::Beyond
            };
        };
        let Ok(point) = usize::try_from(point) else {
            return Self::Fraction;
        };
        if digits().skip(point).any(|digit| digit != b'0') {
            return Self::Fraction;
        }
        let zeros = point.saturating_sub(integer.len().saturating_add(fraction.len()));
        // 10^20 is beyond the type: more zeros than that behind a digit overflow the same.
        let padding = core::iter::repeat_n(b'0', zeros.min(20));
        let value = digits()
            .take(point)
            .chain(padding)
            .try_fold(0_u64, |value, digit| {
                let digit = u64::from(digit.wrapping_sub(b'0'));
                value.checked_mul(10)?.checked_add(digit)
            });
        value.map_or(Self::Beyond, Self::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::raw::Raw;

    #[test]
    fn whole_numbers_are_read_however_they_are_spelled() {
        use Number::{Beyond, Fraction, Negative, Whole};
        for (number, expected) in [
            ("0", Whole(0)),
            ("-0", Whole(0)),
            ("-0.0e9", Whole(0)),
            ("0e999999999999", Whole(0)),
            ("10", Whole(10)),
            ("1e1", Whole(10)),
            ("10.0", Whole(10)),
            ("1.5e1", Whole(15)),
            ("1.5E+1", Whole(15)),
            ("150e-1", Whole(15)),
            ("1.5", Fraction),
            ("-1", Negative),
            ("-0.5", Negative),
            ("-1e999999999999", Negative),
            ("15e-2", Fraction),
            ("1e-5", Fraction),
            ("1e-999999999999", Fraction),
            ("1e999999999999", Beyond),
            ("1e2147483647", Beyond),
            ("10e2147483647", Beyond),
            ("18446744073709551615", Whole(u64::MAX)),
            ("18446744073709551616", Beyond),
            ("1e19", Whole(10_000_000_000_000_000_000)),
            ("1e20", Beyond),
        ] {
            let raw = Raw::parse(number).unwrap();
            assert_eq!(raw.number(), Some(expected), "{number}");
            let value = match expected {
                Whole(value) => Some(value),
                _ => None,
            };
            assert_eq!(raw.unsigned(), value, "{number}");
        }
        for other in ["\"1\"", "true", "[]"] {
            let raw = Raw::parse(other).unwrap();
            assert_eq!((raw.number(), raw.unsigned()), (None, None), "{other}");
        }
    }
}
