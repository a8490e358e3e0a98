//! Redis Streams: each event is the entry `<log_offset>-0`, so that a repeat is refused by Redis itself.

use std::time::Duration;

use futures_util::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};

use crate::error::Error;
use crate::sink::{Batch, Sink};

/// How long connecting may take, and an answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Adds entries in order and stops at the first that fails, so that no later one makes its id look old. An id that is
/// not new is a repeat, unless the entry of that id is another event, or the stream goes on behind the end of the log:
/// then another log filled it. KEYS: the stream. ARGV: most entries or '', end of the log; then for each
/// event offset, id, class, operation, JSON.
const PUBLISH: &str = r#"
local stream, max_len, log_end = KEYS[1], ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', stream) == 1 then
    local info = redis.pcall('XINFO', 'STREAM', stream)
    if info.err then return info end
    for i = 1, #info, 2 do
        if info[i] == 'last-generated-id' and tonumber(string.match(info[i + 1], '^%d+')) > log_end then
            return redis.error_reply('DIVERGED it ends at ' .. info[i + 1] .. ', behind the end of the log')
        end
    end
end
for i = 3, #ARGV, 5 do
    local entry, id = ARGV[i] .. '-0', ARGV[i + 1]
    local fields = {'XADD', stream}
    if max_len ~= '' then
        for _, word in ipairs({'MAXLEN', '~', max_len}) do fields[#fields + 1] = word end
    end
    for _, word in ipairs({entry, 'id', id, 'class', ARGV[i + 2], 'operation', ARGV[i + 3], 'event', ARGV[i + 4]}) do
        fields[#fields + 1] = word
    end
    local added = redis.pcall(unpack(fields))
    if type(added) == 'table' and added.err then
        if not string.find(added.err, 'equal or smaller', 1, true) then return added end
        local there = redis.call('XRANGE', stream, entry, entry)[1]
        if there and there[2][2] ~= id then
            return redis.error_reply('DIVERGED entry ' .. entry .. ' is another event')
        end
    end
end
return redis.status_reply('OK')
"#;

pub(crate) struct RedisStreams {
    name: String,
    url: String,
    stream: String,
    max_len: String,
    publish: Script,
    connection: Option<MultiplexedConnection>,
}

/// Refuses what is not the URL of a Redis.
pub(crate) fn check(url: &str) -> Result<(), Error> {
    // The error's text does not repeat the URL, which may hold a password.
    let refuse = |error| {
        Error::config(
            "url",
            format!("must be such as redis://host:6379/0: {error}"),
        )
    };
    Client::open(url).map(drop).map_err(refuse)
}

impl RedisStreams {
    pub fn new(name: String, url: &str, stream: &str, max_len: Option<u64>) -> RedisStreams {
        RedisStreams {
            name,
            url: url.to_owned(),
            stream: stream.to_owned(),
            max_len: max_len.map_or_else(String::new, |count| count.to_string()),
            publish: Script::new(PUBLISH),
            connection: None,
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(RESPONSE_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        Client::open(self.url.as_str())?
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }

    async fn send(&mut self, batch: &Batch<'_>) -> Result<(), RedisError> {
        // Taken: a connection that failed, or whose answer nobody waited for, is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let mut call = self.publish.prepare_invoke();
        call.key(&self.stream).arg(&self.max_len).arg(batch.log_end);
        for message in &batch.messages {
            let head = &message.head;
            call.arg(message.line.log_offset)
                .arg(head.id.to_string())
                .arg(format!("{}.{}", head.schema, head.table))
                .arg(head.operation.as_str())
                .arg(message.line.json());
        }
        let () = call.invoke_async(&mut connection).await?;
        self.connection = Some(connection);
        Ok(())
    }
}

impl Sink for RedisStreams {
    fn publish<'a>(&'a mut self, batch: &'a Batch<'a>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let sent = self.send(batch).await;
            sent.map_err(|error| {
                let source: Box<dyn std::error::Error + Send + Sync> = match error.code() {
                    Some("DIVERGED") => format!(
                        "stream {} was filled from another log ({}): name another stream, or delete this one",
                        self.stream,
                        error.detail().unwrap_or_default()
                    )
                    .into(),
                    _ => error.into(),
                };
                Error::Target { sink: self.name.clone(), source }
            })
        })
    }
}
