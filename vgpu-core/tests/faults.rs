//! What kernels do wrong, how lanes wait for one another, and what the PTX loader refuses.

mod support;

use std::time::{Duration, Instant};

use support::{Gpu, line};
use vgpu_core::device::soft::exec::{FaultKind, Launch, LaunchError, LoadError, Progress};
use vgpu_core::device::soft::ptx::PtxErrorKind;

const HEADER: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

/// A kernel `k(out)` with some registers declared and `out` loaded to `%rd0`.
fn kernel(body: &str) -> String {
    format!(
        "{HEADER}.visible .entry k(.param .u64 out) {{\n.reg .b32 %r<16>; .reg .b64 %rd<8>; .reg .pred %p<4>;\n\
         ld.param.u64 %rd0, [out];\n{body}\nret;\n}}\n"
    )
}

#[test]
fn wild_accesses_stop_the_grid_and_are_named() {
    let gpu = Gpu::new();
    let program = gpu.fixture("wild_access");
    let array = gpu.zeros(64);

    for address in [8u64, array.address + 64, array.address - 4, 1 << 59, 1 << 60, 7 << 60, u64::MAX - 3] {
        let fault = gpu.run(&program, "write_anywhere", &line(2, 64), &[&address, &1i32]).unwrap();
        assert_eq!((fault.kind, fault.address), (FaultKind::IllegalAddress, address));
        assert_eq!((fault.kernel.as_str(), fault.kind.cuda_error()), ("write_anywhere", 700));
        assert!(fault.line > 10);
        let fault = gpu.run(&program, "read_anywhere", &line(1, 1), &[&address, &array]).unwrap();
        assert_eq!(fault.kind, FaultKind::IllegalAddress);
    }
    let fault = gpu.run(&program, "null_write", &line(1, 1), &[&gpu.zeros(8)]).unwrap();
    assert_eq!((fault.kind, fault.address), (FaultKind::IllegalAddress, 0));

    let fault = gpu.run(&program, "misaligned_write", &line(1, 1), &[&array, &2i32]).unwrap();
    assert_eq!((fault.kind.cuda_error(), fault.address), (716, array.address + 2));

    let fault = gpu.run(&program, "shared_overrun", &line(1, 32), &[&array, &0i32]).unwrap();
    assert_eq!((fault.kind, fault.address), (FaultKind::IllegalAddress, 128));

    let fault = gpu.run(&program, "trap_now", &line(1, 1), &[]).unwrap();
    assert_eq!((fault.kind, fault.kind.cuda_error()), (FaultKind::Trap, 719));
    assert!(gpu.run(&program, "write_anywhere", &line(1, 1), &[&array, &5i32]).is_none());
}

#[test]
fn a_fault_names_block_and_thread() {
    let gpu = Gpu::new();
    let program = gpu
        .load(&kernel(
            "mov.u32 %r0, %tid.y; mov.u32 %r1, %ctaid.x;\nsetp.ne.u32 %p0, %r0, 3; setp.ne.u32 %p1, %r1, 2;\n\
             or.pred %p0, %p0, %p1;\n@!%p0 st.global.u32 [12], %r0;",
        ))
        .unwrap();
    let shape = support::Shape { block: [8, 8, 1], ..line(4, 1) };
    let fault = gpu.run(&program, "k", &shape, &[&0u64]).unwrap();
    assert_eq!((fault.block, fault.thread, fault.line), ([2, 0, 0], [0, 3, 0], 10));
}

#[test]
fn memory_freed_before_the_launch_is_gone() {
    let gpu = Gpu::new();
    let program = gpu.fixture("wild_access");
    let array = gpu.zeros(64);
    gpu.ok(&program, "write_anywhere", &line(1, 1), &[&array, &1i32]);
    gpu.memory.remove(array.address);
    let fault = gpu.run(&program, "write_anywhere", &line(1, 1), &[&array, &1i32]).unwrap();
    assert_eq!(fault.kind, FaultKind::IllegalAddress);
}

#[test]
fn assertions_and_printf() {
    let gpu = Gpu::new();
    let program = gpu.fixture("printf_assert");
    let values = gpu.array(&[0.5f32, -1.25, 100.0]);
    gpu.ok(&program, "print_values", &line(1, 32), &[&values, &3i32]);
    gpu.ok(&program, "print_plain", &line(1, 1), &[]);
    assert_eq!(
        gpu.text(),
        "thread 0 of print_values: 0.500000, twice 1.000e+00, square 0, a %\n\
         thread 1 of print_values: -1.250000, twice -2.500e+00, square 1, b %\n\
         thread 2 of print_values: 100.000000, twice 2.000e+02, square 4, c %\nno arguments\n"
    );
    let values = gpu.array(&[1i32, 2, 30]);
    assert!(gpu.run(&program, "assert_below", &line(1, 32), &[&values, &40i32, &3i32]).is_none());
    let fault = gpu.run(&program, "assert_below", &line(1, 32), &[&values, &10i32, &3i32]).unwrap();
    assert_eq!((fault.kind.cuda_error(), fault.thread), (710, [2, 0, 0]));
    assert!(gpu.text().contains("Assertion `values[i] < limit` failed."));
}

#[test]
fn endless_kernels_stop_when_told() {
    let gpu = Gpu::new();
    let program = gpu.fixture("endless");
    let (stop, rounds) = (gpu.zeros(4), gpu.zeros(8));
    let grid = gpu.grid(&program, "endless", &line(2, 64), &[&stop, &rounds]);
    assert_eq!(grid.run(100_000), Progress::More);
    stop.region.write(0, &[1]).unwrap();
    support::drive(&grid);
    assert!(grid.fault().is_none() && rounds.longs()[0] > 0);

    let grid = gpu.grid(&program, "endless_unconditional", &line(1, 1), &[&stop]);
    std::thread::scope(|scope| {
        let runner = scope.spawn(|| while grid.run(1000) != Progress::Finished {});
        grid.stop();
        runner.join().unwrap();
    });
}

#[test]
fn clocks_go_forward() {
    let gpu = Gpu::new();
    let program = gpu.fixture("timer");
    let out = gpu.zeros(24);
    gpu.ok(&program, "timer", &line(1, 1), &[&out, &1000u32]);
    assert!(out.longs()[0] > 0 && out.longs()[1] < 20_000_000_000);
    let start = Instant::now();
    gpu.ok(&program, "spin_cycles", &line(1, 1), &[&2_000_000i64]);
    assert!(start.elapsed() >= Duration::from_millis(2));
    let out = gpu.zeros(24);
    gpu.ok(&program, "special_registers", &support::line_shared(1, 48, 96), &[&out]);
    assert_eq!(out.words()[1..], [1, 15, 0x7fff, 1, 96]);
}

#[test]
fn lanes_of_a_warp_take_turns_both_ways() {
    let gpu = Gpu::new();
    // Lane 31 waits for lane 0 at a lower address in the code, then lane 0 for lane 31 at a higher one.
    let program = gpu
        .load(&kernel(
            "mov.u32 %r0, %laneid; setp.eq.u32 %p0, %r0, 0;\n@%p0 bra FIRST;\n\
             A: ld.volatile.global.u32 %r1, [%rd0]; setp.ne.u32 %p1, %r1, 1; @%p1 bra A;\n\
             st.volatile.global.u32 [%rd0+4], 2; bra DONE;\n\
             FIRST: st.volatile.global.u32 [%rd0], 1;\n\
             B: ld.volatile.global.u32 %r1, [%rd0+4]; setp.ne.u32 %p1, %r1, 2; @%p1 bra B;\n\
             DONE: bar.warp.sync -1; st.global.u32 [%rd0+8], 3;",
        ))
        .unwrap();
    let out = gpu.zeros(12);
    gpu.ok(&program, "k", &line(1, 32), &[&out]);
    assert_eq!(out.words(), [1, 2, 3]);
}

#[test]
fn one_block_waits_for_a_later_one() {
    let gpu = Gpu::new();
    let program = gpu
        .load(&kernel(
            "mov.u32 %r0, %ctaid.x; mov.u32 %r2, %nctaid.x; sub.u32 %r2, %r2, 1;\n\
             setp.eq.u32 %p0, %r0, %r2; @%p0 st.volatile.global.u32 [%rd0], 1;\n\
             A: ld.volatile.global.u32 %r1, [%rd0]; setp.eq.u32 %p1, %r1, 0; @%p1 bra A;",
        ))
        .unwrap();
    gpu.ok(&program, "k", &line(100, 32), &[&gpu.zeros(4)]);
}

#[test]
fn barriers_count_threads() {
    let gpu = Gpu::new();
    // Warp 0 waits at barrier 1 for warp 1, which only arrives there; then all meet at barrier 0.
    let program = gpu
        .load(&kernel(
            "mov.u32 %r0, %tid.x; setp.lt.u32 %p0, %r0, 32;\n@%p0 bra WAIT;\n\
             st.volatile.global.u32 [%rd0], 7; bar.arrive 1, 64; bra MEET;\n\
             WAIT: bar.sync 1, 64; ld.volatile.global.u32 %r1, [%rd0]; st.volatile.global.u32 [%rd0+4], %r1;\n\
             MEET: bar.sync 0;",
        ))
        .unwrap();
    let out = gpu.zeros(8);
    gpu.ok(&program, "k", &line(1, 64), &[&out]);
    assert_eq!(out.words(), [7, 7]);
}

#[test]
fn threads_that_ended_do_not_hold_up_a_barrier() {
    let gpu = Gpu::new();
    let program = gpu
        .load(&kernel(
            "mov.u32 %r0, %tid.x; setp.gt.u32 %p0, %r0, 40; @%p0 exit; bar.sync 0;\n\
             atom.global.add.u32 %r1, [%rd0], 1;",
        ))
        .unwrap();
    let out = gpu.zeros(4);
    gpu.ok(&program, "k", &line(1, 96), &[&out]);
    assert_eq!(out.words(), [41]);
}

#[test]
fn misused_barriers_are_faults() {
    let gpu = Gpu::new();
    let misuse =
        |body: &str| gpu.run(&gpu.load(&kernel(body)).unwrap(), "k", &line(1, 64), &[&0u64]).unwrap();
    // Half of the block waits at one barrier, half at another, for ever.
    let parted = misuse(
        "mov.u32 %r0, %tid.x; setp.lt.u32 %p0, %r0, 32; @%p0 bra A; bar.sync 1; bra B; A: bar.sync 2; B:",
    );
    assert_eq!((parted.kind, parted.kind.cuda_error()), (FaultKind::BarrierDeadlock, 719));
    assert_eq!(misuse("mov.u32 %r0, 16; bar.sync %r0;").kind, FaultKind::IllegalInstruction);
    assert_eq!(misuse("bar.sync 0, 33;").kind, FaultKind::IllegalInstruction);
    let half = misuse(
        "mov.u32 %r0, %laneid; setp.lt.u32 %p0, %r0, 16; @%p0 bra A; bar.sync 0; ret; A: bar.warp.sync -1;",
    );
    assert_eq!(half.kind, FaultKind::BarrierDeadlock);
}

#[test]
fn endless_recursion_overflows_the_stack() {
    let gpu = Gpu::new();
    let text = format!(
        "{HEADER}.func f() {{ call f; ret; }}\n.entry k() {{ call f; ret; }}\n\
         .func g() {{ .local .b8 x[65536]; call g; ret; }}\n.entry l() {{ call g; ret; }}"
    );
    let program = gpu.load(&text).unwrap();
    for name in ["k", "l"] {
        assert_eq!(gpu.run(&program, name, &line(1, 1), &[]).unwrap().kind, FaultKind::StackOverflow);
    }
}

#[test]
fn indirect_jumps_stay_inside() {
    let gpu = Gpu::new();
    let table = "mov.u32 %r0, %laneid; T: .branchtargets A, B; brx.idx %r0, T;\n\
                 A: st.global.u32 [%rd0], 1; ret; B: st.global.u32 [%rd0+4], 2; ret;";
    let program = gpu.load(&kernel(table)).unwrap();
    let out = gpu.zeros(8);
    gpu.ok(&program, "k", &line(1, 2), &[&out]);
    assert_eq!(out.words(), [1, 2]);
    assert_eq!(gpu.run(&program, "k", &line(1, 3), &[&out]).unwrap().kind, FaultKind::InvalidPc);

    let call = "P: .callprototype _ (); mov.b64 %rd1, 5; call %rd1, P;";
    let program = gpu.load(&kernel(call)).unwrap();
    assert_eq!(gpu.run(&program, "k", &line(1, 1), &[&out]).unwrap().kind.cuda_error(), 718);
}

#[test]
fn what_is_not_supported_names_itself_and_its_line() {
    let gpu = Gpu::new();
    let refused = |body: &str| match gpu.load(&kernel(body)) {
        Err(LoadError::Ptx(error)) => (error.line, error.kind),
        other => panic!("{body}: {other:?}"),
    };
    let unsupported = |name: &str| PtxErrorKind::UnsupportedOpcode(name.into());
    assert_eq!(refused("\nwgmma.fence.sync.aligned;"), (8, unsupported("wgmma.fence.sync.aligned")));
    assert_eq!(refused("add.rn.s32 %r0, %r1, %r2;"), (7, unsupported("add.rn.s32")));
    assert_eq!(refused("ld.global.strange.u32 %r0, [%rd0];"), (7, unsupported("ld.global.strange.u32")));
    assert!(matches!(refused("add.s32 %r0, %r1;").1, PtxErrorKind::BadOperands { .. }));
    assert!(matches!(refused("add.s64 %r0, %rd1, %rd2;").1, PtxErrorKind::BadOperands { .. }));
    assert!(matches!(refused("mov.u32 %r0, %rd0, %r1;").1, PtxErrorKind::BadOperands { .. }));
    let text = format!(
        "{HEADER}.extern .func (.param .b32 r) mystery ();\n.entry k() {{\n.param .b32 x;\ncall (x), mystery;\n}}"
    );
    match gpu.load(&text) {
        Err(LoadError::Ptx(error)) => {
            assert_eq!(error.line, 7);
            assert!(error.to_string().contains("mystery"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn launches_are_checked() {
    let gpu = Gpu::new();
    let text = format!(
        "{HEADER}.entry k(.param .u32 a) .maxntid 64, 1, 1 {{ ret; }}\n.entry r() .reqntid 8, 2 {{ ret; }}"
    );
    let program = gpu.load(&text).unwrap();
    let launch = |name: &str, grid, block, dynamic_shared_bytes, params: usize, cooperative| {
        let kernel = program.kernel(name).unwrap();
        let params = vec![0; params].into();
        let launch = Launch { kernel, grid, block, dynamic_shared_bytes, params, cooperative };
        vgpu_core::device::soft::exec::Grid::new(launch, gpu.env()).map(|_| ())
    };
    let one = [1, 1, 1];
    assert_eq!(launch("k", one, [64, 1, 1], 0, 4, false), Ok(()));
    assert!(matches!(launch("k", [0, 1, 1], one, 0, 4, false), Err(LaunchError::Shape { .. })));
    assert!(matches!(launch("k", [1, 65536, 1], one, 0, 4, false), Err(LaunchError::Shape { .. })));
    assert!(matches!(launch("k", one, [64, 64, 1], 0, 4, false), Err(LaunchError::Shape { .. })));
    assert!(matches!(
        launch("k", one, [65, 1, 1], 0, 4, false),
        Err(LaunchError::ThreadsPerBlock { max: 64, .. })
    ));
    assert!(matches!(launch("r", one, [16, 1, 1], 0, 0, false), Err(LaunchError::ThreadsPerBlock { .. })));
    assert_eq!(launch("r", one, [8, 2, 1], 0, 0, false), Ok(()));
    assert!(matches!(launch("k", one, one, 200_000, 4, false), Err(LaunchError::SharedMemory { .. })));
    assert!(matches!(launch("k", one, one, 0, 3, false), Err(LaunchError::Params { expected: 4, found: 3 })));
    assert!(matches!(
        launch("k", [4096, 1, 1], one, 0, 4, true),
        Err(LaunchError::CooperativeTooLarge { .. })
    ));
}

#[test]
fn generic_addresses_reach_every_space() {
    let gpu = Gpu::new();
    // Even lanes write to shared, odd ones to local memory, through one generic store.
    let program = gpu
        .load(&kernel(
            ".shared .align 8 .b8 s[256]; .local .align 8 .b8 l[8];\nmov.u32 %r0, %laneid; mul.wide.u32 %rd1, %r0, 8;\n\
             mov.u64 %rd2, s; cvta.shared.u64 %rd2, %rd2; add.u64 %rd2, %rd2, %rd1;\n\
             mov.u64 %rd3, l; cvta.local.u64 %rd3, %rd3;\nand.b32 %r1, %r0, 1; setp.eq.u32 %p0, %r1, 1;\n\
             selp.b64 %rd4, %rd3, %rd2, %p0;\nst.u32 [%rd4], %r0; st.u8 [%rd4+4], 9; ld.u32 %r2, [%rd4]; ld.s8 %r3, [%rd4+4];\n\
             isspacep.local %p1, %rd4; selp.u32 %r4, 100, 0, %p1;\n\
             add.u32 %r2, %r2, %r3; add.u32 %r2, %r2, %r4; mul.wide.u32 %rd1, %r0, 4; add.u64 %rd0, %rd0, %rd1;\n\
             st.u32 [%rd0], %r2;",
        ))
        .unwrap();
    let out = gpu.zeros(128);
    gpu.ok(&program, "k", &line(1, 32), &[&out]);
    assert_eq!(out.words(), (0..32).map(|i| i + 9 + 100 * (i % 2)).collect::<Vec<_>>());
}

#[test]
fn asynchronous_copies_land_before_their_wait() {
    let gpu = Gpu::new();
    let program = gpu
        .load(&kernel(
            ".shared .align 16 .b8 s[512]; mov.u32 %r0, %laneid; shl.b32 %r1, %r0, 4; mov.u32 %r2, s;\n\
             add.u32 %r2, %r2, %r1; cvt.u64.u32 %rd1, %r1; add.u64 %rd1, %rd0, %rd1; and.b32 %r3, %r0, 1;\n\
             shl.b32 %r3, %r3, 3; cp.async.cg.shared.global [%r2], [%rd1], 16, %r3;\n\
             cp.async.commit_group; cp.async.wait_group 0;\n\
             ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r2]; st.global.v4.u32 [%rd1+512], {%r4, %r5, %r6, %r7};",
        ))
        .unwrap();
    let values: Vec<u32> = (1..=128).chain(std::iter::repeat_n(9, 128)).collect();
    let array = gpu.array(&values);
    gpu.ok(&program, "k", &line(1, 32), &[&array]);
    // Odd lanes copy 8 of their 16 bytes, even ones none.
    let copied = |at: usize| if at / 4 % 2 == 1 && at % 4 < 2 { values[at] } else { 0 };
    assert_eq!(array.words()[128..], (0..128).map(copied).collect::<Vec<_>>());
}
