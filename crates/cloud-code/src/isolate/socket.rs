//! Blocking input and output on the sockets an isolate process was given; it has no others.

use std::io::{self, IoSliceMut};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// Waits until there is something to read, at most for `limit`; true if there is.
pub(crate) fn wait_readable(socket: RawFd, limit: Duration) -> io::Result<bool> {
    let mut descriptors = [PollFd::new(borrow(socket), PollFlags::POLLIN)];
    // Rounded up: waking early for a timer would spin.
    let limit = limit.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    match poll(&mut descriptors, limit) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads what is there, waiting for the first byte; 0 is the end.
pub(crate) fn read(socket: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match nix::unistd::read(borrow(socket), buffer) {
            Err(Errno::EINTR) => continue,
            result => return Ok(result?),
        }
    }
}

pub(crate) fn write_all(socket: RawFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(borrow(socket), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads what is there, and takes the descriptors that came with it.
pub(crate) fn read_with_descriptors(
    socket: RawFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; 2]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg::<()>(
            socket,
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(Errno::EINTR) => continue,
            result => break result?,
        }
    };
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            // SAFETY: the kernel just put these descriptors into this process and nothing else knows them.
            descriptors.extend(
                received
                    .into_iter()
                    .map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) }),
            );
        }
    }
    Ok((message.bytes, descriptors))
}

fn borrow(socket: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the process keeps its socket open until it ends.
    unsafe { BorrowedFd::borrow_raw(socket) }
}
