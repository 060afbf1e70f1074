//! Programs that know nothing of vgpu, on the driver shim and the software GPU.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::{Path, PathBuf};
use std::process::Output;

use support::host::Folder;
use support::wheels::{Loader, compile_c};
use support::{Host, artifacts};

fn saxpy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vgpu-core/fixtures/saxpy.ptx")
}

#[track_caller]
fn assert_ok(output: &Output) {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.trim() == "ok", "{:?}\n{text}\n{errors}", output.status);
}

#[test]
fn the_driver_api_refuses_what_the_driver_refuses() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("driver.c", &folder);
    assert_ok(&Loader::new(&[]).run(&host, "alice", &program, &[saxpy().to_str().unwrap()]));
    host.wait_until_empty();
}

#[test]
fn what_would_crash_a_driver_is_an_error() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("misuse.c", &folder);
    assert_ok(&Loader::new(&[]).run(&host, "alice", &program, &[saxpy().to_str().unwrap()]));
    host.wait_until_empty();
}

#[test]
fn memory_is_mapped_as_programs_do_it() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("vmm.c", &folder);
    assert_ok(&Loader::new(&[]).run(&host, "alice", &program, &[saxpy().to_str().unwrap()]));
    host.wait_until_empty();
}

#[test]
fn graphs_are_made_replayed_and_changed() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("graphs.c", &folder);
    assert_ok(&Loader::new(&[]).run(&host, "alice", &program, &[saxpy().to_str().unwrap()]));
    host.wait_until_empty();
}

#[test]
fn what_kernels_print_stands_where_they_ran() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("print.c", &folder);
    let image = saxpy().with_file_name("printf_assert.ptx");
    let output = Loader::new(&[]).run(&host, "alice", &program, &[image.to_str().unwrap()]);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    let parts: Vec<&str> = text.split("before\n").nth(1).unwrap().split("after\n").collect();
    assert!(text.starts_with("before\n") && parts.len() == 3, "{text}");
    assert!(parts[0].contains("2.5") && parts[0] == parts[1], "{text}");
    assert_eq!(parts[2], "end\n", "{text}");
    assert!(errors.contains("Assertion") && errors.contains("failed"), "{errors}");
}

#[test]
fn the_library_outlives_its_closing() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("unload.c", &folder);
    assert_ok(&Loader::new(&[]).run(&host, "alice", &program, &[]));
    host.wait_until_empty();
}

#[test]
fn streams_are_captured_by_cudas_rules() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("capture.c", &folder);
    assert_ok(&Loader::new(&[]).run(&host, "alice", &program, &[saxpy().to_str().unwrap()]));
    host.wait_until_empty();
}

#[test]
fn kernels_are_asked_about_and_launched_as_libraries_do() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("launch.c", &folder);
    assert_ok(&Loader::new(&[]).run(&host, "alice", &program, &[saxpy().to_str().unwrap()]));
    host.wait_until_empty();
}

#[test]
fn modules_libraries_and_links_are_whole() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("modules.c", &folder);
    assert_ok(&Loader::new(&[]).run(&host, "alice", &program, &[saxpy().to_str().unwrap()]));
    host.wait_until_empty();
}

#[test]
fn children_of_fork_have_no_gpu_and_disturb_nothing() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("fork.c", &folder);
    let output = Loader::new(&[]).run(&host, "alice", &program, &[]);
    assert_ok(&output);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("forked") && !errors.contains("panicked"), "{errors}");
    host.wait_until_empty();
    let tenants = host.ctl(&["tenants", "--json"]);
    let body: serde_json::Value = serde_json::from_slice(&tenants.stdout).unwrap();
    assert_eq!((&body["tenants"][0]["opened"], &body["tenants"][0]["workers_lost"]), (&2.into(), &0.into()));
}

#[test]
fn cudarc_works_as_it_is() {
    let host = Host::with_alice();
    let program = &artifacts().cudarc;
    assert_ok(&Loader::new(&[]).run(&host, "alice", program, &[saxpy().to_str().unwrap()]));
    host.wait_until_empty();
}

#[test]
fn without_a_host_there_is_no_device_and_one_line_says_why() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("absent.c", &folder);
    let output = Loader::new(&[]).run(&host, "nobody", &program, &["100"]);
    assert_ok(&output);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(errors.lines().filter(|line| line.contains("no vgpu host")).count(), 1, "{errors}");
}

#[test]
fn in_quarantine_the_device_is_unavailable_and_one_line_says_why() {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("absent.c", &folder);
    assert!(host.ctl(&["quarantine", "alice"]).status.success());
    let output = Loader::new(&[]).run(&host, "alice", &program, &["46"]);
    assert_ok(&output);
    let errors = String::from_utf8_lossy(&output.stderr);
    let why =
        |line: &&str| line.contains("operator put the tenant into quarantine") && line.contains("release");
    assert_eq!(errors.lines().filter(why).count(), 1, "{errors}");
}

/// Boots the CUDA runtime of a folder and a file, and has it work.
fn boots_on((libraries, file): (PathBuf, &str)) {
    let (host, folder) = (Host::with_alice(), Folder::new());
    let program = compile_c("boot.c", &folder);
    let loader = Loader::new(&[&libraries]);
    assert_ok(&loader.run(&host, "alice", &program, &[file, saxpy().to_str().unwrap()]));
    host.wait_until_empty();
}

/// Reported by `.ci/run` and no reason to fail: what NVIDIA publishes next may ask for more.
mod newest {
    #[test]
    #[ignore = "needs NVIDIA's newest CUDA runtime"]
    fn runtime_boots() {
        super::boots_on(support::wheels::newest_runtime());
    }
}

mod wheels {
    use support::wheels::{compile_cuda, run_through_client, runtime};

    use super::*;

    fn boots(wheel: &str) {
        boots_on(runtime(wheel));
    }

    /// Compiles a program and runs it.
    fn program_of(source: &str, options: &[&str]) {
        let (host, folder) = (Host::with_alice(), Folder::new());
        let program = compile_cuda(source, options, &folder);
        let loader = Loader::new(&[&runtime("cuda-13.0").0]);
        assert_ok(&loader.run(&host, "alice", &program, &[]));
        host.wait_until_empty();
    }

    /// Compiles `runtime.cu` and runs it.
    fn program(options: &[&str]) {
        program_of("runtime.cu", options);
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn graphs_are_captured_and_replayed_by_the_runtime() {
        program_of("graphs.cu", &[]);
        program_of("graphs.cu", &["--default-stream", "per-thread"]);
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn runtime_12_4_boots() {
        boots("cudart-12.4");
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn runtime_12_8_boots() {
        boots("cudart-12.8");
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn runtime_12_9_boots() {
        boots("cudart-12.9");
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn runtime_13_0_boots() {
        boots("cuda-13.0");
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn a_program_of_nvcc_runs_as_it_is() {
        program(&[]);
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn a_program_with_the_runtime_inside_runs_as_it_is() {
        program(&["-cudart", "static"]);
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn a_program_with_per_thread_streams_runs_as_it_is() {
        program(&["--default-stream", "per-thread"]);
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn ptx_in_lz4_and_plain_runs_too() {
        program(&["-Xfatbin", "-compress-mode=speed"]);
        program(&["-Xfatbin", "-compress-mode=none"]);
    }

    /// What nvcc linked is for the architecture that it compiled for; for another one the parts are linked again.
    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn a_program_of_relocatable_code_is_linked_for_the_device() {
        program(&["-rdc=true", "-cudart", "static"]);
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn machine_code_only_is_no_binary_for_the_software_gpu() {
        let (host, folder) = (Host::with_alice(), Folder::new());
        let program = compile_cuda("runtime.cu", &["-gencode", "arch=compute_80,code=sm_80"], &folder);
        let output = Loader::new(&[&runtime("cuda-13.0").0]).run(&host, "alice", &program, &[]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("no kernel image is available"), "{errors}");
    }

    #[test]
    #[ignore = "needs the wheels of tests/wheels.txt"]
    fn the_client_runs_a_program_with_the_shim_in_front() {
        let (host, folder) = (Host::with_alice(), Folder::new());
        let program = compile_cuda("runtime.cu", &[], &folder);
        assert_ok(&run_through_client(&host, "alice", &program, &runtime("cuda-13.0").0));
    }
}
