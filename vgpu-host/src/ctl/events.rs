//! Events for people: a line each.

use std::fmt::Write as _;

use crate::api::{EventBody, EventsBody};

/// A list's lines; `after` is what was asked for.
pub(super) fn lines(body: &EventsBody, after: u64) -> String {
    let mut text = String::new();
    if body.missed > 0 {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "({} events after {after} are kept no more)", body.missed);
    }
    for event in &body.events {
        text.push_str(&line(event));
    }
    text
}

fn line(event: &EventBody) -> String {
    let EventBody { sequence, time_ms, kind, tenant, session, reason, count, fields, .. } = event;
    let mut text = format!("{} {sequence:>6} {kind:<13}", utc(*time_ms));
    let _ = write!(text, " {:<12}", tenant.as_deref().unwrap_or("-"));
    if let Some(session) = session {
        let _ = write!(text, " session {session}:");
    }
    // Part of a reason may be a guest's; the host has taken out what would speak to a terminal.
    let _ = write!(text, " {reason}");
    if *count > 1 {
        let _ = write!(text, ", {count} times");
    }
    let facts: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !facts.is_empty() {
        let _ = write!(text, " ({})", facts.join(" "));
    }
    text.push('\n');
    text
}

/// A time in RFC 3339's form. Days become dates as Howard Hinnant's `civil_from_days` does it
/// (<https://howardhinnant.github.io/date_algorithms.html>): years begin in March there, so that leap days are their last.
fn utc(unix_ms: u64) -> String {
    const DAYS_TO_MARCH_OF_YEAR_0: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let days = days + DAYS_TO_MARCH_OF_YEAR_0;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EventKind;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_210_096_789, "2024-02-29T12:34:56.789Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(unix_ms), text);
        }
    }

    #[test]
    fn an_event_is_a_line() {
        let event = EventBody {
            sequence: 17,
            time_ms: 0,
            uptime_ms: 0,
            kind: EventKind::Refused,
            tenant: Some("alice".into()),
            session: Some(3),
            reason: "too many".into(),
            count: 9,
            fields: [("cause".to_owned(), "session_limit".into())].into(),
        };
        let body = EventsBody { events: vec![event], oldest: 17, latest: 17, missed: 2 };
        let text = "(2 events after 4 are kept no more)\n1970-01-01T00:00:00.000Z     17 refused       alice        \
                    session 3: too many, 9 times (cause=session_limit)\n";
        assert_eq!(lines(&body, 4), text);
    }
}
