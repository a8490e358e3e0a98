//! Programs that write and start jobs, and the ledger of what they know to be committed.
//!
//! Each object has one writer, and its versions count from 1. A writer that gets no answer looks at the row: the version
//! there says whether its write was committed.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use super::errands::start_errands;
use super::fleet::{Api, Fleet, OBJECTS, object_id};
use crate::system::{PATIENCE, breathe};

/// Writers by SQL; each has its share of the objects. One more writes by the API.
const SQL_WRITERS: usize = 5;
const SHARE: usize = OBJECTS / (SQL_WRITERS + 1);

/// Between two writes of one writer: what two cores in a debug build keep up with beside the faults.
const PAUSE: Duration = Duration::from_millis(60);

/// Acknowledged versions of each object, and since when; also on disk, synced before the next write is made.
pub struct Ledger {
    file: std::fs::File,
    _directory: tidegate_testkit::TempDir,
    pub versions: BTreeMap<String, i64>,
    pub acknowledged: usize,
    /// When each version was acknowledged.
    pub times: BTreeMap<(String, i64), Instant>,
    /// The run of each errand that was acknowledged, by its key.
    pub starts: BTreeMap<String, String>,
}

impl Ledger {
    fn new() -> Ledger {
        let directory = tidegate_testkit::TempDir::new("chaos-ledger");
        Ledger {
            file: std::fs::File::create(directory.path().join("ledger")).unwrap(),
            _directory: directory,
            versions: BTreeMap::new(),
            acknowledged: 0,
            times: BTreeMap::new(),
            starts: BTreeMap::new(),
        }
    }

    fn write(&mut self, id: &str, version: i64) {
        writeln!(self.file, "{id} {version}").unwrap();
        self.file.sync_data().unwrap();
        self.versions.insert(id.to_owned(), version);
        self.acknowledged += 1;
        self.times.insert((id.to_owned(), version), Instant::now());
    }

    pub fn write_start(&mut self, key: &str, run: &str) {
        writeln!(self.file, "{key} {run}").unwrap();
        self.file.sync_data().unwrap();
        self.starts.insert(key.to_owned(), run.to_owned());
    }
}

pub struct Writers {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    pub ledger: Arc<Mutex<Ledger>>,
}

impl Writers {
    pub fn start(fleet: &Fleet) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let ledger = Arc::new(Mutex::new(Ledger::new()));
        let mut tasks = JoinSet::new();
        for writer in 0..=SQL_WRITERS {
            let url = fleet.system.database.url().to_owned();
            let api = (writer == SQL_WRITERS).then(|| fleet.api());
            let (stop, ledger) = (Arc::clone(&stop), Arc::clone(&ledger));
            let objects = (writer * SHARE..(writer + 1) * SHARE)
                .map(object_id)
                .collect();
            tasks.spawn(async move { run(url, api, objects, &stop, &ledger).await });
        }
        let (api, asking, asked) = (fleet.api(), Arc::clone(&stop), Arc::clone(&ledger));
        tasks.spawn(async move { start_errands(api, &asking, &asked).await });
        Writers {
            tasks,
            stop,
            ledger,
        }
    }

    /// Ends them when each has the answer to its last write.
    pub async fn stop(mut self) -> Arc<Mutex<Ledger>> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.ledger
    }
}

async fn run(
    url: String,
    api: Option<Api>,
    objects: Vec<String>,
    stop: &AtomicBool,
    ledger: &Mutex<Ledger>,
) {
    let mut client = connect(&url).await;
    for version in 1.. {
        for id in &objects {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let written = match &api {
                Some(api) => api.save(id, version).await,
                None => update(&client, id, version).await.is_ok(),
            };
            if !written {
                client = make_sure(&url, &api, id, version).await;
            }
            ledger.lock().unwrap().write(id, version);
            tokio::time::sleep(PAUSE).await;
        }
        if api.is_none() {
            // What is rolled back must never be seen.
            let _ = client
                .batch_execute(r#"begin; update "Item" set version = -1 where "objectId" < 'object0005'; rollback"#)
                .await;
        }
    }
}

/// Writes again until the version stands in the row, however often the server goes away meanwhile.
async fn make_sure(url: &str, api: &Option<Api>, id: &str, version: i64) -> Client {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE * 2, "{id} cannot be written");
        let client = connect(url).await;
        match stands(&client, id).await {
            Some(found) if found == version => return client,
            Some(_) => {
                let _ = match api {
                    // The first request may still be under way: two commits of one version are two events, and fine.
                    Some(api) => api.save(id, version).await,
                    None => update(&client, id, version).await.is_ok(),
                };
            }
            None => {}
        }
        breathe().await;
    }
}

async fn stands(client: &Client, id: &str) -> Option<i64> {
    let query = r#"select version::bigint from "Item" where "objectId" = $1"#;
    client.query_one(query, &[&id]).await.ok()?.get(0)
}

async fn update(client: &Client, id: &str, version: i64) -> Result<(), tokio_postgres::Error> {
    let update =
        r#"update "Item" set version = $2::bigint where "objectId" = $1 and version < $2::bigint"#;
    client.execute(update, &[&id, &version]).await.map(drop)
}

async fn connect(url: &str) -> Client {
    let begun = Instant::now();
    loop {
        if let Ok((client, connection)) = tokio_postgres::connect(url, NoTls).await {
            tokio::spawn(connection);
            return client;
        }
        assert!(begun.elapsed() < PATIENCE, "Postgres does not come back");
        breathe().await;
    }
}
