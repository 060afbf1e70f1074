//! The control API: HTTP/1.1 with JSON on a socket that only the host's user may open.
//!
//! Handlers ask the daemon's loop and wait for its answer; none touches its state, and the loop waits for none.

mod actions;
mod bodies;
mod change;
mod events;
mod health;
mod metrics;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use tokio::sync::{mpsc, oneshot};
use vgpu_core::broker::SessionId;

pub use self::bodies::{
    ChangedBody, CountsBody, DeviceBody, DevicesBody, ErrorBody, GuestBody, HeldBackBody, ImagesBody,
    QuarantineBody, RefusedBody, SessionBody, SessionState, SessionsBody, SpansBody, StandingState,
    TenantBody, TenantsBody,
};
pub use self::events::{EventBody, EventKind, EventsBody, FieldValue};
pub use self::health::{EccBody, HealthBody, RowsBody};
use crate::serve::Event;

type Events = mpsc::Sender<Event>;

/// The routes, over the daemon's loop.
pub(crate) fn router(events: Events) -> Router {
    Router::new()
        .route("/v1/devices", get(devices))
        .route("/v1/tenants", get(tenants))
        .route("/v1/tenants/{name}", patch(change::set))
        .route("/v1/tenants/{name}/overrides", delete(change::reset))
        .route("/v1/overrides", delete(change::reset_all))
        .route("/v1/reload", post(change::reload))
        .route("/v1/sessions", get(sessions))
        .route("/v1/sessions/{id}", delete(close))
        .route("/v1/events", get(actions::events))
        .route("/v1/tenants/{name}/quarantine", post(actions::quarantine))
        .route("/v1/tenants/{name}/release", post(actions::release))
        .route("/metrics", get(metrics::metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(events)
}

async fn devices(State(events): State<Events>) -> Response {
    answer(ask(&events, Event::Devices).await)
}

async fn tenants(State(events): State<Events>) -> Response {
    answer(ask(&events, Event::Tenants).await)
}

async fn sessions(State(events): State<Events>) -> Response {
    answer(ask(&events, Event::Sessions).await)
}

async fn close(State(events): State<Events>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse() else {
        let error = ErrorBody::new(format!("{id:?} is no session number"), "use the id of GET /v1/sessions");
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    };
    match ask(&events, |reply| Event::Close(SessionId(id), reply)).await {
        Some(true) => StatusCode::NO_CONTENT.into_response(),
        Some(false) => {
            let error = ErrorBody::new(format!("there is no session {id}"), "it may have ended already");
            (StatusCode::NOT_FOUND, Json(error)).into_response()
        }
        None => stopping(),
    }
}

async fn unknown() -> Response {
    let remedy = "docs/control-api.md lists them; GET /v1/tenants is one";
    (StatusCode::NOT_FOUND, Json(ErrorBody::new("no such resource or method", remedy))).into_response()
}

/// Puts a question to the loop; `None` when it has ended.
async fn ask<T>(events: &Events, question: impl FnOnce(oneshot::Sender<T>) -> Event) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    events.send(question(reply)).await.ok()?;
    answer.await.ok()
}

fn answer<T: serde::Serialize>(body: Option<T>) -> Response {
    body.map_or_else(stopping, |body| Json(body).into_response())
}

fn stopping() -> Response {
    let error = ErrorBody::new("the host is stopping", "try again when it is back");
    (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response()
}

#[cfg(test)]
pub(crate) mod examples;
#[cfg(test)]
mod tests;
