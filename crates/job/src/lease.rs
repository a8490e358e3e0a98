//! The right to write for a run.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::RunId;

/// One claim of a run by a worker.
///
/// The fence grows with every claim and every loss: what a former holder reports late carries an old one and is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    pub run: RunId,
    pub worker: Arc<str>,
    pub fence: u64,
}
