//! The figures for monitoring.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::{Events, stopping};
use crate::metrics;

pub(super) async fn metrics(State(events): State<Events>) -> Response {
    let text = metrics::scrape(&events).await;
    text.map_or_else(stopping, |text| ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}
