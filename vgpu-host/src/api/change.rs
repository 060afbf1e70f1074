//! Changes: settings of a tenant, and the configuration as a whole.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{ErrorBody, Events, answer, ask, stopping};
use crate::config::TenantKeys;
use crate::serve::{Change, ChangeError, Event};

/// Longest body of a change, in bytes: all settings take less than one.
const BODY_BYTES_MAX: usize = 16 << 10;

pub(super) async fn set(State(events): State<Events>, Path(tenant): Path<String>, body: Body) -> Response {
    let read = axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| error.to_string());
    let keys = read
        .and_then(|bytes| serde_json::from_slice::<TenantKeys>(&bytes).map_err(|error| error.to_string()));
    match keys {
        Ok(keys) => change(&events, Change::Set { tenant, keys: Box::new(keys) }).await,
        Err(error) => {
            let error = format!("the body is no object of settings: {error}");
            let remedy = format!("name some of {}", TenantKeys::NAMES.join(", "));
            (StatusCode::BAD_REQUEST, Json(ErrorBody::new(error, remedy))).into_response()
        }
    }
}

pub(super) async fn reset(State(events): State<Events>, Path(tenant): Path<String>) -> Response {
    change(&events, Change::Reset { tenant: Some(tenant) }).await
}

pub(super) async fn reset_all(State(events): State<Events>) -> Response {
    change(&events, Change::Reset { tenant: None }).await
}

pub(super) async fn reload(State(events): State<Events>) -> Response {
    change(&events, Change::Reload).await
}

async fn change(events: &Events, change: Change) -> Response {
    match ask(events, |reply| Event::Change(change, Some(reply))).await {
        Some(Ok(body)) => answer(Some(body)),
        Some(Err(error)) => {
            let status = status(&error);
            (status, Json(error_body(&error.to_string()))).into_response()
        }
        None => stopping(),
    }
}

const fn status(error: &ChangeError) -> StatusCode {
    match error {
        ChangeError::UnknownTenant { .. } => StatusCode::NOT_FOUND,
        ChangeError::Nothing | ChangeError::Config(_) => StatusCode::BAD_REQUEST,
        ChangeError::NoFile | ChangeError::TenantInUse { .. } => StatusCode::CONFLICT,
        ChangeError::State(_) | ChangeError::Sockets(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Our errors are a cause, a semicolon and a remedy.
fn error_body(text: &str) -> ErrorBody {
    let (error, remedy) = text.rsplit_once("; ").unwrap_or((text, "look at the host's log"));
    ErrorBody::new(error, remedy)
}
