//! Where a project's development data is kept between runs: `.tidegate/` in the project.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{User, geteuid};

use crate::cli::UsageError;

pub struct Place {
    folder: PathBuf,
    /// Who the servers run as, when this process is root: Postgres refuses to.
    pub user: Option<User>,
    /// Held while this process lives; the kernel lets go of it even after a kill -9.
    _lock: Flock<File>,
}

impl Place {
    pub fn open(project: &Path) -> Result<Place> {
        let user = server_user()?;
        let folder = folder_of(project, user.as_ref())?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            let what = "tidegate dev already runs for this project: end it, or choose another project folder";
            UsageError(format!("{what} ({} is locked)", path.display()))
        })?;
        Ok(Place {
            folder,
            user,
            _lock: lock,
        })
    }

    /// A folder for one server, owned by the user it runs as.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        if let Some(user) = &self.user {
            nix::unistd::chown(&folder, Some(user.uid), Some(user.gid))?;
        }
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        Ok(folder)
    }

    /// Made once and kept, so that a client need not be changed with every start.
    pub fn master_key(&self) -> Result<String> {
        self.kept("master-key", || format!("{:032x}", rand::random::<u128>()))
    }

    /// A free loopback port, the same as last time if it is still free.
    pub fn port(&self, name: &str) -> Result<u16> {
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        let last = fs::read_to_string(self.folder.join(name))
            .ok()
            .and_then(|text| text.trim().parse().ok());
        if let Some(port) = last.filter(|port| is_free(*port)) {
            return Ok(port);
        }
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        fs::write(self.folder.join(name), port.to_string())?;
        Ok(port)
    }

    fn kept(&self, name: &str, make: impl FnOnce() -> String) -> Result<String> {
        let path = self.folder.join(name);
        if let Ok(text) = fs::read_to_string(&path)
            && !text.trim().is_empty()
        {
            return Ok(text.trim().to_owned());
        }
        let text = make();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(text)
    }
}

/// Root cannot run Postgres; `postgres` is there when Debian's package is, `nobody` always.
fn server_user() -> Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = User::from_name(name)? {
            return Ok(Some(user));
        }
    }
    Err(UsageError(
        "Postgres does not run as root, and there is neither a user postgres nor nobody".into(),
    )
    .into())
}

/// `.tidegate` in the project; where another user cannot get there, a folder of the project's own in /var/tmp.
fn folder_of(project: &Path, user: Option<&User>) -> Result<PathBuf> {
    let inside = project.join(".tidegate");
    if user.is_none() || project.ancestors().all(is_open_to_others) {
        return Ok(inside);
    }
    let mut hash = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(project, &mut hash);
    let outside = PathBuf::from(format!(
        "/var/tmp/tidegate-dev-{:016x}",
        std::hash::Hasher::finish(&hash)
    ));
    super::progress(&format!(
        "{} is not open to Postgres's user; data is kept in {}",
        project.display(),
        outside.display()
    ));
    Ok(outside)
}

fn is_open_to_others(folder: &Path) -> bool {
    folder
        .metadata()
        .is_ok_and(|metadata| metadata.mode() & 0o001 != 0)
}
