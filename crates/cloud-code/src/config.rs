//! What this crate is told: limits with their units, and where requests may go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How cloud code is run. [`Config::new`] gives the defaults that the fields' docs name.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program whose `isolate` subcommand is [`isolate_main`](crate::isolate_main): this very executable.
    pub executable: PathBuf,
    /// How many isolates are kept ready. One per processor: JavaScript is what burns CPU here.
    pub isolates: usize,
    pub isolation: Isolation,
    /// JavaScript heap of one isolate; at it an allocation throws, and the isolate is replaced. 256 MiB.
    pub memory_limit_bytes: u64,
    /// Runs that one isolate has open at a time; the next waits for a free place, within its deadline. 64.
    pub max_in_flight: usize,
    /// The longest result of a handler, and the longest host call; a longer one is refused. 16 MiB.
    pub max_output_bytes: usize,
    /// How long main may take to load; then the load fails. 30 s.
    pub load_timeout: Duration,
    pub egress: Egress,
    /// What `Parse.initialize` and `Parse.serverURL` are given. The master key is never given to an isolate.
    pub server_url: String,
    pub application_id: String,
    pub javascript_key: Option<String>,
    /// What `process.env` holds in JavaScript. Nothing else of this process's environment is seen there.
    pub env: BTreeMap<String, String>,
    /// A JavaScript runtime in place of the built-in one, for tests of this crate.
    #[doc(hidden)]
    pub runtime: Option<Arc<str>>,
}

/// Which runs may share an isolate, and so the module's state and its fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Runs share isolates, as requests share a Node process. A job has one for itself while it runs.
    #[default]
    Shared,
    /// Every run gets a fresh fork.
    PerRun,
}

/// Where `fetch` may go.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// Lets every private, loopback and link-local address be reached.
    pub allow_private: bool,
    /// Hosts that may be reached wherever they resolve to: `name`, `name:port`, `10.1.2.3`, `10.0.0.0/8`, `[::1]:80`.
    pub allow: Vec<String>,
}

impl Config {
    /// The defaults, for the program that [`Config::executable`] describes.
    pub fn new(executable: PathBuf) -> Config {
        Config {
            executable,
            isolates: std::thread::available_parallelism().map_or(2, usize::from),
            isolation: Isolation::Shared,
            memory_limit_bytes: 256 * 1024 * 1024,
            max_in_flight: 64,
            max_output_bytes: 16 * 1024 * 1024,
            load_timeout: Duration::from_secs(30),
            egress: Egress::default(),
            server_url: String::new(),
            application_id: String::new(),
            javascript_key: None,
            env: BTreeMap::new(),
            runtime: None,
        }
    }
}
