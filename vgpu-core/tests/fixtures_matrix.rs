//! Matrix instructions as NVIDIA's compiler emits them, against plain loops on the host.
//!
//! Floats are compared exactly: the order of the sums is a promise of the software GPU (`exec::matrix`).

mod support;

use support::{Array, Gpu, Seeded, Shape, line, plane};
use vgpu_core::device::soft::exec::{FaultKind, LoadError, Program};
use vgpu_core::device::soft::num::{HalfFormat, Rounding};
use vgpu_core::device::soft::ptx::PtxErrorKind;

/// Rows of `A`, columns of `B`, and what they have in common.
type Extents = [usize; 3];

/// `A * B + C`: `A` and `C` row-major, `B` column-major.
fn sums<E: Copy, S: Copy>(
    [m, n, k]: Extents,
    a: &[E],
    b: &[E],
    c: &[S],
    add: impl Fn(S, E, E) -> S,
) -> Vec<S> {
    let mut out = Vec::new();
    for row in 0..m {
        for column in 0..n {
            let mut sum = c[row * n + column];
            for i in 0..k {
                sum = add(sum, a[row * k + i], b[column * k + i]);
            }
            out.push(sum);
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Float {
    F16,
    Bf16,
    Tf32,
}

/// An array of `count` numbers of a small type, and their values.
fn small_floats(gpu: &Gpu, seeded: &mut Seeded, float: Float, count: usize) -> (Array, Vec<f32>) {
    let numbers = seeded.floats(count);
    let format = match float {
        Float::F16 => HalfFormat::F16,
        Float::Bf16 => HalfFormat::Bf16,
        // The low bits of the register hold something, which counts for nothing.
        Float::Tf32 => {
            let values = numbers.iter().map(|x| f32::from_bits(x.to_bits() & !0x1fff)).collect();
            return (gpu.array(&numbers), values);
        }
    };
    let bits: Vec<u16> = numbers.iter().map(|&x| format.round_f32(x, Rounding::Rn)).collect();
    (gpu.array(&bits), bits.iter().map(|&x| format.to_f32(x)).collect())
}

fn float_product(program: &str, name: &str, extents: Extents, float: Float) {
    let (gpu, mut seeded, [m, n, k]) = (Gpu::new(), Seeded(seed_of(extents)), extents);
    let program = gpu.fixture(program);
    let (da, a) = small_floats(&gpu, &mut seeded, float, m * k);
    let (db, b) = small_floats(&gpu, &mut seeded, float, k * n);
    let add = |sum: f32, a: f32, b: f32| a.mul_add(b, sum);
    if name.contains("f16_f16") {
        let (dc, c) = small_floats(&gpu, &mut seeded, Float::F16, m * n);
        let dd = gpu.zeros(2 * (m * n) as u64);
        gpu.ok(&program, name, &line(1, 32), &[&da, &db, &dc, &dd]);
        let expected: Vec<u16> = sums(extents, &a, &b, &c, add)
            .iter()
            .map(|&sum| HalfFormat::F16.round_f32(sum, Rounding::Rn))
            .collect();
        assert_eq!(dd.halves(), expected, "{name}");
        return;
    }
    let (c, dd) = (seeded.floats(m * n), gpu.zeros(4 * (m * n) as u64));
    gpu.ok(&program, name, &line(1, 32), &[&da, &db, &gpu.array(&c), &dd]);
    assert_eq!(dd.floats(), sums(extents, &a, &b, &c, add), "{name}");
}

/// Something different for each shape.
fn seed_of([m, n, k]: Extents) -> u64 {
    (m * 10_000 + n * 100 + k) as u64
}

#[test]
fn products_of_small_floats() {
    use Float::{Bf16, F16, Tf32};
    for (name, k, float) in [
        ("f32_f16_k8", 8, F16),
        ("f32_f16_k16", 16, F16),
        ("f16_f16_k8", 8, F16),
        ("f16_f16_k16", 16, F16),
        ("f32_bf16_k8", 8, Bf16),
        ("f32_bf16_k16", 16, Bf16),
        ("f32_tf32_k4", 4, Tf32),
        ("f32_tf32_k8", 8, Tf32),
    ] {
        float_product("matrix_mma", name, [16, 8, k], float);
    }
    for (name, extents, float) in [
        ("wmma_f32_f16", [16, 16, 16], F16),
        ("wmma_f32_f16_wide", [8, 32, 16], F16),
        ("wmma_f32_f16_tall", [32, 8, 16], F16),
        ("wmma_f16_f16", [16, 16, 16], F16),
        ("wmma_bf16", [16, 16, 16], Bf16),
        ("wmma_bf16_wide", [8, 32, 16], Bf16),
        ("wmma_tf32", [16, 16, 8], Tf32),
    ] {
        float_product("matrix_wmma", name, extents, float);
    }
}

#[test]
fn products_of_doubles() {
    let (gpu, mut seeded, extents) = (Gpu::new(), Seeded(2), [8, 8, 4]);
    let mut doubles = |count: usize| -> Vec<f64> {
        (0..count).map(|_| f64::from(seeded.unit()) * 3.0 - f64::from(seeded.unit()) / 7.0).collect()
    };
    let (a, b, c) = (doubles(32), doubles(32), doubles(64));
    let expected = sums(extents, &a, &b, &c, |sum, a, b| a.mul_add(b, sum));
    for (program, name) in [("matrix_mma", "f64_k4"), ("matrix_wmma", "wmma_f64")] {
        let (program, dd) = (gpu.fixture(program), gpu.zeros(512));
        gpu.ok(&program, name, &line(1, 32), &[&gpu.array(&a), &gpu.array(&b), &gpu.array(&c), &dd]);
        assert_eq!(dd.doubles(), expected, "{name}");
    }
}

#[test]
fn floats_become_tf32() {
    let (gpu, numbers) = (Gpu::new(), Seeded(6).floats(32));
    let out = gpu.zeros(128);
    let program = gpu.fixture("matrix_wmma");
    gpu.ok(&program, "round_to_tf32", &line(1, 32), &[&gpu.array(&numbers), &out]);
    // To the nearest, and away from zero where two are as near.
    let expected: Vec<u32> = numbers.iter().map(|x| (x.to_bits() + 0x1000) & !0x1fff).collect();
    assert_eq!(out.words(), expected);
}

/// `values` packed with `bits` bits each, the first one lowest.
fn packed(values: &[i64], bits: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; values.len() * bits / 8];
    for (at, value) in values.iter().enumerate() {
        bytes[at * bits / 8] |= ((value & ((1 << bits) - 1)) << (at * bits % 8)) as u8;
    }
    bytes
}

/// A product of integers. Types are the bits of an element, below 0 for signed ones.
fn integer_product(
    gpu: &Gpu,
    program: &Program,
    name: &str,
    extents: Extents,
    types: [i32; 2],
    add: fn(i64, i64, i64) -> i64,
) {
    let (mut seeded, [m, n, k]) = (Seeded(seed_of(extents)), extents);
    let mut elements = |ty: i32, count: usize| -> (Array, Vec<i64>) {
        let (bits, lowest) = (ty.unsigned_abs(), if ty < 0 { -(1 << (-ty - 1)) } else { 0 });
        let values: Vec<i64> = (0..count).map(|_| lowest + seeded.below(1 << bits) as i64).collect();
        (gpu.array(&packed(&values, bits as usize)), values)
    };
    let ((da, a), (db, b)) = (elements(types[0], m * k), elements(types[1], k * n));
    // Close to where 32 bits end, so that some sums go beyond.
    let c: Vec<i32> =
        (0..m * n).map(|at| if at % 2 == 0 { i32::MAX - at as i32 } else { at as i32 }).collect();
    let dd = gpu.zeros(4 * (m * n) as u64);
    gpu.ok(program, name, &line(1, 32), &[&da, &db, &gpu.array(&c), &dd]);
    let wide: Vec<i64> = c.iter().map(|&c| c.into()).collect();
    let end = |sum: i64| {
        if name.contains("satfinite") {
            sum.clamp(i32::MIN.into(), i32::MAX.into()) as i32
        } else {
            sum as i32
        }
    };
    let expected: Vec<i32> = sums(extents, &a, &b, &wide, add).into_iter().map(end).collect();
    assert_eq!(dd.ints(), expected, "{name}");
}

#[test]
fn products_of_integers() {
    let gpu = Gpu::new();
    let multiply = |sum: i64, a: i64, b: i64| sum + a * b;
    let program = gpu.fixture("matrix_mma");
    for (name, extents, types) in [
        ("s8_s8_m8", [8, 8, 16], [-8, -8]),
        ("s8_u8_k16", [16, 8, 16], [-8, 8]),
        ("u8_s8_k32", [16, 8, 32], [8, -8]),
        ("u8_u8_k32_satfinite", [16, 8, 32], [8, 8]),
        ("s4_s4_m8", [8, 8, 32], [-4, -4]),
        ("u4_s4_k32", [16, 8, 32], [4, -4]),
        ("s4_u4_k64", [16, 8, 64], [-4, 4]),
        ("and_k128", [16, 8, 128], [1, 1]),
    ] {
        integer_product(&gpu, &program, name, extents, types, multiply);
    }
    let differ = |sum: i64, a: i64, b: i64| sum + i64::from(a != b);
    integer_product(&gpu, &program, "xor_m8", [8, 8, 128], [1, 1], differ);
    integer_product(&gpu, &program, "xor_k256", [16, 8, 256], [1, 1], differ);
    let program = gpu.fixture("matrix_wmma");
    integer_product(&gpu, &program, "wmma_s4", [8, 8, 32], [-4, -4], multiply);
    integer_product(&gpu, &program, "wmma_u4", [8, 8, 32], [4, 4], multiply);
    integer_product(&gpu, &program, "xor_wmma", [8, 8, 128], [1, 1], differ);
    integer_product(&gpu, &program, "wmma_s8", [16, 16, 16], [-8, -8], multiply);
    integer_product(&gpu, &program, "wmma_u8_tall", [32, 8, 16], [8, 8], multiply);
}

#[test]
fn a_product_by_way_of_shared_memory() {
    let (gpu, mut seeded, [m, n, k]) = (Gpu::new(), Seeded(5), [32, 24, 48]);
    let program = gpu.fixture("matrix_tiles");
    let (da, a) = small_floats(&gpu, &mut seeded, Float::F16, m * k);
    let (db, b) = small_floats(&gpu, &mut seeded, Float::F16, k * n);
    let dc = gpu.zeros((4 * m * n) as u64);
    let shape = plane([n as u32 / 8, m as u32 / 16], [32, 1]);
    gpu.ok(&program, "matmul_mma", &shape, &[&da, &db, &dc, &(n as i32), &(k as i32)]);
    let columns: Vec<f32> = (0..k * n).map(|at| b[at % k * n + at / k]).collect();
    let expected = sums([m, n, k], &a, &columns, &vec![0.0; m * n], |sum, a: f32, b| a.mul_add(b, sum));
    assert_eq!(dc.floats(), expected);

    let (n, k) = (16, 48);
    let dc = gpu.zeros((4 * 16 * n) as u64);
    let program = gpu.fixture("matrix_wmma");
    gpu.ok(&program, "wmma_relu", &line(1, 32), &[&da, &db, &dc, &(k as i32)]);
    let columns: Vec<f32> = (0..k * n).map(|at| b[at % k * n + at / k]).collect();
    let sums = sums([16, n, k], &a[..16 * k], &columns, &[0.0; 256], |sum, a: f32, b| a.mul_add(b, sum));
    let expected: Vec<f32> = (0..256).map(|at| sums[at % 16 * n + at / 16].max(0.0) / 2.0).collect();
    assert_eq!(dc.floats(), expected);
}

#[test]
fn tiles_reach_the_lanes() {
    let gpu = Gpu::new();
    let program = gpu.fixture("matrix_tiles");
    // Element (row, column) of tile t is 64 * t + 8 * row + column.
    let tiles: Vec<u16> = (0..256).collect();
    let out = gpu.zeros(32 * 64);
    gpu.ok(&program, "load_tiles", &line(1, 32), &[&gpu.array(&tiles), &out]);
    let mut expected = Vec::new();
    for lane in 0..32u32 {
        let (line, pair) = (lane / 4, lane % 4 * 2);
        let element = |t: u32, row: u32, column: u32| 64 * t + 8 * row + column;
        let plain = |t: u32| element(t, line, pair) | element(t, line, pair + 1) << 16;
        let transposed = |t: u32| element(t, pair, line) | element(t, pair + 1, line) << 16;
        expected.extend([plain(0), transposed(0), transposed(0), transposed(1)]);
        expected.extend((0..4).map(plain).chain((0..4).map(transposed)).chain((0..4).map(plain)));
    }
    assert_eq!(out.words(), expected);

    let out = gpu.zeros(128);
    gpu.ok(&program, "transpose_tile", &line(1, 32), &[&gpu.array(&tiles[..64]), &out]);
    let expected: Vec<u16> = (0..64).map(|at| at % 8 * 8 + at / 8).collect();
    assert_eq!(out.halves(), expected);
}

/// A kernel `k(out)` in which `%r0` is the lane.
fn kernel(body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out) {{\n\
         .reg .b32 %r<16>; .reg .b64 %rd<8>; .reg .f64 %fd<32>; .reg .pred %p<4>; .shared .align 16 .b8 tile[512];\n\
         ld.param.u64 %rd0, [out]; mov.u32 %r0, %tid.x; setp.lt.u32 %p0, %r0, 16;\n{body}\nret;\n}}\n"
    )
}

fn fault(body: &str, shape: &Shape) -> (FaultKind, u64, [u32; 3]) {
    let gpu = Gpu::new();
    let program = gpu.load(&kernel(body)).expect("the kernel loads");
    let fault = gpu.run(&program, "k", shape, &[&0u64]).expect("the kernel faults");
    (fault.kind, fault.address, fault.thread)
}

const TRANSPOSE: &str = "movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r0;";
const LOAD: &str = "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r2, %r3, %r4, %r5}, [%r1];";

#[test]
fn all_lanes_must_come() {
    // A warp that never had all its lanes, one of which some have ended, and one of which some wait elsewhere.
    let illegal = FaultKind::IllegalInstruction;
    assert_eq!(fault(TRANSPOSE, &line(1, 48)), (illegal, 0, [32, 0, 0]));
    assert_eq!(fault(&format!("@%p0 exit; {TRANSPOSE}"), &line(1, 32)), (illegal, 0, [16, 0, 0]));
    let elsewhere = format!("@%p0 bra A; bar.sync 0; bra B; A: {TRANSPOSE} B: bar.sync 1;");
    assert_eq!(fault(&elsewhere, &line(1, 32)).0, FaultKind::BarrierDeadlock);
}

#[test]
fn lanes_come_by_copies_of_an_instruction() {
    let gpu = Gpu::new();
    let text = kernel(
        "mov.u32 %r4, %r0; @%p0 bra A;\nmovmatrix.sync.aligned.m8n8.trans.b16 %r1, %r0; bra B;\n\
         A: movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r4;\nB: mul.wide.u32 %rd1, %r0, 4;\n\
         add.u64 %rd1, %rd0, %rd1; st.global.u32 [%rd1], %r1;",
    );
    let out = gpu.zeros(128);
    gpu.ok(&gpu.load(&text).unwrap(), "k", &line(1, 32), &[&out]);
    // The low elements of a row hold the lane numbers, the high ones nothing.
    let expected: Vec<u32> = (0..32u32)
        .map(|lane| {
            let element =
                |row: u32, column: u32| if column.is_multiple_of(2) { 4 * row + column / 2 } else { 0 };
            let (line, pair) = (lane / 4, lane % 4 * 2);
            element(pair, line) | element(pair + 1, line) << 16
        })
        .collect();
    assert_eq!(out.words(), expected);
}

#[test]
fn addresses_of_tiles_are_checked() {
    let at = |formula: &str| format!("mov.u32 %r1, tile; {formula} {LOAD}");
    let misaligned = fault(&at("mad.lo.u32 %r1, %r0, 8, %r1;"), &line(1, 32));
    assert_eq!(misaligned, (FaultKind::MisalignedAddress, 8, [1, 0, 0]));
    let outside = fault(&at("mad.lo.u32 %r1, %r0, 32, %r1;"), &line(1, 32));
    assert_eq!(outside, (FaultKind::IllegalAddress, 512, [16, 0, 0]));
    let load = "wmma.load.c.sync.aligned.row.m8n8k4.shared.f64 {%fd0, %fd1}, [tile], %r1;";
    let outside = fault(&format!("mov.u32 %r1, 9; {load}"), &line(1, 32));
    assert!(outside.0 == FaultKind::IllegalAddress && outside.1 >= 512);
    let load = "wmma.load.c.sync.aligned.row.m8n8k4.global.f64 {%fd0, %fd1}, [%rd0], 8;";
    assert_eq!(fault(load, &line(1, 32)).0, FaultKind::IllegalAddress);
}

#[test]
fn what_compute_capability_8_0_lacks_is_refused() {
    let refusal = |body: &str| match Gpu::new().load(&kernel(body)) {
        Err(LoadError::Ptx(error)) => error.kind,
        other => panic!("{other:?}"),
    };
    for opcode in [
        "mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64",
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32",
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f16",
        "mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32",
        "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32",
        "mma.aligned.m16n8k16.row.col.f32.f16.f16.f32",
        "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.xor",
        "wmma.mma.sync.aligned.row.col.m8n8k64.s32.s4.s4.s32",
        "wmma.load.a.sync.aligned.col.m8n8k32.s4",
        "wmma.mma.sync.aligned.row.col.m16n16k99999999999999999999.f32.f32",
    ] {
        let kind = refusal(&format!("{opcode} {{%r0}}, {{%r0}}, {{%r0}}, {{%r0}};"));
        assert!(
            matches!(&kind, PtxErrorKind::UnsupportedOpcode(name) if name == opcode),
            "{opcode}: {kind:?}"
        );
    }
    let four = "{%r0, %r1, %r2, %r3}";
    let saturated = "mma.sync.aligned.m16n8k16.row.col.satfinite.f32.f16.f16.f32";
    let kind = refusal(&format!("{saturated} {four}, {four}, {{%r4, %r5}}, {four};"));
    assert!(matches!(&kind, PtxErrorKind::UnsupportedOpcode(name) if name == saturated), "{kind:?}");
    for body in [
        "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r0}, {%r0}, {%r0}, {%r0, %r1};",
        "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r0, %r1}, {%rd0, %r0}, {%r0}, {%r0, %r1};",
        "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%fd0, %fd1}, {%r0}, {%fd0}, {%fd0, %fd1};",
        "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r0}, [%r1];",
        "ldmatrix.sync.aligned.m8n8.x1.global.b16 {%r0}, [%r1];",
        "wmma.store.d.sync.aligned.row.m16n16k16.local.f32 [%rd0], {%r0}, %r1;",
    ] {
        assert!(matches!(refusal(body), PtxErrorKind::BadOperands { .. }), "{body}");
    }
}
