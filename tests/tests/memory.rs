//! The kinds of memory of the driver shim, on the software GPU: programs in C, without NVIDIA's runtime.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::{Path, PathBuf};

use support::Host;
use support::host::Folder;
use support::wheels::{Loader, compile_c};

fn saxpy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vgpu-core/fixtures/saxpy.ptx")
}

/// Compiles a program in C and runs it as `alice`.
#[track_caller]
fn run(source: &str, arguments: &[&str]) {
    let folder = Folder::new();
    run_compiled(&compile_c(source, &folder), arguments, &Loader::new(&[]));
}

#[track_caller]
fn run_compiled(program: &Path, arguments: &[&str], loader: &Loader) {
    let host = Host::with_alice();
    let output = loader.run(&host, "alice", program, arguments);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.trim() == "ok", "{:?}\n{text}\n{errors}", output.status);
    host.wait_until_empty();
}

#[test]
fn pools_use_memory_again_in_the_order_of_streams() {
    run("pools.c", &[]);
}

#[test]
fn memory_of_the_program_is_pinned_where_it_is() {
    run("register.c", &[saxpy().to_str().unwrap()]);
}

#[test]
fn each_kind_of_memory_says_what_it_is_and_copies_to_every_other() {
    run("pointers.c", &[]);
}

mod wheels {
    use support::wheels::{compile_cuda, runtime};

    use super::*;

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn the_runtimes_forms_of_them_work() {
        let folder = Folder::new();
        let program = compile_cuda("memory.cu", &[], &folder);
        run_compiled(&program, &[], &Loader::new(&[&runtime("cuda-13.0").0]));
    }
}
