//! Takes what the queue offers: the claim is Postgres's.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_job::RunId;
use tidegate_job_log::{Claimed, Error, JobLog};
use tidegate_queue::BoxError;
use tidegate_queue::runs::Claims;

use super::beat::Member;
use super::running::{Held, Running};

/// A run that is this worker's.
pub(crate) struct Taken {
    pub claimed: Claimed,
    pub held: Held,
}

pub(crate) struct JobClaims {
    pub log: JobLog,
    pub member: Arc<Member>,
    pub running: Arc<Running>,
}

impl Claims for JobClaims {
    type Claimed = Taken;

    fn claim<'a>(&'a self, ids: &'a [u64]) -> BoxFuture<'a, Result<Vec<Taken>, BoxError>> {
        async {
            let runs: Vec<RunId> = ids.iter().copied().map(RunId).collect();
            let claimed = self.log.claim(&self.member.name(), &runs).await;
            if let Err(Error::NotAWorker { .. }) = &claimed {
                self.member.doubt();
            }
            // On the list before anybody can ask: what is not there is taken for a claim whose answer was lost.
            let taken = |claimed: Claimed| Taken {
                held: self.running.hold(claimed.lease.clone()),
                claimed,
            };
            Ok(claimed?.into_iter().map(taken).collect())
        }
        .boxed()
    }
}
