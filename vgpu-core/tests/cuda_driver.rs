//! Driver libraries that must be refused, on any machine: each is compiled from a few lines of C and put first on the
//! loader's path of a process of its own.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use vgpu_core::device::cuda::driver::{FUNCTIONS, NVML, NvmlLibrary, SHIM};
use vgpu_core::device::cuda::{CudaDevice, CudaError};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vgpu-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is the system's to clean.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Compiles a library that the loader takes for the one of that name.
fn fake(folder: &Path, library: &str, source: &str) {
    let file = folder.join("fake.c");
    fs::write(&file, source).expect("the folder can be written");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(folder.join(library))
        .arg(&file)
        .status()
        .expect("the C compiler that Rust links with");
    assert!(compiled.success(), "{source}");
}

/// What `CudaDevice::open` says in a process that finds that library.
fn opened_with(name: &str, source: &str) -> String {
    told_with(name, "libcuda.so", source, "open_and_tell")
}

/// What that test prints in a process that finds that library.
fn told_with(name: &str, library: &str, source: &str, test: &str) -> String {
    let folder = Folder::new(name);
    fake(&folder.0, library, source);
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture"])
        .env("VGPU_TELL", "1")
        .env("LD_LIBRARY_PATH", &folder.0)
        .output()
        .expect("this program can run again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// The other tests run this one in a process of its own.
#[test]
fn open_and_tell() {
    if std::env::var_os("VGPU_TELL").is_some() {
        match CudaDevice::open(0) {
            Ok(_) => println!("opened"),
            Err(error) => println!("{error:?}\n{error}"),
        }
    }
}

/// All functions; the version is `version`, the rest answers `code`.
fn complete(version: i32, code: u32) -> String {
    let mut source = String::new();
    for name in FUNCTIONS.iter().filter(|name| !matches!(**name, "cuDriverGetVersion" | "cuGetErrorString")) {
        writeln!(source, "unsigned {name}(void) {{ return {code}; }}").expect("a text grows");
    }
    source
        .push_str("unsigned cuGetErrorString(unsigned c, const char **s) { *s = \"as told\"; return 0; }\n");
    write!(source, "unsigned cuDriverGetVersion(int *v) {{ *v = {version}; return 0; }}")
        .expect("a text grows");
    source
}

#[test]
fn the_shim_is_refused() {
    let source = format!("{}\nint {SHIM} = 1;", complete(13_000, 0));
    assert!(opened_with("shim", &source).contains(&format!("{:?}", CudaError::Shim)));
}

#[test]
fn a_missing_function_is_named() {
    let source = complete(13_000, 0).replace("cuStreamBatchMemOp_v2", "cuStreamBatchMemOp_v9");
    let text = opened_with("function", &source);
    assert!(
        text.contains(&format!("{:?}", CudaError::MissingSymbol { name: "cuStreamBatchMemOp_v2" })),
        "{text}"
    );
}

#[test]
fn an_old_driver_is_told() {
    let text = opened_with("old", &complete(12_040, 0));
    assert!(text.contains(&format!("{:?}", CudaError::DriverTooOld { found: 12_040 })), "{text}");
    assert!(text.contains("CUDA 12.4"), "{text}");
}

#[test]
fn a_driver_that_does_not_start_is_told() {
    let text = opened_with("start", &complete(13_000, 100));
    assert!(text.contains("ERROR_NO_DEVICE") && text.contains("cuInit: as told"), "{text}");
}

/// As `open_and_tell`, of NVML.
#[test]
fn look_for_nvml_and_tell() {
    if std::env::var_os("VGPU_TELL").is_some() {
        println!("{:?}", NvmlLibrary::look());
    }
}

#[test]
fn the_shim_for_nvml_is_refused_and_another_is_not() {
    let told = |name, source: &str| told_with(name, NVML, source, "look_for_nvml_and_tell");
    assert!(
        told("nvml-shim", &format!("unsigned {SHIM} = 1;")).contains(&format!("{:?}", NvmlLibrary::Shim))
    );
    assert!(
        told("nvml", "int nvmlInit_v2(void) { return 0; }").contains(&format!("{:?}", NvmlLibrary::Found))
    );
}
