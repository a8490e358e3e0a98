//! Nothing outlives the test process, even when it is killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use tidegate_testkit::{Postgres, Redis};

/// Set for the process that is to be killed.
const VICTIM: &str = "TIDEGATE_TESTKIT_VICTIM";

/// Not a test: what the process that is killed runs. Started from a thread that ends, as a test runner's do.
#[test]
fn victim() {
    if env::var_os(VICTIM).is_none() {
        return;
    }
    thread::spawn(|| {
        let (postgres, redis) = (Postgres::shared(), Redis::start());
        println!(
            "\nserver {} {}",
            postgres.pid().unwrap(),
            postgres.directory().display()
        );
        println!(
            "server {} {}",
            redis.pid().unwrap(),
            redis.directory().display()
        );
        std::mem::forget(redis);
    })
    .join()
    .unwrap();
    println!("started");
    loop {
        thread::park();
    }
}

#[test]
fn a_killed_test_leaves_nothing() {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "outlive::victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let servers: Vec<(String, String)> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(|line| line.unwrap())
        .take_while(|line| line != "started")
        .filter_map(|line| {
            let (pid, directory) = line.strip_prefix("server ")?.split_once(' ')?;
            Some((pid.to_owned(), directory.to_owned()))
        })
        .collect();
    assert_eq!(servers.len(), 2);
    for (pid, directory) in &servers {
        assert!(fs::exists(format!("/proc/{pid}")).unwrap() && Path::new(directory).is_dir());
    }

    child.kill().unwrap();
    child.wait().unwrap();
    for (pid, directory) in &servers {
        wait_until_gone(Path::new(directory));
        wait_until_gone(Path::new(&format!("/proc/{pid}")));
    }
}

/// The supervisor works on its own after the kill: there is nobody to ask when it is done.
fn wait_until_gone(path: &Path) {
    let started = Instant::now();
    while path.exists() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{} is left",
            path.display()
        );
        thread::sleep(Duration::from_millis(5));
    }
}
