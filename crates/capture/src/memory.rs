//! What a process remembers of its slot: how far it was, and which gap it found.

use tidegate_event::Lsn;
use tidegate_event_log::{Checkpoint, EventLog};

use crate::guardian::{Cause, Stopped};
use crate::{Config, Error, metric_names};

/// What a process remembers of a slot from one look to the next.
#[derive(Default)]
pub(crate) struct Memory {
    /// The furthest that the log was seen to be: epoch and position.
    furthest: Option<(u32, Lsn)>,
    /// The gap that this process found itself, so that it can tell when its cause went away.
    gap: Option<i64>,
    /// What was last said of it in the log; said once.
    cause: Option<Cause>,
}

impl Memory {
    pub fn furthest(&self) -> Option<(u32, Lsn)> {
        self.furthest
    }

    /// Remembers how far the log is.
    pub fn saw(&mut self, checkpoint: &Checkpoint) {
        let at = (checkpoint.epoch, checkpoint.end_lsn);
        self.furthest = self.furthest.max(Some(at));
    }

    /// What keeps capture from going on although the slot is well: an open gap. One whose cause this process has seen
    /// come and go is closed instead.
    pub async fn check_gap(
        &mut self,
        config: &Config,
        log: &EventLog,
    ) -> Result<Option<Cause>, Error> {
        if let Some(gap) = log.open_gap(&config.slot).await? {
            if self.gap != Some(gap.id) {
                let reason = gap.reason;
                return Ok(Some(Cause::Unresolved { id: gap.id, reason }));
            }
            log.close_gap(gap.id).await?;
            let reason = gap.reason;
            tracing::warn!(
                gap = gap.id,
                reason,
                "what stopped capture is gone; nothing was missed"
            );
        }
        self.gap = None;
        self.cause = None;
        metrics::gauge!(metric_names::CAPTURE_GAP).set(0.0);
        Ok(None)
    }

    /// Records the gap, and says once what is the matter.
    pub async fn report(&mut self, log: &EventLog, stopped: &Stopped) {
        metrics::gauge!(metric_names::CAPTURE_GAP).set(1.0);
        if self.cause.as_ref() != Some(&stopped.cause) {
            tracing::error!(slot = stopped.slot, from = %stopped.from, to = %stopped.to, "{stopped}");
            self.cause = Some(stopped.cause.clone());
        }
        if matches!(stopped.cause, Cause::Unresolved { .. }) {
            return;
        }
        let reason = stopped.cause.to_string();
        match log
            .begin_gap(&stopped.slot, stopped.epoch, stopped.from, &reason)
            .await
        {
            Ok(gap) if gap.reason == reason || self.gap == Some(gap.id) => self.gap = Some(gap.id),
            // Somebody else's, for another reason: not ours to close.
            Ok(_) => {}
            Err(error) => {
                let error = tidegate_event::report::chain(&error);
                tracing::warn!(error, "cannot record the gap; trying again");
            }
        }
    }
}
