//! The allocator under QuickJS: counts, refuses past the limit, and remembers that it refused.
//!
//! A script can catch an out-of-memory error and go on in a state nobody tests, so the isolate must learn of every
//! refusal, also of a caught one. QuickJS's own limit cannot tell; and it does not hold with a custom allocator.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rquickjs::allocator::Allocator;

// One engine per process and one thread: statics, because QuickJS asks for sizes without naming an allocator.
static USED_BYTES: AtomicUsize = AtomicUsize::new(0);
static LIMIT_BYTES: AtomicUsize = AtomicUsize::new(usize::MAX);
static REFUSED: AtomicBool = AtomicBool::new(false);

/// malloc with a limit.
pub(crate) struct Limited;

/// Sets how many bytes JavaScript may hold from now on.
pub(crate) fn set_limit(bytes: usize) {
    LIMIT_BYTES.store(bytes, Ordering::Relaxed);
}

/// The limit that [`set_limit`] set.
pub(crate) fn limit() -> usize {
    LIMIT_BYTES.load(Ordering::Relaxed)
}

/// How many bytes JavaScript holds.
pub(crate) fn used() -> usize {
    USED_BYTES.load(Ordering::Relaxed)
}

/// True if memory was refused since the last time this was asked.
pub(crate) fn take_refused() -> bool {
    REFUSED.load(Ordering::Relaxed) && REFUSED.swap(false, Ordering::Relaxed)
}

fn has_room(bytes: usize) -> bool {
    let fits = bytes <= LIMIT_BYTES.load(Ordering::Relaxed).saturating_sub(used());
    if !fits {
        REFUSED.store(true, Ordering::Relaxed);
    }
    fits
}

fn count(pointer: *mut u8) -> *mut u8 {
    if pointer.is_null() {
        REFUSED.store(true, Ordering::Relaxed);
    } else {
        USED_BYTES.fetch_add(size_of_block(pointer), Ordering::Relaxed);
    }
    pointer
}

fn size_of_block(pointer: *mut u8) -> usize {
    // SAFETY: only called with a live pointer that malloc, calloc or realloc returned.
    unsafe { libc::malloc_usable_size(pointer.cast()) }
}

// SAFETY: every block comes from the C library's malloc, whose alignment and sizes meet the trait's contract.
unsafe impl Allocator for Limited {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !has_room(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: malloc accepts any size.
        count(unsafe { libc::malloc(size) }.cast())
    }

    fn calloc(&mut self, count_: usize, size: usize) -> *mut u8 {
        if !has_room(count_.saturating_mul(size)) {
            return std::ptr::null_mut();
        }
        // SAFETY: calloc accepts any numbers.
        count(unsafe { libc::calloc(count_, size) }.cast())
    }

    unsafe fn dealloc(&mut self, pointer: *mut u8) {
        USED_BYTES.fetch_sub(size_of_block(pointer), Ordering::Relaxed);
        // SAFETY: the caller passes a block of this allocator and gives it up.
        unsafe { libc::free(pointer.cast()) };
    }

    unsafe fn realloc(&mut self, pointer: *mut u8, new_size: usize) -> *mut u8 {
        if pointer.is_null() {
            return self.alloc(new_size);
        }
        let old_size = size_of_block(pointer);
        if new_size > old_size && !has_room(new_size - old_size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller passes a block of this allocator.
        let moved: *mut u8 = unsafe { libc::realloc(pointer.cast(), new_size) }.cast();
        if moved.is_null() {
            REFUSED.store(true, Ordering::Relaxed);
            return moved;
        }
        USED_BYTES.fetch_sub(old_size, Ordering::Relaxed);
        count(moved)
    }

    unsafe fn usable_size(pointer: *mut u8) -> usize {
        size_of_block(pointer)
    }
}
