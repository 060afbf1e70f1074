//! A guest process, from the outside: started, listened to, waited for no longer than its deadline.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::contest::Word;
use super::report::{COULD_NOT_RUN, GuestReport, Outcome, RIGHT, Verdict, WRONG};

/// Longest report of a guest, in bytes: its figures take a few hundred, and an error may quote a compiler's message.
const REPORT_BYTES_MAX: u64 = 64 << 10;

/// What goes to and from a guest before its report.
#[derive(Debug)]
pub(super) struct Talk {
    /// Which guest it is.
    pub guest: usize,
    /// Where its words go.
    pub words: mpsc::UnboundedSender<(usize, Word)>,
    /// What it is told; their end ends its contested time.
    pub orders: mpsc::UnboundedReceiver<()>,
}

/// Runs a guest and returns how it ended. Dropping the future kills it.
pub(super) async fn supervise(name: &str, mut command: Command, deadline: Duration, talk: Talk) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    // A Ctrl-C at the terminal is for the demo, which ends its guests; they must not seem to crash before it does.
    command.process_group(0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return Outcome::failed(name, format!("cannot start: {error}; check the limit on processes"));
        }
    };
    match tokio::time::timeout(deadline, listen(&mut child, talk)).await {
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

/// What it prints besides its words, up to the bound, and how it exits.
async fn listen(child: &mut Child, mut talk: Talk) -> io::Result<(String, ExitStatus)> {
    let mut text = Vec::new();
    let mut input = child.stdin.take();
    if let Some(stdout) = child.stdout.take() {
        // The pipe is closed behind the bound, so a guest that prints on fails instead of waiting.
        let mut output = BufReader::new(stdout.take(REPORT_BYTES_MAX));
        let mut line = 0;
        loop {
            tokio::select! {
                read = output.read_until(b'\n', &mut text) => match (read?, Word::of(&text[line..])) {
                    (0, _) => break,
                    (_, Some(word)) => {
                        text.truncate(line);
                        // Nobody listens any more when the demo ends.
                        let _ = talk.words.send((talk.guest, word));
                    }
                    (_, None) => line = text.len(),
                },
                order = talk.orders.recv(), if input.is_some() => match (order, &mut input) {
                    // A guest that reads no orders is found out by its end, or at its deadline.
                    (Some(()), Some(input)) => drop(input.write_all(b"\n").await),
                    _ => input = None,
                },
            }
        }
    }
    drop(input);
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
        runtime.block_on(supervise("g", command, deadline, talk().0))
    }

    /// What a guest without a contest is told: nothing more.
    fn talk() -> (Talk, mpsc::UnboundedReceiver<(usize, Word)>) {
        let (words, said) = mpsc::unbounded_channel();
        (Talk { guest: 0, words, orders: mpsc::unbounded_channel().1 }, said)
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
        let outcome = runtime.block_on(supervise("g", command, SOON, talk().0));
        assert!(outcome.report.error.unwrap().contains("cannot start"));
    }

    #[test]
    fn words_are_heard_and_orders_are_passed_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut command = Command::new("/bin/sh");
        let script = "echo checked; read line && echo queued; read line || echo '{}'; exit 2";
        command.arg("-c").arg(script.replace("{}", &line(false)));
        let (mut talk, mut said) = talk();
        let (orders, received) = mpsc::unbounded_channel();
        talk.orders = received;
        let outcome = runtime.block_on(async {
            let guest = tokio::spawn(async { supervise("g", command, SOON, talk).await });
            assert_eq!(said.recv().await, Some((0, Word::Checked)));
            orders.send(()).unwrap();
            assert_eq!(said.recv().await, Some((0, Word::Queued)));
            drop(orders);
            guest.await.unwrap()
        });
        assert_eq!((outcome.verdict, outcome.report.error.as_deref()), (Verdict::CouldNotRun, Some("no")));
    }
}
