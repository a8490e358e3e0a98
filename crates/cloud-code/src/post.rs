//! Requests that the server makes by itself, within the egress rules of cloud code: webhooks.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, Url};

use crate::config::Egress;
use crate::fetch::{Failure, Fetcher, Request};

/// As much of an answer as is read; what is longer is cut.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Posts JSON.
#[derive(Debug)]
pub struct Poster {
    fetcher: Fetcher,
}

/// What came back.
#[derive(Debug)]
pub struct Posted {
    pub status: u16,
    /// `Retry-After`, in seconds or as a date.
    pub retry_after: Option<Duration>,
    /// At most 64 KiB of it.
    pub body: Vec<u8>,
}

/// Why nothing came back: refused by the rules, or the network.
#[derive(Debug)]
pub struct PostError(String);

impl fmt::Display for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PostError {}

impl From<Failure> for PostError {
    fn from(failure: Failure) -> PostError {
        let message = failure.message;
        PostError(match message.strip_prefix("fetch failed: ") {
            Some(reason) => reason.to_owned(),
            None => message,
        })
    }
}

impl Poster {
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(egress: &Egress) -> Result<Poster, PostError> {
        let fetcher = Fetcher::new(egress).map_err(|error| PostError(error.to_string()))?;
        Ok(Poster { fetcher })
    }

    /// Whether `url` may be posted to at all, as far as can be told without resolving its name.
    ///
    /// # Errors
    /// The reason, to follow the name of the setting: "must be an http or https URL".
    pub fn check(&self, url: &str) -> Result<(), PostError> {
        let Some(url) = http_url(url) else {
            return Err(PostError("must be an http or https URL".into()));
        };
        match self.fetcher.refusal(&url) {
            Some(why) => Err(PostError(format!(
                "cannot be reached: {why}; add its host to egress_allow, or set egress_private"
            ))),
            None => Ok(()),
        }
    }

    /// Posts `body`. Redirects are not followed: they are answers like others. Dropping the future aborts it.
    ///
    /// # Errors
    /// There was no answer.
    pub async fn post(
        &self,
        url: &str,
        headers: Vec<(String, String)>,
        body: &[u8],
    ) -> Result<Posted, PostError> {
        let request = Request {
            method: "POST".into(),
            url: url.to_owned(),
            headers,
            body: Some(STANDARD.encode(body)),
            ..Request::default()
        };
        let response = self.fetcher.send_once(&request).await?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        Ok(Posted {
            status,
            retry_after,
            body: read(response).await,
        })
    }
}

/// Whether this is an http or https URL.
pub fn is_http(url: &str) -> bool {
    http_url(url).is_some()
}

fn http_url(url: &str) -> Option<Url> {
    let url = Url::parse(url).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// The beginning of the body; one that breaks off is as long as it came.
async fn read(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= MAX_ANSWER_BYTES {
            body.truncate(MAX_ANSWER_BYTES);
            break;
        }
    }
    body
}

fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(http_date(text)?.saturating_sub(now)))
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that senders may use.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (_, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.strip_suffix(" GMT")?.split(' ').collect();
    let [day, month, year, time] = parts.try_into().ok()?;
    let month = MONTHS.find(month).filter(|_| month.len() == 3)? / 3;
    let clock: Vec<u64> = time
        .split(':')
        .map_while(|part| part.parse().ok())
        .collect();
    let [hour, minute, second] = clock.try_into().ok()?;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    // Days before each month, and of the leap years before this one; March begins a year that ends with February.
    let (years, months) = match month {
        0 | 1 => (year.checked_sub(1)?, month as u64 + 10),
        _ => (year, month as u64 - 2),
    };
    let leaps = (years / 4 + years / 400).checked_sub(years / 100)?;
    let days = years * 365 + leaps + (months * 153 + 2) / 5 + day.checked_sub(1)?;
    let since_epoch = days.checked_sub(719_468)?;
    Some(since_epoch * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_seconds_or_a_date() {
        let after = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, UNIX_EPOCH + Duration::from_secs(784_111_770))
        };
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            after("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(after("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(
            http_date("Tue, 29 Feb 2000 12:00:01 GMT"),
            Some(951_825_601)
        );
        for bad in [
            "soon",
            "-1",
            "Sun, 06 Nov 1994",
            "Sun, 06 Now 1994 08:49:37 GMT",
        ] {
            assert_eq!(after(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_can_never_be_reached_is_refused_with_the_reason() {
        let poster = Poster::new(&Egress::default()).unwrap();
        let why = |url: &str| poster.check(url).unwrap_err().to_string();
        assert_eq!(why("billing"), "must be an http or https URL");
        assert!(why("http://127.0.0.1:80/").contains("the address is private"));
        assert!(poster.check("https://billing.example/hook").is_ok());
    }
}
