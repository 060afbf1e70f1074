//! Matrix instructions: every type and shape puts each element where the PTX ISA says.
//!
//! Devices may add in any order, so the elements are whole numbers so small that every sum is exact.

use super::rig::{Param, Rig, find, launch, launch_config};
use super::{Make, case_list};
use crate::device::soft::num::{HalfFormat, Rounding};
use crate::device::{LaunchConfig, Work};

const MATRIX_MMA: &str = include_str!("../../../fixtures/matrix_mma.ptx");
const MATRIX_TILES: &str = include_str!("../../../fixtures/matrix_tiles.ptx");
const MATRIX_WMMA: &str = include_str!("../../../fixtures/matrix_wmma.ptx");

case_list!(products_of_fragments, products_of_wmma, products_by_way_of_shared_memory, tiles_reach_the_lanes);

/// Type of a matrix's elements.
#[derive(Clone, Copy, Debug)]
enum Kind {
    F16,
    Bf16,
    /// Also `.tf32`, whose small whole numbers look the same.
    F32,
    F64,
    /// Of so many bits.
    Signed(usize),
    Unsigned(usize),
}

impl Kind {
    fn bits(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 16,
            Self::F32 => 32,
            Self::F64 => 64,
            Self::Signed(bits) | Self::Unsigned(bits) => bits,
        }
    }

    fn encode(self, value: i16) -> u64 {
        match self {
            Self::F16 => HalfFormat::F16.round_f32(value.into(), Rounding::Rn).into(),
            Self::Bf16 => HalfFormat::Bf16.round_f32(value.into(), Rounding::Rn).into(),
            Self::F32 => f32::from(value).to_bits().into(),
            Self::F64 => f64::from(value).to_bits(),
            Self::Signed(bits) | Self::Unsigned(bits) => {
                i64::from(value).cast_unsigned() & (u64::MAX >> (64 - bits))
            }
        }
    }

    /// `values` in memory, packed from the low bits up.
    fn pack(self, values: &[i16]) -> Vec<u8> {
        let mut bytes = vec![0; values.len() * self.bits() / 8];
        for (at, &value) in values.iter().enumerate() {
            let (first, shift) = (at * self.bits() / 8, at * self.bits() % 8);
            let encoded = (self.encode(value) << shift).to_le_bytes();
            bytes[first..].iter_mut().zip(&encoded[..self.bits().div_ceil(8)]).for_each(|(b, e)| *b |= e);
        }
        bytes
    }

    /// Numbers that differ from place to place.
    fn numbers(self, count: usize, salt: usize) -> Vec<i16> {
        let (lowest, span) = match self {
            Self::Unsigned(1) => (0, 2),
            Self::Unsigned(_) => (0, 7),
            _ => (-3, 7),
        };
        (0..count).map(|at| lowest + ((at * at + at / 3 + salt) % span) as i16).collect()
    }
}

/// Rows of `A`, columns of `B`, and what they have in common.
type Extents = [usize; 3];

/// `A * B + C` with `A` and `C` row-major and `B` column-major.
fn product([m, n, k]: Extents, a: &[i16], b: &[i16], c: &[i16], pair: fn(i16, i16) -> i16) -> Vec<i16> {
    let element = |at: usize| {
        let (row, column) = (at / n, at % n);
        c[at] + (0..k).map(|i| pair(a[row * k + i], b[column * k + i])).sum::<i16>()
    };
    (0..m * n).map(element).collect()
}

/// Runs kernels `name(a, b, c, d)` of a module.
fn check(make: &Make, ptx: &str, kernels: &[(&str, Extents, [Kind; 3])]) {
    let rig = Rig::new(make);
    let (module, stream) = (rig.load(ptx), rig.stream());
    let [da, db, dc, dd] = [(); 4].map(|()| rig.alloc(4096));
    for &(name, extents, [ka, kb, kc]) in kernels {
        let [m, n, k] = extents;
        let (a, b, c) = (ka.numbers(m * k, 1), kb.numbers(k * n, 2), kc.numbers(m * n, 3));
        rig.upload(da, &ka.pack(&a));
        rig.upload(db, &kb.pack(&b));
        rig.upload(dc, &kc.pack(&c));
        let params = [da, db, dc, dd].map(Param::Address);
        rig.submit(stream, launch(find(&module, name), 1, 32, &params));
        rig.wait(stream);
        let pair = if name.starts_with("xor") { |a, b| a ^ b } else { |a, b| a * b };
        let expected = kc.pack(&product(extents, &a, &b, &c, pair));
        assert_eq!(rig.download(dd, expected.len()), expected, "{name}");
    }
}

fn products_of_fragments(make: &Make) {
    use Kind::{Bf16, F16, F32, F64, Signed, Unsigned};
    const SUM: Kind = Signed(32);
    check(
        make,
        MATRIX_MMA,
        &[
            ("f32_f16_k8", [16, 8, 8], [F16, F16, F32]),
            ("f32_f16_k16", [16, 8, 16], [F16, F16, F32]),
            ("f16_f16_k8", [16, 8, 8], [F16, F16, F16]),
            ("f16_f16_k16", [16, 8, 16], [F16, F16, F16]),
            ("f32_bf16_k8", [16, 8, 8], [Bf16, Bf16, F32]),
            ("f32_bf16_k16", [16, 8, 16], [Bf16, Bf16, F32]),
            ("f32_tf32_k4", [16, 8, 4], [F32, F32, F32]),
            ("f32_tf32_k8", [16, 8, 8], [F32, F32, F32]),
            ("f64_k4", [8, 8, 4], [F64, F64, F64]),
            ("s8_s8_m8", [8, 8, 16], [Signed(8), Signed(8), SUM]),
            ("s8_u8_k16", [16, 8, 16], [Signed(8), Unsigned(8), SUM]),
            ("u8_s8_k32", [16, 8, 32], [Unsigned(8), Signed(8), SUM]),
            ("u8_u8_k32_satfinite", [16, 8, 32], [Unsigned(8), Unsigned(8), SUM]),
            ("s4_s4_m8", [8, 8, 32], [Signed(4), Signed(4), SUM]),
            ("u4_s4_k32", [16, 8, 32], [Unsigned(4), Signed(4), SUM]),
            ("s4_u4_k64", [16, 8, 64], [Signed(4), Unsigned(4), SUM]),
            ("xor_m8", [8, 8, 128], [Unsigned(1), Unsigned(1), SUM]),
            ("and_k128", [16, 8, 128], [Unsigned(1), Unsigned(1), SUM]),
            ("xor_k256", [16, 8, 256], [Unsigned(1), Unsigned(1), SUM]),
        ],
    );
}

fn products_of_wmma(make: &Make) {
    use Kind::{Bf16, F16, F32, F64, Signed, Unsigned};
    check(
        make,
        MATRIX_WMMA,
        &[
            ("wmma_f32_f16", [16, 16, 16], [F16, F16, F32]),
            ("wmma_f32_f16_wide", [8, 32, 16], [F16, F16, F32]),
            ("wmma_f32_f16_tall", [32, 8, 16], [F16, F16, F32]),
            ("wmma_f16_f16", [16, 16, 16], [F16, F16, F16]),
            ("wmma_bf16", [16, 16, 16], [Bf16, Bf16, F32]),
            ("wmma_bf16_wide", [8, 32, 16], [Bf16, Bf16, F32]),
            ("wmma_tf32", [16, 16, 8], [F32, F32, F32]),
            ("wmma_f64", [8, 8, 4], [F64, F64, F64]),
            ("wmma_s8", [16, 16, 16], [Signed(8), Signed(8), Signed(32)]),
            ("wmma_s4", [8, 8, 32], [Signed(4), Signed(4), Signed(32)]),
            ("wmma_u4", [8, 8, 32], [Unsigned(4), Unsigned(4), Signed(32)]),
            ("xor_wmma", [8, 8, 128], [Unsigned(1), Unsigned(1), Signed(32)]),
            ("wmma_u8_tall", [32, 8, 16], [Unsigned(8), Unsigned(8), Signed(32)]),
        ],
    );
}

fn products_by_way_of_shared_memory(make: &Make) {
    let rig = Rig::new(make);
    let [m, n, k] = [32, 16, 48];
    let (a, b) = (Kind::F16.numbers(m * k, 1), Kind::F16.numbers(k * n, 2));
    let [da, db, dc] = [(); 3].map(|()| rig.alloc(4096));
    rig.upload(da, &Kind::F16.pack(&a));
    rig.upload(db, &Kind::F16.pack(&b));
    let columns: Vec<i16> = (0..k * n).map(|at| b[at % k * n + at / k]).collect();
    let expected = product([m, n, k], &a, &columns, &vec![0; m * n], |a, b| a * b);
    let params =
        [Param::Address(da), Param::Address(db), Param::Address(dc), Param::Word(16), Param::Word(48)];
    let config = launch_config(rig.kernel(MATRIX_TILES, "matmul_mma"), 2, 32, &params);
    rig.submit(rig.stream(), Work::Launch(LaunchConfig { grid: [2, 2, 1], ..config }));
    rig.synchronize();
    let expected = Kind::F32.pack(&expected);
    assert_eq!(rig.download(dc, expected.len()), expected);

    // The same by wmma: the first 16 rows, halved where they are above 0, and by columns.
    let product = product([16, n, k], &a[..16 * k], &columns, &[0; 256], |a, b| a * b);
    let expected = (0..256).map(|at| f32::from(product[at % 16 * n + at / 16].max(0)) / 2.0);
    let expected: Vec<u32> = expected.map(f32::to_bits).collect();
    let params = [Param::Address(da), Param::Address(db), Param::Address(dc), Param::Word(48)];
    rig.submit(rig.stream(), launch(rig.kernel(MATRIX_WMMA, "wmma_relu"), 1, 32, &params));
    rig.synchronize();
    assert_eq!(rig.download_words(dc, 256), expected);
}

fn tiles_reach_the_lanes(make: &Make) {
    let rig = Rig::new(make);
    let (input, out) = (rig.alloc(512), rig.alloc(2048));
    // Element (row, column) of tile t is 64 * t + 8 * row + column.
    let words: Vec<u32> = (0..128).map(|word| (2 * word) | (2 * word + 1) << 16).collect();
    rig.upload_words(input, &words);
    let (module, params) = (rig.load(MATRIX_TILES), [Param::Address(input), Param::Address(out)]);
    rig.submit(rig.stream(), launch(find(&module, "load_tiles"), 1, 32, &params));
    rig.synchronize();
    let element = |tile: u32, row: u32, column: u32| 64 * tile + 8 * row + column;
    let mut expected = Vec::new();
    for lane in 0..32_u32 {
        let (line, pair) = (lane / 4, lane % 4 * 2);
        let plain = |t: u32| element(t, line, pair) | element(t, line, pair + 1) << 16;
        let transposed = |t: u32| element(t, pair, line) | element(t, pair + 1, line) << 16;
        expected.extend([plain(0), transposed(0), transposed(0), transposed(1)]);
        expected.extend((0..4).map(plain).chain((0..4).map(transposed)).chain((0..4).map(plain)));
    }
    assert_eq!(rig.download_words(out, 512), expected);

    rig.submit(rig.stream(), launch(find(&module, "transpose_tile"), 1, 32, &params));
    rig.synchronize();
    let transposed = (0..32).map(|word| (word % 4 * 2, word / 4));
    let expected: Vec<u32> =
        transposed.map(|(row, column)| element(0, row, column) | element(0, row + 1, column) << 16).collect();
    assert_eq!(rig.download_words(out, 32), expected);
}
