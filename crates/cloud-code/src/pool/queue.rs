//! Runs that wait for a place.

use std::collections::VecDeque;

use crate::job::Job;

/// Two queues, so that a run that needs an isolate of its own does not hold up those that can share one.
#[derive(Default)]
pub(super) struct Queue {
    shared: VecDeque<Job>,
    exclusive: VecDeque<Job>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.shared.len() + self.exclusive.len()
    }

    pub(super) fn has_shared(&self) -> bool {
        !self.shared.is_empty()
    }

    pub(super) fn has_exclusive(&self) -> bool {
        !self.exclusive.is_empty()
    }

    /// Nested runs go first: the others may wait for what they hold.
    pub(super) fn push(&mut self, job: Job) {
        let queue = if job.exclusive {
            &mut self.exclusive
        } else {
            &mut self.shared
        };
        if job.nested {
            queue.push_front(job);
        } else {
            queue.push_back(job);
        }
    }

    /// Gives runs to `place`, in order, until it gives one back.
    pub(super) fn drain_into(&mut self, place: impl Fn(Job) -> Result<(), Job>) {
        for queue in [&mut self.shared, &mut self.exclusive] {
            while let Some(job) = queue.pop_front() {
                if let Err(job) = place(job) {
                    queue.push_front(job);
                    break;
                }
            }
        }
    }

    /// Takes out the runs that `is_over` names: their time is up, or nobody wants them any more.
    pub(super) fn take(&mut self, is_over: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut taken = Vec::new();
        for queue in [&mut self.shared, &mut self.exclusive] {
            if queue.iter().any(&is_over) {
                let (over, kept): (Vec<_>, _) = queue.drain(..).partition(&is_over);
                taken.extend(over);
                *queue = VecDeque::from(kept);
            }
        }
        taken
    }
}
