//! Where the binaries under test are.
//!
//! They are built once per process with cargo, and the paths are taken from what cargo prints, never guessed. On a
//! machine without cargo, `VGPU_BIN_DIR` names a folder that holds them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names of the binaries.
const NAMES: [&str; 4] = ["vgpu-host", "vgpu-client", "vgpu-guest", "vgpu-cudarc"];

/// Package and file of the driver shim, and of the one for NVML.
const SHIM: (&str, &str) = ("vgpu-cuda-shim", "libvgpu_cuda.so");
/// See [`SHIM`].
const NVML: (&str, &str) = ("vgpu-nvml-shim", "libvgpu_nvml.so");

/// Paths of the binaries under test.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests read it")]
pub struct Artifacts {
    /// The host: daemon, worker, control client, demo.
    pub host: PathBuf,
    /// The guest's tool.
    pub client: PathBuf,
    /// The guest programs of the tests.
    pub guest: PathBuf,
    /// A program that uses cudarc.
    pub cudarc: PathBuf,
}

/// The binaries, built in the profile of the calling program.
///
/// # Panics
/// When they can neither be built nor found: no test can run then.
pub fn artifacts() -> &'static Artifacts {
    static FOUND: OnceLock<Artifacts> = OnceLock::new();
    FOUND.get_or_init(|| match std::env::var_os("VGPU_BIN_DIR") {
        Some(folder) => in_folder(Path::new(&folder)),
        None => build(),
    })
}

fn in_folder(folder: &Path) -> Artifacts {
    let find = |name| {
        let path = folder.join(name);
        assert!(path.is_file(), "VGPU_BIN_DIR has no {name}: {}", path.display());
        path
    };
    let [host, client, guest, cudarc] = NAMES.map(find);
    Artifacts { host, client, guest, cudarc }
}

/// Builds in the profile of the calling program; returns what cargo tells of each artifact, a line each.
fn cargo_build(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked", "--offline", "--message-format=json"]).args(arguments);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "cargo build failed:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn build() -> Artifacts {
    let lines = cargo_build(&["--bins", "-p", "vgpu-host", "-p", "vgpu-client", "-p", "vgpu-e2e"]);
    let built: HashMap<String, PathBuf> = lines.lines().filter_map(executable).collect();
    let find =
        |name: &str| built.get(name).unwrap_or_else(|| panic!("cargo built no {name}: {built:?}")).clone();
    let [host, client, guest, cudarc] = NAMES.map(find);
    Artifacts { host, client, guest, cudarc }
}

/// File of the driver shim, built in the profile of the calling program.
///
/// # Panics
/// When it can neither be built nor found.
pub fn shim() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| library(SHIM))
}

/// File of the shim for NVML, likewise.
///
/// # Panics
/// When it can neither be built nor found.
pub fn nvml() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| library(NVML))
}

fn library((package, file): (&str, &str)) -> PathBuf {
    if let Some(folder) = std::env::var_os("VGPU_BIN_DIR") {
        let path = Path::new(&folder).join(file);
        assert!(path.is_file(), "VGPU_BIN_DIR has no {file}: {}", path.display());
        return path;
    }
    let lines = cargo_build(&["--lib", "-p", package]);
    let found = lines.lines().find_map(|line| shared_library(line, file));
    found.unwrap_or_else(|| panic!("cargo built no {file}:\n{lines}"))
}

/// Path of a library, where a line of cargo's output tells of it.
fn shared_library(line: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let mut files =
        message["filenames"].as_array()?.iter().filter_map(|file| Some(Path::new(file.as_str()?)));
    files.find(|file| file.file_name().is_some_and(|found| found == name)).map(Path::to_owned)
}

/// Name and path of the executable that a line of cargo's output tells of.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message["executable"].as_str()?;
    Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
}
