//! `tidegate serve`: wires the roles of one process together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tidegate_event::TriggerSet;
use tidegate_event_log::EventLog;
use tidegate_job_log::JobLog;
use tidegate_queue::Queue;
use tidegate_queue::runs::RunQueue;
use tidegate_write_path::{Waiters, WritePath};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::{Role, ServeArguments};
use crate::config::Config;
use crate::connect::{connect_job_log, connect_log, connect_queue, connect_storage, listen};
use crate::release::Releases;
use crate::{health, telemetry};

pub fn main(arguments: ServeArguments) -> Result<()> {
    let config = Config::load(&arguments.settings, arguments.project.as_deref())?;
    telemetry::start_logging(&config)?;
    arm_failpoint();
    run_to_end(async {
        let shutdown = shutdown_on_signal()?;
        Server::start(config, &arguments.roles, shutdown)
            .await?
            .run_until_shutdown()
            .await
    })
}

/// `TIDEGATE_FAILPOINT=worker-ran:3` ends the process at its third passage there, `worker-poison:x` whenever x passes; for tests.
fn arm_failpoint() {
    #[cfg(debug_assertions)]
    if let Ok(wanted) = std::env::var("TIDEGATE_FAILPOINT") {
        let (place, nth) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        match nth.parse() {
            Ok(nth) => tidegate_event::failpoint::arm(place, nth),
            Err(_) => tidegate_event::failpoint::arm_on(place, nth),
        }
    }
}

/// Runs a command on a runtime of its own, and does not wait for what it left behind.
pub fn run_to_end(command: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(command);
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// How long isolates may take to end once nobody waits for what they run.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Everything one process runs.
pub struct Server {
    /// As served: with the address that it listens on.
    pub config: Config,
    roles: JoinSet<Result<()>>,
    releases: Arc<Releases>,
    shutdown: CancellationToken,
}

/// What the roles share.
struct Parts {
    config: Config,
    /// Unique among all processes and restarts.
    process: String,
    log: EventLog,
    jobs: JobLog,
    queue: Queue,
    waiters: Arc<Waiters>,
    write_path: Arc<WritePath>,
    triggers: watch::Receiver<TriggerSet>,
    webhooks: tidegate_worker::Sender,
    shutdown: CancellationToken,
}

impl Server {
    /// Connects, loads the cloud code, and starts the roles.
    pub async fn start(
        mut config: Config,
        roles: &[Role],
        shutdown: CancellationToken,
    ) -> Result<Server> {
        let listener = listen(&config, roles).await?;
        if let Some(listener) = &listener {
            // Port 0 is any free one: from here on, the one it came to be.
            config.listen = listener.local_addr()?;
        }
        let served = config.clone();
        let metrics = telemetry::start_metrics()?;
        let process = process_name();
        let storage = connect_storage(&config).await?;
        let log = connect_log(&config).await?;
        tidegate_write_path::ensure_job_classes(&storage)
            .await
            .context("cannot make the classes of jobs")?;
        let jobs = connect_job_log(&config).await?;
        let queue = connect_queue(&config).await?;
        let waiters = Arc::new(Waiters::default());
        let write_path = WritePath::new(
            write_path_config(&config, &process),
            storage,
            log.clone(),
            jobs.clone(),
            Arc::clone(&waiters),
        );
        let releases = Arc::new(Releases::load(&config, &write_path, &jobs).await?);
        let triggers = releases.triggers();
        let webhooks = tidegate_worker::Sender {
            poster: tidegate_cloud_code::Poster::new(&config.egress)?,
            key: config
                .webhook_key
                .as_ref()
                .map(|key| key.expose().to_owned()),
            webhooks: releases.webhooks(),
        };
        let parts = Parts {
            config,
            process,
            log,
            jobs,
            queue,
            waiters,
            write_path,
            triggers,
            webhooks,
            shutdown: shutdown.clone(),
        };
        if roles.contains(&Role::Capture) {
            let wanted = parts.triggers.borrow().clone();
            let capture = capture_config(&parts.config);
            tidegate_capture::prepare(&capture, &parts.log, &wanted)
                .await
                .context("cannot prepare to capture changes")?;
        }
        let mut running = JoinSet::new();
        let readiness = health::watch(
            &parts.config,
            roles,
            parts.queue.clone(),
            parts.triggers.clone(),
            shutdown.clone(),
        );
        if let Some(listener) = listener {
            let api = roles.contains(&Role::Proxy).then(|| parts.api());
            let operators = match &api {
                Some(api) => parts.operators_api(api.config.keys.clone()),
                None => Default::default(),
            };
            let ops = tidegate_proxy::Ops { readiness, metrics };
            let address = listener.local_addr()?;
            let proxy = tidegate_proxy::run(
                listener,
                api,
                ops,
                operators,
                parts.config.drain_timeout,
                shutdown.clone(),
            );
            running.spawn(async move { proxy.await.context("the HTTP server ended") });
            tracing::info!(%address, "listening");
        }
        let (following, until) = (Arc::clone(&releases), shutdown.clone());
        running.spawn(async move {
            following.follow_hooks(until).await;
            Ok(())
        });
        let (following, until) = (Arc::clone(&releases), shutdown.clone());
        running.spawn(async move {
            following.follow_schedules(until).await;
            Ok(())
        });
        parts.spawn_roles(&mut running, roles);
        Ok(Server {
            config: served,
            roles: running,
            releases,
            shutdown,
        })
    }

    /// Serves the project's code anew whenever it changes.
    pub fn watch_project(&mut self) {
        let (releases, shutdown) = (Arc::clone(&self.releases), self.shutdown.clone());
        self.roles.spawn(async move {
            releases
                .watch(shutdown)
                .await
                .context("cannot watch the project for changes")
        });
    }

    /// Ends with the first role that fails, or when `shutdown` is asked for; the others then finish their work.
    pub async fn run_until_shutdown(mut self) -> Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.roles.join_next().await {
            let ended = ended.context("a role panicked").and_then(|ended| ended);
            if let Err(error) = ended {
                tracing::error!("{error:#}");
                if result.is_ok() {
                    result = Err(error);
                }
                self.shutdown.cancel();
            }
        }
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.releases.close()).await;
        result
    }
}

impl Parts {
    fn api(&self) -> tidegate_proxy::Api {
        let config = &self.config;
        tidegate_proxy::Api {
            config: tidegate_proxy::Config {
                mount: config.mount.clone(),
                process: self.process.clone(),
                keys: tidegate_proxy::Keys {
                    application_id: config.app_id.clone(),
                    master_key: config.master_key.clone(),
                    rest_api_key: config.rest_api_key.clone(),
                    javascript_key: config.javascript_key.clone(),
                    client_key: config.client_key.clone(),
                },
                max_body_bytes: config.max_body_bytes,
                wait_for_after_triggers: config.wait,
                event_stream_clients: config.event_stream_clients,
            },
            write_path: Arc::clone(&self.write_path),
            waiters: Arc::clone(&self.waiters),
            queue: self.queue.clone(),
            log: self.log.clone(),
        }
    }

    /// `/tidegate/v1`, which goes with the Parse API.
    fn operators_api(&self, keys: tidegate_proxy::Keys) -> tidegate_admin_http::Router {
        let capture = capture_config(&self.config);
        let admin = tidegate_admin::Admin::new(self.log.clone(), self.jobs.clone(), capture);
        let is_master = move |headers: &_| keys.is_master(headers);
        tidegate_admin_http::router(admin, is_master, self.shutdown.clone())
    }

    fn spawn_roles(self, running: &mut JoinSet<Result<()>>, roles: &[Role]) {
        let config = &self.config;
        if roles.contains(&Role::Capture) {
            let capture = capture_config(config);
            let role = tidegate_capture::run(
                capture,
                self.log.clone(),
                self.triggers.clone(),
                self.shutdown.clone(),
            );
            running.spawn(async move { role.await.context("capture stopped") });
        }
        if roles.contains(&Role::Dispatch) {
            let dispatch = tidegate_dispatch::Config {
                batch_max_events: 1_000,
                max_queued: config.max_queued as u64,
                max_queued_bytes: config.max_queued_bytes,
                settle_interval: Duration::from_secs(1),
                standby_interval: Duration::from_secs(1),
                keep_days: config.event_keep_days,
                keep_dead_days: config.event_keep_dead_days,
            };
            let role = tidegate_dispatch::run(
                dispatch,
                self.log.clone(),
                self.queue.clone(),
                self.triggers.clone(),
                self.shutdown.clone(),
            );
            running.spawn(async move { role.await.context("dispatch stopped") });
        }
        if roles.contains(&Role::Scheduler) {
            let scheduler = tidegate_scheduler::Config {
                max_queued: config.max_queued_runs,
                worker_lease: config.job_lease,
                standby_interval: Duration::from_millis(500),
                keep: Duration::from_secs(u64::from(config.job_keep_days) * 24 * 3600),
            };
            let role = tidegate_scheduler::run(
                scheduler,
                self.jobs.clone(),
                RunQueue::new(&self.queue),
                self.shutdown.clone(),
            );
            running.spawn(async move {
                role.await;
                Ok(())
            });
        }
        if roles.contains(&Role::FanOut) {
            let fan_out = tidegate_fan_out::Config {
                sinks: config.sinks.clone(),
                standby_interval: Duration::from_secs(1),
            };
            let role = tidegate_fan_out::run(fan_out, self.log.clone(), self.shutdown.clone());
            running.spawn(async move { role.await.context("fan-out stopped") });
        }
        if roles.contains(&Role::Worker) {
            let worker = tidegate_worker::Config {
                name: self.process.clone(),
                concurrency: config.worker_concurrency,
                max_buffered: config.worker_concurrency * 4,
                lanes: config.lanes,
                lane_lease: config.lane_lease,
                trigger_timeout: config.trigger_timeout,
                drain_timeout: config.drain_timeout,
                retry: tidegate_worker::RetryPolicy {
                    max_attempts: config.trigger_attempts,
                    initial_backoff: config.trigger_backoff,
                    factor: 2.0,
                    max_backoff: config.trigger_max_backoff,
                },
            };
            let jobs = tidegate_worker::jobs::Config {
                name: self.process.clone(),
                concurrency: config.job_concurrency,
                job_timeout: config.job_timeout,
                drain_timeout: config.drain_timeout,
            };
            let role = tidegate_worker::run_jobs(
                jobs,
                self.jobs.clone(),
                RunQueue::new(&self.queue),
                Arc::clone(&self.write_path),
                self.shutdown.clone(),
            );
            running.spawn(async move { role.await.context("the worker of jobs stopped") });
            let role = tidegate_worker::run(
                worker,
                self.log,
                self.queue,
                self.write_path,
                self.webhooks,
                self.triggers,
                self.shutdown,
            );
            running.spawn(async move { role.await.context("the worker stopped") });
        }
    }
}

fn capture_config(config: &Config) -> tidegate_capture::Config {
    tidegate_capture::Config {
        database_url: config.database_url.expose().to_owned(),
        slot: config.slot.clone(),
        publication: config.publication.clone(),
        standby_interval: Duration::from_secs(1),
        heartbeat_interval: Duration::from_secs(10),
    }
}

fn write_path_config(config: &Config, process: &str) -> tidegate_write_path::Config {
    tidegate_write_path::Config {
        mount: config.mount.clone(),
        process: process.to_owned(),
        function_timeout: config.function_timeout,
        trigger_timeout: config.trigger_timeout,
        wait_timeout: config.wait_timeout,
        max_trigger_depth: config.max_trigger_depth,
        client_class_creation: config.client_class_creation,
        custom_object_ids: config.custom_object_ids,
        session_lifetime: config.session_lifetime,
    }
}

fn process_name() -> String {
    let host =
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "host".into());
    let host = host.trim();
    format!(
        "{host}-{}-{:08x}",
        std::process::id(),
        rand::random::<u32>()
    )
}

/// The first SIGINT or SIGTERM asks for an end, the second is one.
pub fn shutdown_on_signal() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        for asked in 1.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked > 1 {
                std::process::exit(130);
            }
            tracing::info!("shutting down; once more ends at once");
            token.cancel();
        }
    });
    Ok(shutdown)
}
