//! Loopback ports for servers under test.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux's default ephemeral range (32768 and up), so that no outgoing connection takes a port between
/// our look and the server's bind.
const FIRST_PORT: u32 = 18_000;
const PORTS: u32 = 14_000;
/// Ports a process may use before it meets those of the process with the next id.
const PORTS_PER_PROCESS: u32 = 41;

/// Returns a loopback TCP port that nothing listens on, and that this process was not given before.
///
/// Two processes start their search apart from one another, so that they do not race for the same port.
///
/// # Panics
/// When every port of the range is taken.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let start = process::id().wrapping_mul(PORTS_PER_PROCESS);
    (0..PORTS)
        .map(|_| start.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % PORTS + FIRST_PORT)
        .map(|port| port as u16)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("a loopback port is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_a_port_once() {
        assert_ne!(free_port(), free_port());
    }

    #[test]
    fn skips_a_port_in_use() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap();
        assert_ne!(free_port(), taken.local_addr().unwrap().port());
    }
}
