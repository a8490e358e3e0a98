//! One shared page pair per isolate, on which both sides see what it is doing without a message.
//!
//! ```text
//! server ── offers a run in a slot ──▶ board ◀── claims it, begins and ends bursts ── isolate
//!        ── takes it back ──────────▶       (one compare-and-swap decides who has the run)
//! ```
//!
//! Two things need this. A run that was sent to an isolate which then got stuck in somebody else's endless loop can be
//! given to another isolate, and exactly one of the two runs it. And when an isolate must be killed the server knows
//! whose code was running, also inside a native function that no interrupt handler sees.
//!
//! Invariant: the isolate may write anything here. A lie can only harm the runs of its own isolate.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// The most runs that can be open in one isolate at a time; what fits in two pages.
pub(crate) const SLOTS: usize = 1000;

const OFFERED: u64 = 1;
const CLAIMED: u64 = 2;
const TAKEN_BACK: u64 = 3;

#[repr(C)]
struct Page {
    /// When the isolate last entered JavaScript; 0 while it is outside.
    burst_started_ns: AtomicU64,
    /// Whose code it entered; 0 is the module's own.
    burst_run: AtomicU32,
    _reserved: u32,
    /// How many runs it has claimed.
    started: AtomicU64,
    /// Run id and state of each slot.
    slots: [AtomicU64; SLOTS],
}

/// One side's view of the board.
pub(crate) struct Board {
    page: NonNull<Page>,
}

// SAFETY: the page holds atomics only and stays mapped until this owner is dropped.
unsafe impl Send for Board {}
// SAFETY: as above.
unsafe impl Sync for Board {}

impl Board {
    /// A new board, and the descriptor by which the isolate maps it.
    pub(crate) fn create() -> io::Result<(Board, OwnedFd)> {
        let memory = memfd_create(
            "tidegate-board",
            MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
        )?;
        nix::unistd::ftruncate(&memory, size_of::<Page>() as i64)?;
        // Without the seal an isolate could shrink the page under the server, which would die of SIGBUS.
        fcntl(
            &memory,
            FcntlArg::F_ADD_SEALS(
                SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL,
            ),
        )?;
        let board = Board::map(&memory)?;
        Ok((board, memory))
    }

    /// Maps the board that the other side created.
    pub(crate) fn map(memory: impl AsFd) -> io::Result<Board> {
        let length = NonZeroUsize::new(size_of::<Page>()).expect("a page is not empty");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address the kernel chooses; nothing else refers to it.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, memory, 0) }?;
        Ok(Board {
            page: address.cast(),
        })
    }

    fn page(&self) -> &Page {
        // SAFETY: mapped for the life of self, page-aligned, and every bit pattern is valid for atomics.
        unsafe { self.page.as_ref() }
    }

    /// Server: announces that `run` may be started from `slot`.
    pub(crate) fn offer(&self, slot: u16, run: u32) {
        self.page().slots[usize::from(slot)].store(tag(run, OFFERED), Ordering::Release);
    }

    /// Server: takes an offered run back. True: the isolate will never start it. False: it has started.
    pub(crate) fn take_back(&self, slot: u16, run: u32) -> bool {
        self.swap(slot, tag(run, OFFERED), tag(run, TAKEN_BACK))
    }

    /// Server: true while the isolate has not started this run.
    pub(crate) fn is_offered(&self, slot: u16, run: u32) -> bool {
        self.page().slots[usize::from(slot)].load(Ordering::Acquire) == tag(run, OFFERED)
    }

    /// Server: the run whose code is running and since when, if any is.
    pub(crate) fn burst(&self) -> Option<(u32, u64)> {
        let started = self.page().burst_started_ns.load(Ordering::Acquire);
        (started != 0).then(|| (self.page().burst_run.load(Ordering::Acquire), started))
    }

    /// Server: how many runs the isolate has started.
    pub(crate) fn started(&self) -> u64 {
        self.page().started.load(Ordering::Acquire)
    }

    /// Isolate: true when the run is still offered, and now this isolate's to run.
    pub(crate) fn claim(&self, slot: u16, run: u32) -> bool {
        let claimed =
            usize::from(slot) < SLOTS && self.swap(slot, tag(run, OFFERED), tag(run, CLAIMED));
        if claimed {
            self.page().started.fetch_add(1, Ordering::AcqRel);
        }
        claimed
    }

    /// Isolate: enters JavaScript on behalf of `run`.
    pub(crate) fn begin_burst(&self, run: u32, now_ns: u64) {
        self.page().burst_run.store(run, Ordering::Release);
        self.page()
            .burst_started_ns
            .store(now_ns, Ordering::Release);
    }

    /// Isolate: is outside JavaScript again.
    pub(crate) fn end_burst(&self) {
        self.page().burst_started_ns.store(0, Ordering::Release);
    }

    fn swap(&self, slot: u16, from: u64, to: u64) -> bool {
        let slot = &self.page().slots[usize::from(slot)];
        slot.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length; no reference outlives self.
        let unmapped = unsafe { munmap(self.page.cast(), size_of::<Page>()) };
        debug_assert!(unmapped.is_ok());
    }
}

/// A run's id goes with its state, so that a frame which still names a slot's former run matches nothing.
fn tag(run: u32, state: u64) -> u64 {
    u64::from(run) << 2 | state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_side_gets_a_run_and_an_old_frame_gets_nothing() {
        let (server, memory) = Board::create().unwrap();
        let isolate = Board::map(&memory).unwrap();
        server.offer(3, 10);
        assert!(server.take_back(3, 10));
        assert!(!isolate.claim(3, 10), "it was taken back");
        server.offer(3, 11);
        assert!(!isolate.claim(3, 10), "the slot is another run's now");
        assert!(server.is_offered(3, 11) && isolate.claim(3, 11) && !server.is_offered(3, 11));
        assert!(!server.take_back(3, 11), "it has started");
        assert!(!isolate.claim(u16::MAX, 11), "no such slot");
    }

    #[test]
    fn the_server_sees_whose_code_runs() {
        let (server, memory) = Board::create().unwrap();
        let isolate = Board::map(&memory).unwrap();
        assert_eq!(server.burst(), None);
        isolate.begin_burst(5, 77);
        assert_eq!(server.burst(), Some((5, 77)));
        isolate.end_burst();
        assert_eq!(server.burst(), None);
    }

    #[test]
    fn the_isolate_cannot_shrink_the_page_under_the_server() {
        let (_server, memory) = Board::create().unwrap();
        assert!(nix::unistd::ftruncate(&memory, 0).is_err());
    }
}
