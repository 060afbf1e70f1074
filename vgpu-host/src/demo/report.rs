//! What the demo says at its end, and what each guest says at its own.

use serde::{Deserialize, Serialize};

/// Exit status: all results are right.
pub(super) const RIGHT: u8 = 0;
/// Exit status: a result is wrong, or somebody had another share of the GPU than its own.
pub(super) const WRONG: u8 = 1;
/// Exit status: something could not run.
pub(super) const COULD_NOT_RUN: u8 = 2;

/// Version of the report's form.
const SCHEMA: u32 = 1;

/// The demo's report. Scripts read it as one line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Report {
    pub schema: u32,
    /// Whether it ran and all results are right.
    pub ok: bool,
    /// Cause and remedy, unless `ok`.
    pub error: Option<String>,
    /// What it ran on; null where the command line did not say it in a way that can be understood.
    pub device: Option<String>,
    pub guests: Vec<GuestReport>,
}

/// A guest's report: its part of [`Report`], and the line that it prints for its parent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GuestReport {
    pub name: String,
    /// Whether all results are right.
    pub verified: bool,
    /// Cause and remedy, unless `verified`.
    pub error: Option<String>,
    #[serde(flatten)]
    pub figures: Figures,
    /// Known to the demo alone.
    #[serde(flatten)]
    pub shares: Shares,
}

/// What a guest had of the GPU while all four had work all the time; null where nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Shares {
    /// GPU time that it was billed, by that of all four.
    pub share: Option<f64>,
    /// Its weight, by that of all four.
    pub entitled: Option<f64>,
    /// GPU time that its workers took without a lease since the host started, in milliseconds. Must be 0.
    pub ungated_ms: Option<f64>,
}

/// What a guest measured; null where it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// Kernels launched in the measured time, all of them checked.
    pub kernels: Option<u64>,
    /// Kernels per second, over the time of copies, launches and waiting, without that of checking.
    pub launches_per_s: Option<f64>,
    /// Median time of a launch call, which only queues the kernel, in microseconds.
    pub launch_us_p50: Option<f64>,
    /// The same, 99th percentile.
    pub launch_us_p99: Option<f64>,
    /// Median time from a launch call until the kernel is seen to be done, in microseconds.
    pub sync_us_p50: Option<f64>,
    /// The same, 99th percentile.
    pub sync_us_p99: Option<f64>,
    /// Bytes copied to and from the device in the measured time.
    pub bytes_copied: Option<u64>,
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All its results are right.
    Right,
    /// A result is wrong.
    Wrong,
    /// It could not run to its end.
    CouldNotRun,
}

/// A guest's end, as its parent sees it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub verdict: Verdict,
    pub report: GuestReport,
}

impl Outcome {
    /// A guest that did not report.
    pub(super) fn failed(name: &str, error: impl Into<String>) -> Self {
        Self { verdict: Verdict::CouldNotRun, report: GuestReport::failed(name, error.into()) }
    }
}

impl GuestReport {
    /// A report without figures.
    pub(super) fn failed(name: &str, error: String) -> Self {
        Self {
            name: name.into(),
            verified: false,
            error: Some(error),
            figures: Figures::default(),
            shares: Shares::default(),
        }
    }
}

impl Report {
    /// The report of a demo that did not come as far as its guests.
    pub(super) fn of_failure(device: Option<String>, error: String) -> Self {
        Self { schema: SCHEMA, ok: false, error: Some(error), device, guests: vec![] }
    }

    /// The report as a line.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("the report has only texts, numbers and lists")
    }
}

/// How far a share may be off. By the scheduler's bounds it is a fraction of that after some seconds; the rest is for a
/// busy machine.
const SHARE_TOLERANCE: f64 = 0.02;

/// What is wrong with a guest's share, and what to do.
fn share_error(name: &str, shares: &Shares) -> Option<String> {
    let Shares { share: Some(share), entitled: Some(entitled), ungated_ms: Some(ungated_ms) } = *shares
    else {
        return None;
    };
    if ungated_ms > 0.0 {
        return Some(format!(
            "guest {name} ran for {ungated_ms} ms without a lease, as if the host's daemon stood still; run the demo again on \
             an idle machine"
        ));
    }
    ((share - entitled).abs() > SHARE_TOLERANCE).then(|| {
        format!(
            "guest {name} had {:.1} % of the GPU time and is entitled to {:.1} %; run the demo again on an idle machine, and \
             report it as a bug if it stays so",
            share * 100.0,
            entitled * 100.0
        )
    })
}

/// The report of a demo whose guests ended, and its exit status. A wrong result weighs more than one that is missing, and
/// that more than a wrong share.
pub(super) fn of_guests(
    device: String,
    mut outcomes: Vec<Outcome>,
    shares: Result<Vec<Shares>, String>,
) -> (Report, u8) {
    let unknown = match shares {
        Ok(shares) => {
            outcomes.iter_mut().zip(shares).for_each(|(outcome, shares)| outcome.report.shares = shares);
            None
        }
        Err(error) => Some(error),
    };
    let any = |verdict| outcomes.iter().find(|outcome| outcome.verdict == verdict);
    let (status, worst) = if let Some(wrong) = any(Verdict::Wrong) {
        (WRONG, Some(wrong))
    } else if let Some(failed) = any(Verdict::CouldNotRun) {
        (COULD_NOT_RUN, Some(failed))
    } else {
        (RIGHT, None)
    };
    let error = worst.map(|outcome| {
        let cause = outcome.report.error.as_deref().unwrap_or("it gave no reason");
        format!("guest {}: {cause}", outcome.report.name)
    });
    let unfair =
        || outcomes.iter().find_map(|outcome| share_error(&outcome.report.name, &outcome.report.shares));
    let (status, error) = match (error, unknown) {
        (None, None) => unfair().map_or((RIGHT, None), |error| (WRONG, Some(error))),
        (None, Some(error)) => (COULD_NOT_RUN, Some(error)),
        (error, _) => (status, error),
    };
    let guests = outcomes.into_iter().map(|outcome| outcome.report).collect();
    (Report { schema: SCHEMA, ok: status == RIGHT, error, device: Some(device), guests }, status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(name: &str) -> Outcome {
        let figures = Figures {
            kernels: Some(16),
            launches_per_s: Some(100.5),
            launch_us_p50: Some(1.5),
            launch_us_p99: Some(2.5),
            sync_us_p50: Some(30.0),
            sync_us_p99: Some(40.0),
            bytes_copied: Some(4096),
        };
        let shares = Shares::default();
        let report = GuestReport { name: name.into(), verified: true, error: None, figures, shares };
        Outcome { verdict: Verdict::Right, report }
    }

    fn shares(share: f64, ungated_ms: f64) -> Shares {
        Shares { share: Some(share), entitled: Some(0.5), ungated_ms: Some(ungated_ms) }
    }

    #[test]
    fn the_line_has_the_documented_form() {
        let (report, status) = of_guests("soft".into(), vec![right("matmul")], Ok(vec![shares(0.4987, 0.0)]));
        assert_eq!(status, RIGHT);
        let expected = concat!(
            r#"{"schema":1,"ok":true,"error":null,"device":"soft","guests":[{"name":"matmul","verified":true,"#,
            r#""error":null,"kernels":16,"launches_per_s":100.5,"launch_us_p50":1.5,"launch_us_p99":2.5,"#,
            r#""sync_us_p50":30.0,"sync_us_p99":40.0,"bytes_copied":4096,"share":0.4987,"entitled":0.5,"ungated_ms":0.0}]}"#
        );
        assert_eq!(report.to_json(), expected);
    }

    #[test]
    fn unmeasured_figures_are_null_and_the_line_stays_one() {
        let (report, status) =
            of_guests("soft".into(), vec![Outcome::failed("nbody", "a\nb")], Err("no".into()));
        assert_eq!(status, COULD_NOT_RUN);
        let line = report.to_json();
        assert!(!line.contains('\n'), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let guest = value["guests"][0].as_object().unwrap();
        assert_eq!(guest.len(), 13);
        for (key, figure) in guest {
            assert_eq!(figure.is_null(), !["name", "verified", "error"].contains(&key.as_str()), "{key}");
        }
    }

    #[test]
    fn a_failure_without_guests_has_an_empty_list() {
        let line = Report::of_failure(None, "no".into()).to_json();
        assert_eq!(line, r#"{"schema":1,"ok":false,"error":"no","device":null,"guests":[]}"#);
    }

    #[test]
    fn a_wrong_result_weighs_more_than_a_missing_one() {
        let mut wrong = right("histogram");
        wrong.verdict = Verdict::Wrong;
        wrong.report.verified = false;
        wrong.report.error = Some("counter 3".into());
        let outcomes = vec![right("matmul"), Outcome::failed("nbody", "it hung"), wrong];
        let (report, status) = of_guests("soft".into(), outcomes, Err("no".into()));
        assert_eq!((status, report.ok), (WRONG, false));
        assert_eq!(report.error.as_deref(), Some("guest histogram: counter 3"));
    }

    #[test]
    fn a_share_that_is_off_or_taken_without_a_lease_is_a_failure() {
        let of = |shares| of_guests("soft".into(), vec![right("matmul")], shares);
        for (shares, status, cause) in [
            (Ok(vec![shares(0.515, 0.0)]), RIGHT, None),
            (Ok(vec![shares(0.525, 0.0)]), WRONG, Some("52.5 %")),
            (Ok(vec![shares(0.475, 0.0)]), WRONG, Some("47.5 %")),
            (Ok(vec![shares(0.5, 0.25)]), WRONG, Some("0.25 ms without a lease")),
            (Err("too few leases".to_owned()), COULD_NOT_RUN, Some("too few")),
        ] {
            let (report, found) = of(shares);
            assert_eq!((found, report.ok), (status, status == RIGHT), "{report:?}");
            assert_eq!(report.error.is_some(), cause.is_some());
            assert!(report.error.unwrap_or_default().contains(cause.unwrap_or_default()));
        }
    }

    #[test]
    fn a_guests_line_reads_back() {
        let report = right("matmul").report;
        let line = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<GuestReport>(&line).unwrap(), report);
    }
}
