//! Hears what happens to runs.

use std::future::poll_fn;
use std::time::Duration;

use tidegate_job::RunId;
use tokio_postgres::AsyncMessage;

use crate::{Error, JobLog};

/// One word. It is a hint: the tables say the same, a beat or a second later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something became pending, or a limit changed: look.
    Changed,
    /// A schedule, or a row of `_JobSchedule`, changed: look at schedules.
    Schedules,
    /// Whoever runs it must end it.
    Cancel(RunId),
}

/// A connection that listens. After an error the caller makes another one, and looks by itself meanwhile.
pub struct Listener {
    connection: crate::DedicatedConnection,
    // Dropping the client would end the connection.
    _client: tokio_postgres::Client,
}

impl JobLog {
    pub async fn listen(&self) -> Result<Listener, Error> {
        let (client, mut connection) = self.dedicated().await?;
        {
            let command = client.batch_execute("listen tidegate_job");
            tokio::pin!(command);
            loop {
                tokio::select! {
                    done = &mut command => break done?,
                    message = poll_fn(|cx| connection.poll_message(cx)) => { message.transpose()?; }
                }
            }
        }
        Ok(Listener {
            connection,
            _client: client,
        })
    }
}

impl Listener {
    /// The next word, or None after `at_most`. Cancel-safe.
    pub async fn next(&mut self, at_most: Duration) -> Result<Option<Notice>, Error> {
        let waiting = async {
            loop {
                let message = poll_fn(|cx| self.connection.poll_message(cx)).await;
                match message.transpose()? {
                    Some(AsyncMessage::Notification(word)) => {
                        return Ok(Some(notice(word.payload())));
                    }
                    Some(_) => {}
                    None => {
                        return Err(Error::Unavailable {
                            source: "the listening connection was closed".into(),
                        });
                    }
                }
            }
        };
        tokio::time::timeout(at_most, waiting)
            .await
            .unwrap_or(Ok(None))
    }
}

fn notice(payload: &str) -> Notice {
    if payload == "schedules" {
        return Notice::Schedules;
    }
    let run = payload
        .strip_prefix("cancel ")
        .and_then(|id| id.parse().ok());
    run.map_or(Notice::Changed, Notice::Cancel)
}
