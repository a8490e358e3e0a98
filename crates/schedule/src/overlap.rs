//! What a fire does when an earlier run of the same schedule is not over.

use crate::options::Overlap;

/// The runs of a schedule that are not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Running, or on their way to a worker.
    pub running: usize,
    /// Made, and waiting for the end of another by [`Decision::Queue`].
    pub queued: usize,
}

/// What is to be done about a due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Make a run.
    Start,
    /// Make a run that begins when those that are not over are.
    Queue,
    /// Make none; the fire is recorded as skipped.
    Skip,
    /// Cancel what is not over, and make a run.
    CancelOldAndStart,
}

/// Decides one due time. With several at once, decide each after the one before is counted.
pub fn decide(policy: Overlap, unfinished: Unfinished) -> Decision {
    let Unfinished { running, queued } = unfinished;
    match policy {
        Overlap::Allow => Decision::Start,
        _ if running + queued == 0 => Decision::Start,
        Overlap::Skip => Decision::Skip,
        Overlap::Queue if queued == 0 => Decision::Queue,
        Overlap::Queue => Decision::Skip,
        Overlap::Cancel => Decision::CancelOldAndStart,
    }
}
