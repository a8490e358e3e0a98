//! Decides whether the slot can be followed without missing a change, and says so when it cannot.
//!
//! `examine` is pure: what the server says of itself and of the slot, against what the log remembers.
//! Nothing here makes or drops a slot.

use postgres_replication::{Connection, SystemIdentity, TimelineSwitch};
use tidegate_event::Lsn;
use tidegate_event_log::{Checkpoint, EventLog};
use tokio_postgres::Client;
use tokio_postgres::types::PgLsn;

use crate::{Config, Error};

/// Why changes may have been missed; each needs a person, or the right server to come back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("it does not exist")]
    Missing,
    #[error("Postgres removed WAL that it still needed (wal_status is lost)")]
    Lost,
    #[error("it belongs to another database of this server")]
    OtherDatabase,
    #[error("it is no persistent logical slot of pgoutput but somebody else's ({what})")]
    OtherKind { what: String },
    #[error(
        "somebody moved it or made it anew: it has confirmed {confirmed}, which Tidegate never did"
    )]
    Moved { confirmed: Lsn },
    #[error(
        "this is another server: its system identifier is {found}, the log followed {expected}"
    )]
    OtherServer { expected: String, found: String },
    #[error(
        "this server is on timeline {found} and left timeline {expected} {}: the log is ahead of this server",
        left_at.map_or("at an unknown place".to_owned(), |at| format!("at {at}"))
    )]
    OtherTimeline {
        expected: u32,
        found: u32,
        /// Where this server's history left the log's timeline; None: its history does not have it.
        left_at: Option<Lsn>,
    },
    #[error("this server's WAL ends at {end}: it was restored from a backup, or is another server")]
    Behind { end: Lsn },
    #[error(
        "the log itself went back: this process had followed it up to {seen} (epoch {epoch}). Was the database \
         restored from a backup?"
    )]
    WentBack { epoch: u32, seen: Lsn },
    #[error("gap {id} was found earlier ({reason})")]
    Unresolved { id: i64, reason: String },
}

/// Capture cannot go on, and what it would miss if it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "slot {slot} cannot be followed: {cause}. Changes from {from} to {to}, where this server's WAL ends now, and all \
     later ones are not captured; writes go on. To find and emit them run `tidegate slot resync`"
)]
pub struct Stopped {
    pub slot: String,
    pub cause: Cause,
    /// Everything up to here is in the log.
    pub from: Lsn,
    /// The end of the server's WAL when this was found.
    pub to: Lsn,
    /// That the log had followed; the highest that was ever seen of it.
    pub epoch: u32,
}

/// A slot as `pg_replication_slots` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Logical, persistent, of pgoutput and of this database: else what it is.
    pub foreign: Option<Cause>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// What Postgres was told that it may forget; None for a slot that is not logical.
    pub confirmed: Option<Lsn>,
    /// The oldest WAL that is kept for it.
    pub restart: Option<Lsn>,
    /// The backend that follows it.
    pub active_pid: Option<i32>,
}

/// The slot of this name, whoever's it is.
pub(crate) async fn look(sql: &Client, slot: &str) -> Result<Option<Slot>, Error> {
    let row = sql
        .query_opt(
            "select coalesce(database = current_database(), true),
                    slot_type = 'logical' and plugin = 'pgoutput' and not temporary,
                    concat_ws(', ', slot_type, plugin, case when temporary then 'temporary' end),
                    coalesce(wal_status, ''), confirmed_flush_lsn, restart_lsn, active_pid
               from pg_replication_slots where slot_name = $1",
            &[&slot],
        )
        .await?;
    let lsn = |lsn: Option<PgLsn>| lsn.map(|lsn| Lsn(lsn.into()));
    Ok(row.map(|row| Slot {
        foreign: match (row.get(0), row.get(1)) {
            (false, _) => Some(Cause::OtherDatabase),
            (true, false) => Some(Cause::OtherKind { what: row.get(2) }),
            (true, true) => None,
        },
        wal_status: row.get(3),
        confirmed: lsn(row.get(4)),
        restart: lsn(row.get(5)),
        active_pid: row.get(6),
    }))
}

/// What is the matter, if anything is. `history`: of the server's timeline.
pub(crate) fn examine(
    checkpoint: &Checkpoint,
    furthest: Option<(u32, Lsn)>,
    server: &SystemIdentity,
    history: &[TimelineSwitch],
    slot: Option<&Slot>,
) -> Result<(), Cause> {
    if server.system_identifier != checkpoint.system_identifier {
        return Err(Cause::OtherServer {
            expected: checkpoint.system_identifier.clone(),
            found: server.system_identifier.clone(),
        });
    }
    if server.timeline != checkpoint.timeline {
        let left = history
            .iter()
            .find(|switch| switch.timeline == checkpoint.timeline);
        let left_at = left.map(|switch| Lsn(switch.at));
        if left_at.is_none_or(|at| at < checkpoint.end_lsn) {
            return Err(Cause::OtherTimeline {
                expected: checkpoint.timeline,
                found: server.timeline,
                left_at,
            });
        }
    }
    if Lsn(server.xlogpos) < checkpoint.end_lsn {
        return Err(Cause::Behind {
            end: Lsn(server.xlogpos),
        });
    }
    if let Some((epoch, seen)) = furthest
        && (checkpoint.epoch, checkpoint.end_lsn) < (epoch, seen)
    {
        return Err(Cause::WentBack { epoch, seen });
    }
    let slot = slot.ok_or(Cause::Missing)?;
    if let Some(foreign) = &slot.foreign {
        return Err(foreign.clone());
    }
    if slot.wal_status == "lost" {
        return Err(Cause::Lost);
    }
    match slot.confirmed {
        Some(confirmed) if confirmed > checkpoint.end_lsn => Err(Cause::Moved { confirmed }),
        _ => Ok(()),
    }
}

/// Everything that can be known about the slot at this moment.
pub(crate) struct Look {
    pub checkpoint: Option<Checkpoint>,
    pub slot: Option<Slot>,
    pub server: SystemIdentity,
    pub history: Vec<TimelineSwitch>,
}

impl Look {
    /// Slot, then checkpoint, then server: another capture may be moving all three, and moves the checkpoint before
    /// the slot and after the server. In any other order a healthy slot would look as if somebody had moved it.
    pub async fn take(
        config: &Config,
        log: &EventLog,
        sql: &Client,
        connection: &mut Connection,
    ) -> Result<Look, Error> {
        let slot = look(sql, &config.slot).await?;
        let checkpoint = log.checkpoint(&config.slot).await?;
        let server = connection.identify_system().await?;
        let history = match &checkpoint {
            Some(checkpoint) if checkpoint.timeline != server.timeline => {
                connection.timeline_history(server.timeline).await?
            }
            _ => Vec::new(),
        };
        Ok(Look {
            checkpoint,
            slot,
            server,
            history,
        })
    }

    /// Why the slot cannot be followed, if that is so; for who has no memory of it.
    pub fn problem(&self, config: &Config) -> Option<Stopped> {
        let checkpoint = self.checkpoint.as_ref()?;
        let slot = self.slot.as_ref();
        let examined = examine(checkpoint, None, &self.server, &self.history, slot);
        let cause = examined.err()?;
        Some(self.describe(config, cause, None))
    }

    /// The error that names `cause`.
    pub fn stopped(&self, config: &Config, cause: Cause, furthest: Option<(u32, Lsn)>) -> Error {
        Error::Stopped {
            stopped: Box::new(self.describe(config, cause, furthest)),
        }
    }

    fn describe(&self, config: &Config, cause: Cause, furthest: Option<(u32, Lsn)>) -> Stopped {
        let checkpoint = self.checkpoint.as_ref();
        let epoch = checkpoint.map_or(0, |checkpoint| checkpoint.epoch);
        let from = checkpoint.map_or(Lsn(0), |checkpoint| checkpoint.end_lsn);
        Stopped {
            slot: config.slot.clone(),
            cause,
            from,
            to: Lsn(self.server.xlogpos),
            epoch: furthest.map_or(epoch, |(seen, _)| seen.max(epoch)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Lsn = Lsn(0x100);

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            slot_name: "tidegate".into(),
            epoch: 3,
            system_identifier: "7".into(),
            timeline: 2,
            commit_lsn: Lsn(0x80),
            ordinal: 1,
            end_lsn: FROM,
            oldest_xid: None,
        }
    }

    fn server() -> SystemIdentity {
        SystemIdentity {
            system_identifier: "7".into(),
            timeline: 2,
            xlogpos: 0x200,
            dbname: "app".into(),
        }
    }

    fn slot() -> Slot {
        Slot {
            foreign: None,
            wal_status: "reserved".into(),
            confirmed: Some(FROM),
            restart: Some(Lsn(0x40)),
            active_pid: None,
        }
    }

    #[test]
    fn a_slot_that_the_log_knows_is_followed() {
        let seen = Some((3, FROM));
        assert_eq!(
            examine(&checkpoint(), seen, &server(), &[], Some(&slot())),
            Ok(())
        );
        // A resync began a new epoch, wherever its positions are.
        let before = Some((2, Lsn(0x900)));
        assert_eq!(
            examine(&checkpoint(), before, &server(), &[], Some(&slot())),
            Ok(())
        );
    }

    #[test]
    fn each_way_to_miss_changes_is_told_apart() {
        let look = |server: SystemIdentity, slot: Option<Slot>, seen| {
            examine(&checkpoint(), seen, &server, &[], slot.as_ref()).unwrap_err()
        };
        assert_eq!(look(server(), None, None), Cause::Missing);
        let with = |change: fn(&mut Slot)| {
            let mut slot = slot();
            change(&mut slot);
            look(server(), Some(slot), None)
        };
        assert_eq!(with(|slot| slot.wal_status = "lost".into()), Cause::Lost);
        assert_eq!(
            with(|slot| slot.confirmed = Some(Lsn(0x101))),
            Cause::Moved {
                confirmed: Lsn(0x101)
            }
        );
        assert_eq!(
            with(|slot| slot.foreign = Some(Cause::OtherDatabase)),
            Cause::OtherDatabase
        );
        let other = SystemIdentity {
            system_identifier: "8".into(),
            ..server()
        };
        assert!(matches!(
            look(other, Some(slot()), None),
            Cause::OtherServer { .. }
        ));
        let behind = SystemIdentity {
            xlogpos: 0xFF,
            ..server()
        };
        assert_eq!(
            look(behind, Some(slot()), None),
            Cause::Behind { end: Lsn(0xFF) }
        );
        let seen = Some((3, Lsn(0x101)));
        assert_eq!(
            look(server(), Some(slot()), seen),
            Cause::WentBack {
                epoch: 3,
                seen: Lsn(0x101)
            }
        );
    }

    #[test]
    fn a_promoted_server_is_followed_if_it_has_all_that_the_log_has() {
        let promoted = SystemIdentity {
            timeline: 4,
            ..server()
        };
        let history = |at| {
            [(1, 0x10), (2, at), (3, 0x190)].map(|(timeline, at)| TimelineSwitch { timeline, at })
        };
        let look = |at| examine(&checkpoint(), None, &promoted, &history(at), Some(&slot()));
        assert_eq!(look(0x100), Ok(()));
        assert_eq!(
            look(0xFF),
            Err(Cause::OtherTimeline {
                expected: 2,
                found: 4,
                left_at: Some(Lsn(0xFF))
            })
        );
        let unknown = examine(&checkpoint(), None, &promoted, &[], Some(&slot()));
        assert!(matches!(
            unknown,
            Err(Cause::OtherTimeline { left_at: None, .. })
        ));
    }

    #[test]
    fn the_error_names_slot_gap_and_remedy() {
        let stopped = Stopped {
            slot: "tidegate".into(),
            cause: Cause::Missing,
            from: Lsn(0x1_0000_0010),
            to: Lsn(0x1_0000_0020),
            epoch: 1,
        };
        let text = stopped.to_string();
        for part in ["tidegate", "1/10", "1/20", "`tidegate slot resync`"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}
