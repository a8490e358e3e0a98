//! Password hashes: bcrypt, as Parse Server keeps them.

use crate::Error;

/// Parse Server's cost; about 50 ms of CPU each.
const COST: u32 = 10;

/// bcrypt reads 72 bytes; a longer password would be cut without a word.
pub(crate) const MAX_PASSWORD_BYTES: usize = 72;

/// Hashing is bounded, so that a flood of log-ins leaves a core for everything else.
static HASHING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

pub(crate) async fn hash(password: String) -> Result<String, Error> {
    run(move || bcrypt::hash(password, COST)).await
}

/// Accepts `$2a$`, `$2b$` and `$2y$`. False for a hash that is none.
pub(crate) async fn verify(password: String, hash: String) -> Result<bool, Error> {
    run(move || Ok(bcrypt::verify(password, &hash).unwrap_or(false))).await
}

async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, bcrypt::BcryptError> + Send + 'static,
) -> Result<T, Error> {
    let internal = |what: String| Error::Internal { what };
    let _permit = HASHING
        .acquire()
        .await
        .map_err(|error| internal(error.to_string()))?;
    let hashed = tokio::task::spawn_blocking(work).await;
    hashed
        .map_err(|error| internal(error.to_string()))?
        .map_err(|error| internal(error.to_string()))
}
