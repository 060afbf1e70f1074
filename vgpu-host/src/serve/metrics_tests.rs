//! Monitoring over TCP, on a whole host.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::tests::{SOON, fresh_dir};
use super::*;

/// The status line and the body of an answer.
fn asked(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    // The host may hang up on what is no question, and then there is no answer.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

fn host(metrics: &str) -> (RunningHost, PathBuf) {
    let dir = fresh_dir();
    let state = dir.join("state");
    let text = format!(
        "host = {{ runtime_dir = {dir:?}, state_dir = {state:?}, metrics = {metrics:?} }}\n\
         gpu = [{{ name = \"g\", device = \"soft\" }}]\n\
         tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = 1048576 }}]"
    );
    (Host::new(Config::from_toml(&text).unwrap()).start().unwrap(), dir)
}

/// Whether this machine reaches itself: in a network namespace of its own it may not, and then there is nothing to ask.
fn has_loopback() -> bool {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let reached = TcpStream::connect(listener.local_addr().unwrap());
    !reached.is_err_and(|error| error.kind() == std::io::ErrorKind::NetworkUnreachable)
}

#[test]
fn tcp_answers_metrics_and_nothing_else() {
    if !has_loopback() {
        return;
    }
    let (host, dir) = host("127.0.0.1:0");
    let address = host.metrics_address().unwrap();
    assert!(address.ip().is_loopback());
    let (head, body) = asked(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("vgpu_tenant_sessions{tenant=\"t\",gpu=\"g\"} 0\n"), "{body}");
    let wrong = [
        ("GET /v1/tenants", 404),
        ("DELETE /v1/sessions/1", 404),
        ("POST /v1/tenants/t/quarantine", 404),
        ("POST /metrics", 405),
        ("GET /metrics/", 404),
    ];
    for (request, status) in wrong {
        let (head, body) = asked(address, &format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {head}");
        assert!(!body.contains("vgpu_"), "{request}: {body}");
    }
    drop(host);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn who_says_nothing_keeps_nobody_out_for_long() {
    if !has_loopback() {
        return;
    }
    let (host, dir) = host("127.0.0.1:0");
    let address = host.metrics_address().unwrap();
    let silent: Vec<_> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Nonsense, and a head without an end, are no answer and no harm.
    let (head, _) = asked(address, &format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(64 << 10)));
    assert!(!head.contains(" 200 "), "{head}");
    let (head, _) = asked(address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    drop((silent, host));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_port_that_is_taken_stops_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (dir, address) = (fresh_dir(), taken.local_addr().unwrap());
    let state = dir.join("state");
    let text = format!(
        "host = {{ runtime_dir = {dir:?}, state_dir = {state:?}, metrics = \"{address}\" }}\n\
         gpu = [{{ name = \"g\", device = \"soft\" }}]\n\
         tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = 1048576 }}]"
    );
    let error = Host::new(Config::from_toml(&text).unwrap()).start().unwrap_err();
    assert!(matches!(error, HostError::Metrics { .. }), "{error}");
    assert!(error.to_string().contains("host.metrics"), "{error}");
    std::fs::remove_dir_all(dir).unwrap();
}
