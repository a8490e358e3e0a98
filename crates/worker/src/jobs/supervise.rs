//! What is done to an attempt from outside while it runs.
//!
//! ```text
//! told to end ─▶ request.signal ─500 ms─▶ killed          lost ─▶ killed at once
//! time ─90 %─▶ a warning in its history ─▶ request.signal ─▶ the limit: cloud code ends it
//! ```

use std::convert::Infallible;

use tidegate_cloud_code::Control;
use tidegate_event::report::chain;
use tidegate_job::Lease;
use tidegate_job_log::JobLog;

use super::plan::{GRACE, Plan};
use super::running::{Held, Reason};

/// Goes on until it is dropped, which is when the attempt is over.
pub(crate) async fn supervise(
    held: &Held,
    plan: &Plan,
    control: &Control,
    log: &JobLog,
    lease: &Lease,
) -> Infallible {
    let told = async {
        let reason = held.told(Reason::Draining).await;
        if reason < Reason::Lost {
            control.abort.cancel();
            let lost = held.told(Reason::Lost);
            let _ = tokio::time::timeout(GRACE, lost).await;
        }
        control.kill.cancel();
    };
    let out_of_time = async {
        tokio::time::sleep(plan.abort_after()).await;
        control.abort.cancel();
    };
    tokio::join!(told, out_of_time, warn(plan, log, lease));
    std::future::pending().await
}

async fn warn(plan: &Plan, log: &JobLog, lease: &Lease) {
    let Some(after) = plan.warn_after() else {
        return;
    };
    tokio::time::sleep(after).await;
    let left = plan.limit.saturating_sub(after).as_millis();
    let limit = plan.limit.as_millis();
    let text = format!("{left} ms are left of the time limit of {limit} ms");
    tracing::warn!("{text}");
    if let Err(error) = log.warn(lease, &text).await {
        tracing::warn!(error = chain(&error), "cannot record the warning");
    }
}
