//! Several requests in one: side by side, or all or nothing.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tidegate_event::report::chain;
use tidegate_parse_protocol::{BatchItem, ErrorCode, Request};

use crate::answer::Waited;
use crate::error::refuse;
use crate::save::Save;
use crate::{Answer, Caller, Error, WritePath};

impl WritePath {
    pub(crate) async fn batch(
        &self,
        caller: &Caller,
        items: Vec<BatchItem>,
        transaction: bool,
    ) -> Result<Answer, Error> {
        // A path that leads nowhere refuses the batch as a whole, before anything is done.
        for item in &items {
            item.route(&[&self.config.mount, ""])?;
        }
        let answers = match transaction {
            true => self
                .in_one_transaction(caller, items)
                .await?
                .into_iter()
                .map(Ok)
                .collect(),
            false => join_all(items.iter().map(|item| self.batch_item(caller, item))).await,
        };
        let waited = answers
            .iter()
            .flatten()
            .map(|answer: &Answer| answer.waited);
        let waited = waited
            .max_by_key(|waited| *waited as u8)
            .unwrap_or(Waited::No);
        let bodies: Vec<Value> = answers.into_iter().map(item_body).collect();
        Ok(Answer::ok(Value::Array(bodies)).with_waited(waited))
    }

    fn request_of(&self, item: &BatchItem) -> Result<Request, Error> {
        let path = item.route(&[&self.config.mount, ""])?;
        Ok(Request::parse(&item.method, path, &item.body)?)
    }

    async fn batch_item(&self, caller: &Caller, item: &BatchItem) -> Result<Answer, Error> {
        Box::pin(self.execute(caller, self.request_of(item)?)).await
    }

    /// Before-triggers run for each; then one transaction holds all writes, or none.
    async fn in_one_transaction(
        &self,
        caller: &Caller,
        items: Vec<BatchItem>,
    ) -> Result<Vec<Answer>, Error> {
        let mut prepared = Vec::new();
        for item in &items {
            prepared.push(match self.request_of(item)? {
                Request::Create { class, changes } => {
                    self.prepare_save(
                        caller,
                        Save {
                            class,
                            id: None,
                            changes,
                        },
                    )
                    .await?
                }
                Request::Update { class, id, changes } => {
                    self.prepare_save(
                        caller,
                        Save {
                            class,
                            id: Some(id),
                            changes,
                        },
                    )
                    .await?
                }
                Request::Delete { class, id } => self.prepare_delete(caller, &class, &id).await?,
                _ => {
                    let message = "a transaction can hold creates, updates and deletes only";
                    return Err(refuse(ErrorCode::INVALID_JSON, message));
                }
            });
        }
        self.commit(caller, prepared).await
    }
}

fn item_body(answer: Result<Answer, Error>) -> Value {
    match answer {
        Ok(answer) => json!({"success": answer.body}),
        Err(error) => {
            if matches!(error, Error::Storage { .. } | Error::Internal { .. }) {
                tracing::error!(error = chain(&error), "a request of a batch failed");
            }
            json!({"error": error.to_parse()})
        }
    }
}
