//! What a process that runs user code can no longer do.
//!
//! ```text
//! executable ─▶ drop root ─▶ limits ─▶ landlock ─▶ seccomp(zygote) ─▶ user code is loaded
//!                                                        └─ fork ─▶ seccomp(isolate) ─▶ runs are served
//! ```
//!
//! Invariant: no user code runs before [`confine_zygote`]; no run is served before [`confine_isolate`]. A step that
//! the kernel refuses ends the process, but for landlock, which older kernels lack and which repeats what seccomp
//! already forbids.

use std::io;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid};
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule};

/// The user and group `nobody`; what root becomes.
const NOBODY: u32 = 65_534;

/// Address space beyond the JavaScript heap: frames, bytecode, stack, the allocator's slack.
const HEADROOM_BYTES: u64 = 256 * 1024 * 1024;

/// Of 1000; ordinary processes have 0.
const OOM_SCORE: &str = "500";

/// The flags of the one clone that a zygote may do.
pub(crate) const FORK_FLAGS: i32 = libc::CLONE_PARENT | libc::SIGCHLD;

/// Confines the process that loads user code and forks isolates.
pub fn confine_zygote(memory_limit_bytes: u64) -> io::Result<()> {
    // When memory is short the kernel should end an isolate, not its server. Best effort: not every container lets us.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    drop_root()?;
    die_with_parent()?;
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::prctl::set_no_new_privs()?;
    limit_resources(memory_limit_bytes)?;
    forbid_files_and_network();
    apply(zygote_rules()?)
}

/// Confines a fork of the zygote further: it can read, write, wait, and manage its memory.
pub fn confine_isolate() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    setrlimit(Resource::RLIMIT_NOFILE, 3, 3)?;
    apply(isolate_rules()?)
}

/// Has the kernel kill this process when its parent ends; each fork must ask for itself.
pub(crate) fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(
        nix::sys::signal::Signal::SIGKILL,
    )?)
}

fn drop_root() -> io::Result<()> {
    if Uid::effective().is_root() {
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        nix::unistd::setgroups(&[])?;
        nix::unistd::setresgid(group, group, group)?;
        nix::unistd::setresuid(user, user, user)?;
    }
    Ok(())
}

fn limit_resources(memory_limit_bytes: u64) -> io::Result<()> {
    let address_space = mapped_bytes()? + memory_limit_bytes + HEADROOM_BYTES;
    setrlimit(Resource::RLIMIT_AS, address_space, address_space)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_NOFILE, 16, 16)?;
    Ok(())
}

fn mapped_bytes() -> io::Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = pages
        .split(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?.unwrap_or(4096);
    Ok(pages * page_bytes as u64)
}

fn forbid_files_and_network() {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(ABI::V5)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)))
        .and_then(|ruleset| ruleset.create())
        .and_then(|ruleset| ruleset.restrict_self());
    // Best effort, as the module says; seccomp forbids the same and more.
    drop(ruleset);
}

type Rules = Vec<(i64, Vec<SeccompRule>)>;

fn isolate_rules() -> io::Result<Rules> {
    let mut rules: Rules = ISOLATE_CALLS
        .iter()
        .map(|&call| (call, Vec::new()))
        .collect();
    // Memory may be writable or executable, never made executable: there is no compiler in here.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let not_executable = SeccompCondition::new(2, Dword, MaskedEq(libc::PROT_EXEC as u64), 0);
        rules.push((call, vec![rule(vec![not_executable])?]));
    }
    Ok(rules)
}

fn zygote_rules() -> io::Result<Rules> {
    let mut rules = isolate_rules()?;
    rules.extend(ZYGOTE_CALLS.iter().map(|&call| (call, Vec::new())));
    let plain_fork = SeccompCondition::new(0, Qword, Eq, FORK_FLAGS as u64);
    rules.push((libc::SYS_clone, vec![rule(vec![plain_fork])?]));
    Ok(rules)
}

/// What QuickJS, the C library's allocator, the clock and the frames need.
const ISOLATE_CALLS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What receiving a fork order and becoming an isolate need on top.
const ZYGOTE_CALLS: &[i64] = &[
    libc::SYS_recvmsg,
    libc::SYS_dup3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    libc::SYS_close_range,
    libc::SYS_fcntl,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_getppid,
    libc::SYS_clock_nanosleep,
    libc::SYS_seccomp,
];

fn rule(
    conditions: Vec<Result<SeccompCondition, seccompiler::BackendError>>,
) -> io::Result<SeccompRule> {
    let conditions = conditions
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    SeccompRule::new(conditions).map_err(io::Error::other)
}

/// Refusing with EPERM, not killing: C libraries probe for calls they can do without.
fn apply(rules: Rules) -> io::Result<()> {
    let architecture = std::env::consts::ARCH
        .try_into()
        .map_err(io::Error::other)?;
    let refuse = SeccompAction::Errno(Errno::EPERM as u32);
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        refuse,
        SeccompAction::Allow,
        architecture,
    );
    let program: BpfProgram = filter
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}
