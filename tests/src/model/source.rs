//! Choices: what steers a generator. Bytes (of a fuzzer, of proptest) or a seed (of a
//! simulation) decide the same way, and when bytes run out every choice is the first.

/// Where choices come from.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// From given bytes, one or two a choice.
    Bytes(&'a [u8]),
    /// From a seed, without end: splitmix64.
    Seed(u64),
}

impl<'a> Source<'a> {
    /// Whether nothing more can be chosen. Loops end then.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Seed(_) => false,
        }
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        match self {
            Self::Bytes([]) => 0,
            Self::Bytes(bytes) => {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                byte
            }
            Self::Seed(state) => (splitmix(state) >> 56) as u8,
        }
    }

    /// A number below `n`, which is at least 1.
    pub fn below(&mut self, n: usize) -> usize {
        match self {
            Self::Bytes(_) if n <= 256 => usize::from(self.byte()) % n,
            Self::Bytes(_) => {
                (usize::from(self.byte()) << 16
                    | usize::from(self.byte()) << 8
                    | usize::from(self.byte()))
                    % n
            }
            Self::Seed(state) => (splitmix(state) % n as u64) as usize,
        }
    }

    /// Whether something happens that happens once in `n`; the usual thing comes first.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A part of its own, so long as its first byte says; of a seed, a seed.
    #[must_use]
    pub fn part(&mut self) -> Self {
        let length = usize::from(self.byte());
        match self {
            Self::Bytes(bytes) => {
                let (part, rest) = bytes.split_at(length.min(bytes.len()));
                *bytes = rest;
                Self::Bytes(part)
            }
            Self::Seed(state) => Self::Seed(splitmix(state)),
        }
    }

    /// All bytes that are left; none of a seed.
    pub fn rest(&mut self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => std::mem::take(bytes),
            Self::Seed(_) => &[],
        }
    }
}

/// The next number of the splitmix64 generator.
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
