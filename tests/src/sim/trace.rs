//! Everything that happened in a run, as one number.

/// Everything that happened, as one number; said aloud when it is wanted.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    verbose: bool,
}

impl Trace {
    pub(crate) const fn new(verbose: bool) -> Self {
        // The offset and the prime are those of FNV-1a.
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            verbose,
        }
    }

    pub(super) fn note(&mut self, now: u64, what: &str, numbers: [u64; 2]) {
        if self.verbose {
            println!("{now:>9} us  {what} {numbers:?}");
        }
        self.fold(&now.to_le_bytes());
        self.fold(what.as_bytes());
        for number in numbers {
            self.fold(&number.to_le_bytes());
        }
    }

    /// Takes in what happened at `now`, in words.
    pub(crate) fn say(&mut self, now: u64, words: &str) {
        if self.verbose {
            println!("{now:>12} us  {words}");
        }
        self.fold(&now.to_le_bytes());
        self.fold(words.as_bytes());
    }

    /// Takes in bytes without a word.
    pub(super) fn fold(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }
}
