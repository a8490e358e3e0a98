//! Several requests in one: side by side, or all or nothing.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tidegate_event::WaitToken;
use tidegate_event::report::chain;
use tidegate_parse_protocol::{BatchItem, ErrorCode, Request};

use crate::commit::Prepared;
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
            false => {
                let each = (1..).zip(&items);
                join_all(each.map(|(n, item)| self.batch_item(caller.of_item(n), item))).await
            }
        };
        let waited = answers
            .iter()
            .flatten()
            .map(|answer: &Answer| answer.waited);
        let waited = waited.max().unwrap_or_default();
        let tokens = tokens_of(&answers);
        let bodies: Vec<Value> = answers.into_iter().map(item_body).collect();
        Ok(Answer {
            waited,
            tokens,
            ..Answer::ok(Value::Array(bodies))
        })
    }

    fn request_of(&self, item: &BatchItem) -> Result<Request, Error> {
        let path = item.route(&[&self.config.mount, ""])?;
        Ok(Request::parse(&item.method, path, &item.body)?)
    }

    async fn batch_item(&self, caller: Caller, item: &BatchItem) -> Result<Answer, Error> {
        Box::pin(self.execute(&caller, self.request_of(item)?)).await
    }

    /// Before-triggers run for each; then one transaction holds all writes, or none.
    async fn in_one_transaction(
        &self,
        caller: &Caller,
        items: Vec<BatchItem>,
    ) -> Result<Vec<Answer>, Error> {
        let callers = (1..=items.len()).map(|n| caller.of_item(n));
        let requests = items.iter().map(|item| self.request_of(item));
        let items = callers
            .zip(requests)
            .map(|(caller, request)| Ok((caller, request?)))
            .collect::<Result<Vec<(Caller, Request)>, Error>>()?;
        if let Some(answers) = self.repeated_transaction(&items).await? {
            return Ok(answers);
        }
        let mut prepared = Vec::new();
        for (caller, request) in items {
            prepared.push(self.prepare(&caller, request).await?);
        }
        self.commit(caller, prepared).await
    }

    async fn prepare(&self, caller: &Caller, request: Request) -> Result<Prepared, Error> {
        let (class, id, changes) = match request {
            Request::Create { class, changes } => (class, None, changes),
            Request::Update { class, id, changes } => (class, Some(id), changes),
            Request::Delete { class, id } => return self.prepare_delete(caller, &class, &id).await,
            _ => {
                let message = "a transaction can hold creates, updates and deletes only";
                return Err(refuse(ErrorCode::INVALID_JSON, message));
            }
        };
        let save = Save { class, id, changes };
        self.prepare_save(caller, save).await
    }
}

/// Those of all answers, each once: the writes of a transaction have one together.
fn tokens_of(answers: &[Result<Answer, Error>]) -> Vec<WaitToken> {
    let mut tokens = Vec::new();
    for token in answers.iter().flatten().flat_map(|answer| &answer.tokens) {
        if !tokens.contains(token) {
            tokens.push(*token);
        }
    }
    tokens
}

fn item_body(answer: Result<Answer, Error>) -> Value {
    match answer {
        Ok(answer) => json!({"success": answer.body}),
        Err(error) => {
            if error.is_servers_fault() {
                tracing::error!(error = chain(&error), "a request of a batch failed");
            }
            json!({"error": error.to_parse()})
        }
    }
}
