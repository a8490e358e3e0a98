//! Lends the event log's lane leases to the queue, which knows no Postgres.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_event_log::{LaneLease, Lanes};
use tidegate_queue::{BoxError, Lane, LaneLeases};

pub(crate) struct Leases {
    pub lanes: Lanes,
}

impl LaneLeases for Leases {
    fn renew<'a>(&'a self, busy: &'a [u16]) -> BoxFuture<'a, Result<Vec<Lane>, BoxError>> {
        async {
            let leases = self.lanes.renew(busy).await?;
            let leased = |lease: LaneLease| Lane {
                index: lease.lane,
                fence: lease.fence,
            };
            Ok(leases.into_iter().map(leased).collect())
        }
        .boxed()
    }

    fn release<'a>(&'a self, lanes: &'a [Lane]) -> BoxFuture<'a, Result<(), BoxError>> {
        async {
            let lease = |lane: &Lane| LaneLease {
                lane: lane.index,
                fence: lane.fence,
            };
            let leases: Vec<LaneLease> = lanes.iter().map(lease).collect();
            Ok(self.lanes.release(&leases).await?)
        }
        .boxed()
    }

    fn renew_interval(&self) -> Duration {
        self.lanes.lease() / 5
    }

    fn lease_duration(&self) -> Duration {
        self.lanes.lease()
    }
}
