//! Processes that end when nobody asked them to: isolates, the zygote, the server itself.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tidegate_cloud_code::{Config, Outcome, Ran};

use crate::support::{
    ALONE, TestHost, call, config, exists, function, is_alive, is_computing, isolates, limited,
    load, load_with, signal, until,
};

const SOURCE: &str = "define('gate', async (n, run) => { await run.host({ kind: 'rest', path: 'gate' }); return n });
    define('patient', async (n, run) => { await run.sleep(1000); return n });
    define('quick', (n) => n);";

#[tokio::test]
async fn an_isolate_that_dies_takes_no_waiting_run_along() {
    for sent in [Signal::SIGKILL, Signal::SIGSEGV, Signal::SIGABRT] {
        let host = TestHost::new();
        let config = Config {
            isolates: 1,
            ..config()
        };
        let code = load_with(&config, SOURCE, &host).await.unwrap();
        let [pid] = isolates(&code).await[..] else {
            panic!("one isolate")
        };
        let run = |name: &'static str, n: i32| {
            let code = code.clone();
            tokio::spawn(async move { call(&code, name, json!(n)).await })
        };
        let with_call = run("gate", 1);
        host.arrived(1).await;
        let without_call: Vec<_> = (0..10).map(|n| run("patient", n)).collect();
        call(&code, "quick", Value::Null).await; // All of these have begun.
        signal(pid, sent);
        until("it is reaped", || !exists(pid)).await;
        host.gate.add_permits(1);
        assert_eq!(with_call.await.unwrap(), Outcome::Returned(json!(1)));
        for (n, run) in without_call.into_iter().enumerate() {
            assert_eq!(run.await.unwrap(), Outcome::Returned(json!(n)));
        }
        assert_eq!(host.paths(), ["gate"], "its call was not made again");
        while isolates(&code).await.len() != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A run that kills its own process gets one more chance, alone: it may have been the machine. Then it is given up.
#[tokio::test]
async fn a_run_whose_process_dies_twice_under_it_is_given_up() {
    let _alone = ALONE.lock().await;
    let host = TestHost::new();
    let source = "define('busy', (_, run) => { run.log('warn', 'I am busy'); __native.call(run.id, 1, JSON.stringify({ kind: 'rest', path: 'echo' })); while (true); });
        define('quick', (n) => n)";
    let config = Config {
        isolates: 1,
        ..config()
    };
    let code = load_with(&config, source, &host).await.unwrap();
    let run = tokio::spawn({
        let code = code.clone();
        async move { code.run_logged(function("busy", Value::Null)).await }
    });
    host.arrived(1).await;
    for _ in 0..2 {
        let mut burning = None;
        while burning.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            burning = isolates(&code).await.into_iter().find(is_computing);
        }
        signal(burning.unwrap(), Signal::SIGSEGV);
        assert_eq!(
            call(&code, "quick", json!(1)).await,
            Outcome::Returned(json!(1))
        );
    }
    let Ran {
        outcome: Outcome::Crashed { reason },
        logs,
    } = run.await.unwrap()
    else {
        panic!("it crashed")
    };
    assert_eq!(
        logs.as_deref(),
        Some("warn: I am busy"),
        "said twice, shown once"
    );
    assert_eq!(
        reason,
        "the process that ran it was ended by signal SIGSEGV"
    );
    assert_eq!(host.paths().len(), 1);
}

#[tokio::test]
async fn a_zygote_that_dies_is_started_again_when_it_is_needed() {
    let host = TestHost::new();
    let code = load_with(&config(), SOURCE, &host).await.unwrap();
    for _ in 0..3 {
        let pids = code.pids().await;
        let running = tokio::spawn({
            let code = code.clone();
            async move { call(&code, "gate", json!(1)).await }
        });
        host.arrived(1).await;
        signal(pids[0], Signal::SIGKILL);
        until("the zygote has ended", || !is_alive(pids[0])).await;
        assert_eq!(
            call(&code, "quick", json!(2)).await,
            Outcome::Returned(json!(2)),
            "isolates need no zygote"
        );
        host.gate.add_permits(1);
        assert_eq!(running.await.unwrap(), Outcome::Returned(json!(1)));
        pids[1..]
            .iter()
            .for_each(|&pid| signal(pid, Signal::SIGKILL));
        assert_eq!(
            call(&code, "quick", json!(3)).await,
            Outcome::Returned(json!(3)),
            "there is a new one"
        );
        until("all are reaped", || pids.iter().all(|&pid| !exists(pid))).await;
    }
}

#[tokio::test]
async fn a_stopped_isolate_loses_what_it_had_not_begun_and_is_killed() {
    let _alone = ALONE.lock().await;
    let host = TestHost::new();
    let code = load_with(
        &Config {
            isolates: 1,
            ..config()
        },
        SOURCE,
        &host,
    )
    .await
    .unwrap();
    let [pid] = isolates(&code).await[..] else {
        panic!("one isolate")
    };
    let limit = Duration::from_millis(400);
    let waiting = tokio::spawn({
        let code = code.clone();
        async move { code.run(limited("gate", limit)).await }
    });
    host.arrived(1).await;
    signal(pid, Signal::SIGSTOP);
    assert_eq!(
        call(&code, "quick", json!(1)).await,
        Outcome::Returned(json!(1)),
        "it was moved"
    );
    assert_eq!(waiting.await.unwrap(), Outcome::TimedOut { after: limit });
    until("the stopped isolate is killed", || !exists(pid)).await;
}

#[tokio::test]
async fn forks_that_all_die_at_once_are_not_made_in_a_tight_loop() {
    let _alone = ALONE.lock().await;
    let code = load("define('quick', (n) => n)").await;
    for _ in 0..3 {
        for pid in isolates(&code).await {
            signal(pid, Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        call(&code, "quick", json!(1)).await,
        Outcome::Returned(json!(1))
    );
}

/// Not a test: a server for the test below to kill.
#[tokio::test]
#[ignore = "started by children_end_with_a_server_that_is_killed"]
async fn server_to_be_killed() {
    let code = load("define('loop', () => { while (true); })").await;
    let run = tokio::spawn({
        let code = code.clone();
        async move { call(&code, "loop", Value::Null).await }
    });
    for pid in code.pids().await {
        println!("pid {pid}");
    }
    run.await.unwrap();
}

#[test]
fn children_end_with_a_server_that_is_killed() {
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::server_to_be_killed",
            "--ignored",
            "--nocapture",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let pids: Vec<i32> = lines
        .filter_map(|line| {
            line.unwrap()
                .rsplit_once("pid ")
                .and_then(|(_, pid)| pid.parse().ok())
        })
        .take(3)
        .collect();
    assert_eq!(pids.len(), 3);
    server.kill().unwrap();
    server.wait().unwrap();
    // They are init's to reap now, so they may stay as zombies for a while.
    for _ in 0..2000 {
        if !pids.iter().any(|&pid| is_alive(pid)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("some of {pids:?} outlive their server");
}

/// Not a test by itself: in a process of its own, because it counts that process's descriptors.
#[tokio::test]
#[ignore = "started by nothing_leaks_over_many_releases"]
async fn many_releases() {
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let children = || std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let cycle = async |code_ends: bool| {
        let code = load("define('loop', () => { while (true); }); define('quick', () => 1)").await;
        code.run(limited("loop", Duration::from_millis(20))).await;
        call(&code, "quick", Value::Null).await;
        let pids = code.pids().await;
        if code_ends {
            code.close().await;
        }
        drop(code);
        until("all are reaped", || pids.iter().all(|&pid| !exists(pid))).await;
    };
    cycle(true).await;
    let before = open();
    for n in 0..20 {
        cycle(n % 2 == 0).await;
    }
    until("the last descriptors are closed", || open() <= before).await;
    assert_eq!(children(), "");
}

#[test]
fn nothing_leaks_over_many_releases() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::many_releases",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
