//! Tables for people.

use crate::api::{
    DevicesBody, HealthBody, QuarantineBody, SessionState, SessionsBody, StandingState, TenantsBody,
};

pub(super) fn devices(body: &DevicesBody) -> String {
    let header = ["GPU", "DEVICE", "SESSIONS", "MEMORY", "SPARES", "TAKEN", "LOST", "CARD"];
    let rows = body.devices.iter().map(|gpu| {
        let whole = gpu.memory_bytes.map_or_else(|| "-".to_owned(), size);
        [
            gpu.name.clone(),
            gpu.device.clone(),
            gpu.sessions.to_string(),
            format!("{}/{whole}", size(gpu.memory_lent_bytes)),
            format!("{}/{}", gpu.spares_ready, gpu.spares),
            gpu.spares_taken.to_string(),
            gpu.spares_lost.to_string(),
            gpu.health.as_ref().map_or_else(|| "-".to_owned(), card),
        ]
    });
    table(header, rows)
}

/// Temperature, power and standing.
pub(super) fn card(health: &HealthBody) -> String {
    let temperature = health.temperature_celsius.map(|celsius| format!("{celsius}C"));
    let power = health.power_milliwatts.map(|milliwatts| format!("{}W", milliwatts / 1_000));
    let known = [temperature, power, Some(health.standing.clone())];
    known.into_iter().flatten().collect::<Vec<_>>().join(",")
}

pub(super) fn tenants(body: &TenantsBody) -> String {
    let header = [
        "TENANT", "GPU", "DEVICE", "STANDING", "SESSIONS", "MEMORY", "PINNED", "OPENED", "REFUSED", "LOST",
        "IMAGES", "HITS", "GPU-TIME", "SHARE", "SOCKET",
    ];
    let of_its_gpu = |gpu: &str| {
        let beside = body.tenants.iter().filter(|tenant| tenant.gpu == gpu);
        beside.map(|tenant| tenant.gpu_time_ns).sum()
    };
    let rows = body.tenants.iter().map(|tenant| {
        let refusals = tenant.refused.by_cause().map(|(_, count)| count);
        [
            tenant.name.clone(),
            tenant.gpu.clone(),
            tenant.device.clone(),
            standing(&tenant.quarantine),
            format!("{}/{}", tenant.sessions, tenant.sessions_max),
            format!("{}/{}", size(tenant.memory_lent_bytes), size(tenant.memory_bytes)),
            format!("{}/{}", size(tenant.pinned_lent_bytes), size(tenant.pinned_bytes)),
            tenant.opened.to_string(),
            refusals.iter().sum::<u64>().to_string(),
            tenant.workers_lost.to_string(),
            format!("{}/{}", size(tenant.images.kept_bytes), size(tenant.images.max_bytes)),
            format!("{}/{}", tenant.images.hits, tenant.images.hits + tenant.images.misses),
            span(tenant.gpu_time_ns),
            share(tenant.gpu_time_ns, of_its_gpu(&tenant.gpu)),
            tenant.socket.clone(),
        ]
    });
    table(header, rows)
}

pub(super) fn sessions(body: &SessionsBody) -> String {
    let header =
        ["ID", "TENANT", "STATE", "AGE", "GUEST", "WORKER", "MEMORY", "PINNED", "LAUNCHES", "COPIED"];
    let rows = body.sessions.iter().map(|session| {
        let state = match session.state {
            SessionState::Greeting => "greeting",
            SessionState::Open => "open",
            SessionState::Closing => "closing",
        };
        let unknown = || "-".to_owned();
        [
            session.id.to_string(),
            session.tenant.clone(),
            state.to_owned(),
            format!("{}.{:01}s", session.age_ms / 1_000, session.age_ms % 1_000 / 100),
            session
                .guest
                .as_ref()
                .map_or_else(unknown, |guest| printable(&format!("{}:{}", guest.pid, guest.name))),
            session.worker_pid.to_string(),
            size(session.memory_lent_bytes),
            size(session.pinned_lent_bytes),
            session.counts.map_or_else(unknown, |counts| counts.launches.to_string()),
            session.counts.map_or_else(unknown, |counts| size(counts.bytes_copied)),
        ]
    });
    table(header, rows)
}

/// Whether a tenant may run, its strikes, and how long it is held yet.
pub(super) fn standing(body: &QuarantineBody) -> String {
    let left = body.left_ms.map_or_else(String::new, |ms| format!(" {}.{}s", ms / 1_000, ms % 1_000 / 100));
    match body.standing {
        StandingState::Good if body.strikes == 0 => "good".to_owned(),
        StandingState::Good => format!("good ({} strikes)", body.strikes),
        StandingState::BackOff => format!("back-off{left}"),
        StandingState::Quarantined => format!("quarantined{left}"),
        StandingState::QuarantinedByHand => "quarantined by hand".to_owned(),
    }
}

/// A guest chooses its name; it must not speak to the operator's terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).take(40).collect()
}

pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes}B");
    };
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    if tenths % 10 == 0 {
        format!("{}{name}", tenths / 10)
    } else {
        format!("{}.{}{name}", tenths / 10, tenths % 10)
    }
}

/// A length of time, short.
pub(super) fn span(ns: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| ns >= *unit) else {
        return format!("{ns}ns");
    };
    format!("{}.{}{name}", ns / unit, ns % unit * 10 / unit)
}

/// How much of the whole it is.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let thousandths = u128::from(part) * 1_000 / u128::from(whole);
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

/// Columns as wide as their widest cell, two spaces apart, nothing behind the last.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (64 << 20, "64MiB"),
            (u64::MAX, "17179869183.9GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times_and_shares_are_short() {
        for (ns, text) in [
            (0, "0ns"),
            (1_999, "1.9us"),
            (1_500_000, "1.5ms"),
            (90_000_000_000, "90.0s"),
            (u64::MAX, "18446744073.7s"),
        ] {
            assert_eq!(span(ns), text);
        }
        assert_eq!((share(1, 3), share(5, 5), share(0, 0)), ("33.3%".into(), "100.0%".into(), "-".into()));
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a".to_owned(), "1".to_owned()], ["longer".to_owned(), "2".to_owned()]];
        assert_eq!(table(["NAME", "N"], rows.into_iter()), "NAME    N\na       1\nlonger  2\n");
    }

    #[test]
    fn a_guests_name_cannot_write_to_the_terminal() {
        assert_eq!(printable("1:\u{1b}[2J"), "1:?[2J");
    }
}
