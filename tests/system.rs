//! A whole Tidegate under test: a database, a Redis, a project, and one or more server processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tidegate_testkit::{Database, Postgres, Redis, TempDir};
use tokio_postgres::Client;

use crate::server::{Server, tidegate};

pub const APP_ID: &str = "test-app";
pub const MASTER_KEY: &str = "test-master-key";

/// How long anything that happens in the background may take before a test gives up. Not a bound that is asserted.
pub const PATIENCE: Duration = Duration::from_secs(100);

pub struct System {
    pub database: Database,
    pub redis: Redis,
    pub project: TempDir,
    settings: Vec<(String, String)>,
    servers: Vec<Server>,
}

impl System {
    /// Everything in one process, with this as `cloud/main.js`.
    pub async fn start(main_js: &str) -> System {
        let mut system = System::prepare(main_js).await;
        system.serve("proxy,capture,dispatch,scheduler,worker");
        system
    }

    /// A database, a Redis and a project, and no server yet.
    pub async fn prepare(main_js: &str) -> System {
        System::prepare_on(Postgres::shared(), main_js).await
    }

    pub async fn prepare_on(postgres: &Postgres, main_js: &str) -> System {
        let project = TempDir::new("project");
        std::fs::create_dir(project.path().join("cloud")).unwrap();
        std::fs::write(project.path().join("cloud/main.js"), main_js).unwrap();
        System {
            database: postgres.create_database().await,
            redis: Redis::start(),
            project,
            settings: Vec::new(),
            servers: Vec::new(),
        }
    }

    /// The project in `examples/`, as it stands in the repository.
    pub async fn of_example(name: &str) -> System {
        System::of_folder(&repository().join("examples").join(name)).await
    }

    /// The project in this folder, with the npm packages that `ops/setup` installed there.
    pub async fn of_folder(folder: &Path) -> System {
        let mut system = System::prepare("").await;
        let copied = Command::new("cp")
            .arg("-r")
            .arg(folder.join("cloud"))
            .arg(system.project.path())
            .status()
            .unwrap();
        assert!(copied.success());
        system.serve("proxy,capture,dispatch,scheduler,worker");
        system
    }

    /// A setting for every server that is started from now on.
    pub fn set(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.settings.push((
            format!("TIDEGATE_{}", name.to_uppercase()),
            value.to_string(),
        ));
        self
    }

    /// Starts a process with these roles and waits until it works; returns its index.
    pub fn serve(&mut self, roles: &str) -> usize {
        let mut server = self.spawn(roles);
        // In either order: each comes from a task of its own.
        server.wait_for("listening");
        server.wait_for("this process is ready");
        server.is_proxy = roles.contains("proxy");
        self.servers.push(server);
        self.servers.len() - 1
    }

    /// Starts a process that ends itself at its `nth` passage through a failpoint, and does not wait for it.
    pub fn spawn_armed(&self, roles: &str, place: &str, nth: impl std::fmt::Display) -> Server {
        let mut command = self.command(roles);
        command.env("TIDEGATE_FAILPOINT", format!("{place}:{nth}"));
        Server::spawn(command)
    }

    /// Takes over a process that was spawned: it counts as one of the system's, and ends with it.
    pub fn adopt(&mut self, server: Server) -> usize {
        self.servers.push(server);
        self.servers.len() - 1
    }

    /// Starts a process and does not wait.
    pub fn spawn(&self, roles: &str) -> Server {
        Server::spawn(self.command(roles))
    }

    pub fn command(&self, roles: &str) -> Command {
        let mut command = tidegate();
        command
            .arg("serve")
            .arg("--role")
            .arg(roles)
            .arg("--project")
            .arg(self.project.path());
        command
            .env("DATABASE_URL", self.database.url())
            .env("REDIS_URL", self.redis.url());
        command
            .env("TIDEGATE_LISTEN", "127.0.0.1:0")
            .env("TIDEGATE_LOG_FORMAT", "json");
        command
            .env("TIDEGATE_APP_ID", APP_ID)
            .env("TIDEGATE_MASTER_KEY", MASTER_KEY);
        command
            .env("TIDEGATE_ISOLATES", "2")
            .env("TIDEGATE_EGRESS_PRIVATE", "true");
        // A server's slots are one namespace, and tests in one process share a Postgres.
        command.env("TIDEGATE_SLOT", self.database.name());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn server(&mut self, index: usize) -> &mut Server {
        &mut self.servers[index]
    }

    pub fn url(&self) -> String {
        let proxies = self.servers.iter().rev().filter(|server| server.is_proxy);
        proxies
            .filter_map(|server| server.url.clone())
            .next()
            .expect("a proxy listens")
    }

    /// A request with the application id alone.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> Reply {
        self.request(method, path, body, &[]).await
    }

    pub async fn master(&self, method: Method, path: &str, body: Value) -> Reply {
        self.request(method, path, body, &[("X-Parse-Master-Key", MASTER_KEY)])
            .await
    }

    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Reply {
        self.request_at(&self.url(), method, path, body, headers)
            .await
    }

    /// A request to the server with this URL.
    pub async fn request_at(
        &self,
        url: &str,
        method: Method,
        path: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Reply {
        let url = format!("{url}/parse/{path}");
        let mut request = reqwest::Client::new()
            .request(method, url)
            .header("X-Parse-Application-Id", APP_ID);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        Reply::of(request.send().await.expect("the server answers")).await
    }

    /// Calls a cloud function and returns its result.
    pub async fn function(&self, name: &str, params: Value) -> Value {
        let reply = self
            .call(Method::POST, &format!("functions/{name}"), params)
            .await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body["result"].clone()
    }

    /// The objects of a class that match, read with the master key.
    pub async fn find(&self, class: &str, conditions: Value) -> Vec<Value> {
        let parameters =
            json!({"_method": "GET", "where": conditions, "limit": 100_000, "order": "createdAt"});
        let reply = self
            .master(Method::POST, &format!("classes/{class}"), parameters)
            .await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body["results"].as_array().expect("results").clone()
    }

    /// Waits until a class has at least `count` matching objects, and returns them.
    pub async fn wait_for_objects(
        &self,
        class: &str,
        conditions: Value,
        count: usize,
    ) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let found = self.find(class, conditions.clone()).await;
            if found.len() >= count {
                return found;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{} of {count} objects of {class}: {found:?}",
                found.len()
            );
            breathe().await;
        }
    }

    pub async fn sql(&self) -> Client {
        self.database.connect().await
    }

    /// Waits until a query that answers one boolean answers true.
    pub async fn wait_for_sql(&self, query: &str) {
        let begun = Instant::now();
        loop {
            // The server may be down for a moment: some tests kill it.
            if let Ok((client, connection)) =
                tokio_postgres::connect(self.database.url(), tokio_postgres::NoTls).await
            {
                tokio::spawn(connection);
                if client
                    .query_one(query, &[])
                    .await
                    .is_ok_and(|row| row.get(0))
                {
                    return;
                }
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "never true: {query}\n{}",
                self.logs()
            );
            breathe().await;
        }
    }

    /// Waits until every event in the log has been dispatched and every delivery has its final outcome.
    pub async fn wait_until_settled(&self) {
        self.wait_for_sql(
            "select settled_offset >= (select last_offset from tidegate.log)
                and not exists (select from tidegate.outcome where status = 'retry') from tidegate.dispatch",
        )
        .await;
    }

    /// Waits until the server takes no new connections.
    pub async fn wait_until_refused(&self) {
        let address = self.url().trim_start_matches("http://").to_owned();
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            assert!(begun.elapsed() < PATIENCE, "the server still accepts");
            breathe().await;
        }
    }

    fn logs(&self) -> String {
        self.servers
            .iter()
            .map(Server::log)
            .collect::<Vec<_>>()
            .join("\n---\n")
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        // Servers first: nobody may hold the database when it is dropped.
        self.servers.clear();
    }
}

/// What the server answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Reply {
    async fn of(response: reqwest::Response) -> Reply {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("a whole body");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Reply {
            status,
            headers,
            body,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Fails unless the answer is this Parse error.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: u16) -> &str {
        assert_eq!(
            (self.status, self.body["code"].as_u64()),
            (status, Some(u64::from(code))),
            "{}",
            self.body
        );
        self.body["error"]
            .as_str()
            .expect("an error says what is wrong")
    }
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The pause between two looks at something that has no event to wait for.
pub async fn breathe() {
    tokio::time::sleep(Duration::from_millis(15)).await;
}
