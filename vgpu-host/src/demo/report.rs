//! What the demo says at its end, and what each guest says at its own.

use serde::{Deserialize, Serialize};

/// Exit status: all results are right.
pub(super) const RIGHT: u8 = 0;
/// Exit status: a result is wrong.
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
        Self { name: name.into(), verified: false, error: Some(error), figures: Figures::default() }
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

/// The report of a demo whose guests ended, and its exit status. A wrong result weighs more than one that is missing.
pub(super) fn of_guests(device: String, outcomes: Vec<Outcome>) -> (Report, u8) {
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
        let report = GuestReport { name: name.into(), verified: true, error: None, figures };
        Outcome { verdict: Verdict::Right, report }
    }

    #[test]
    fn the_line_has_the_documented_form() {
        let (report, status) = of_guests("soft".into(), vec![right("matmul")]);
        assert_eq!(status, RIGHT);
        let expected = concat!(
            r#"{"schema":1,"ok":true,"error":null,"device":"soft","guests":[{"name":"matmul","verified":true,"#,
            r#""error":null,"kernels":16,"launches_per_s":100.5,"launch_us_p50":1.5,"launch_us_p99":2.5,"#,
            r#""sync_us_p50":30.0,"sync_us_p99":40.0,"bytes_copied":4096}]}"#
        );
        assert_eq!(report.to_json(), expected);
    }

    #[test]
    fn unmeasured_figures_are_null_and_the_line_stays_one() {
        let (report, status) = of_guests("soft".into(), vec![Outcome::failed("nbody", "a\nb")]);
        assert_eq!(status, COULD_NOT_RUN);
        let line = report.to_json();
        assert!(!line.contains('\n'), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let guest = value["guests"][0].as_object().unwrap();
        assert_eq!(guest.len(), 10);
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
        let (report, status) = of_guests("soft".into(), outcomes);
        assert_eq!((status, report.ok), (WRONG, false));
        assert_eq!(report.error.as_deref(), Some("guest histogram: counter 3"));
    }

    #[test]
    fn a_guests_line_reads_back() {
        let report = right("matmul").report;
        let line = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<GuestReport>(&line).unwrap(), report);
    }
}
