//! What a figure was measured on.

use std::process::Command;

use serde_json::{Value, json};

/// The machine and the state of the sources, as JSON. What cannot be found out is `null`.
pub fn machine() -> Value {
    json!({
        "cpu": cpu(),
        "cores": std::thread::available_parallelism().ok().map(std::num::NonZero::get),
        "hypervisor": std::fs::read_to_string("/proc/cpuinfo").ok().map(|text| has_flag(&text, "hypervisor")),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "load": read("/proc/loadavg"),
        "commit": git(&["rev-parse", "--short=12", "HEAD"]),
        "modified": git(&["status", "--porcelain", "--untracked-files=no"]).map(|changes| !changes.is_empty()),
    })
}

fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn has_flag(cpuinfo: &str, flag: &str) -> bool {
    cpuinfo.lines().find(|line| line.starts_with("flags")).is_some_and(|line| line.contains(flag))
}

fn read(path: &str) -> Option<String> {
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
