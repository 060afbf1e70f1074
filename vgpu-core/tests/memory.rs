//! Host memory that kernels take without asking for it: registers, local memory, nested calls.

mod support;

use std::sync::Arc;

use support::Gpu;
use vgpu_core::device::soft::exec::{
    Budget, Env, FaultKind, Grid, KERNEL_BYTES_MAX, Launch, LaunchError, Program, Progress,
};

const HEADER: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

fn grid(
    env: &Env,
    program: &Program,
    name: &str,
    blocks: u32,
    threads: u32,
    cooperative: bool,
) -> Result<Grid, LaunchError> {
    let launch = Launch {
        kernel: program.kernel(name).expect("a kernel of the text"),
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        dynamic_shared_bytes: 0,
        params: [].into(),
        cooperative,
    };
    Grid::new(launch, env.clone())
}

#[test]
fn grids_share_a_bounded_memory() {
    let gpu = Gpu::new();
    // Each block takes 512 MiB, the most that CUDA lets its local memory be.
    let text = format!("{HEADER}.entry k() {{ .local .b8 x[524288]; ret; }}");
    let program = gpu.load(&text).unwrap();
    let env = gpu.env();
    let held: Vec<_> = (0..64).map_while(|_| grid(&env, &program, "k", 64, 1024, false).ok()).collect();
    assert!(!held.is_empty() && held.len() as u64 <= KERNEL_BYTES_MAX >> 29, "{} grids", held.len());
    assert_eq!(grid(&env, &program, "k", 1, 1024, false).err(), Some(LaunchError::Busy));
    drop(held);
    assert!(grid(&env, &program, "k", 1, 1024, false).is_ok());
    assert!(matches!(
        grid(&env, &program, "k", 64, 1024, true),
        Err(LaunchError::CooperativeTooLarge { .. })
    ));
}

#[test]
fn a_block_larger_than_all_there_is_names_its_size() {
    let gpu = Gpu::new();
    // Each register is needed to the end, so that none can share its row: 2.1 MiB of them in each thread.
    let count = 280_000;
    let sets: String = (0..count).map(|at| format!("mov.u64 %q{at}, %clock64;")).collect();
    let uses: String = (0..count).map(|at| format!("st.global.u64 [8], %q{at};")).collect();
    let text = format!("{HEADER}.entry k() {{ .reg .b64 %q<{count}>;{sets}{uses} }}");
    let program = gpu.load(&text).unwrap();
    assert!(grid(&gpu.env(), &program, "k", 1, 32, false).is_ok());
    let error = grid(&gpu.env(), &program, "k", 1, 1024, false).err();
    assert!(
        matches!(error, Some(LaunchError::BlockTooLarge { bytes }) if bytes > KERNEL_BYTES_MAX),
        "{error:?}"
    );
}

#[test]
fn nested_calls_take_from_the_same_memory() {
    let gpu = Gpu::new();
    let text = format!(
        "{HEADER}.func f() {{ .local .b8 x[65536]; ret; }}\n.entry k() {{ call f; ret; }}\n\
         .entry large() {{ .local .b8 x[524288]; ret; }}\n.entry tiny() {{ .local .b8 x[4096]; ret; }}"
    );
    let program = gpu.load(&text).unwrap();
    let env = Env { budget: Arc::<Budget>::default(), ..gpu.env() };
    let small = grid(&env, &program, "k", 1, 1, false).unwrap();
    let fill =
        |name| (0..1024).map_while(|_| grid(&env, &program, name, 1, 32, false).ok()).collect::<Vec<_>>();
    let held = (fill("large"), fill("tiny"));
    assert_eq!(small.run(u32::MAX), Progress::Finished);
    let fault = small.fault().expect("there is no memory for the call");
    assert_eq!(fault.kind, FaultKind::StackOverflow);
    drop(held);
    drop(small);
    let again = grid(&env, &program, "k", 1, 1, false).unwrap();
    assert_eq!(again.run(u32::MAX), Progress::Finished);
    assert_eq!(again.fault(), None);
}
