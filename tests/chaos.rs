//! Everything is killed, stopped, cut off and flushed while programs write, and then the books are compared.
//!
//! ```text
//! writers ──▶ Postgres ──▶ Tidegate (seven processes) ──▶ handler ──▶ Run, Tally (effects), witness (HTTP)
//!    │            │  row trigger                ▲      └─▶ jobs ──▶ Errand, Tick, JobTally (effects)
//!    ▼            ▼                             │ a fault every moment
//! ledger       audit                          storm
//!    ├──────── oracle: ledger = table, audit = log = effects, witness in order ────────┤
//!    └──────── job_books: ledger = runs = effects, each second one fire = one run ─────┘
//! ```
//!
//! `ops/test` runs a short seeded round; `ops/chaos` runs long ones.

mod calm;
mod errands;
mod fleet;
mod job_books;
mod oracle;
mod report;
mod storm;
mod witness;
mod writers;

use std::time::{Duration, Instant};

use fleet::{Fleet, SETTINGS};
use oracle::Books;
use report::Report;
use storm::Storm;
use tidegate_testkit::{Postgres, Redis, SmallDisk};
use writers::Writers;

/// A small, repeatable choice of faults. The order of events is the machine's; the faults and their order are the seed's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_round_loses_nothing_and_doubles_nothing() {
    let report = round(20, Limit::Faults(14)).await;
    report.assert_clean();
}

/// D19: a write is refused before it is acknowledged; when there is room again, all that was acknowledged is there
/// and has fired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(256) else {
        return;
    };
    let settings = [&SETTINGS[..], &["max_wal_size=64MB", "min_wal_size=32MB"]].concat();
    let postgres = Postgres::start_on(&disk, &settings);
    let redis = Redis::durable_on(&disk);
    let mut fleet = Fleet::launch_on(postgres, redis).await;
    let writers = Writers::start(&fleet);
    for _ in 0..2 {
        fleet.wait_for_writes(&writers, 100).await;
        disk.fill();
        fleet.wait_until_writes_are_refused().await;
        disk.free();
        // Postgres ends itself when its WAL finds no room; starting it again is its operator's part.
        fleet.postgres.restart();
        fleet.system.redis.restart();
        fleet.revive(|_| None);
    }
    fleet.wait_for_writes(&writers, 100).await;
    let ledger = writers.stop().await;
    fleet.calm_down().await;
    let books = Books::read(&fleet, &ledger).await;
    books.assert_clean(&fleet.logs());
}

/// By hand, through `ops/chaos`: CHAOS_SEED and CHAOS_MINUTES.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs for as long as it is told to: ops/chaos"]
async fn a_long_round() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}"))
        })
    };
    let minutes = number("CHAOS_MINUTES", 5);
    let report = round(
        number("CHAOS_SEED", 1),
        Limit::Time(Duration::from_secs(minutes * 60)),
    )
    .await;
    eprintln!("{report}");
    report.assert_clean();
}

#[derive(Clone, Copy)]
enum Limit {
    Faults(usize),
    Time(Duration),
}

async fn round(seed: u64, limit: Limit) -> Report {
    let mut fleet = Fleet::launch().await;
    let writers = Writers::start(&fleet);
    let mut storm = Storm::new(seed);
    let begun = Instant::now();
    loop {
        let is_over = match limit {
            Limit::Faults(count) => storm.faults() >= count,
            Limit::Time(time) => begun.elapsed() >= time,
        };
        if is_over {
            break;
        }
        storm.strike(&mut fleet, &writers).await;
    }
    let ledger = writers.stop().await;
    fleet.calm_down().await;
    let books = Books::read(&fleet, &ledger).await;
    Report::of(seed, begun.elapsed(), storm, &fleet, books)
}
