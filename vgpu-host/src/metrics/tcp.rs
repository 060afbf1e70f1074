//! The figures on loopback TCP, for a collector on this machine: one resource, to be read only.
//!
//! Any user of the machine can connect here, so what that costs is bounded: connections, how long each lasts, and how often
//! one comes after another.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE as CONTENT_TYPE_HEADER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::{CONTENT_TYPE, scrape};
use crate::serve::Event;

/// Connections at once; further ones wait in the listener's queue. Two collectors and a person are three.
const CONNECTIONS_MAX: usize = 4;

/// How long a connection may last. It is one question and its answer, which is made in milliseconds.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a place stays taken after its connection ended. Collectors ask once in seconds; this bounds what one in a loop
/// takes of the daemon.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the listener rests when it cannot accept, for want of descriptors.
const REST: Duration = Duration::from_millis(100);

/// Bytes of a question's head, at most: as few as hyper takes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Answers until the daemon is gone.
pub(crate) async fn serve(listener: TcpListener, events: mpsc::Sender<Event>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(REST).await;
            continue;
        };
        let events = events.clone();
        tokio::spawn(async move {
            // Who is slow, or breaks off, gets no answer.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, talk(stream, events)).await;
            tokio::time::sleep(PAUSE).await;
            drop(place);
        });
    }
}

async fn talk(stream: TcpStream, events: mpsc::Sender<Event>) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let events = events.clone();
        async move { Ok::<_, Infallible>(answer(&request, &events).await) }
    });
    let mut http = http1::Builder::new();
    http.keep_alive(false).max_buf_size(HEAD_BYTES_MAX);
    http.serve_connection(TokioIo::new(stream), service).await
}

async fn answer(request: &Request<Incoming>, events: &mpsc::Sender<Event>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "there is nothing but /metrics\n");
    }
    if request.method() != Method::GET {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "/metrics is read with GET\n");
        refusal.headers_mut().insert(ALLOW, const { hyper::header::HeaderValue::from_static("GET") });
        return refusal;
    }
    match scrape(events).await {
        Some(text) => plain(StatusCode::OK, text),
        None => plain(StatusCode::SERVICE_UNAVAILABLE, "the host is stopping\n"),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let form = const { hyper::header::HeaderValue::from_static(CONTENT_TYPE) };
    response.headers_mut().insert(CONTENT_TYPE_HEADER, form);
    response
}
