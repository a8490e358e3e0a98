//! Configuration: flag, then environment, then `tidegate.local.toml`, then `tidegate.toml`, then the default.
//!
//! `table` is the list of all settings; `layers` finds each one's value and where it came from; here the values
//! get their types. Only this crate reads the environment and files.

mod layers;
mod schedules;
mod sinks;
mod table;
mod webhooks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tidegate_cloud_code::Egress;
use tidegate_fan_out::SinkConfig;
use tidegate_job_log::schedule::NewSchedule;
use tidegate_parse_protocol::Secret;
use tidegate_worker::Webhooks;

use crate::cli::{Settings, UsageError};

pub use layers::{Layers, Origin};
pub use table::TryCommand;
pub use webhooks::PARSE_HOOKS;

/// Every setting, typed.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// False where nobody chose an address: a process without the proxy role then serves no HTTP at all.
    pub listen_is_chosen: bool,
    pub mount: String,
    pub server_url: Option<String>,
    pub app_id: String,
    pub master_key: Secret,
    pub rest_api_key: Option<Secret>,
    pub javascript_key: Option<Secret>,
    pub client_key: Option<Secret>,
    pub project: PathBuf,
    pub database_url: Secret,
    pub redis_url: Secret,
    pub namespace: String,
    pub database_connections: usize,
    pub function_timeout: Duration,
    pub trigger_timeout: Duration,
    pub job_timeout: Duration,
    pub drain_timeout: Duration,
    pub wait: bool,
    pub wait_timeout: Duration,
    pub max_body_bytes: usize,
    pub client_class_creation: bool,
    pub custom_object_ids: bool,
    pub session_lifetime: Duration,
    pub isolates: usize,
    pub isolate_memory_bytes: u64,
    pub isolate_in_flight: usize,
    /// What cloud code and webhooks may reach.
    pub egress: Egress,
    pub webhooks: Webhooks,
    pub webhook_key: Option<Secret>,
    pub worker_concurrency: usize,
    pub job_concurrency: usize,
    pub job_lease: Duration,
    pub max_queued_runs: u32,
    pub job_keep_days: u32,
    pub lanes: u16,
    pub lane_lease: Duration,
    pub max_queued: usize,
    pub trigger_attempts: u32,
    pub trigger_backoff: Duration,
    pub trigger_max_backoff: Duration,
    pub max_trigger_depth: u32,
    pub ignore_unsupported_triggers: bool,
    pub slot: String,
    pub publication: String,
    pub slot_lag_budget_bytes: u64,
    pub event_keep_days: u32,
    pub event_keep_dead_days: u32,
    pub max_queued_bytes: u64,
    pub event_stream_clients: usize,
    pub capture: Vec<String>,
    pub sinks: Vec<SinkConfig>,
    pub schedules: Vec<NewSchedule>,
    pub log_format: LogFormat,
    pub log: String,
    pub try_commands: Vec<TryCommand>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// Reads every layer for the project at `project` (or the one that a layer names).
    ///
    /// # Errors
    /// A [`UsageError`] that names the setting, where its value came from, and what it should be.
    pub fn load(flags: &Settings, project: Option<&Path>) -> Result<Config> {
        Config::from_layers(&Layers::read(flags, project)?)
    }

    pub fn from_layers(layers: &Layers) -> Result<Config> {
        let milliseconds =
            |name| Ok::<_, anyhow::Error>(Duration::from_millis(layers.number(name)?));
        Ok(Config {
            listen: layers.parsed("listen", "an address such as 127.0.0.1:1337")?,
            listen_is_chosen: layers.is_chosen("listen"),
            mount: mount(layers)?,
            server_url: layers.optional("server_url"),
            app_id: layers.required("app_id")?,
            master_key: Secret::new(layers.required("master_key")?),
            rest_api_key: layers.optional("rest_api_key").map(Secret::new),
            javascript_key: layers.optional("javascript_key").map(Secret::new),
            client_key: layers.optional("client_key").map(Secret::new),
            project: PathBuf::from(layers.required("project")?),
            database_url: Secret::new(layers.required("database_url")?),
            redis_url: Secret::new(layers.required("redis_url")?),
            namespace: layers.required("namespace")?,
            database_connections: layers.number("database_connections")?,
            function_timeout: milliseconds("function_timeout_ms")?,
            trigger_timeout: milliseconds("trigger_timeout_ms")?,
            job_timeout: milliseconds("job_timeout_ms")?,
            drain_timeout: milliseconds("drain_timeout_ms")?,
            wait: layers.flag("wait")?,
            wait_timeout: milliseconds("wait_timeout_ms")?,
            max_body_bytes: layers.number("max_body_bytes")?,
            client_class_creation: layers.flag("client_class_creation")?,
            custom_object_ids: layers.flag("custom_object_ids")?,
            session_lifetime: Duration::from_secs(layers.number("session_lifetime_s")?),
            isolates: layers.number("isolates")?,
            isolate_memory_bytes: layers.number::<u64>("isolate_memory_mb")? * 1024 * 1024,
            isolate_in_flight: layers.number("isolate_in_flight")?,
            webhooks: webhooks(layers)?,
            webhook_key: layers.optional("webhook_key").map(Secret::new),
            egress: egress(layers)?,
            worker_concurrency: layers.number("worker_concurrency")?,
            job_concurrency: layers.number("job_concurrency")?,
            job_lease: milliseconds("job_lease_ms")?,
            max_queued_runs: layers.number("max_queued_runs")?,
            job_keep_days: layers.number("job_keep_days")?,
            lanes: layers.number("lanes")?,
            lane_lease: milliseconds("lane_lease_ms")?,
            max_queued: layers.number("max_queued")?,
            trigger_attempts: layers.number("trigger_attempts")?,
            trigger_backoff: milliseconds("trigger_backoff_ms")?,
            trigger_max_backoff: milliseconds("trigger_max_backoff_ms")?,
            max_trigger_depth: layers.number("max_trigger_depth")?,
            ignore_unsupported_triggers: ignore_unsupported_triggers(layers)?,
            slot: layers.required("slot")?,
            publication: layers.required("publication")?,
            slot_lag_budget_bytes: layers.number::<u64>("slot_lag_budget_mb")? * 1024 * 1024,
            event_keep_days: layers.number("event_keep_days")?,
            event_keep_dead_days: layers.number("event_keep_dead_days")?,
            max_queued_bytes: layers.number::<u64>("max_queued_mb")? * 1024 * 1024,
            event_stream_clients: layers.number("event_stream_clients")?,
            capture: layers.list("capture"),
            sinks: sinks::sinks(layers.sinks())?,
            schedules: schedules::schedules(layers.schedules())?,
            log_format: log_format(layers)?,
            log: layers.required("log")?,
            try_commands: layers.try_commands()?,
        })
    }

    /// Classes and `schema.table` names that are captured also without a trigger.
    pub fn always_captured(&self) -> impl Iterator<Item = &String> {
        let of_sinks = self.sinks.iter().flat_map(|sink| &sink.filter.classes);
        self.capture.iter().chain(of_sinks)
    }

    /// Where clients and the SDK inside an isolate reach the API.
    pub fn public_url(&self) -> String {
        match &self.server_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => format!("http://{}{}", self.listen, self.mount),
        }
    }
}

/// The `[[schedules]]` that the files of a project have now.
///
/// # Errors
/// As [`Config::load`].
pub fn schedules_in(project: &Path) -> Result<Vec<NewSchedule>> {
    schedules::schedules(Layers::of_files(project)?.schedules())
}

fn egress(layers: &Layers) -> Result<Egress> {
    Ok(Egress {
        allow_private: layers.flag("egress_private")?,
        allow: layers.list("egress_allow"),
    })
}

fn webhooks(layers: &Layers) -> Result<Webhooks> {
    let around = webhooks::Surroundings {
        egress: &egress(layers)?,
        max_backoff_ms: layers.number("trigger_max_backoff_ms")?,
        variable: &|name| std::env::var(name).ok(),
    };
    webhooks::webhooks(layers.webhooks(), &around)
}

fn mount(layers: &Layers) -> Result<String> {
    let mount = layers.required("mount")?;
    let mount = mount.trim_end_matches('/');
    if !mount.is_empty() && !mount.starts_with('/') {
        return Err(layers.refuse("mount", "a path such as /parse").into());
    }
    Ok(mount.to_owned())
}

fn ignore_unsupported_triggers(layers: &Layers) -> Result<bool> {
    match layers.required("unsupported_triggers")?.as_str() {
        "refuse" => Ok(false),
        "ignore" => Ok(true),
        _ => Err(layers
            .refuse("unsupported_triggers", "refuse or ignore")
            .into()),
    }
}

fn log_format(layers: &Layers) -> Result<LogFormat> {
    match layers.required("log_format")?.as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(layers.refuse("log_format", "text or json").into()),
    }
}

/// Prints every setting, its value and its origin.
#[allow(clippy::print_stdout)] // the subcommand's data
pub fn show(flags: Settings) -> Result<()> {
    let layers = Layers::read(&flags, None)?;
    for (name, value, origin) in layers.effective() {
        println!("{name} = {value}  # {origin}");
    }
    Ok(())
}

impl UsageError {
    pub(crate) fn setting(name: &str, origin: &Origin, expected: &str) -> UsageError {
        UsageError(format!("{name}, from {origin}, must be {expected}"))
    }
}
