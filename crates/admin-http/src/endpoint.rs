//! One row of the table of endpoints: where it stands, what runs there, and what the document says of it.
//!
//! What the document declares is what is accepted: a query parameter that no row names is refused here.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use serde_json::Value;

use crate::Door;
use crate::ask::Query;
use crate::refusal::Refusal;

pub(crate) struct Endpoint {
    pub method: Method,
    /// Below [`crate::MOUNT`]: `/runs/{run}`.
    pub path: &'static str,
    /// Imperative, without a final period.
    pub summary: &'static str,
    pub parameters: Vec<Parameter>,
    /// The schema of the body that it takes.
    pub body: Option<&'static str>,
    /// Status and schema of each answer.
    pub answers: Vec<(u16, &'static str)>,
    /// With `follow=true` it answers a stream of events.
    pub streams: bool,
    route: MethodRouter<Door>,
}

/// A query parameter.
pub(crate) struct Parameter {
    pub name: &'static str,
    pub schema: Value,
    pub description: &'static str,
}

pub(crate) fn get<H, T>(path: &'static str, summary: &'static str, handler: H) -> Endpoint
where
    H: Handler<T, Door>,
    T: 'static,
{
    Endpoint::new(Method::GET, path, summary, routing::get(handler))
}

pub(crate) fn post<H, T>(path: &'static str, summary: &'static str, handler: H) -> Endpoint
where
    H: Handler<T, Door>,
    T: 'static,
{
    Endpoint::new(Method::POST, path, summary, routing::post(handler))
}

pub(crate) fn patch<H, T>(path: &'static str, summary: &'static str, handler: H) -> Endpoint
where
    H: Handler<T, Door>,
    T: 'static,
{
    Endpoint::new(Method::PATCH, path, summary, routing::patch(handler))
}

pub(crate) fn delete<H, T>(path: &'static str, summary: &'static str, handler: H) -> Endpoint
where
    H: Handler<T, Door>,
    T: 'static,
{
    Endpoint::new(Method::DELETE, path, summary, routing::delete(handler))
}

impl Endpoint {
    fn new(
        method: Method,
        path: &'static str,
        summary: &'static str,
        route: MethodRouter<Door>,
    ) -> Endpoint {
        Endpoint {
            method,
            path,
            summary,
            parameters: Vec::new(),
            body: None,
            answers: Vec::new(),
            streams: false,
            route,
        }
    }

    pub fn query(mut self, name: &'static str, schema: Value, description: &'static str) -> Self {
        self.parameters.push(Parameter {
            name,
            schema,
            description,
        });
        self
    }

    pub fn takes(mut self, schema: &'static str) -> Self {
        self.body = Some(schema);
        self
    }

    /// Answers 200 with this schema.
    pub fn answers(self, schema: &'static str) -> Self {
        self.answers_with(200, schema)
    }

    pub fn answers_with(mut self, status: u16, schema: &'static str) -> Self {
        self.answers.push((status, schema));
        self
    }

    pub fn streams(mut self) -> Self {
        self.streams = true;
        self
    }

    /// The handler, behind a check of the parameters' names.
    pub fn into_route(self) -> MethodRouter<Door> {
        let names = self.parameters.iter().map(|parameter| parameter.name);
        let names: Arc<[&'static str]> = names.collect();
        self.route
            .layer(middleware::from_fn_with_state(names, check_names))
    }
}

async fn check_names(
    State(known): State<Arc<[&'static str]>>,
    request: Request,
    next: Next,
) -> Response {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let unknown = query.names().find(|name| !known.contains(name));
    match unknown {
        None => next.run(request).await,
        Some(name) => {
            let remedy = match known.is_empty() {
                true => "there is none here".to_owned(),
                false => format!("there is {}", known.join(", ")),
            };
            Refusal::Wrong(format!("there is no parameter {name:?}; {remedy}")).into_response()
        }
    }
}
