//! A file system of a few megabytes, to be filled up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::temp_dir::TempDir;

/// An ext4 file system in a loop file. Dropping it unmounts it: end what runs on it first.
pub struct SmallDisk {
    directory: TempDir,
    mount_point: PathBuf,
}

impl SmallDisk {
    /// None where this user or machine may not mount, and stderr says so.
    pub fn mount(megabytes: u64) -> Option<SmallDisk> {
        let directory = TempDir::new("small-disk");
        let (file, mount_point) = (
            directory.path().join("file"),
            directory.path().join("mounted"),
        );
        fs::create_dir(&mount_point).expect("a fresh directory can be written to");
        fs::File::create(&file)
            .and_then(|file| file.set_len(megabytes << 20))
            .expect("a sparse file takes no room");
        let run = |program: &str, arguments: &[&Path]| {
            let output = Command::new(program).args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        let made = run("mkfs.ext4", &[Path::new("-q"), Path::new("-m0"), &file])
            && run("mount", &[Path::new("-oloop"), &file, &mount_point]);
        if !made {
            eprintln!("this user may not mount a loop file here");
            return None;
        }
        Some(SmallDisk {
            directory,
            mount_point,
        })
    }

    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut ballast = fs::File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("the disk is mounted");
        let chunk = vec![0; 64 * 1024];
        // The last write fails for want of room, as it should.
        while std::io::Write::write_all(&mut ballast, &chunk).is_ok() {}
    }

    /// Gives it back.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the disk was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.mount_point.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: a server that has just been killed may still be on its way out.
        let _ = Command::new("umount")
            .arg("-l")
            .arg(&self.mount_point)
            .output();
        let _ = &self.directory;
    }
}
