//! `vgpu-host ctl top`: what tenants do now, as the difference of two answers.

use std::path::Path;
use std::time::{Duration, Instant};

use super::table::{card, share, size, span, standing, table};
use super::{CtlError, ask, parse};
use crate::api::{DeviceBody, DevicesBody, TenantBody, TenantsBody};

/// Empties the terminal and begins at its top left corner.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// What the host said at one time.
#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    devices: Vec<DeviceBody>,
    tenants: Vec<TenantBody>,
}

/// How [`top`] shows what it sees.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the tool builds it from its arguments")]
pub struct TopOptions {
    /// Time from one frame to the next.
    pub interval: Duration,
    /// One frame, after one interval.
    pub once: bool,
    /// The terminal is emptied before each frame.
    pub clear: bool,
}

/// Prints frame after frame, the first one after one interval, until nobody reads or the host ends.
///
/// # Errors
/// Nobody answers, or the answer is an error.
pub fn top(
    socket: &Path,
    options: TopOptions,
    mut print: impl FnMut(&str) -> std::io::Result<()>,
) -> Result<(), CtlError> {
    let mut before = look(socket)?;
    loop {
        std::thread::sleep(options.interval);
        let now = look(socket)?;
        let clear = if options.clear { CLEAR } else { "" };
        let text = format!("{clear}{}", frame(&before, &now));
        // A reader that has seen enough, such as `head`, is no error.
        if print(&text).is_err() || options.once {
            return Ok(());
        }
        before = now;
    }
}

fn look(socket: &Path) -> Result<Look, CtlError> {
    let get = |path| ask(socket, "GET", path, String::new());
    let devices: DevicesBody = parse(socket, &get("/v1/devices")?.body)?;
    let tenants: TenantsBody = parse(socket, &get("/v1/tenants")?.body)?;
    Ok(Look { at: Instant::now(), devices: devices.devices, tenants: tenants.tenants })
}

fn frame(before: &Look, now: &Look) -> String {
    let passed = now.at.saturating_duration_since(before.at);
    let mut text = String::new();
    for device in &now.devices {
        let earlier = before.devices.iter().find(|earlier| earlier.name == device.name);
        text += &head(earlier.unwrap_or(device), device, passed);
    }
    text + "\n" + &tenants(before, now, passed)
}

/// The line of a GPU.
fn head(before: &DeviceBody, now: &DeviceBody, passed: Duration) -> String {
    let busy = now.busy_ns.saturating_sub(before.busy_ns);
    let passed_ns = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX);
    let health = now.health.as_ref().map_or_else(String::new, |health| format!(", {}", card(health)));
    let whole = now.memory_bytes.map_or_else(|| "-".to_owned(), size);
    format!(
        "{} ({}): busy {}, {} switches/s, {} sessions, memory {}/{whole}{health}\n",
        now.name,
        now.device,
        share(busy.min(passed_ns), passed_ns),
        rate(now.leases.saturating_sub(before.leases), passed),
        now.sessions,
        size(now.memory_lent_bytes),
    )
}

fn tenants(before: &Look, now: &Look, passed: Duration) -> String {
    let header = [
        "NAME",
        "GPU",
        "STANDING",
        "WEIGHT",
        "SHARE",
        "ENTITLED",
        "WAIT-P99",
        "LAUNCHES/S",
        "COPIED/S",
        "MEMORY",
        "SESSIONS",
        "LAG",
    ];
    // What a tenant did that is new, or whose host is, began at 0.
    let grown = |tenant: &TenantBody, figure: fn(&TenantBody) -> u64| {
        let earlier = before.tenants.iter().find(|earlier| earlier.name == tenant.name).map_or(0, figure);
        figure(tenant).checked_sub(earlier).unwrap_or_else(|| figure(tenant))
    };
    let gpu_time = |tenant: &TenantBody| grown(tenant, |tenant| tenant.gpu_time_ns);
    let of_its_gpu = |tenant: &TenantBody, figure: &dyn Fn(&TenantBody) -> u64| {
        let beside = now.tenants.iter().filter(|other| other.gpu == tenant.gpu);
        beside.map(figure).fold(0, u64::saturating_add)
    };
    let rows = now.tenants.iter().map(|tenant| {
        [
            tenant.name.clone(),
            tenant.gpu.clone(),
            standing(&tenant.quarantine),
            tenant.weight.to_string(),
            share(gpu_time(tenant), of_its_gpu(tenant, &gpu_time)),
            share(tenant.weight.into(), of_its_gpu(tenant, &|other| other.weight.into())),
            span(tenant.waits.p99_ns),
            rate(grown(tenant, |tenant| tenant.launches), passed).to_string(),
            size(rate(grown(tenant, |tenant| tenant.copied_bytes), passed)),
            format!("{}/{}", size(tenant.memory_lent_bytes), size(tenant.memory_bytes)),
            format!("{}/{}", tenant.sessions, tenant.sessions_max),
            lag(tenant.lag_ns),
        ]
    });
    table(header, rows)
}

fn lag(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    format!("{sign}{}", span(ns.unsigned_abs()))
}

/// How much of it in a second.
fn rate(count: u64, passed: Duration) -> u64 {
    let per_second = u128::from(count) * 1_000_000_000 / passed.as_nanos().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::examples;

    fn tenant(name: &str, gpu_time_ns: u64, launches: u64) -> TenantBody {
        TenantBody { gpu_time_ns, launches, lag_ns: -2_000_000, ..examples::tenant(name) }
    }

    fn device(busy_ns: u64, leases: u64) -> DeviceBody {
        DeviceBody { busy_ns, leases, ..examples::device() }
    }

    #[test]
    fn a_frame_tells_what_happened_since_the_one_before() {
        let start = Instant::now();
        let before = Look {
            at: start,
            devices: vec![device(1_000_000_000, 10)],
            tenants: vec![tenant("alice", 900_000_000, 1_000), tenant("bob", 700_000_000, 50)],
        };
        let now = Look {
            at: start + Duration::from_secs(2),
            devices: vec![device(2_600_000_000, 110)],
            tenants: vec![tenant("alice", 2_100_000_000, 3_000), tenant("bob", 1_100_000_000, 20)],
        };
        let text = frame(&before, &now);
        let words = |at: usize| text.lines().nth(at).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(
            text.lines().next().unwrap(),
            "g (soft): busy 80.0%, 50 switches/s, 2 sessions, memory 2KiB/4KiB, 41C,118W,good"
        );
        let alice = [
            "alice",
            "g",
            "good",
            "100",
            "75.0%",
            "50.0%",
            "1.5ms",
            "1000",
            "0B",
            "1KiB/2KiB",
            "1/2",
            "-2.0ms",
        ];
        assert_eq!(words(3), alice);
        // Bob's launches were counted anew.
        assert_eq!((words(4)[4], words(4)[7]), ("25.0%", "10"));
    }

    #[test]
    fn nothing_has_no_share() {
        let look = Look { at: Instant::now(), devices: vec![], tenants: vec![tenant("alice", 5, 1)] };
        assert!(frame(&look, &look).contains(" -  "), "{}", frame(&look, &look));
    }
}
