//! A guest process, from the outside: started, listened to, waited for no longer than its deadline.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::report::{COULD_NOT_RUN, GuestReport, Outcome, RIGHT, Verdict, WRONG};

/// Longest report of a guest, in bytes: its figures take a few hundred, and an error may quote a compiler's message.
const REPORT_BYTES_MAX: u64 = 64 << 10;

/// Runs a guest and returns how it ended. Dropping the future kills it.
pub(super) async fn supervise(name: &str, mut command: Command, deadline: Duration) -> Outcome {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    // A Ctrl-C at the terminal is for the demo, which ends its guests; they must not seem to crash before it does.
    command.process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return Outcome::failed(name, format!("cannot start: {error}; check the limit on processes"));
        }
    };
    match tokio::time::timeout(deadline, listen(&mut child)).await {
        Ok(Ok((text, status))) => judge(name, &text, status),
        Ok(Err(error)) => Outcome::failed(name, format!("cannot be watched: {error}; run the demo again")),
        Err(_) => Outcome::failed(
            name,
            format!(
                "does not end within {} s, killed; run the demo again on an idle machine",
                deadline.as_secs()
            ),
        ),
    }
}

/// What it prints, up to the bound, and how it exits.
async fn listen(child: &mut Child) -> io::Result<(String, ExitStatus)> {
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // The pipe is closed behind the bound, so a guest that prints on fails instead of waiting.
        stdout.take(REPORT_BYTES_MAX).read_to_end(&mut text).await?;
    }
    let status = child.wait().await?;
    Ok((String::from_utf8_lossy(&text).into_owned(), status))
}

/// Believes a report only where the exit status says the same.
fn judge(name: &str, text: &str, status: ExitStatus) -> Outcome {
    if let Some(signal) = status.signal() {
        return Outcome::failed(name, format!("died of signal {signal}; see what it said on standard error"));
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let report = serde_json::from_str::<GuestReport>(text.trim_end());
    match (code, report) {
        (Some(RIGHT), Ok(report)) if report.verified => Outcome { verdict: Verdict::Right, report },
        (Some(WRONG), Ok(report)) if !report.verified => Outcome { verdict: Verdict::Wrong, report },
        (Some(COULD_NOT_RUN), Ok(report)) if !report.verified => {
            Outcome { verdict: Verdict::CouldNotRun, report }
        }
        _ => Outcome::failed(
            name,
            format!("ended without a report ({status}); see what it said on standard error"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far above what any of these needs.
    const SOON: Duration = Duration::from_secs(20);

    fn ended(script: &str, deadline: Duration) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script).stderr(Stdio::null());
        runtime.block_on(supervise("g", command, deadline))
    }

    fn line(verified: bool) -> String {
        let mut report = GuestReport::failed("g", "no".into());
        report.verified = verified;
        serde_json::to_string(&report).unwrap()
    }

    #[test]
    fn a_report_counts_with_its_exit_status() {
        for (verified, code, verdict) in [
            (true, 0, Verdict::Right),
            (false, 1, Verdict::Wrong),
            (false, 2, Verdict::CouldNotRun),
            (true, 1, Verdict::CouldNotRun),
            (false, 0, Verdict::CouldNotRun),
            (true, 77, Verdict::CouldNotRun),
        ] {
            let outcome = ended(&format!("echo '{}'; exit {code}", line(verified)), SOON);
            assert_eq!(outcome.verdict, verdict, "{verified} {code}: {outcome:?}");
            assert_eq!(outcome.report.verified, verdict == Verdict::Right);
        }
    }

    #[test]
    fn a_crash_is_reported() {
        let outcome = ended("kill -SEGV $$", SOON);
        assert_eq!(outcome.verdict, Verdict::CouldNotRun);
        assert!(outcome.report.error.unwrap().contains("signal 11"));
    }

    #[test]
    fn silence_nonsense_and_floods_are_no_reports() {
        for script in
            ["exit 0", "echo nonsense", "echo '{}'", "while echo xxxxxxxxxxxxxxxx; do :; done; exit 0"]
        {
            let outcome = ended(script, SOON);
            assert_eq!(outcome.verdict, Verdict::CouldNotRun, "{script}: {outcome:?}");
        }
    }

    #[test]
    fn a_guest_that_hangs_is_not_waited_for() {
        let outcome = ended("exec sleep 1000", Duration::from_millis(50));
        assert!(outcome.report.error.unwrap().contains("does not end"));
    }

    #[test]
    fn a_program_that_is_not_there_is_reported() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let command = Command::new("/nonexistent/program");
        let outcome = runtime.block_on(supervise("g", command, SOON));
        assert!(outcome.report.error.unwrap().contains("cannot start"));
    }
}
