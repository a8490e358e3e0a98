//! The HTTP requests of cloud code, made by the server on the isolate's behalf.
//!
//! ```text
//! fetch ─▶ judge URL ─▶ resolve, judge addresses ─▶ connect to one of these ─▶ redirect? ─▶ judge again ─▶ body, capped
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde::Serialize;

use crate::config::Egress;
use crate::egress::{Rules, Verdict};

/// The longest body that is handed to JavaScript, unpacked; a longer one fails the fetch. An isolate holds it three times.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// As many redirects as browsers follow.
const MAX_REDIRECTS: usize = 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle connections to one host that are kept for the next fetch.
const MAX_IDLE_PER_HOST: usize = 8;

/// Makes requests within the egress rules.
#[derive(Debug)]
pub(crate) struct Fetcher {
    rules: Arc<Rules>,
    /// Connects to permitted addresses only.
    guarded: Client,
    /// Connects wherever a name leads; for hosts that the configuration names.
    open: Client,
}

/// One request as JavaScript asks for it.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// Base64.
    pub body: Option<String>,
    /// `follow`, `manual` or `error`.
    pub redirect: Option<String>,
    /// Sent as Idempotency-Key with what is not safe to repeat, unless the code sends its own.
    pub idempotency_key: Option<String>,
    /// The step of a job that makes it.
    pub step: Option<String>,
}

/// The answer as JavaScript gets it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    pub status: u16,
    pub status_text: &'static str,
    pub url: String,
    pub redirected: bool,
    pub headers: Vec<(String, String)>,
    /// Base64.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub name: &'static str,
    pub message: String,
}

impl Failure {
    pub(crate) fn aborted() -> Failure {
        Failure {
            name: "AbortError",
            message: "This operation was aborted".into(),
        }
    }

    fn failed(message: impl Into<String>) -> Failure {
        Failure {
            name: "TypeError",
            message: format!("fetch failed: {}", message.into()),
        }
    }
}

impl Fetcher {
    pub(crate) fn new(egress: &Egress) -> reqwest::Result<Fetcher> {
        let rules = Arc::new(Rules::new(egress));
        let client = || {
            Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
                .user_agent("tidegate")
        };
        let guarded = client()
            .dns_resolver(GuardedResolver(rules.clone()))
            .build()?;
        Ok(Fetcher {
            guarded,
            open: client().build()?,
            rules,
        })
    }

    /// Makes the request. Dropping the future aborts it.
    pub(crate) async fn fetch(&self, request: Request) -> Result<Answer, Failure> {
        let mut hop = Hop::first(&request)?;
        for hops in 0..=MAX_REDIRECTS {
            let response = self.send(&hop).await?;
            let Some(target) = redirect_target(&response, &hop.url) else {
                return answer(response, hop.url, hops > 0).await;
            };
            match request.redirect.as_deref() {
                Some("manual") => return answer(response, hop.url, hops > 0).await,
                Some("error") => return Err(Failure::failed("the answer is a redirect")),
                _ => hop.follow(response.status(), target?),
            }
        }
        Err(Failure::failed("too many redirects"))
    }

    /// Makes the request and follows no redirect.
    pub(crate) async fn send_once(&self, request: &Request) -> Result<Response, Failure> {
        self.send(&Hop::first(request)?).await
    }

    /// Why a URL can never be reached under the rules, if so; a name's addresses are judged when it is used.
    pub(crate) fn refusal(&self, url: &Url) -> Option<&'static str> {
        match self.rules.judge(url) {
            Verdict::Refused(why) => Some(why),
            _ => None,
        }
    }

    async fn send(&self, hop: &Hop) -> Result<Response, Failure> {
        let client = match self.rules.judge(&hop.url) {
            Verdict::Anywhere => &self.open,
            Verdict::PermittedOnly => &self.guarded,
            Verdict::Refused(why) => {
                return Err(Failure::failed(format!("{why} ({})", host(&hop.url))));
            }
        };
        let request = client
            .request(hop.method.clone(), hop.url.clone())
            .headers(hop.headers.clone());
        let request = match &hop.body {
            Some(body) => request.body(body.clone()),
            None => request,
        };
        request
            .send()
            .await
            .map_err(|error| Failure::failed(chain(&error.without_url())))
    }
}

/// One request of a chain of redirects.
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

impl Hop {
    fn first(request: &Request) -> Result<Hop, Failure> {
        let url = Url::parse(&request.url)
            .map_err(|error| Failure::failed(format!("{}: {error}", request.url)))?;
        let method = Method::from_bytes(request.method.as_bytes());
        let method =
            method.map_err(|_| Failure::failed(format!("{:?} is no method", request.method)))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let header = HeaderName::try_from(name)
                .ok()
                .zip(HeaderValue::from_str(value).ok());
            let (name, value) =
                header.ok_or_else(|| Failure::failed(format!("header {name:?} is malformed")))?;
            if !is_ours(&name) {
                headers.append(name, value);
            }
        }
        let repeatable = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
        if let Some(key) = request.idempotency_key.as_ref().filter(|_| !repeatable) {
            let key = HeaderValue::from_bytes(key.as_bytes())
                .map_err(|_| Failure::failed("the idempotency key is malformed"))?;
            headers.entry("idempotency-key").or_insert(key);
        }
        let body = request
            .body
            .as_ref()
            .map(|body| STANDARD.decode(body))
            .transpose();
        let body = body.map_err(|_| Failure::failed("the body is not base64"))?;
        Ok(Hop {
            method,
            url,
            headers,
            body,
        })
    }

    /// Goes on to `target`, as the Fetch standard says: credentials stay with their host, a POST may become a GET.
    fn follow(&mut self, status: StatusCode, target: Url) {
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = None;
            for name in [
                "content-length",
                "content-type",
                "content-encoding",
                "content-language",
                "content-location",
            ] {
                self.headers.remove(name);
            }
        }
        if target.origin() != self.url.origin() {
            for name in ["authorization", "cookie", "proxy-authorization"] {
                self.headers.remove(name);
            }
        }
        self.url = target;
    }
}

/// Headers that belong to the connection.
fn is_ours(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "connection"
            | "transfer-encoding"
            | "upgrade"
            | "te"
            | "trailer"
    )
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or("no host")
}

fn redirect_target(response: &Response, base: &Url) -> Option<Result<Url, Failure>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get("location")?;
    let target = location
        .to_str()
        .ok()
        .and_then(|location| base.join(location).ok());
    Some(target.ok_or_else(|| Failure::failed("the redirect names no URL")))
}

async fn answer(mut response: Response, url: Url, redirected: bool) -> Result<Answer, Failure> {
    let status = response.status();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| Failure::failed(chain(&error.without_url()));
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(Failure::failed(format!(
                "the answer is longer than {MAX_BODY_BYTES} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: status.as_u16(),
        status_text: status.canonical_reason().unwrap_or_default(),
        url: url.into(),
        redirected,
        headers,
        body: STANDARD.encode(body),
    })
}

/// An error with its causes: "error sending request" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Resolves a name and keeps only the addresses that the rules permit.
#[derive(Debug)]
struct GuardedResolver(Arc<Rules>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found
                .filter(|address| rules.permits(address.ip()))
                .collect();
            if permitted.is_empty() {
                return Err(format!(
                    "{} has no address that may be reached from here",
                    name.as_str()
                )
                .into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
