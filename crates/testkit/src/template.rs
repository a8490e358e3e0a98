//! The Postgres binaries, and a data directory made once and copied for each server.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, process};

use anyhow::{Context, Result, ensure};
use nix::unistd::{Gid, Uid, User};

use crate::server::Account;
use crate::temp_dir::TempDir;

/// Goes into the cache key: raise it when what follows changes what a template holds.
const TEMPLATE_FORMAT: u32 = 1;

/// Small segments are quick to copy, and tests cross segment borders sooner.
const WAL_SEGMENT_MEGABYTES: u32 = 4;

pub(crate) const SUPERUSER: &str = "postgres";
pub(crate) const OWNER: &str = "owner";
/// Of the `auth_…` roles; each character after the first letter is one that a URL must escape.
pub(crate) const PASSWORD: &str = "p@s:s/w?r%d";
pub(crate) const PASSWORD_IN_URL: &str = "p%40s%3As%2Fw%3Fr%25d";

/// Trust, but for the roles that exist to prove one way of logging in.
const HBA: &str = "\
local all         all                        trust
host  all         auth_scram    127.0.0.1/32 scram-sha-256
host  all         auth_md5      127.0.0.1/32 md5
host  all         auth_password 127.0.0.1/32 password
host  all         all           127.0.0.1/32 trust
local replication all                        trust
host  replication all           127.0.0.1/32 trust
";

/// One installed Postgres.
#[derive(Debug)]
pub(crate) struct Installation {
    bin: PathBuf,
    /// Differs between installed versions.
    key: String,
}

impl Installation {
    /// Finds the newest installed server. `TIDEGATE_PG_BIN` names a folder to take instead.
    pub fn find() -> Result<Installation> {
        let bin = candidates()
            .into_iter()
            .find(|bin| bin.join("initdb").is_file() && bin.join("postgres").is_file())
            .context("Postgres is not installed: run ops/setup, or set TIDEGATE_PG_BIN")?;
        let program = bin.join("postgres").canonicalize()?;
        let metadata = program.metadata()?;
        let key = format!(
            "{} {} {}",
            program.display(),
            metadata.len(),
            metadata.mtime()
        );
        Ok(Installation { bin, key })
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = env::var_os("TIDEGATE_PG_BIN")
        .into_iter()
        .map(PathBuf::from)
        .collect();
    let mut packaged: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok())
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    packaged.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.extend(packaged.into_iter().map(|(_, bin)| bin));
    found.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    found
}

/// The account that Postgres servers run as: it refuses root.
pub(crate) fn server_account() -> Result<Account> {
    if !Uid::effective().is_root() {
        return Ok(Account {
            uid: Uid::effective(),
            gid: Gid::effective(),
        });
    }
    let user = [SUPERUSER, "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .context("there is neither a user postgres nor nobody to run Postgres as")?;
    Ok(Account {
        uid: user.uid,
        gid: user.gid,
    })
}

/// Puts a ready data directory at `data`, which must not exist yet.
pub(crate) fn copy_to(data: &Path, installation: &Installation, account: Account) -> Result<()> {
    copy(&cached(installation, account)?, data)
}

/// The template for this version and account; made if this is its first use, while other processes wait.
fn cached(installation: &Installation, account: Account) -> Result<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/testkit");
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let key: String = format!("{} {} {TEMPLATE_FORMAT}", installation.key, account.uid)
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '-'
            }
        })
        .collect();
    let template = cache.join(&key);
    if !template.is_dir() {
        let lock = File::create(cache.join(format!("{key}.lock")))?;
        lock.lock().context("cannot lock the template")?;
        if !template.is_dir() {
            let unfinished = cache.join(format!("{key}.{}", process::id()));
            copy(
                &make(installation, account)?.path().join("data"),
                &unfinished,
            )?;
            fs::rename(&unfinished, &template)?;
        }
    }
    Ok(template)
}

/// Runs initdb in a directory that the account can reach, which `target` need not be.
fn make(installation: &Installation, account: Account) -> Result<TempDir> {
    let dir = TempDir::new("initdb");
    give_to(dir.path(), account)?;
    let data = dir.path().join("data");
    let mut initdb = Command::new(installation.program("initdb"));
    initdb
        .args([
            "--no-sync",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ])
        .arg(format!("--username={SUPERUSER}"))
        .arg(format!("--wal-segsize={WAL_SEGMENT_MEGABYTES}"))
        .arg("-D")
        .arg(&data);
    run(in_account(&mut initdb, account))?;
    fs::write(data.join("pg_hba.conf"), HBA)?;
    create_roles(installation, account, &data)?;
    Ok(dir)
}

/// Creates the roles in single-user mode, which takes one statement a line and needs no running server.
fn create_roles(installation: &Installation, account: Account, data: &Path) -> Result<()> {
    let mut single = Command::new(installation.program("postgres"));
    single
        .args(["--single", "-c", "fsync=off", "-D"])
        .arg(data)
        .arg("postgres");
    in_account(&mut single, account)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = single.spawn()?;
    let mut statements = format!("create role {OWNER} login replication\n");
    for (role, encryption) in [
        ("auth_scram", "scram-sha-256"),
        ("auth_md5", "md5"),
        ("auth_password", "scram-sha-256"),
    ] {
        statements += &format!("set password_encryption = '{encryption}'\n");
        statements += &format!(
            "create role {role} login replication in role {OWNER} password '{PASSWORD}'\n"
        );
    }
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(statements.as_bytes())?;
    let output = child.wait_with_output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !log.contains("ERROR"),
        "cannot create the roles: {log}"
    );
    Ok(())
}

/// Makes `directory` the account's own, for nobody else.
pub(crate) fn give_to(directory: &Path, account: Account) -> Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    if Uid::effective().is_root() {
        chown(
            directory,
            Some(account.uid.as_raw()),
            Some(account.gid.as_raw()),
        )?;
    }
    Ok(())
}

/// Keeps owners and modes: it runs as root or as the owner.
fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp")
        .args(["-a", "--reflink=auto", "--"])
        .arg(from)
        .arg(to))?;
    Ok(())
}

fn in_account(command: &mut Command, account: Account) -> &mut Command {
    account.apply(command);
    command.current_dir("/").env("LC_ALL", "C")
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {errors}");
    Ok(output)
}
