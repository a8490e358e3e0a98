//! A directory that goes when its owner does.

use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, mem, process};

use nix::sys::statvfs::statvfs;

/// What a server under test may need. A container's `/dev/shm` is often far smaller.
const MEMORY_BYTES: u64 = 1 << 30;

/// A fresh empty directory, removed with what is in it on drop.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Creates a directory under the system's temporary directory, named for `purpose`.
    ///
    /// # Panics
    /// When it cannot be created.
    pub fn new(purpose: &str) -> TempDir {
        TempDir::below(&env::temp_dir(), purpose)
    }

    /// Creates a directory in memory if there is room: the thousand files of a database take a second to make on
    /// a disk whose file system has just removed as many.
    pub(crate) fn in_memory(purpose: &str) -> TempDir {
        let memory = Path::new("/dev/shm");
        let has_room = statvfs(memory)
            .is_ok_and(|stat| stat.blocks_available() * stat.fragment_size() >= MEMORY_BYTES);
        let in_memory = has_room
            .then(|| TempDir::new_in(memory, purpose).ok())
            .flatten();
        in_memory.unwrap_or_else(|| TempDir::new(purpose))
    }

    /// Creates a directory in `parent`.
    pub(crate) fn below(parent: &Path, purpose: &str) -> TempDir {
        TempDir::new_in(parent, purpose)
            .unwrap_or_else(|error| panic!("cannot write to {}: {error}", parent.display()))
    }

    fn new_in(parent: &Path, purpose: &str) -> Result<TempDir> {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = CREATED.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("tidegate-{purpose}-{}-{number}", process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(TempDir { path }),
                // Left by a killed process that had our id.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the directory up: whoever takes the path removes it.
    pub fn keep(mut self) -> PathBuf {
        let path = mem::take(&mut self.path);
        mem::forget(self);
        path
    }
}

impl AsRef<Path> for TempDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_removed_with_its_content() {
        let dir = TempDir::new("test");
        let path = dir.path().to_owned();
        fs::create_dir(path.join("inner")).unwrap();
        fs::write(path.join("inner/file"), "x").unwrap();
        drop(dir);
        assert!(!path.exists());
    }

    #[test]
    fn kept_stays() {
        let path = TempDir::new("test").keep();
        assert!(path.is_dir());
        fs::remove_dir(path).unwrap();
    }
}
