//! What a confined process can and cannot do, asked of the kernel itself.

use std::process::Command;

use nix::errno::Errno;
use tidegate_cloud_code::isolate::sandbox;

/// Makes the call and returns its error, or "allowed".
fn attempt(call: libc::c_long, arguments: [usize; 6]) -> String {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the arguments below are valid or null; this process is a throw-away.
    match unsafe { libc::syscall(call, a, b, c, d, e, f) } {
        -1 => Errno::last().to_string(),
        _ => "allowed".into(),
    }
}

fn forbidden() -> Vec<(&'static str, String)> {
    let path = c"/etc/passwd".as_ptr() as usize;
    let at = libc::AT_FDCWD as usize;
    let me = std::process::id() as usize;
    let page = 4096;
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let executable = (libc::PROT_READ | libc::PROT_EXEC) as usize;
    let of = |name, call, arguments| (name, attempt(call, arguments));
    vec![
        of("openat", libc::SYS_openat, [at, path, 0, 0, 0, 0]),
        of(
            "create",
            libc::SYS_openat,
            [
                at,
                c"/tmp/x".as_ptr() as usize,
                libc::O_CREAT as usize,
                0o600,
                0,
                0,
            ],
        ),
        of("unlinkat", libc::SYS_unlinkat, [at, path, 0, 0, 0, 0]),
        of("stat", libc::SYS_newfstatat, [at, path, 0, 0, 0, 0]),
        of(
            "socket",
            libc::SYS_socket,
            [
                libc::AF_INET as usize,
                libc::SOCK_STREAM as usize,
                0,
                0,
                0,
                0,
            ],
        ),
        of(
            "unix socket",
            libc::SYS_socket,
            [
                libc::AF_UNIX as usize,
                libc::SOCK_STREAM as usize,
                0,
                0,
                0,
                0,
            ],
        ),
        of("sendmsg", libc::SYS_sendmsg, [0, 0, 0, 0, 0, 0]),
        of(
            "fork",
            libc::SYS_clone,
            [libc::SIGCHLD as usize, 0, 0, 0, 0, 0],
        ),
        of(
            "zygote's fork",
            libc::SYS_clone,
            [(libc::CLONE_PARENT | libc::SIGCHLD) as usize, 0, 0, 0, 0, 0],
        ),
        of("clone3", libc::SYS_clone3, [0, 0, 0, 0, 0, 0]),
        of("execve", libc::SYS_execve, [path, 0, 0, 0, 0, 0]),
        of("kill", libc::SYS_kill, [me, 0, 0, 0, 0, 0]),
        of("ptrace", libc::SYS_ptrace, [0, 0, 0, 0, 0, 0]),
        of(
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            [me, 0, 0, 0, 0, 0],
        ),
        of("pidfd_open", libc::SYS_pidfd_open, [me, 0, 0, 0, 0, 0]),
        of(
            "executable mmap",
            libc::SYS_mmap,
            [0, page, executable, anonymous, usize::MAX, 0],
        ),
        of(
            "executable mprotect",
            libc::SYS_mprotect,
            [0, 0, executable, 0, 0, 0],
        ),
        of(
            "memfd_create",
            libc::SYS_memfd_create,
            [path, 0, 0, 0, 0, 0],
        ),
        of(
            "io_uring_setup",
            libc::SYS_io_uring_setup,
            [1, 0, 0, 0, 0, 0],
        ),
        of("bpf", libc::SYS_bpf, [0, 0, 0, 0, 0, 0]),
        of("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0, 0, 0]),
        of(
            "unshare",
            libc::SYS_unshare,
            [libc::CLONE_NEWUSER as usize, 0, 0, 0, 0, 0],
        ),
        of("mount", libc::SYS_mount, [path, path, path, 0, 0, 0]),
        of("setuid", libc::SYS_setuid, [0, 0, 0, 0, 0, 0]),
        of(
            "prctl",
            libc::SYS_prctl,
            [libc::PR_SET_DUMPABLE as usize, 1, 0, 0, 0, 0],
        ),
        of(
            "prlimit",
            libc::SYS_prlimit64,
            [0, libc::RLIMIT_AS as usize, 0, 0, 0, 0],
        ),
        of("seccomp", libc::SYS_seccomp, [0, 0, 0, 0, 0, 0]),
        of("ioctl", libc::SYS_ioctl, [0, 0, 0, 0, 0, 0]),
        of("recvmsg", libc::SYS_recvmsg, [0, 0, 0, 0, 0, 0]),
    ]
}

/// Not a test by itself: it confines its own process.
#[test]
#[ignore = "started by a_confined_process_can_do_nothing_but_serve"]
fn confined() {
    sandbox::confine_zygote(64 * 1024 * 1024).unwrap();
    sandbox::confine_isolate().unwrap();
    for (name, result) in forbidden() {
        println!("\nprobe {name}: {result}");
    }
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let writable = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let map = |bytes| {
        attempt(
            libc::SYS_mmap,
            [0, bytes, writable, anonymous, usize::MAX, 0],
        )
    };
    println!(
        "\nprobe small mmap: {}\nprobe huge mmap: {}",
        map(1 << 20),
        map(1 << 34)
    );
    // The harness around this test may not survive the sandbox: nothing more is to be learned.
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(0) }
}

#[test]
fn a_confined_process_can_do_nothing_but_serve() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::confined", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let probes: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("probe ")?.split_once(": "))
        .collect();
    assert!(
        probes.len() > 25,
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (name, result) in probes {
        match name {
            "small mmap" => assert_eq!(result, "allowed"),
            "huge mmap" => assert!(result.starts_with("ENOMEM"), "{result}"),
            _ => assert!(result.starts_with("EPERM"), "{name}: {result}"),
        }
    }
}
