#![doc = include_str!("../README.md")]
//!
//! Layout, in reading order:
//! - the server's side: [`cloud_code`] (one release), `pool` (which isolate gets a run), `child` and `attend` (one
//!   isolate), `zygote` (what forks them), `calls`, `tape` and `fetch` (what JavaScript asks for), [`host`] (who answers it).
//! - the process's side: `isolate`.
//! - between them: `frame` (messages), `board` (shared memory), `process` (children that end with this process).
//! - before them: [`bundle`](mod@bundle).

mod attend;
mod board;
pub mod bundle;
mod calls;
mod child;
mod clock;
pub mod cloud_code;
pub mod config;
mod egress;
pub mod error;
mod fetch;
mod frame;
pub mod host;
#[doc(hidden)]
pub mod isolate;
mod job;
mod logs;
mod manifest;
mod metrics;
mod pool;
pub mod post;
mod process;
mod request_text;
pub mod run;
mod source_map;
mod tape;
mod zygote;

pub use bundle::{Bundle, Bundler, bundle};
pub use cloud_code::CloudCode;
pub use config::{Config, Egress, Isolation};
pub use error::Error;
pub use host::{Cause, Host, JobAnswer, JobCall, ParseErrorJson, RestAnswer, RestCall, RunScope};
pub use isolate::isolate_main;
pub use logs::LogLine;
pub use manifest::{JobDefinition, Manifest, ScheduleDefinition, WorkflowDefinition};
pub use post::{PostError, Posted, Poster};
pub use run::{Control, Handler, Outcome, Ran, Run};

/// Makes a test binary serve as [`Config::executable`]: `Config::new(std::env::current_exe()?)` then works in tests.
///
/// To be written once in the test's root file. It hooks in before `main`, because a test harness starts threads and
/// an isolate process must have none.
#[macro_export]
macro_rules! isolate_entry_for_tests {
    () => {
        #[used]
        #[unsafe(link_section = ".init_array")]
        static ISOLATE_ENTRY: extern "C" fn() = {
            extern "C" fn enter() {
                if std::env::args().nth(1).as_deref() == Some("isolate") {
                    $crate::isolate_main(0)
                }
            }
            enter
        };
    };
}
