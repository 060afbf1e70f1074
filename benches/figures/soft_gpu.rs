//! How fast the software GPU runs kernels: instructions times active lanes, by second of one core.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use support::fixture::ptx;
use vgpu_bench::{Against, Bench, Goal, Quantity, is_asked_for};
use vgpu_core::device::soft::exec::{Env, Grid, Kernel, Launch, Program, Progress};
use vgpu_core::device::soft::memory::AddressSpace;
use vgpu_core::device::soft::ptx::parse;
use vgpu_window::Region;

/// Instructions of one call of the interpreter, as the device asks for.
const SLICE: u32 = 200_000;

/// Rows and columns of the matrices.
const SIDE: u32 = 128;

/// Elements of the vectors.
const LENGTH: u32 = 1 << 18;

/// Lane-instructions per second and core that the matrix product is to reach.
const GOAL: f64 = 400.0;

fn main() {
    if !is_asked_for("soft_gpu") {
        return;
    }
    let mut bench = Bench::new("soft_gpu");
    let goal = Goal::ValueAtLeast(GOAL);
    let matrix = u64::from(SIDE * SIDE) * 4;
    let n = SIDE.to_le_bytes();
    for (figure, kernel, tile) in [
        ("matrix product, 16x16 tiles", "matmul_tiled", 16),
        ("matrix product, 4x4 in registers", "matmul_tiled_reg", 64),
    ] {
        let shape = ([SIDE / tile, SIDE / tile, 1], [16, 16, 1]);
        measure(&mut bench, figure, goal, &Workload::new(kernel, kernel, shape, &[matrix; 3], &n));
    }
    let vector = u64::from(LENGTH) * 4;
    let n = LENGTH.to_le_bytes();
    let shape = ([LENGTH / 256, 1, 1], [256, 1, 1]);
    let add = Workload::new("vector_add", "vector_add", shape, &[vector; 3], &n);
    measure(&mut bench, "vector add", Goal::None, &add);
    let shape = ([64, 1, 1], [256, 1, 1]);
    let sum = Workload::new("reduction_shuffle", "reduction_shuffle_f32", shape, &[vector, 4], &n);
    measure(&mut bench, "reduction by shuffles", Goal::None, &sum);
    bench.finish();
}

/// A kernel with its arrays in memory.
struct Workload {
    env: Env,
    launch: Launch,
}

impl Workload {
    /// Parameters of the kernel are the addresses of arrays of `arrays` bytes, and `last`.
    fn new(
        fixture: &str,
        name: &str,
        (grid, block): ([u32; 3], [u32; 3]),
        arrays: &[u64],
        last: &[u8],
    ) -> Self {
        let memory = Arc::new(AddressSpace::new());
        let module = parse(&ptx(fixture)).expect("the fixture is sound");
        let program = Program::load(&module, &mut |_, _| unreachable!("no variables in it"), &memory)
            .expect("the fixture loads");
        let kernel: Arc<Kernel> = program.kernel(name).expect("the fixture has the kernel");
        let mut params = vec![0; kernel.params_bytes() as usize];
        let mut put = |at: usize, bytes: &[u8]| {
            let start = kernel.params()[at].offset_bytes as usize;
            params[start..start + bytes.len()].copy_from_slice(bytes);
        };
        for (at, bytes) in arrays.iter().enumerate() {
            let address = (at as u64 + 1) << 32;
            let region = Region::anonymous(*bytes).expect("memory is left");
            // Ordinary numbers: a processor is slow with denormal ones, and kernels see few of them.
            region.fill(0, &0.5f32.to_le_bytes(), bytes / 4).expect("the region is as long");
            memory.insert(address, Arc::new(region)).expect("the addresses are apart");
            put(at, &address.to_le_bytes());
        }
        put(arrays.len(), last);
        let start = Instant::now();
        let env = Env {
            memory,
            output: Arc::new(|_, _| {}),
            clock_ns: Arc::new(move || start.elapsed().as_nanos() as u64),
            budget: Arc::default(),
        };
        let launch = Launch {
            kernel,
            grid,
            block,
            dynamic_shared_bytes: 0,
            params: params.into(),
            cooperative: false,
        };
        Self { env, launch }
    }

    /// Runs the kernel on this thread; returns what it executed.
    fn run(&self) -> u64 {
        let grid = Grid::new(self.launch.clone(), self.env.clone()).expect("the launch is sound");
        while grid.run(SLICE) != Progress::Finished {}
        assert_eq!(grid.fault().map(|fault| fault.to_string()), None);
        grid.executed()
    }
}

fn measure(bench: &mut Bench, figure: &'static str, goal: Goal, work: &Workload) {
    let executed = work.run();
    let mut base = || multiply_add_chain(executed);
    let name = "steps of x = x * a + c";
    let mut bases = [Against { name, goal, measure: &mut base }];
    let quantity = Quantity::Rate { amount: executed as f64 / 1e6, unit: "M/s" };
    bench.compare(figure, (quantity, 1), &mut bases, |count| {
        on_cpu(|| (0..count).for_each(|_| assert_eq!(work.run(), executed)))
    });
}

/// Time that so many steps would take of which each waits for the one before: what the core's clock gives.
fn multiply_add_chain(steps: u64) -> Duration {
    const MEASURED: u32 = 1_000_000;
    let taken = on_cpu(|| {
        let mut x = 1u64;
        for _ in 0..MEASURED {
            x = std::hint::black_box(x).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        std::hint::black_box(x);
    });
    taken.mul_f64(steps as f64 / f64::from(MEASURED))
}

/// CPU time of this thread: what others take of the core does not count.
fn on_cpu(work: impl FnOnce()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).expect("below a second"))
    };
    let before = now();
    work();
    now() - before
}
