//! What a person sees on standard error while the demo runs.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::output;
use super::report::{Outcome, Verdict};
use crate::api::SessionsBody;
use crate::ctl;

/// How often the refreshed line changes: often enough to look alive, rarely enough to cost nothing.
const REFRESH: Duration = Duration::from_millis(500);

/// Back to the line's begin, and nothing on it.
const CLEAR: &str = "\r\x1b[K";

/// Progress on standard error: a line for each guest at its end and, on a terminal, one refreshed line with what the
/// host counts meanwhile.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether it is over. Locked by whoever prints, so that nothing is printed after the end.
    over: Mutex<bool>,
    changed: Condvar,
}

impl Progress {
    /// Nothing is printed yet.
    pub(super) fn start() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shared: Arc::default() }
    }

    /// Refreshes a line with the host's counts from now on, on a terminal.
    pub(super) fn watch(&self, control_socket: &Path) {
        if !self.terminal {
            return;
        }
        let (shared, socket) = (self.shared.clone(), control_socket.to_owned());
        let refresher = move || refresh(&shared, &socket);
        // Without a thread there is no refreshed line; the demo itself goes on.
        let _ = std::thread::Builder::new().name("vgpu-progress".into()).spawn(refresher);
    }

    /// Prints a line of its own.
    pub(super) fn line(&self, text: &str) {
        let _printing = self.shared.over.lock();
        output::error_line(&format!("{}{text}", self.clear()));
    }

    /// Says how a guest ended.
    pub(super) fn guest_ended(&self, outcome: &Outcome) {
        let report = &outcome.report;
        let text = match outcome.verdict {
            Verdict::Right => {
                let kernels = report.figures.kernels.unwrap_or(0);
                format!("{}: {kernels} kernels, all results verified", report.name)
            }
            Verdict::Wrong => format!("{}: WRONG RESULT", report.name),
            Verdict::CouldNotRun => format!("{}: could not run", report.name),
        };
        self.line(&text);
    }

    /// Nothing is printed after this.
    pub(super) fn finish(&self) {
        *self.shared.over.lock() = true;
        self.shared.changed.notify_all();
        output::error_text(self.clear());
    }

    const fn clear(&self) -> &'static str {
        if self.terminal { CLEAR } else { "" }
    }
}

fn refresh(shared: &Shared, control_socket: &Path) {
    let start = Instant::now();
    loop {
        let mut over = shared.over.lock();
        if !*over {
            shared.changed.wait_for(&mut over, REFRESH);
        }
        if *over {
            return;
        }
        drop(over);
        // A host that does not answer has nothing to show; how the guests fare is their reports' matter.
        let Ok(body) = ctl::run(control_socket, ctl::Request::Sessions, true) else { continue };
        let Ok(body) = serde_json::from_str(&body) else { continue };
        let text = counts(&body);
        let over = shared.over.lock();
        if !*over {
            output::error_text(&format!("{CLEAR}{:5.1} s  {text}", start.elapsed().as_secs_f64()));
        }
    }
}

/// `matmul 96 kernels, nbody 128 kernels`: the sessions that run.
fn counts(body: &SessionsBody) -> String {
    let mut parts: Vec<_> = body
        .sessions
        .iter()
        .map(|session| {
            let launches = session.counts.map_or(0, |counts| counts.launches);
            format!("{} {launches} kernels", session.tenant)
        })
        .collect();
    parts.sort();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refreshed_line_tells_each_session() {
        let session = |tenant: &str, counts: &str| {
            format!(
                r#"{{"id":1,"tenant":"{tenant}","state":"open","worker_pid":1,"age_ms":1,"guest":null,"version":1,
                "memory_lent_bytes":0,"pinned_lent_bytes":0,"counts":{counts}}}"#
            )
        };
        let known = r#"{"commands":9,"launches":7,"bytes_copied":0,"contexts":1,"streams":1,"memory_bytes":0,
            "pinned_bytes":0,"faults":0,"output_dropped_bytes":0}"#;
        let body = format!(r#"{{"sessions":[{},{}]}}"#, session("nbody", "null"), session("matmul", known));
        assert_eq!(counts(&serde_json::from_str(&body).unwrap()), "matmul 7 kernels, nbody 0 kernels");
    }

    #[test]
    fn a_refresher_ends_with_the_progress() {
        let progress = Progress { terminal: false, shared: Arc::default() };
        progress.finish();
        refresh(&progress.shared, Path::new("/nonexistent/control.sock"));
    }
}
