//! Figures for monitoring, and `ctl top`, after guests have worked.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use support::{DEADLINE, Host, HostBuilder, eventually};

fn two_tenants() -> Host {
    HostBuilder::default().tenant("alice", 256 << 20, "weight = 300").tenant("bob", 256 << 20, "").start()
}

/// The text of `GET /metrics` on the control socket.
fn metrics(host: &Host) -> String {
    let mut stream = UnixStream::connect(host.control_socket()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: vgpu\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains("text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

/// The value of a sample, as it is written.
fn sample(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).to_owned()
}

fn of_tenant(text: &str, name: &str, tenant: &str) -> f64 {
    sample(text, &format!("{name}{{tenant=\"{tenant}\",gpu=\"gpu0\"}}")).parse().unwrap()
}

#[test]
fn figures_move_with_the_work_and_are_those_of_the_api() {
    let host = two_tenants();
    let before = metrics(&host);
    assert_eq!(of_tenant(&before, "vgpu_tenant_launches_total", "alice"), 0.0);
    let output = host.guest("alice", &["vector-add", "5"]).finish();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    host.wait_until_empty();
    // The lease of a tenant that is gone ends a moment later.
    let (text, alice) = eventually("two answers agree", || {
        let (text, alice) = (metrics(&host), host.tenant("alice"));
        let told = of_tenant(&text, "vgpu_tenant_gpu_seconds_total", "alice");
        let billed = alice["gpu_time_ns"].as_f64().unwrap() / 1e9;
        ((told - billed).abs() < 1e-6).then_some((text, alice))
    });
    let figures = [
        ("vgpu_tenant_launches_total", "launches"),
        ("vgpu_tenant_copied_bytes_total", "copied_bytes"),
        ("vgpu_tenant_leases_total", "leases"),
        ("vgpu_tenant_sessions_opened_total", "opened"),
    ];
    for (metric, key) in figures {
        let told = of_tenant(&text, metric, "alice");
        assert_eq!(Some(told), alice[key].as_f64(), "{metric}");
        assert!(told > 0.0, "{metric}");
        assert_eq!(of_tenant(&text, metric, "bob"), 0.0, "{metric}");
    }
    assert!(of_tenant(&text, "vgpu_tenant_launches_total", "alice") >= 5.0, "{text}");
    assert!(of_tenant(&text, "vgpu_tenant_gpu_seconds_total", "alice") > 0.0, "{text}");
    assert_eq!(of_tenant(&text, "vgpu_tenant_entitled_share_ratio", "alice"), 0.75);
    let count = of_tenant(&text, "vgpu_tenant_hold_seconds_count", "alice");
    assert_eq!(Some(count), alice["holds"]["count"].as_f64());
    let last = sample(&text, "vgpu_tenant_hold_seconds_bucket{tenant=\"alice\",gpu=\"gpu0\",le=\"+Inf\"}");
    assert_eq!(last.parse::<f64>().unwrap(), count);
    let busy: f64 = sample(&text, "vgpu_gpu_busy_seconds_total{gpu=\"gpu0\"}").parse().unwrap();
    assert!(busy > 0.0, "{text}");
}

#[test]
fn top_prints_a_frame_with_every_tenant() {
    let host = two_tenants();
    let mut guest = host.guest("alice", &["vector-add-until-end"]);
    guest.until("running");
    let text = eventually("a frame in which alice works", || {
        let output = host.ctl(&["top", "--once", "--interval-ms", "300"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        row(&text, "alice").contains(&"100.0%".to_owned()).then_some(text)
    });
    assert!(text.starts_with("gpu0 (soft): busy "), "{text}");
    assert!(!text.contains('\u{1b}'), "scripts want no terminal codes: {text}");
    let (alice, bob) = (row(&text, "alice"), row(&text, "bob"));
    assert_eq!(
        (alice[3].as_str(), alice[4].as_str(), alice[5].as_str()),
        ("300", "100.0%", "75.0%"),
        "{text}"
    );
    assert_eq!((bob[4].as_str(), bob[5].as_str()), ("0.0%", "25.0%"), "{text}");
    assert_ne!(alice[7], "0", "alice launches: {text}");
}

/// The cells of a tenant's line.
fn row(text: &str, name: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    line.split_whitespace().map(str::to_owned).collect()
}
