//! Forgetting secrets.

use alloc::vec::Vec;

use zeroize::optimization_barrier;

/// Empties `buffer` and overwrites all its memory, what it does not hold any more included, by
/// whole words and not, as `Zeroize` does, byte by byte.
pub(crate) fn wipe(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(buffer.capacity(), 0);
    // What nobody reads would not be written.
    optimization_barrier(buffer.as_slice());
    buffer.clear();
}
