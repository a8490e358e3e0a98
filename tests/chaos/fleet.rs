//! What is under test: a Postgres, a Redis, byte proxies before both, and seven Tidegate processes that are started again
//! whenever they end.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use tidegate_testkit::{ByteProxy, Postgres, Redis, TempDir, free_port};
use tokio_postgres::Client;

use super::errands;
use super::witness::Witness;
use super::writers::Writers;
use crate::server::{Server, tidegate};
use crate::system::{APP_ID, MASTER_KEY, PATIENCE, System, breathe};

/// Objects that are written to, each by one writer.
pub const OBJECTS: usize = 24;

/// What each process does. Of capture and dispatch one is active and one stands by, and so of the schedulers.
pub const ROLES: [&str; 7] = [
    "proxy",
    "capture,dispatch",
    "capture,dispatch",
    "worker",
    "worker",
    "scheduler",
    "scheduler",
];

/// A client that a black hole has swallowed must not hold the slot or a lock for a minute.
pub const SETTINGS: [&str; 2] = ["wal_sender_timeout=5s", "autovacuum=on"];

pub struct Fleet {
    // In the order of their end: processes, then what they use.
    processes: Vec<Process>,
    pub system: System,
    pub to_postgres: ByteProxy,
    pub to_redis: ByteProxy,
    pub postgres: Postgres,
    pub witness: Witness,
    api_port: u16,
    /// A copy: who builds another one meanwhile does not change what is under test.
    executable: TempDir,
    /// How often a process ended at the failpoint it was armed with.
    pub ended_at: BTreeMap<String, usize>,
    pub started: usize,
    /// How often a run was quarantined, and started again by us.
    pub quarantined: usize,
}

struct Process {
    roles: &'static str,
    server: Server,
    armed: Option<String>,
}

impl Fleet {
    /// Starts everything, and waits until the class's changes are captured.
    pub async fn launch() -> Fleet {
        Fleet::launch_on(Postgres::start_with(&SETTINGS), Redis::start()).await
    }

    pub async fn launch_on(postgres: Postgres, redis: Redis) -> Fleet {
        let (witness, witness_port) = Witness::listen().await;
        let mut system = System::prepare_on(&postgres, &handler(witness_port)).await;
        system.redis = redis;
        let to_postgres = ByteProxy::start(postgres.port());
        let to_redis = ByteProxy::start(system.redis.port());
        let through = |url: &str, from: u16, to: &ByteProxy| {
            url.replace(&format!(":{from}/"), &format!(":{}/", to.port()))
        };
        let database_url = through(system.database.url(), postgres.port(), &to_postgres);
        let redis_url = through(system.redis.url(), system.redis.port(), &to_redis);
        let api_port = free_port();
        system
            .set("database_url", database_url)
            .set("redis_url", redis_url)
            .set("listen", format!("127.0.0.1:{api_port}"))
            .set("lane_lease_ms", 1500)
            .set("trigger_backoff_ms", 20)
            .set("trigger_max_backoff_ms", 200)
            .set("trigger_attempts", 1000);
        prepare_tables(&system.sql().await).await;
        let executable = TempDir::new("executable");
        let built = tidegate().get_program().to_owned();
        std::fs::copy(built, executable.path().join("tidegate")).unwrap();
        let mut fleet = Fleet {
            executable,
            processes: Vec::new(),
            system,
            to_postgres,
            to_redis,
            postgres,
            witness,
            api_port,
            ended_at: BTreeMap::new(),
            started: 0,
            quarantined: 0,
        };
        for roles in ROLES {
            let process = fleet.start(roles, None);
            fleet.processes.push(process);
        }
        fleet
            .system
            .wait_for_sql("select count(*) = 1 from pg_publication_tables where tablename = 'Item'")
            .await;
        fleet
    }

    fn start(&mut self, roles: &'static str, armed: Option<(&str, u32)>) -> Process {
        self.started += 1;
        let mut command = self.own(&self.system.command(roles));
        if !roles.contains("proxy") {
            // Only the proxy serves HTTP; the others would want the same port.
            command.env_remove("TIDEGATE_LISTEN");
        }
        if let Some((place, nth)) = armed {
            command.env("TIDEGATE_FAILPOINT", format!("{place}:{nth}"));
        }
        Process {
            roles,
            server: Server::spawn(command),
            armed: armed.map(|(place, _)| place.to_owned()),
        }
    }

    /// The same command with our copy of the executable.
    fn own(&self, command: &Command) -> Command {
        let mut own = Command::new(self.executable.path().join("tidegate"));
        own.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => own.env(name, value),
                None => own.env_remove(name),
            };
        }
        own
    }

    /// Starts what has ended, by itself or not; `arm` chooses a failpoint for each that is started.
    pub fn revive(&mut self, mut arm: impl FnMut(&str) -> Option<(&'static str, u32)>) {
        for index in 0..self.processes.len() {
            let process = &mut self.processes[index];
            if process.server.is_running() {
                continue;
            }
            if let Some(place) = process.armed.take() {
                *self.ended_at.entry(place).or_default() += 1;
            }
            let roles = process.roles;
            let next = self.start(roles, arm(roles));
            self.processes[index] = next;
        }
    }

    pub fn pid(&self, index: usize) -> i32 {
        self.processes[index].server.pid()
    }

    pub fn kill(&mut self, index: usize) {
        // It was not its failpoint that ended it.
        self.processes[index].armed = None;
        self.processes[index].server.kill();
    }

    pub fn api(&self) -> Api {
        Api {
            url: format!("http://127.0.0.1:{}", self.api_port),
            client: reqwest::Client::builder()
                .timeout(Duration::from_secs(10))
                .build()
                .unwrap(),
        }
    }

    /// Waits until so many more writes are acknowledged.
    pub async fn wait_for_writes(&mut self, writers: &Writers, more: usize) {
        let count = || writers.ledger.lock().unwrap().acknowledged;
        let (begun, wanted) = (Instant::now(), count() + more);
        while count() < wanted {
            assert!(
                begun.elapsed() < PATIENCE,
                "nothing is written\n{}",
                self.logs()
            );
            self.revive(|_| None);
            breathe().await;
        }
    }

    /// Waits until Postgres takes no change any more.
    pub async fn wait_until_writes_are_refused(&self) {
        let begun = Instant::now();
        let grow = "create table if not exists filler (x text); \
                    insert into filler select repeat(md5(random()::text), 1000) from generate_series(1, 100)";
        loop {
            let connected =
                tokio_postgres::connect(self.system.database.url(), tokio_postgres::NoTls).await;
            let Ok((client, connection)) = connected else {
                return;
            };
            tokio::spawn(connection);
            if client.batch_execute(grow).await.is_err() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the disk is never full");
        }
    }

    /// Whether something that was asked for so long ago or later, and something that was due then, has run to its end.
    pub async fn has_run_what_came_after(&self, ago: Duration) -> bool {
        let query = format!(
            "select count(*) = 2 from (values ('errand'), ('tick')) as jobs (name)
              where exists (select from tidegate.run where job = jobs.name and state = 'succeeded'
                               and coalesce(due_at, created_at) > clock_timestamp() - interval '{} ms')",
            ago.as_millis()
        );
        self.answer(&query).await == Some(true)
    }

    /// What a query answers with one boolean; None when nobody answers.
    pub async fn answer(&self, query: &str) -> Option<bool> {
        let (client, connection) =
            tokio_postgres::connect(self.system.database.url(), tokio_postgres::NoTls)
                .await
                .ok()?;
        tokio::spawn(connection);
        client.query_one(query, &[]).await.ok()?.get(0)
    }

    /// The last lines of every process.
    pub fn logs(&self) -> String {
        let tail = |process: &Process| {
            let log = process.server.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(30);
            format!("--- {}\n{}", process.roles, lines[from..].join("\n"))
        };
        self.processes
            .iter()
            .map(tail)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// The way to the API of whichever proxy process runs.
#[derive(Clone)]
pub struct Api {
    url: String,
    client: reqwest::Client,
}

impl Api {
    /// A request with the master key. `path`: from the root.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.url))
            .header("X-Parse-Application-Id", APP_ID)
            .header("X-Parse-Master-Key", MASTER_KEY)
    }

    /// Saves a version of an object; true when the server said that it is committed.
    pub async fn save(&self, id: &str, version: i64) -> bool {
        let request = self
            .request(Method::PUT, &format!("/parse/classes/Item/{id}"))
            .header("X-Tidegate-Wait", "none")
            .json(&serde_json::json!({ "version": version }));
        request
            .send()
            .await
            .is_ok_and(|response| response.status().is_success())
    }
}

pub fn object_id(number: usize) -> String {
    format!("object{number:04}")
}

/// Tells the witness, writes one object, fails now and then, and counts; and the jobs.
fn handler(witness_port: u16) -> String {
    let jobs = errands::CODE;
    format!(
        r#"{jobs}
Parse.Cloud.afterSave("Item", async (request) => {{
  const item = request.object.id;
  const version = request.object.get("version");
  await fetch("http://127.0.0.1:{witness_port}/", {{
    method: "POST",
    body: JSON.stringify({{ item, version, eventId: request.eventId }}),
  }});
  const run = new Parse.Object("Run");
  await run.save({{ item, version, eventId: request.eventId }}, {{ useMasterKey: true }});
  if (request.attempt === 1 && version % 37 === 0) throw new Error("not this time");
  const tally = Parse.Object.fromJSON({{ className: "Tally", objectId: item }});
  tally.increment("n");
  await tally.save(null, {{ useMasterKey: true }});
}});
"#
    )
}

/// The class, its audit by an ordinary row trigger, and what the handler counts in.
async fn prepare_tables(client: &Client) {
    client
        .batch_execute(
            r#"
create table "_SCHEMA" ("className" varchar(120) primary key, "schema" jsonb, "isParseClass" bool);
create table "Item" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz,
                     _rperm text[], _wperm text[], version float8);
create table "Run" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz,
                    _rperm text[], _wperm text[], item text, version float8, "eventId" text);
create table "Tally" ("objectId" text primary key, "createdAt" timestamptz, "updatedAt" timestamptz,
                      _rperm text[], _wperm text[], n float8);
insert into "_SCHEMA" values
  ('Item', '{"className": "Item", "fields": {"objectId": {"type": "String"}, "createdAt": {"type": "Date"},
    "updatedAt": {"type": "Date"}, "version": {"type": "Number"}}}', true),
  ('Run', '{"className": "Run", "fields": {"objectId": {"type": "String"}, "createdAt": {"type": "Date"},
    "updatedAt": {"type": "Date"}, "item": {"type": "String"}, "version": {"type": "Number"},
    "eventId": {"type": "String"}}}', true),
  ('Tally', '{"className": "Tally", "fields": {"objectId": {"type": "String"}, "createdAt": {"type": "Date"},
    "updatedAt": {"type": "Date"}, "n": {"type": "Number"}}}', true);
create table audit (id bigint generated always as identity, item text, version float8, xid bigint);
create function audit() returns trigger language plpgsql as $$ begin
    insert into audit (item, version, xid) values (new."objectId", new.version, pg_current_xact_id()::text::bigint & 4294967295);
    return null;
end $$;
insert into "Item" select 'object' || lpad(n::text, 4, '0'), now(), now(), null, null, 0 from generate_series(0, 23) as n;
insert into "Tally" select "objectId", now(), now(), null, null, 0 from "Item";
create trigger audit after insert or update on "Item" for each row execute function audit();
"#,
        )
        .await
        .unwrap();
    client.batch_execute(errands::TABLES).await.unwrap();
}
