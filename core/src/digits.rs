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
}
