//! Hears who is to be cancelled. A word that is lost costs a beat: the answer to that says the same.

use std::sync::Arc;
use std::time::Duration;

use tidegate_event::report::chain;
use tidegate_job_log::{Error, JobLog, Notice};

use super::running::Running;

/// Before another try to listen.
const PAUSE: Duration = Duration::from_secs(1);

/// How long one wait for a word may be; there is nothing else to do meanwhile.
const WAIT: Duration = Duration::from_secs(3600);

/// Listens for as long as it is polled.
pub(crate) async fn listen(log: JobLog, running: Arc<Running>) {
    loop {
        let Err(error) = hear(&log, &running).await;
        tracing::warn!(
            error = chain(&error),
            "cannot hear of cancelled runs at once; the beat tells of them"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(log: &JobLog, running: &Running) -> Result<std::convert::Infallible, Error> {
    let mut listener = log.listen().await?;
    loop {
        if let Some(Notice::Cancel(run)) = listener.next(WAIT).await? {
            running.cancel(run);
        }
    }
}
