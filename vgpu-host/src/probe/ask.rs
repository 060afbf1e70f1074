//! The asking side: a child with bounded time and a bounded answer.

use std::io::Read as _;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::line::{CardDescription, ProbeLine};
use crate::config::Card;
use crate::serve::WorkerCommand;

/// How long a card may take to open. The first process on a server with many cards whose driver sleeps waits more than
/// ten seconds for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest answer, in bytes: its texts are a few hundred.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long to wait before looking again whether a child that has said all has exited.
const PAUSE: Duration = Duration::from_millis(1);

/// Asks a worker program what the card is. May block, up to [`PATIENCE`]. The error is for people: cause and remedy.
pub(crate) fn ask(command: &WorkerCommand, card: Card) -> Result<CardDescription, String> {
    let until = Instant::now() + PATIENCE;
    let mut child = command
        .command(true)
        .args([super::ARGUMENT, &card.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {command} to ask: {error}"))?;
    let stdout = child.stdout.take().expect("its standard output is a pipe");
    let answer = listen(stdout, until).and_then(|text| Ok((text, wait(&mut child, until)?)));
    // An answer that did not come in time or is too long; otherwise the child is reaped, and these do nothing.
    let _ = child.kill();
    let _ = child.wait();
    let (text, status) = answer?;
    let line: ProbeLine =
        serde_json::from_slice(&text).map_err(|_| format!("the probe ended with {status}"))?;
    match line {
        ProbeLine { card: Some(card), .. } => Ok(card),
        ProbeLine { error, .. } => Err(error.unwrap_or_else(|| "the probe gave no reason".into())),
    }
}

fn late() -> String {
    let seconds = PATIENCE.as_secs();
    format!("the driver does not answer within {seconds} s: look at the system's log for its messages (Xid)")
}

/// All that it prints.
fn listen(mut stdout: ChildStdout, until: Instant) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("a minute fits");
        match rustix::event::poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(late()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("cannot listen to the probe: {error}")),
        }
        match stdout.read(&mut part) {
            Ok(0) => return Ok(text),
            Ok(bytes) => text.extend_from_slice(&part[..bytes]),
            Err(error) => return Err(format!("cannot listen to the probe: {error}")),
        }
        if text.len() > ANSWER_BYTES_MAX {
            return Err("the probe says too much: is the worker's program vgpu-host?".into());
        }
    }
}

fn wait(child: &mut Child, until: Instant) -> Result<ExitStatus, String> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() >= until => return Err(late()),
            Ok(None) => std::thread::sleep(PAUSE),
            Err(error) => return Err(format!("cannot watch the probe: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> WorkerCommand {
        WorkerCommand::new("/bin/sh").arg("-c").arg(script)
    }

    #[test]
    fn what_a_probe_says_is_taken() {
        let card = r#"{"name":"N","uuid":"GPU-0","memory_bytes":7,"compute_capability":"9.0","multiprocessor_count":1}"#;
        let line = format!(r#"echo '{{"device":"cuda:0","card":{card},"cause":null,"error":null}}'"#);
        assert_eq!(ask(&shell(&line), Card::Number(0)).unwrap().memory_bytes, 7);
        let line = r#"echo '{"device":"cuda:0","card":null,"cause":"no-driver","error":"no; yes"}'; exit 69"#;
        assert_eq!(ask(&shell(line), Card::Number(0)), Err("no; yes".into()));
    }

    #[test]
    fn a_probe_that_breaks_is_an_error_and_not_waited_for() {
        let crashed = ask(&shell("kill -SEGV $$"), Card::Number(0)).unwrap_err();
        assert!(crashed.contains("signal"), "{crashed}");
        let endless = ask(&shell("exec yes"), Card::Number(0)).unwrap_err();
        assert!(endless.contains("too much"), "{endless}");
        let missing = ask(&WorkerCommand::new("/nonexistent/worker"), Card::Number(0)).unwrap_err();
        assert!(missing.contains("/nonexistent/worker"), "{missing}");
    }
}
