//! The core as a shared object whose machine code is analysed: `surface` keeps every public
//! function of it, `integers` gives the integer-only ones a C signature.
//!
//! Without the feature `std` nothing of the standard library is linked, so that every panic in
//! the object is one of the core, of its dependencies, or of `core` and `alloc`.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod integers;
#[cfg(feature = "relay")]
mod relay;
mod surface;

#[cfg(not(feature = "std"))]
mod freestanding {
    use core::alloc::{GlobalAlloc, Layout};
    use core::panic::PanicInfo;

    unsafe extern "C" {
        safe fn hallway_panicked() -> !;
        fn hallway_allocate(size: usize, align: usize) -> *mut u8;
        fn hallway_free(block: *mut u8, size: usize, align: usize);
    }

    /// Not defined anywhere: the object is read, never run.
    struct Undefined;

    // SAFETY: never run.
    unsafe impl GlobalAlloc for Undefined {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            unsafe { hallway_allocate(layout.size(), layout.align()) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            unsafe { hallway_free(block, layout.size(), layout.align()) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Undefined = Undefined;

    #[panic_handler]
    fn panicked(_: &PanicInfo<'_>) -> ! {
        hallway_panicked()
    }
}
