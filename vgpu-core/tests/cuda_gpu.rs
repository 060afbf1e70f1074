//! A real GPU where it is more than the conformance suite asks: faults by name, contexts used again, what calls cost.

mod gpu {
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use parking_lot::Mutex;
    use vgpu_core::device::cuda::CudaDevice;
    use vgpu_core::device::{
        Context, Device, DeviceError, DeviceEvents, FunctionKey, GraphKey, GraphLaunch, GraphPlan,
        LaunchConfig, Mark, NodeWork, Place, StreamKey, Work,
    };
    use vgpu_proto::Status;
    use vgpu_proto::control::OutputStream;
    use vgpu_proto::graph::GraphEdge;
    use vgpu_proto::handshake::AddressPlan;
    use vgpu_proto::limits::{ARENA_HOST_BYTES, ARENA_RANGE_BYTES};
    use vgpu_window::{Region, Reservation};

    const DEADLINE: Duration = Duration::from_secs(20);
    const TINY: &str = include_str!("../fixtures/tiny.ptx");
    const CALLS: &str = include_str!("../fixtures/device_call.ptx");
    const DOUBLE_MATH: &str = include_str!("../fixtures/double_math.ptx");
    const WILD: &str = include_str!("../fixtures/wild_access.ptx");

    /// Hears of faults, and is a mark in a page of its own.
    #[derive(Debug)]
    struct Ears {
        faults: Mutex<Vec<DeviceError>>,
        signalled: AtomicU64,
        word: Arc<Region>,
    }

    impl DeviceEvents for Ears {
        fn fault(&self, error: &DeviceError) {
            self.faults.lock().push(error.clone());
        }
        fn failed(&self, _: &DeviceError) {}
        fn output(&self, _: OutputStream, _: &[u8]) {}
        fn progress(&self) {}
    }

    impl Mark for Ears {
        fn signal(&self, value: u64) {
            self.word.atomic_u64(0).expect("the word is there").store(value, Ordering::Release);
            self.wake(value);
        }
        fn word(&self) -> (&Arc<Region>, u64) {
            (&self.word, 0)
        }
        fn wake(&self, value: u64) {
            self.signalled.store(value, Ordering::Release);
        }
    }

    struct Rig {
        device: Arc<CudaDevice>,
        context: Arc<dyn Context>,
        ears: Arc<Ears>,
        marks: u64,
    }

    impl Rig {
        fn new() -> Self {
            Self::on(CudaDevice::open(0).expect("a GPU that can be used"))
        }

        fn on(device: Arc<CudaDevice>) -> Self {
            let word = Arc::new(Region::anonymous(4096).expect("a page"));
            let ears = Arc::new(Ears { faults: Mutex::default(), signalled: AtomicU64::new(0), word });
            let context = device.context_create(0, Arc::clone(&ears) as _).expect("a context");
            Self { device, context, ears, marks: 0 }
        }

        fn kernel(&self, ptx: &str, name: &str) -> FunctionKey {
            let module = self.context.module_load(ptx.as_bytes(), &[]).expect("the module loads").module;
            self.context.module_function(module, name, &()).expect("a kernel").0
        }

        fn launch(&self, stream: StreamKey, function: FunctionKey, params: &[u8]) {
            let work = Work::Launch(one_thread(function, params));
            self.context.submit(stream, work).expect("the launch is accepted");
        }

        /// Marks the stream and polls the word, as a guest does.
        fn reach(&mut self, stream: StreamKey) {
            self.marks += 1;
            let mark = Work::Mark(Arc::clone(&self.ears) as _, self.marks);
            self.context.submit(stream, mark).expect("the mark is accepted");
            let word = self.ears.word.atomic_u64(0).expect("the word is there");
            let start = Instant::now();
            while word.load(Ordering::Acquire) < self.marks {
                assert!(start.elapsed() < DEADLINE, "the mark never came");
                std::hint::spin_loop();
            }
        }
    }

    fn one_thread(function: FunctionKey, params: &[u8]) -> LaunchConfig {
        LaunchConfig {
            function,
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            cooperative: false,
            attributes: Vec::new(),
            params: params.into(),
        }
    }

    /// Runs another test of this file in a process of its own, since a fault ends all contexts of its process.
    fn alone(test: &str, kernel: &str) -> String {
        let output = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env("VGPU_KERNEL", kernel)
            .output()
            .expect("this program can run again");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{kernel}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn faults_have_their_names() {
        for kernel in ["write_anywhere", "null_write", "misaligned_write", "shared_overrun", "trap_now"] {
            print!("{}", alone("gpu::one_fault", kernel));
        }
    }

    /// The kernel that the environment names; nothing without one.
    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn one_fault() {
        let Ok(name) = std::env::var("VGPU_KERNEL") else { return };
        let rig = Rig::new();
        let memory = rig.context.memory_alloc(4096).expect("memory");
        let (address, params, statuses): (u64, &[u8], &[Status]) = match name.as_str() {
            "write_anywhere" => (16, &[1, 0, 0, 0], &[Status::ERROR_ILLEGAL_ADDRESS]),
            "null_write" => (memory, &[], &[Status::ERROR_ILLEGAL_ADDRESS]),
            "misaligned_write" => (memory, &[2, 0, 0, 0], &[Status::ERROR_MISALIGNED_ADDRESS]),
            "shared_overrun" => (
                memory,
                &[0, 0, 16, 0],
                &[
                    Status::ERROR_ILLEGAL_ADDRESS,
                    Status::ERROR_LAUNCH_FAILED,
                    Status::ERROR_INVALID_ADDRESS_SPACE,
                ],
            ),
            _ => (0, &[], &[Status::ERROR_LAUNCH_FAILED, Status::ERROR_ILLEGAL_INSTRUCTION]),
        };
        let mut block = if name == "trap_now" { Vec::new() } else { address.to_le_bytes().to_vec() };
        block.extend_from_slice(params);
        let stream = rig.context.stream_create(false, 0).expect("a stream");
        rig.launch(stream, rig.kernel(WILD, &name), &block);
        for value in [1, 2] {
            let mark = Work::Mark(Arc::clone(&rig.ears) as _, value);
            rig.context.submit(stream, mark).expect("marks are taken, with a fault too");
        }
        let error = rig.context.synchronize().expect_err("the kernel faults");
        println!("{name}: {error}");
        assert!(statuses.contains(&error.status), "{error}");
        assert!(error.text.contains(&name), "{error}");
        let start = Instant::now();
        while rig.ears.signalled.load(Ordering::Acquire) < 2 {
            assert!(start.elapsed() < DEADLINE, "the marks behind the fault never came");
            std::thread::yield_now();
        }
        assert_eq!(
            rig.ears.faults.lock().as_slice(),
            std::slice::from_ref(&error),
            "told once, before the marks"
        );
        assert_eq!(rig.context.sticky_error(), Some(error.clone()));
        assert_eq!(rig.context.memory_alloc(4).expect_err("sticky").status, error.status);
        rig.context.memory_free(memory).expect("the charge comes back");
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn contexts_are_used_again() {
        let device = CudaDevice::open(0).expect("a GPU that can be used");
        println!("{:?}; pageable access: {}", device.description(), device.has_pageable_access());
        for round in 0..50 {
            let mut first = Rig::on(Arc::clone(&device));
            let mut second = (round % 10 == 0).then(|| Rig::on(Arc::clone(&device)));
            for rig in second.iter_mut().chain([&mut first]) {
                let stream = rig.context.stream_create(round % 2 == 0, 0).expect("a stream");
                let empty = rig.kernel(TINY, "empty");
                rig.context.memory_alloc(1 << 20).expect("memory");
                rig.launch(stream, empty, &[]);
                rig.reach(stream);
            }
        }
    }

    /// Recursion needs the call stack that idle contexts do without.
    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn kernels_that_recurse_have_a_stack() {
        let mut rig = Rig::new();
        let module = rig.context.module_load(CALLS.as_bytes(), &[]).expect("the module loads");
        println!("memory of the module: {} B", module.memory_bytes);
        let found = rig.context.module_function(module.module, "call_recursive", &());
        let (function, description) = found.expect("a kernel");
        println!("{description:?}");
        let out = rig.context.memory_alloc(128).expect("memory");
        let mut params = out.to_le_bytes().to_vec();
        params.extend(32_u32.to_le_bytes());
        let config = LaunchConfig {
            function,
            grid: [1; 3],
            block: [32, 1, 1],
            shared_bytes: 0,
            cooperative: false,
            attributes: Vec::new(),
            params: params.into(),
        };
        let stream = rig.context.stream_create(false, 0).expect("a stream");
        rig.context.submit(stream, Work::Launch(config)).expect("the launch is accepted");
        let staging = Arc::new(Region::anonymous(4096).expect("a page"));
        let destination = Place::Region(Arc::clone(&staging), 0);
        let copy = Work::Copy { destination, source: Place::Address(out), bytes: 128 };
        rig.context.submit(stream, copy).expect("the copy is accepted");
        rig.reach(stream);
        let word = |at: u64| staging.atomic_u32(at * 4).expect("in range").load(Ordering::Relaxed);
        assert_eq!((word(0), word(1), word(15), word(31)), (0, 1, 610, 610));
    }

    /// The compiler's own functions have frames that the driver knows of, so that the stack may stay trimmed.
    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn functions_of_the_compiler_work_without_the_default_stack() {
        const COUNT: u64 = 32;
        let mut rig = Rig::new();
        let function = rig.kernel(DOUBLE_MATH, "double_functions");
        let stream = rig.context.stream_create(false, 0).expect("a stream");
        let memory = rig.context.memory_alloc(COUNT * 48).expect("memory");
        let (input, output) = (memory, memory + COUNT * 8);
        let staging = Arc::new(Region::anonymous(4096).expect("a page"));
        // So large that the sine takes its slow path, which is a call.
        let number = |at: u64| 1e10 * (at + 1) as f64;
        for at in 0..COUNT {
            staging.write(at * 8, &number(at).to_le_bytes()).expect("in range");
        }
        let copy = |destination, source, bytes| Work::Copy { destination, source, bytes };
        let staged = || Place::Region(Arc::clone(&staging), 0);
        let to_device = copy(Place::Address(input), staged(), COUNT * 8);
        rig.context.submit(stream, to_device).expect("the copy is accepted");
        let params: Vec<u8> = [input, output, COUNT].iter().flat_map(|value| value.to_le_bytes()).collect();
        let config = LaunchConfig {
            function,
            grid: [1; 3],
            block: [32, 1, 1],
            shared_bytes: 0,
            cooperative: false,
            attributes: Vec::new(),
            params: params[..20].into(),
        };
        rig.context.submit(stream, Work::Launch(config)).expect("the launch is accepted");
        let to_host = copy(staged(), Place::Address(output), COUNT * 40);
        rig.context.submit(stream, to_host).expect("the copy is accepted");
        rig.reach(stream);
        let found = |at: u64| {
            let mut bytes = [0; 8];
            staging.read(at * 8, &mut bytes).expect("in range");
            f64::from_le_bytes(bytes)
        };
        for at in 0..COUNT {
            let (sine, power) = (found(5 * at), found(5 * at + 4));
            assert!((sine - number(at).sin()).abs() < 1e-12, "sin({}) = {sine}", number(at));
            let wanted = number(at).powf(1.5);
            assert!((power / wanted - 1.0).abs() < 1e-12, "{power} instead of {wanted}");
        }
    }

    /// An arena, where a session would have it.
    fn arena() -> Arc<Reservation> {
        let base = AddressPlan::CANDIDATES[3].arena_base;
        Arc::new(Reservation::new_at(base, ARENA_RANGE_BYTES).expect("the addresses are free"))
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn memory_lies_in_the_arena() {
        let device = CudaDevice::open(0).expect("a GPU that can be used");
        let arena = arena();
        device.arena_set(&arena).expect("no memory was allocated before");
        let rig = Rig::on(Arc::clone(&device));
        for round in 0..20 {
            let sizes = [1, 700, 4096, (1 << 20) - 1, 1 << 20, (2 << 20) + 1, 65 << 20];
            let all: Vec<u64> =
                sizes.iter().map(|bytes| rig.context.memory_alloc(*bytes).expect("memory")).collect();
            let host = arena.base()..arena.base() + ARENA_HOST_BYTES;
            assert!(all.iter().all(|address| host.contains(address)), "{all:x?}");
            println!("round {round}: {all:x?}, {} bytes taken", rig.context.memory_taken());
            assert_eq!(rig.context.memory_taken(), (2 + 2 + 4 + 66) << 20);
            for address in all {
                rig.context.memory_free(address).expect("it was allocated");
            }
            assert_eq!(rig.context.memory_taken(), 2 << 20, "one empty chunk is kept");
        }
        drop(rig);
        let other = Reservation::new_anywhere(ARENA_RANGE_BYTES).expect("addresses");
        assert!(device.arena_set(&Arc::new(other)).is_err(), "memory lies in the first one");
    }

    /// The kernel driver clears what a process gives back; allocations are not cleared again.
    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn memory_of_another_process_does_not_show() {
        println!("{}", alone("gpu::leave_traces", "marked"));
        let mut rig = Rig::new();
        let stream = rig.context.stream_create(false, 0).expect("a stream");
        let staging = Arc::new(Region::create_shared("vgpu-test", PIECE).expect("memory").0);
        let mut pieces = 0;
        while let Ok(memory) = rig.context.memory_alloc(PIECE) {
            let destination = Place::Region(Arc::clone(&staging), 0);
            let copy = Work::Copy { destination, source: Place::Address(memory), bytes: PIECE };
            rig.context.submit(stream, copy).expect("the copy is accepted");
            rig.reach(stream);
            let mut read = vec![1; PIECE as usize];
            staging.read(0, &mut read).expect("in range");
            assert!(read.iter().all(|byte| *byte == 0), "piece {pieces} is not clear");
            pieces += 1;
        }
        println!("{pieces} pieces of {PIECE} bytes are clear");
        assert!(pieces > 0);
    }

    const PIECE: u64 = 1 << 30;

    /// Fills all memory, and ends. Runs as part of another test only.
    #[test]
    #[ignore = "needs an NVIDIA GPU"]
    fn leave_traces() {
        if std::env::var("VGPU_KERNEL").as_deref() != Ok("marked") {
            return;
        }
        let mut rig = Rig::new();
        let stream = rig.context.legacy_stream();
        while let Ok(destination) = rig.context.memory_alloc(PIECE) {
            let fill = Work::Memset { destination, value: 0xa5a5_a5a5, element_bytes: 4, count: PIECE / 4 };
            rig.context.submit(stream, fill).expect("the fill is accepted");
        }
        rig.reach(stream);
    }

    /// Free memory of the card, in bytes, to one MiB. Nothing else runs there.
    fn free_bytes() -> u64 {
        let query = ["--query-gpu=memory.free", "--format=csv,noheader,nounits", "--id=0"];
        let output = Command::new("nvidia-smi").args(query).output().expect("nvidia-smi is there");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse::<u64>().expect("a number of MiB") << 20
    }

    /// What a session pays for graphs is no less than what the driver takes for them: one behind the other, as captures
    /// are, and all side by side.
    #[test]
    #[ignore = "needs an NVIDIA GPU; prints what graphs cost"]
    fn graphs_cost_what_is_charged() {
        let mut rig = Rig::new();
        let stream = rig.context.stream_create(false, 0).expect("a stream");
        let function = rig.kernel(TINY, "empty");
        rig.launch(stream, function, &[]);
        rig.reach(stream);
        for (graphs, kernels, chained) in
            [(1, 1_000, true), (1, 10_000, true), (1, 1_000, false), (1, 10_000, false), (100, 10, true)]
        {
            let before = free_bytes();
            let keys: Vec<_> = (0..graphs).map(|_| kernel_graph(&rig, function, kernels, chained)).collect();
            let made = free_bytes();
            for graph in &keys {
                let launch = GraphLaunch { graph: *graph, events: Vec::new() };
                rig.context.submit(stream, Work::Graph(launch)).expect("the launch is accepted");
            }
            rig.reach(stream);
            let (taken, launched) = (before.saturating_sub(made), before.saturating_sub(free_bytes()));
            let charged = graphs * rig.device.graph_bytes(&kernel_plan(function, kernels, chained));
            keys.into_iter().for_each(|graph| rig.context.graph_destroy(graph));
            let left = before.saturating_sub(free_bytes());
            println!(
                "{graphs} graphs of {kernels} kernels, chained: {chained}: {taken} bytes, {launched} once launched, \
                 {charged} charged, {left} left behind"
            );
            // The smallest piece that the driver takes.
            assert!(taken.max(launched) <= charged + (2 << 20), "the charge is too small");
        }
    }

    fn kernel_graph(rig: &Rig, function: FunctionKey, kernels: usize, chained: bool) -> GraphKey {
        let plan = kernel_plan(function, kernels, chained);
        rig.context.graph_instantiate(plan, 0).expect("the graph is instantiated")
    }

    fn kernel_plan(function: FunctionKey, kernels: usize, chained: bool) -> GraphPlan {
        let last = if chained { kernels as u32 } else { 0 };
        GraphPlan {
            nodes: vec![NodeWork::Kernel(one_thread(function, &[])); kernels],
            edges: (1..last).map(|to| GraphEdge::plain(to - 1, to)).collect(),
        }
    }

    #[test]
    #[ignore = "needs an NVIDIA GPU; prints what calls cost"]
    fn latency() {
        let mut rig = Rig::new();
        let stream = rig.context.stream_create(false, 0).expect("a stream");
        let empty = rig.kernel(TINY, "empty");
        for (name, stream) in
            [("non-blocking stream", stream), ("legacy stream", rig.context.legacy_stream())]
        {
            println!("{name}");
            enqueue(&mut rig, stream, empty);
            round_trips(&mut rig, stream, empty);
        }
        transfers(&mut rig, stream);
    }

    fn enqueue(rig: &mut Rig, stream: StreamKey, empty: FunctionKey) {
        const BURST: u32 = 256;
        let mut each_ns = Vec::new();
        for _ in 0..40 {
            let start = Instant::now();
            for _ in 0..BURST {
                rig.launch(stream, empty, &[]);
            }
            each_ns.push(start.elapsed().as_nanos() as u64 / u64::from(BURST));
            rig.reach(stream);
        }
        report("launch, enqueue", each_ns);
    }

    fn round_trips(rig: &mut Rig, stream: StreamKey, empty: FunctionKey) {
        let mut each_ns = Vec::new();
        for _ in 0..2_000 {
            let start = Instant::now();
            rig.launch(stream, empty, &[]);
            rig.reach(stream);
            each_ns.push(start.elapsed().as_nanos() as u64);
        }
        report("launch + mark polled", each_ns);
        let mut each_ns = Vec::new();
        for _ in 0..500 {
            let start = Instant::now();
            rig.launch(stream, empty, &[]);
            rig.context.synchronize().expect("no fault");
            each_ns.push(start.elapsed().as_nanos() as u64);
        }
        report("launch + Context::synchronize", each_ns);
    }

    fn transfers(rig: &mut Rig, stream: StreamKey) {
        let staging = Arc::new(Region::create_shared("vgpu-test", 64 << 20).expect("memory").0);
        let memory = rig.context.memory_alloc(64 << 20).expect("memory");
        let host = Place::Region(Arc::clone(&staging), 0);
        let device = Place::Address(memory);
        for (name, destination, source, bytes, rounds) in [
            ("D2H 4 B", &host, &device, 4_u64, 2_000),
            ("H2D 4 B", &device, &host, 4, 2_000),
            ("H2D 64 MiB", &device, &host, 64 << 20, 20),
            ("D2H 64 MiB", &host, &device, 64 << 20, 20),
        ] {
            let mut each_ns = Vec::new();
            for _ in 0..rounds {
                let work = Work::Copy { destination: destination.clone(), source: source.clone(), bytes };
                let start = Instant::now();
                rig.context.submit(stream, work).expect("the copy is accepted");
                rig.reach(stream);
                each_ns.push(start.elapsed().as_nanos() as u64);
            }
            report(name, each_ns);
        }
        let mut each_ns = Vec::new();
        for _ in 0..50 {
            let start = Instant::now();
            let memory = rig.context.memory_alloc(2 << 20).expect("memory");
            rig.context.memory_free(memory).expect("it was allocated");
            each_ns.push(start.elapsed().as_nanos() as u64);
        }
        report("alloc + free 2 MiB", each_ns);
        assert!(!rig.device.description().name.is_empty());
    }

    fn report(what: &str, mut each_ns: Vec<u64>) {
        each_ns.sort_unstable();
        let at = |part: usize| each_ns[each_ns.len() * part / 100];
        println!("{what}: p50 {} ns, p99 {} ns, least {} ns, n {}", at(50), at(99), at(0), each_ns.len());
    }
}
