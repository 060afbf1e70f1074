//! What operators do to tenants, and what they hear of them.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use vgpu_sched::Duration;

use super::{ErrorBody, Events, answer, ask, stopping};
use crate::serve::{Event, Order, OrderError};

pub(super) async fn events(State(events): State<Events>, RawQuery(query): RawQuery) -> Response {
    let Some((after, wait_ms)) = parse(query.as_deref().unwrap_or_default()) else {
        let remedy = "use after=SEQUENCE and wait_ms=MILLISECONDS, both whole numbers";
        return (StatusCode::BAD_REQUEST, Json(ErrorBody::new("no such query", remedy))).into_response();
    };
    let wait = Duration::from_millis(wait_ms);
    answer(ask(&events, |reply| Event::Follow { after, wait, reply }).await)
}

/// `after` and `wait_ms`, 0 where they are absent; `None` when there is anything else.
fn parse(query: &str) -> Option<(u64, u64)> {
    let (mut after, mut wait_ms) = (0, 0);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("after", number) => after = number.parse().ok()?,
            ("wait_ms", number) => wait_ms = number.parse().ok()?,
            _ => return None,
        }
    }
    Some((after, wait_ms))
}

pub(super) async fn quarantine(State(events): State<Events>, Path(name): Path<String>) -> Response {
    order(&events, name, Order::Quarantine).await
}

pub(super) async fn release(State(events): State<Events>, Path(name): Path<String>) -> Response {
    order(&events, name, Order::Release).await
}

async fn order(events: &Events, name: String, order: Order) -> Response {
    let error = match ask(events, |reply| Event::Order(name, order, reply)).await {
        Some(Ok(())) => return StatusCode::NO_CONTENT.into_response(),
        Some(Err(error)) => error,
        None => return stopping(),
    };
    let (status, remedy) = match &error {
        // It is on disk before it is answered, or it did not happen.
        OrderError::NotSaved(_) => {
            (StatusCode::INSUFFICIENT_STORAGE, "see to host.state_dir, then try again")
        }
        OrderError::UnknownTenant(_) => (StatusCode::NOT_FOUND, "GET /v1/tenants lists the tenants"),
    };
    (status, Json(ErrorBody::new(error.to_string(), remedy))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_two_numbers_at_most() {
        assert_eq!(parse(""), Some((0, 0)));
        assert_eq!(parse("wait_ms=5&after=7"), Some((7, 5)));
        for bad in
            ["after", "after=", "after=-1", "after=x", "wait_ms=99999999999999999999", "since=1", "after=1;2"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
