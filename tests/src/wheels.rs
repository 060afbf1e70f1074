//! NVIDIA's libraries and compiler from the wheels of `wheels.txt`, and programs that run on the driver shim.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::artifacts::{artifacts, nvml, shim};
use crate::host::{Folder, Host};
use crate::process::{Process, piped};

/// Folder of the wheels that has the compiler.
const CUDA: &str = "cuda-13.0";

/// Where `tests/wheels.sh` put the wheels.
///
/// # Panics
/// When `VGPU_WHEELS_DIR` does not say, or they are others than `wheels.txt` lists.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::var_os("VGPU_WHEELS_DIR").map(PathBuf::from);
        let folder = folder.expect("VGPU_WHEELS_DIR names the folder that `tests/wheels.sh DIR` filled");
        let list = std::fs::read_to_string(folder.join("wheels.txt")).unwrap_or_default();
        assert_eq!(list, include_str!("../wheels.txt"), "run `tests/wheels.sh {}` again", folder.display());
        folder
    })
}

/// Folder and file of the CUDA runtime in a wheels folder.
///
/// # Panics
/// When it is not there.
pub fn runtime(name: &str) -> (PathBuf, &'static str) {
    runtime_below(&folder().join(name))
}

/// The same of the newest CUDA runtime, which `VGPU_NEWEST_DIR` names.
///
/// # Panics
/// When it is not there.
pub fn newest_runtime() -> (PathBuf, &'static str) {
    let folder = std::env::var_os("VGPU_NEWEST_DIR").map(PathBuf::from);
    runtime_below(&folder.expect("VGPU_NEWEST_DIR names a folder with NVIDIA's newest nvidia-cuda-runtime"))
}

fn runtime_below(folder: &Path) -> (PathBuf, &'static str) {
    let root = folder.join("nvidia");
    let places = [("cuda_runtime/lib", "libcudart.so.12"), ("cu13/lib", "libcudart.so.13")];
    let found = places.into_iter().find(|(place, file)| root.join(place).join(file).is_file());
    let (place, file) = found.unwrap_or_else(|| panic!("no libcudart below {}", root.display()));
    (root.join(place), file)
}

/// Folder of NVML's Python bindings.
///
/// # Panics
/// When the wheels are not there.
pub fn bindings() -> PathBuf {
    folder().join("nvidia-ml-py")
}

/// A program of `tests/programs`, by its file name.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Compiles a C program with the machine's compiler.
///
/// # Panics
/// When it does not compile.
pub fn compile_c(name: &str, into: &Folder) -> PathBuf {
    let program = into.path().join(name).with_extension("");
    succeed(
        Command::new("cc")
            .args(["-O1", "-Wall", "-o"])
            .args([&program, &source(name)])
            .args(["-ldl", "-pthread"]),
    );
    program
}

/// Compiles a CUDA program with the wheels' nvcc.
///
/// # Panics
/// When it does not compile.
pub fn compile_cuda(name: &str, options: &[&str], into: &Folder) -> PathBuf {
    let program = into.path().join(name).with_extension("");
    let root = folder().join(CUDA).join("nvidia/cu13");
    let (libraries, file) = runtime(CUDA);
    let mut command = Command::new(root.join("bin/nvcc"));
    command.args(options).arg("-o").args([&program, &source(name)]);
    command.arg("-L").arg(&libraries);
    if !options.contains(&"static") {
        // The wheel has no link without a version, which `-lcudart` would need.
        command.args(["-cudart", "none", "-Xlinker"]).arg(format!("-l:{file}"));
    }
    succeed(&mut command);
    program
}

/// A folder that gives both shims the names of NVIDIA's libraries, and the other folders where the loader looks.
#[derive(Debug)]
pub struct Loader {
    links: Folder,
    others: Vec<PathBuf>,
}

impl Loader {
    /// Puts the shim first and then `others`.
    ///
    /// # Panics
    /// When the link cannot be made.
    pub fn new(others: &[&Path]) -> Self {
        let links = Folder::new();
        for (file, name) in [(shim(), "libcuda.so.1"), (nvml(), "libnvidia-ml.so.1")] {
            std::os::unix::fs::symlink(file, links.path().join(name)).expect("the folder is ours");
        }
        Self { links, others: others.iter().map(|folder| (*folder).to_owned()).collect() }
    }

    /// Runs a program to its end as a guest of a tenant.
    ///
    /// # Panics
    /// When it does not end within the shared deadline.
    #[track_caller]
    pub fn run(&self, host: &Host, tenant: &str, program: &Path, arguments: &[&str]) -> Output {
        let folders = std::iter::once(self.links.path()).chain(self.others.iter().map(PathBuf::as_path));
        let mut command = Command::new(program);
        command.args(arguments).env("VGPU_SOCKET", host.socket(tenant));
        command.env("LD_LIBRARY_PATH", std::env::join_paths(folders).expect("no colons in our paths"));
        Process::new(piped(&mut command).spawn().expect("the program runs")).finish()
    }
}

/// Runs a program through `vgpu-client run`, which finds the shim where it was built.
///
/// # Panics
/// When it does not end within the shared deadline.
#[track_caller]
pub fn run_through_client(host: &Host, tenant: &str, program: &Path, library_path: &Path) -> Output {
    let mut command = Command::new(&artifacts().client);
    command.args(["run", "--"]).arg(program).env("VGPU_SOCKET", host.socket(tenant));
    command.env("VGPU_LIB_DIR", shim().parent().expect("a file lies in a folder"));
    command.env("LD_LIBRARY_PATH", library_path);
    Process::new(piped(&mut command).spawn().expect("the client's binary runs")).finish()
}
