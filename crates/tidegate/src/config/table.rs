//! The list of all settings: names, defaults, what they mean.

/// One setting. In `tidegate.toml` it has this name, in the environment `TIDEGATE_` and the name in capitals.
pub(super) struct Setting {
    pub name: &'static str,
    /// Other names in the environment, such as those that Parse Server's users already have.
    pub aliases: &'static [&'static str],
    pub default: Option<&'static str>,
    /// Never printed.
    pub secret: bool,
    pub meaning: &'static str,
}

const fn setting(
    name: &'static str,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        aliases: &[],
        default,
        secret: false,
        meaning,
    }
}

impl Setting {
    const fn secret(self) -> Setting {
        Setting {
            secret: true,
            ..self
        }
    }

    const fn also(self, aliases: &'static [&'static str]) -> Setting {
        Setting { aliases, ..self }
    }
}

pub(super) const SETTINGS: &[Setting] = &[
    setting("listen", Some("127.0.0.1:1337"), "address for HTTP"),
    setting("mount", Some("/parse"), "path of the Parse API").also(&["PARSE_SERVER_MOUNT_PATH"]),
    setting("server_url", None, "URL of the Parse API as clients see it")
        .also(&["PARSE_SERVER_URL"]),
    setting("app_id", None, "application id").also(&["PARSE_SERVER_APPLICATION_ID"]),
    setting("master_key", None, "key that may do everything")
        .secret()
        .also(&["PARSE_SERVER_MASTER_KEY"]),
    setting("rest_api_key", None, "client key")
        .secret()
        .also(&["PARSE_SERVER_REST_API_KEY"]),
    setting("javascript_key", None, "client key")
        .secret()
        .also(&["PARSE_SERVER_JAVASCRIPT_KEY"]),
    setting("client_key", None, "client key")
        .secret()
        .also(&["PARSE_SERVER_CLIENT_KEY"]),
    setting("project", Some("."), "folder that holds cloud/"),
    setting("database_url", None, "Postgres")
        .secret()
        .also(&["DATABASE_URL", "PARSE_SERVER_DATABASE_URI"]),
    setting("redis_url", None, "Redis")
        .secret()
        .also(&["REDIS_URL"]),
    setting(
        "namespace",
        Some("tidegate"),
        "prefix of every key in Redis",
    ),
    setting(
        "database_connections",
        Some("20"),
        "most connections of this process for requests",
    ),
    setting(
        "function_timeout_ms",
        Some("60000"),
        "time limit of a cloud function",
    ),
    setting(
        "trigger_timeout_ms",
        Some("10000"),
        "time limit of a trigger",
    ),
    setting("job_timeout_ms", Some("900000"), "time limit of a job"),
    setting(
        "drain_timeout_ms",
        Some("30000"),
        "how long what runs may go on after a shutdown was asked for",
    ),
    setting(
        "wait",
        Some("true"),
        "answer a save when its after-triggers have run",
    ),
    setting(
        "wait_timeout_ms",
        Some("2000"),
        "how long a save waits for them at most",
    ),
    setting(
        "max_body_bytes",
        Some("20971520"),
        "larger request bodies are refused",
    ),
    setting(
        "client_class_creation",
        Some("true"),
        "clients may create classes by saving to them",
    ),
    setting(
        "custom_object_ids",
        Some("false"),
        "clients may choose objectIds",
    ),
    setting(
        "session_lifetime_s",
        Some("31536000"),
        "how long a session token is valid",
    ),
    setting("isolates", Some("2"), "JavaScript processes"),
    setting(
        "isolate_memory_mb",
        Some("128"),
        "memory limit of one of them",
    ),
    setting(
        "isolate_in_flight",
        Some("64"),
        "handlers that may be under way in one of them",
    ),
    setting(
        "egress_private",
        Some("false"),
        "fetch may reach private and loopback addresses",
    ),
    setting(
        "egress_allow",
        Some(""),
        "hosts that fetch may reach whatever their address, separated by commas",
    ),
    setting(
        "webhook_key",
        None,
        "key that webhooks are sent, as X-Parse-Webhook-Key",
    )
    .secret()
    .also(&["PARSE_SERVER_WEBHOOK_KEY"]),
    setting(
        "worker_concurrency",
        Some("256"),
        "after-triggers that run at once",
    ),
    setting(
        "job_concurrency",
        Some("16"),
        "jobs that run at once, each in a JavaScript process of its own",
    ),
    setting(
        "job_lease_ms",
        Some("2000"),
        "a worker that is silent for so long loses the runs it has",
    ),
    setting(
        "max_queued_runs",
        Some("1000"),
        "job runs in Redis; more wait in Postgres",
    ),
    setting(
        "job_keep_days",
        Some("30"),
        "days that ended runs and their history are kept",
    ),
    setting(
        "lanes",
        Some("64"),
        "lanes of the queue; the same in every process",
    ),
    setting(
        "lane_lease_ms",
        Some("1500"),
        "a worker that is silent for so long loses its lanes",
    ),
    setting(
        "max_queued",
        Some("20000"),
        "deliveries in Redis; more wait in Postgres",
    ),
    setting(
        "max_queued_mb",
        Some("256"),
        "size of the deliveries in Redis; more wait in Postgres",
    ),
    setting(
        "trigger_attempts",
        Some("5"),
        "attempts of an after-trigger before it is a dead letter",
    ),
    setting(
        "trigger_backoff_ms",
        Some("1000"),
        "wait before its second attempt; doubles from there",
    ),
    setting(
        "trigger_max_backoff_ms",
        Some("60000"),
        "longest wait between attempts",
    ),
    setting(
        "max_trigger_depth",
        Some("16"),
        "triggers in a row that may lead to a write; more are stopped as a loop",
    ),
    setting(
        "unsupported_triggers",
        Some("refuse"),
        "code that registers triggers which this version does not run: refuse to load it, or ignore them",
    ),
    setting("slot", Some("tidegate"), "replication slot"),
    setting("publication", Some("tidegate"), "publication"),
    setting(
        "slot_lag_budget_mb",
        Some("1024"),
        "WAL that may be retained before /readyz fails",
    ),
    setting(
        "event_keep_days",
        Some("7"),
        "whole days the event log is kept",
    ),
    setting(
        "event_keep_dead_days",
        Some("90"),
        "days that events with a dead or held delivery are kept",
    ),
    setting(
        "event_stream_clients",
        Some("64"),
        "clients that may follow GET /events of this process at once",
    ),
    setting(
        "capture",
        Some(""),
        "classes and schema.table names to capture also without a trigger; as a list, or separated by commas",
    ),
    setting("log_format", Some("text"), "text or json"),
    setting(
        "log",
        Some("info"),
        "level, or a filter such as info,tidegate_worker=debug",
    ),
];

/// Variables that begin with TIDEGATE_ and are not settings.
pub(super) const OTHER_VARIABLES: &[&str] = &[
    "TIDEGATE_FAILPOINT",
    "TIDEGATE_PG_BIN",
    "TIDEGATE_REDIS_BIN",
];

/// A command that a newcomer can try; `tidegate dev --check` runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TryCommand {
    pub title: String,
    /// For `sh`. `$URL`, `$APP_ID`, `$MASTER_KEY` and `$DATABASE_URL` are set.
    pub command: String,
    /// What its output must contain.
    pub expect: String,
    /// Only reads: may be run again until the output is right, because what it reads happens in the background.
    pub repeat: bool,
}
