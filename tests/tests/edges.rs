//! Which crate may use which: ARCHITECTURE.md's arrows, compared with what cargo says.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The allowed arrows. Crates that are not listed here (benchmarks, examples, tests) may use any.
const ALLOWED: &[(&str, &[&str])] = &[
    ("vgpu-proto", &[]),
    ("vgpu-sched", &[]),
    ("vgpu-window", &["vgpu-proto"]),
    ("vgpu-core", &["vgpu-proto", "vgpu-sched", "vgpu-window"]),
    ("vgpu-client", &["vgpu-proto", "vgpu-window"]),
    ("vgpu-cuda-shim", &["vgpu-client", "vgpu-proto"]),
    ("vgpu-nvml-shim", &["vgpu-client", "vgpu-proto"]),
    ("vgpu-host", &["vgpu-client", "vgpu-core", "vgpu-proto", "vgpu-sched", "vgpu-window"]),
];

/// Crates that nobody in the product may use.
const OUTSIDE: &[&str] = &["vgpu-bench", "vgpu-examples", "vgpu-e2e"];

fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let uses = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().expect("a list of dependencies");
        let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
        normal.map(|dependency| text(&dependency["name"])).collect()
    };
    packages.iter().map(|package| (text(&package["name"]), uses(package))).collect()
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let edges = edges();
    for (name, allowed) in ALLOWED {
        let used = edges.get(*name).unwrap_or_else(|| panic!("the workspace has no {name}"));
        for other in used.iter().filter(|other| other.starts_with("vgpu-")) {
            assert!(allowed.contains(&other.as_str()), "{name} must not use {other}");
        }
    }
    let known: BTreeSet<&str> =
        ALLOWED.iter().map(|(name, _)| *name).chain(OUTSIDE.iter().copied()).collect();
    let unknown: Vec<_> = edges.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "crates without a place in the architecture: {unknown:?}");
}

#[test]
fn the_scheduler_depends_on_nothing() {
    assert_eq!(edges()["vgpu-sched"], BTreeSet::new());
}
