//! A real GPU under the conformance suite.
//!
//! Each case runs in a process of its own: a fault ends every context of its process, and what a case leaves running
//! (an endless kernel) must not hold up the next one. `VGPU_CASES=part` runs the cases whose names contain the part.

mod gpu {
    use std::io::Read;
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use vgpu_core::device::Device;
    use vgpu_core::device::conformance::{DEADLINE, cases, run};
    use vgpu_core::device::cuda::CudaDevice;

    /// Cases whose promise a GPU in one process cannot keep, each with the reason.
    const NOT_IN_HARDWARE: &[(&str, &str)] = &[
        ("faults::each_fault_has_its_error", MAPPED),
        ("faults::freed_memory_faults", MAPPED),
        ("faults::a_fault_is_sticky_in_its_context_only", POISON),
        ("faults::queued_work_is_dropped_and_marks_complete", POISON),
        ("faults::memory_of_a_faulted_context_can_be_freed", POISON),
        ("faults::a_context_with_held_work_can_be_dropped", HELD),
        ("graphs::a_context_with_a_held_graph_can_be_dropped", HELD),
        ("faults::a_fault_ends_other_kernels_of_its_context", RUNNING),
        ("faults::an_assertion_is_told_and_printed", OUTPUT),
        ("streams::a_large_copy_holds_up_no_other", FAST),
        ("kernels::what_a_kernel_prints_is_heard", OUTPUT),
    ];

    const MAPPED: &str =
        "the driver maps 2 MiB at a time: an access just outside an allocation does not fault";
    const POISON: &str = "the driver ends every context of a process in which one context met a fault";
    const RUNNING: &str =
        "the driver tells of a fault, and loads modules, only once running kernels have ended";
    const FAST: &str = "the copies end within a pause of the watcher, which then may see both marks at once";
    const HELD: &str = "the driver cannot end a stream that waits; the process must end";
    const OUTPUT: &str = "kernels print to the process's own output until its worker catches that";

    /// A case and its process have ended by then, or never will.
    const PATIENCE: Duration = DEADLINE.saturating_mul(2);

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn every_case() {
        let part = std::env::var("VGPU_CASES").unwrap_or_default();
        let mut broken = Vec::new();
        for case in cases().iter().filter(|case| case.name.contains(&part)) {
            let start = Instant::now();
            let outcome = in_a_process(case.name);
            let reason =
                NOT_IN_HARDWARE.iter().find(|(name, _)| *name == case.name).map(|(_, reason)| *reason);
            let word = match (&outcome, reason) {
                (Ok(()), None) => "ok".to_owned(),
                (Ok(()), Some(reason)) => format!("ok, although {reason}"),
                (Err(_), Some(reason)) => format!("not in hardware: {reason}"),
                (Err(output), None) => {
                    broken.push(case.name);
                    format!("FAILED\n{output}")
                }
            };
            println!("{} ({} ms): {word}", case.name, start.elapsed().as_millis());
        }
        assert!(broken.is_empty(), "{} cases failed: {broken:?}", broken.len());
    }

    /// The case that the environment names; nothing without one.
    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn one_case() {
        let Ok(name) = std::env::var("VGPU_CASE") else { return };
        let case = cases().into_iter().find(|case| case.name == name).expect("a case of that name");
        run(&case, || CudaDevice::open(0).expect("a GPU that can be used") as std::sync::Arc<dyn Device>);
    }

    fn in_a_process(name: &str) -> Result<(), String> {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args(["--exact", "gpu::one_case", "--ignored", "--nocapture"])
            .env("VGPU_CASE", name)
            // Some cases hold 20 streams at once, which must not share a hardware queue.
            .env("CUDA_DEVICE_MAX_CONNECTIONS", "32")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this program can run again");
        let ears = [
            listen(child.stdout.take().expect("it is a pipe")),
            listen(child.stderr.take().expect("it is a pipe")),
        ];
        let ended = wait(&mut child);
        let output: String = ears.map(|ear| ear.join().expect("no panic")).concat();
        match ended {
            Some(true) => Ok(()),
            Some(false) => Err(output),
            None => Err(format!("{output}\nstill there after {PATIENCE:?}")),
        }
    }

    fn listen(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
        thread::spawn(move || {
            let mut text = Vec::new();
            // A process that was killed may leave half a line.
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    }

    /// Whether it succeeded; `None` if it had to be killed.
    fn wait(child: &mut Child) -> Option<bool> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = child.try_wait().expect("it is our child") {
                return Some(status.success());
            }
            thread::sleep(Duration::from_millis(5));
        }
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
        None
    }
}
