//! Frames on their way to the server.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;

use super::socket;

/// Output is sent once this much has gathered, also in the middle of a burst, so that a flood waits for the server.
const FLUSH_BYTES: usize = 256 * 1024;

/// Gathers frames and writes them at once.
pub(crate) struct Output {
    socket: Cell<RawFd>,
    frames: RefCell<Vec<u8>>,
}

impl Output {
    pub(crate) fn new(socket: RawFd) -> Output {
        Output {
            socket: Cell::new(socket),
            frames: RefCell::default(),
        }
    }

    /// Sends to `socket` from now on. Nothing must be left to be sent.
    pub(crate) fn redirect(&self, socket: RawFd) {
        self.socket.set(socket);
    }

    /// Adds a frame.
    pub(crate) fn put(&self, frame: impl FnOnce(&mut Vec<u8>)) {
        let mut frames = self.frames.borrow_mut();
        frame(&mut frames);
        if frames.len() >= FLUSH_BYTES {
            drop(frames);
            self.flush();
        }
    }

    /// Sends what there is. A server that no longer listens has ended: so does this process.
    pub(crate) fn flush(&self) {
        let mut frames = self.frames.borrow_mut();
        if frames.is_empty() {
            return;
        }
        if socket::write_all(self.socket.get(), &frames).is_err() {
            std::process::exit(0);
        }
        frames.clear();
        frames.shrink_to(2 * FLUSH_BYTES);
    }
}
