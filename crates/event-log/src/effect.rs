//! The effect ledger: what each handler wrote, recorded in the write's own transaction.
//!
//! ```text
//! attempt 1: write 2 ─▶ [ row ‖ effect (cause, "2") ] ─▶ answer
//! attempt 2: write 2 ─▶ the effect is there ─▶ the recorded answer, nothing is written
//! ```
//!
//! Invariant: of one cause and path there is one effect, because they are its primary key: of two attempts that write
//! at once, one commits.
//!
//! The insert runs in a transaction of `storage`, which knows nothing of this table: [`RECORD`] and [`parameters`] are
//! what the write path hands it.

use std::collections::BTreeMap;

use tidegate_event::{Effect, EffectKind, EffectScope};

use crate::{Error, EventLog};

/// Records one effect; fails with a unique violation when its place is taken. Parameters are texts.
pub const RECORD: &str = "insert into tidegate.effect \
    (cause, position, log_offset, kind, class, object_id, answer) \
    values ($1::text, $2::text, nullif($3::text, '')::bigint, $4::text, $5::text, $6::text, $7::text)";

/// What [`RECORD`] takes.
pub fn parameters(scope: &EffectScope, effect: &Effect) -> Vec<String> {
    vec![
        scope.cause.to_string(),
        scope.path.clone(),
        scope
            .log_offset
            .map_or_else(String::new, |log_offset| log_offset.to_string()),
        effect.kind.as_str().to_owned(),
        effect.class.clone(),
        effect.object_id.clone(),
        effect.answer.clone(),
    ]
}

impl EventLog {
    /// Everything that attempts of `cause` have written so far, by path.
    pub async fn effects_of(&self, cause: &str) -> Result<BTreeMap<String, Effect>, Error> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select position, kind, class, object_id, answer from tidegate.effect
                  where cause = $1",
            )
            .await?;
        let rows = client.query(&statement, &[&cause]).await?;
        let effect = |row: &tokio_postgres::Row| {
            let kind = EffectKind::parse(row.get(1))?;
            let effect = Effect {
                kind,
                class: row.get(2),
                object_id: row.get::<_, Option<String>>(3).unwrap_or_default(),
                answer: row.get(4),
            };
            Some((row.get(0), effect))
        };
        Ok(rows.iter().filter_map(effect).collect())
    }
}
