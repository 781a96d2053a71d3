//! Numbers as ASCII digits, without the formatting machinery: replies carry two a message.

/// The last `N` decimal digits of `value`, with leading zeros.
pub(crate) fn fixed<const N: usize>(value: u64) -> [u8; N] {
    let mut out = [b'0'; N];
    let mut rest = value;
    for slot in out.iter_mut().rev() {
        let [low, ..] = (rest % 10).to_le_bytes();
        *slot = b'0'.wrapping_add(low);
        rest /= 10;
    }
    out
}

/// A number in decimal without leading zeros.
#[derive(Clone, Debug)]
pub(crate) struct Decimal {
    digits: [u8; 20],
    zeros: usize,
}

impl Decimal {
    pub(crate) fn new(value: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut zeros = digits.len();
        let mut rest = value;
        for slot in digits.iter_mut().rev() {
            let [low, ..] = (rest % 10).to_le_bytes();
            *slot = b'0'.wrapping_add(low);
            rest /= 10;
            zeros = zeros.saturating_sub(1);
            if rest == 0 {
                break;
            }
        }
        Self { digits, zeros }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.digits.get(self.zeros..).unwrap_or_default()
    }
}

/// Spells numbers of which most are one more than the one before.
#[derive(Clone, Debug)]
pub(crate) struct Count {
    last: u64,
    decimal: Decimal,
}

impl Default for Count {
    fn default() -> Self {
        Self {
            last: 0,
            decimal: Decimal::new(0),
        }
    }
}

impl Count {
    pub(crate) fn spell(&mut self, value: u64) -> &[u8] {
        let is_next = self.last.checked_add(1) == Some(value);
        let [.., digit] = &mut self.decimal.digits;
        if is_next && *digit < b'9' {
            *digit = digit.saturating_add(1);
        } else {
            self.decimal = Decimal::new(value);
        }
        self.last = value;
        self.decimal.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn decimals_are_spelled_as_the_standard_library_does() {
        let mut value = 1_u64;
        for _ in 0..20 {
            for near in [value - 1, value, value + 1] {
                assert_eq!(Decimal::new(near).as_bytes(), near.to_string().as_bytes());
            }
            value = value.saturating_mul(10).min(u64::MAX - 1);
        }
        assert_eq!(Decimal::new(u64::MAX).as_bytes(), b"18446744073709551615");
        assert_eq!(&fixed::<3>(7), b"007");
        assert_eq!(&fixed::<2>(1_234), b"34");
    }

    #[test]
    fn a_count_is_spelled_as_its_numbers_are() {
        let mut count = Count::default();
        let jumps = [0, 0, 5, 4, 99, u64::MAX - 1, u64::MAX, 0, 9, 9, 10];
        for value in (0..1_200).chain(jumps).chain(0..3) {
            assert_eq!(count.spell(value), value.to_string().as_bytes());
        }
    }
}
