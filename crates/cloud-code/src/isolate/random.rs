//! Randomness that differs in every fork.
//!
//! QuickJS seeds `Math.random` once, when the zygote creates its context: every fork would draw the same numbers. So
//! `Math.random` is ours, and its seed is drawn again after each fork. Key material comes from the kernel each time.

use std::cell::Cell;
use std::io;

/// The state of `Math.random` (xorshift128+, as in other engines). Not for secrets.
#[derive(Debug)]
pub(crate) struct Random {
    state: Cell<(u64, u64)>,
}

impl Random {
    pub(crate) fn new() -> io::Result<Random> {
        let random = Random {
            state: Cell::new((0, 1)),
        };
        random.reseed()?;
        Ok(random)
    }

    /// To be called once in every fork.
    pub(crate) fn reseed(&self) -> io::Result<()> {
        let mut seed = [0; 16];
        fill(&mut seed)?;
        let seed = u128::from_le_bytes(seed) | 1;
        self.state.set(((seed >> 64) as u64, seed as u64));
        Ok(())
    }

    /// A number in [0, 1).
    pub(crate) fn next(&self) -> f64 {
        let (mut a, b) = self.state.get();
        a ^= a << 23;
        a ^= a >> 17;
        a ^= b ^ (b >> 26);
        self.state.set((b, a));
        (a.wrapping_add(b) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Fills `bytes` from the kernel's generator.
pub(crate) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: pointer and length describe `rest`.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match got {
            0.. => filled += got as usize,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_range_and_differ_after_a_reseed() {
        let random = Random::new().unwrap();
        let draw = || (0..100).map(|_| random.next()).collect::<Vec<_>>();
        let first = draw();
        assert!(first.iter().all(|number| (0.0..1.0).contains(number)));
        random.reseed().unwrap();
        assert_ne!(first, draw());
    }
}
