//! Beginning again with the guest's variables: a driver reads its environment when it starts, and the greeting that brings
//! them comes later.
//!
//! A process cannot change its environment safely once it has threads. So it leaves itself what it holds in a socket, and
//! executes its own program anew, as the same process. What it made ready as a spare is lost by that.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use vgpu_proto::handshake::{Hello, Variable};
use vgpu_window::link::Link;

use super::lease::LeaseFiles;
use crate::wire::{Channel, LeasePart, Setup, ToWorker};

/// This very program, also where its file was replaced since.
const PROGRAM: &str = "/proc/self/exe";

/// What the guest library does by itself: in the worker it would make one thread's launch hold up all others.
const DONE_BY_GUEST: &str = "CUDA_LAUNCH_BLOCKING";

/// The guest's variables that this process would have to have, and has not.
pub(super) fn missing(hello: &Hello) -> Vec<&Variable> {
    let differs = |variable: &&Variable| {
        variable.name != DONE_BY_GUEST
            && std::env::var_os(&variable.name).is_none_or(|value| value != *variable.value)
    };
    hello.variables.iter().filter(differs).collect()
}

/// Executes this program again, with the guest's variables beside its own, `logs` as its standard error and nothing else of
/// this process. Returns only where that fails, with the reason.
pub(super) fn again(
    channel: &Channel,
    setup: &Setup,
    link: &Link,
    lease: &LeaseFiles,
    hello: &Hello,
    logs: &File,
) -> String {
    let left = leave(channel, setup, link, lease, hello);
    let executed = left.and_then(|left| {
        let logs = logs.try_clone().map_err(|error| error.to_string())?;
        let mut words = std::env::args_os();
        let mut command = Command::new(PROGRAM);
        if let Some(name) = words.next() {
            command.arg0(name);
        }
        command.args(words).envs(missing(hello).iter().map(|variable| (&variable.name, &variable.value)));
        command.stdin(left).stdout(Stdio::null()).stderr(logs);
        Err::<(), String>(command.exec().to_string())
    });
    let error = executed.err().unwrap_or_default();
    format!("the worker cannot start again with the guest's variables: {error}")
}

/// Puts what this process serves into a socket; returns the end where it is found.
fn leave(
    channel: &Channel,
    setup: &Setup,
    link: &Link,
    lease: &LeaseFiles,
    hello: &Hello,
) -> Result<std::os::fd::OwnedFd, String> {
    let (ours, left) = Channel::pair().map_err(|error| error.to_string())?;
    let resume = ToWorker::Resume { setup: setup.clone(), hello: hello.clone() };
    ours.try_send(&resume, Some(link.as_fd())).map_err(|error| error.to_string())?;
    ours.try_send(&ToWorker::Channel, Some(channel.as_fd())).map_err(|error| error.to_string())?;
    for (part, file) in LeasePart::ALL.into_iter().zip(lease.files()) {
        ours.try_send(&ToWorker::Lease(part), Some(file)).map_err(|error| error.to_string())?;
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use vgpu_proto::handshake::{FEATURE_COHERENT, GuestProcess};

    use super::*;

    #[test]
    fn variables_are_missing_that_are_not_there_or_differ() {
        let variable = |name: &str, value: &str| Variable { name: name.into(), value: value.into() };
        let home = std::env::var("PATH").unwrap();
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            features: FEATURE_COHERENT,
            plans: vec![],
            variables: vec![
                variable("PATH", &home),
                variable("PATH", "elsewhere"),
                variable("CUDA_LAUNCH_BLOCKING", "1"),
                variable("CUDA_DISABLE_PTX_JIT", "1"),
            ],
            process: GuestProcess::default(),
        };
        let missing: Vec<_> = missing(&hello).iter().map(|variable| variable.value.clone()).collect();
        assert_eq!(missing, ["elsewhere", "1"]);
    }
}
