//! Why a release cannot be built or loaded. What a handler throws is no error here but an [`Outcome`](crate::Outcome).

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The project's code cannot be bundled; `message` names file, line and column and shows the line. Fix the code.
    #[error("{message}")]
    Build { message: String },
    /// The bundler itself cannot be run. Install what `message` names.
    #[error("the bundler cannot be run: {message}")]
    Bundler { message: String },
    /// The code threw while it was loading, or did not finish. Fix the code.
    #[error("the cloud code does not load: {message}")]
    Load {
        message: String,
        stack: Option<String>,
    },
    /// A child process cannot be started or does not answer. Retry; if it stays, this machine lacks something.
    #[error("isolate process of {executable}: {message}")]
    Isolate {
        executable: PathBuf,
        message: String,
    },
    #[error("cannot {action}")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
}
