//! The start of a session: who we are, proof of it, and the server's consent.

use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{self, sasl};
use postgres_protocol::message::backend::{self, AuthenticationSaslBody};
use postgres_protocol::message::frontend;

use crate::error::codes;
use crate::transport::{Received, Transport};
use crate::{Config, Error};

/// Settings that decide how values are printed: an event must not change its text because
/// somebody altered a role's defaults. The server's own apply worker sets the same.
pub const PRINT_SETTINGS: [(&str, &str); 6] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "3"),
];

/// Opens the session as a walsender of one database; afterwards it takes commands.
///
/// # Errors
/// [`Error::Authentication`]: unknown user, wrong or missing password, no matching `pg_hba.conf`
/// line, or a method that is not spoken here.
pub(crate) async fn log_in(transport: &mut Transport, config: &Config) -> Result<(), Error> {
    transport.send(|out| startup(config, out)).await?;
    let result = authenticate(transport, config).await;
    result.map_err(|error| match error {
        Error::Server { code, message } if code.starts_with(codes::INVALID_AUTHORIZATION_CLASS) => {
            Error::Authentication {
                user: config.user.clone(),
                message,
            }
        }
        error => error,
    })
}

fn startup(config: &Config, out: &mut BytesMut) -> io::Result<()> {
    let session = [
        ("user", config.user.as_str()),
        ("database", &config.dbname),
        ("replication", "database"),
        ("application_name", &config.application_name),
    ];
    let options = config
        .options
        .as_deref()
        .map(|options| ("options", options));
    let parameters = session.into_iter().chain(options).chain(PRINT_SETTINGS);
    frontend::startup_message(parameters, out)
}

/// Answers what the server asks until it is ready for commands.
async fn authenticate(transport: &mut Transport, config: &Config) -> Result<(), Error> {
    loop {
        match message(transport).await? {
            backend::Message::AuthenticationOk | backend::Message::BackendKeyData(_) => {}
            backend::Message::ReadyForQuery(_) => return Ok(()),
            backend::Message::AuthenticationCleartextPassword => {
                let password = password(config)?.as_bytes();
                transport
                    .send(|out| frontend::password_message(password, out))
                    .await?;
            }
            backend::Message::AuthenticationMd5Password(body) => {
                let (user, password) = (config.user.as_bytes(), password(config)?.as_bytes());
                let hash = authentication::md5_hash(user, password, body.salt());
                transport
                    .send(|out| frontend::password_message(hash.as_bytes(), out))
                    .await?;
            }
            backend::Message::AuthenticationSasl(body) => scram(transport, config, &body).await?,
            _ => {
                return Err(refused(
                    config,
                    "the server asks for a login method not spoken here",
                ));
            }
        }
    }
}

/// SCRAM-SHA-256: both sides prove that they know the password, which does not travel.
async fn scram(
    transport: &mut Transport,
    config: &Config,
    offer: &AuthenticationSaslBody,
) -> Result<(), Error> {
    let known = offer
        .mechanisms()
        .any(|name| Ok(name == sasl::SCRAM_SHA_256))?;
    if !known {
        return Err(refused(config, "the server does not offer SCRAM-SHA-256"));
    }
    let binding = sasl::ChannelBinding::unsupported();
    let mut scram = sasl::ScramSha256::new(password(config)?.as_bytes(), binding);
    let first = |out: &mut BytesMut| {
        frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), out)
    };
    transport.send(first).await?;

    let backend::Message::AuthenticationSaslContinue(body) = message(transport).await? else {
        return Err(refused(config, "the server broke off SCRAM"));
    };
    scram
        .update(body.data())
        .map_err(|error| refused(config, &error.to_string()))?;
    transport
        .send(|out| frontend::sasl_response(scram.message(), out))
        .await?;

    let backend::Message::AuthenticationSaslFinal(body) = message(transport).await? else {
        return Err(refused(config, "the server broke off SCRAM"));
    };
    scram
        .finish(body.data())
        .map_err(|error| refused(config, &error.to_string()))
}

async fn message(transport: &mut Transport) -> Result<backend::Message, Error> {
    match transport.receive().await? {
        Received::Message(backend::Message::ErrorResponse(body)) => Err(body.into()),
        Received::Message(message) => Ok(message),
        Received::CopyBoth => Err(Error::protocol("a copy began during login")),
    }
}

fn password(config: &Config) -> Result<&str, Error> {
    let password = config.password.as_deref();
    password.ok_or_else(|| refused(config, "it asks for a password and none is configured"))
}

fn refused(config: &Config, reason: &str) -> Error {
    Error::Authentication {
        user: config.user.clone(),
        message: reason.to_owned(),
    }
}
