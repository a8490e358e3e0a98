//! Password hashes: bcrypt, as Parse Server keeps them.

use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;

use crate::Error;

/// Parse Server's cost; about 50 ms of CPU each.
const COST: u32 = 10;

/// bcrypt reads 72 bytes; a longer password would be cut without a word.
pub(crate) const MAX_PASSWORD_BYTES: usize = 72;

/// A hash that no password has.
pub(crate) const HASH_OF_NOBODY: &str =
    "$2b$10$abcdefghijklmnopqrstuulJlBputuwox/R1QaFuxCSYsOqrXWbwe";

/// Hashing is bounded, so that a flood of log-ins leaves a core for everything else.
static HASHING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(2)));

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
    let permit = Arc::clone(&HASHING).acquire_owned().await;
    let permit = permit.map_err(|error| internal(error.to_string()))?;
    // The permit goes with the work, which goes on also when the client has gone.
    let hashed = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    })
    .await;
    hashed
        .map_err(|error| internal(error.to_string()))?
        .map_err(|error| internal(error.to_string()))
}
