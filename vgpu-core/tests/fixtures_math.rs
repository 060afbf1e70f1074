//! Arithmetic, calls, votes and module variables as NVIDIA's compiler emits them.

mod support;

use support::{Bytes, Gpu, Seeded, line};
use vgpu_core::device::soft::num::HalfFormat;

#[test]
fn divisions() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(1), 200usize);
    let program = gpu.fixture("int_math");
    let odd = |x: i64| if x == 0 { 3 } else { x };
    let a: Vec<i64> = (0..n).map(|i| seeded.next() as i64 >> (i % 60)).collect();
    let b: Vec<i64> = (0..n).map(|i| odd(seeded.next() as i64 >> (i % 61))).collect();
    let out = gpu.zeros(32 * n as u64);
    gpu.ok(&program, "divide_64", &line(2, 128), &[&gpu.array(&a), &gpu.array(&b), &out, &(n as i32)]);
    let expected: Vec<u64> = a
        .iter()
        .zip(&b)
        .flat_map(|(&a, &b)| {
            let (x, y) = (a as u64, b as u64);
            [a.wrapping_div(b) as u64, a.wrapping_rem(b) as u64, x / y, x % y]
        })
        .collect();
    assert_eq!(out.longs(), expected);

    let a: Vec<i32> = a.iter().map(|&x| x as i32).collect();
    let b: Vec<i32> = b.iter().map(|&x| odd(i64::from(x as i32)) as i32).collect();
    let out = gpu.zeros(16 * n as u64);
    gpu.ok(&program, "divide_32", &line(2, 128), &[&gpu.array(&a), &gpu.array(&b), &out, &(n as i32)]);
    let expected: Vec<u32> = a
        .iter()
        .zip(&b)
        .flat_map(|(&a, &b)| {
            let (x, y) = (a as u32, b as u32);
            [a.wrapping_div(b) as u32, a.wrapping_rem(b) as u32, x / y, x % y]
        })
        .collect();
    assert_eq!(out.words(), expected);
}

#[test]
fn bit_operations() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(2), 100usize);
    let program = gpu.fixture("int_math");
    let (a, b) = (seeded.words(n), seeded.words(n));
    let out = gpu.zeros(32 * n as u64);
    gpu.ok(&program, "bit_operations", &line(1, 128), &[&gpu.array(&a), &gpu.array(&b), &out, &(n as i32)]);
    let expected = |a: u32, b: u32| {
        let both = u64::from(b) << 32 | u64::from(a);
        let left = ((both << (b & 31)) >> 32) as u32;
        let right = (both >> (b & 63).min(32)) as u32;
        let bytes = both.to_le_bytes();
        // Selector 0x5173: result bytes from the lowest are bytes 3, 7, 1 and 5 of b:a.
        let picked = u32::from_le_bytes([bytes[3], bytes[7], bytes[1], bytes[5]]);
        let ffs = if a == 0 { 0 } else { a.trailing_zeros() + 1 };
        let logic = (a & b) ^ (!a | (b >> 3));
        [a.count_ones(), a.leading_zeros(), ffs, a.reverse_bits(), left, right, picked, logic]
    };
    let all: Vec<u32> = a.iter().zip(&b).flat_map(|(&a, &b)| expected(a, b)).collect();
    assert_eq!(out.words(), all);

    let (a, b): (Vec<i64>, Vec<i64>) = (0..n).map(|_| (seeded.next() as i64, seeded.next() as i64)).unzip();
    let out = gpu.zeros(32 * n as u64);
    gpu.ok(
        &program,
        "bit_operations_64",
        &line(1, 128),
        &[&gpu.array(&a), &gpu.array(&b), &out, &(n as i32)],
    );
    let expected = |a: i64, b: i64| {
        let shifted = (a >> (b & 63)) as u64;
        [u64::from(a.count_ones()), u64::from(a.leading_zeros()), a.reverse_bits() as u64, shifted]
    };
    let all: Vec<u64> = a.iter().zip(&b).flat_map(|(&a, &b)| expected(a, b)).collect();
    assert_eq!(out.longs(), all);
}

#[test]
fn products() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(3), 100usize);
    let program = gpu.fixture("int_math");
    let ints = |seeded: &mut Seeded| -> Vec<i32> { (0..n).map(|_| seeded.next() as i32).collect() };
    let (a, b) = (ints(&mut seeded), ints(&mut seeded));
    let out = gpu.zeros(32 * n as u64);
    gpu.ok(&program, "products", &line(1, 128), &[&gpu.array(&a), &gpu.array(&b), &out, &(n as i32)]);
    let expected = |i: usize| {
        let (a, b) = (a[i], b[i]);
        let wide = i64::from(a) * i64::from(b);
        let unsigned = u64::from(a as u32) * u64::from(b as u32);
        let short = (i64::from(a << 8 >> 8) * i64::from(b << 8 >> 8)) as i32;
        let bytes = |x: i32| x.to_le_bytes().map(|byte| i32::from(byte as i8));
        let dp4a = (0..4).fold(i as i32, |sum, k| sum.wrapping_add(bytes(a)[k] * bytes(b)[k]));
        let halves = [a as i16, (a >> 16) as i16].map(i32::from);
        let dp2a = (i as i32).wrapping_add(halves[0] * bytes(b)[0]).wrapping_add(halves[1] * bytes(b)[1]);
        let sad = (i64::from(a).abs_diff(i64::from(b)) as u32).wrapping_add(7) as i32;
        [(wide >> 32) as i32, (unsigned >> 32) as i32, short, sad, dp4a, dp2a, a.min(b), a.max(b)]
    };
    assert_eq!(out.ints(), (0..n).flat_map(expected).collect::<Vec<_>>());

    let (a, b): (Vec<u64>, Vec<u64>) = (0..n).map(|_| (seeded.next(), seeded.next())).unzip();
    let out = gpu.zeros(16 * n as u64);
    gpu.ok(&program, "multiply_128", &line(1, 128), &[&gpu.array(&a), &gpu.array(&b), &out, &(n as i32)]);
    let wide = |a: u64, b: u64| u128::from(a) * u128::from(b) + u128::from(a);
    let all: Vec<u64> =
        a.iter().zip(&b).flat_map(|(&a, &b)| [wide(a, b) as u64, (wide(a, b) >> 64) as u64]).collect();
    assert_eq!(out.longs(), all);
}

#[test]
fn narrow_types_and_switches() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(4), 100usize);
    let program = gpu.fixture("int_math");
    let a: Vec<i8> = (0..n).map(|_| seeded.next() as i8).collect();
    let b: Vec<i16> = (0..n).map(|_| seeded.next() as i16).collect();
    let (bytes, words) = (gpu.zeros(n as u64), gpu.zeros(2 * n as u64));
    let params: [&dyn Bytes; 5] = [&gpu.array(&a), &gpu.array(&b), &bytes, &words, &(n as i32)];
    gpu.ok(&program, "narrow_types", &line(1, 128), &params);
    let expected: Vec<u8> = a.iter().map(|&a| (i32::from(a) * 3 + 5) as u8).collect();
    assert_eq!(bytes.bytes(), expected);
    let expected: Vec<u16> =
        a.iter().zip(&b).map(|(&a, &b)| ((i32::from(a) << 4) - i32::from(b)) as u16).collect();
    assert_eq!(words.halves(), expected);

    let cases: Vec<i32> = (0..n).map(|_| seeded.below(9) as i32).collect();
    let before: Vec<i32> = (0..n).map(|_| seeded.next() as i32).collect();
    let out = gpu.array(&before);
    gpu.ok(&program, "switch_cases", &line(1, 128), &[&gpu.array(&cases), &out, &(n as i32)]);
    let answer = |(&a, &x): (&i32, &i32)| match a {
        0 => a.wrapping_add(x.wrapping_mul(3)),
        1 => x / 7,
        2 => a ^ x,
        3 => x.count_ones() as i32,
        4 => a.wrapping_sub(x << 2),
        5 => x.wrapping_mul(x),
        6 => a | x,
        7 => !x,
        _ => -1,
    };
    assert_eq!(out.ints(), cases.iter().zip(&before).map(answer).collect::<Vec<_>>());
}

#[test]
fn sixteen_bit_floats() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(5), 128usize);
    let program = gpu.fixture("half_math");
    let half = |x: f32| HalfFormat::F16.round_f32(x, vgpu_core::device::soft::num::Rounding::Rn);
    let brain = |x: f32| HalfFormat::Bf16.round_f32(x, vgpu_core::device::soft::num::Rounding::Rn);
    let single = |x: u16| HalfFormat::F16.to_f32(x);
    let (x, y) = (seeded.floats(2 * n), seeded.floats(2 * n));
    let (hx, hy): (Vec<u16>, Vec<u16>) = x.iter().zip(&y).map(|(&x, &y)| (half(x), half(y))).unzip();

    let dy = gpu.array(&hy);
    gpu.ok(&program, "axpy_half2", &line(1, 128), &[&1.5f32, &gpu.array(&hx), &dy, &(n as i32)]);
    // Products of halves are exact in f32, and so is this sum in f64.
    let axpy = |(&x, &y): (&u16, &u16)| {
        HalfFormat::F16.round_f64(
            1.5 * f64::from(single(x)) + f64::from(single(y)),
            vgpu_core::device::soft::num::Rounding::Rn,
        )
    };
    assert_eq!(dy.halves(), hx.iter().zip(&hy).map(axpy).collect::<Vec<_>>());

    let out = gpu.zeros(8 * n as u64);
    let params: [&dyn Bytes; 4] = [&gpu.array(&hx), &gpu.array(&hy), &out, &(n as i32)];
    gpu.ok(&program, "half_arithmetic", &line(1, 128), &params);
    for (i, got) in out.halves().chunks(4).enumerate() {
        let (x, y) = (single(hx[i]), single(hy[i]));
        assert_eq!(got[..3], [half(x + y), half(x - y), half(x * y)], "{x} {y}");
        assert!((single(got[3]) - x / y).abs() <= (x / y).abs() * 1e-3, "{x} / {y}");
    }

    let out = gpu.zeros(2 * n as u64);
    let params: [&dyn Bytes; 4] = [&gpu.array(&hx), &gpu.array(&hy), &out, &(n as i32)];
    gpu.ok(&program, "half_compare", &line(1, 128), &params);
    for (i, got) in out.halves().into_iter().enumerate() {
        let (x, y) = (single(hx[i]), single(hy[i]));
        assert_eq!(got, half(if x == y { 0.0 } else { x.abs().max(-y) }));
    }

    let (dh, db) = (gpu.zeros(2 * n as u64), gpu.zeros(2 * n as u64));
    gpu.ok(&program, "float_to_16_bits", &line(1, 128), &[&gpu.array(&x), &dh, &db, &(n as i32)]);
    assert_eq!(dh.halves(), x[..n].iter().map(|&x| half(x)).collect::<Vec<_>>());
    assert_eq!(db.halves(), x[..n].iter().map(|&x| brain(x)).collect::<Vec<_>>());
    let (fh, fb, rounded) = (gpu.zeros(4 * n as u64), gpu.zeros(4 * n as u64), gpu.zeros(4 * n as u64));
    let params: [&dyn Bytes; 6] = [&dh, &db, &fh, &fb, &rounded, &(n as i32)];
    gpu.ok(&program, "float_from_16_bits", &line(1, 128), &params);
    assert_eq!(fh.floats(), dh.halves().iter().map(|&x| single(x)).collect::<Vec<_>>());
    assert_eq!(fb.floats(), db.halves().iter().map(|&x| HalfFormat::Bf16.to_f32(x)).collect::<Vec<_>>());
    let nearest: Vec<i32> = fh.floats().iter().map(|x| x.round_ties_even() as i32).collect();
    assert_eq!(rounded.ints(), nearest);

    let out = gpu.zeros(8 * n as u64);
    gpu.ok(&program, "half_functions", &line(1, 128), &[&gpu.array(&hx), &out, &(n as i32)]);
    for (i, got) in out.halves().chunks(4).enumerate() {
        let x = single(hx[i]);
        for (got, expected) in got.iter().zip([x.exp(), x.ln(), x.sqrt(), 1.0 / x]) {
            let got = single(*got);
            let close = (got - expected).abs() <= expected.abs() * 2e-3 + 1e-6;
            assert!(
                close || got == expected || got.is_nan() && expected.is_nan() || expected.abs() > 65504.0,
                "{x}"
            );
        }
    }
}

#[test]
fn bf16_pairs() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(6), 64usize);
    let program = gpu.fixture("half_math");
    let brain = |x: f32| HalfFormat::Bf16.round_f32(x, vgpu_core::device::soft::num::Rounding::Rn);
    let single = |x: u16| HalfFormat::Bf16.to_f32(x);
    let x: Vec<u16> = seeded.floats(2 * n).into_iter().map(brain).collect();
    let y: Vec<u16> = seeded.floats(2 * n).into_iter().map(brain).collect();
    let out = gpu.zeros(16 * n as u64);
    let params: [&dyn Bytes; 4] = [&gpu.array(&x), &gpu.array(&y), &out, &(n as i32)];
    gpu.ok(&program, "bf16_arithmetic", &line(1, 64), &params);
    for (i, got) in out.halves().chunks(8).enumerate() {
        for k in 0..2 {
            let (x, y) = (single(x[2 * i + k]), single(y[2 * i + k]));
            let expected = [x + y, x - y, x * y, x.max(y)].map(brain);
            assert_eq!([got[k], got[2 + k], got[4 + k], got[6 + k]], expected, "{x} {y}");
        }
    }
    let dy = gpu.array(&y);
    gpu.ok(&program, "axpy_bf16", &line(1, 128), &[&0.75f32, &gpu.array(&x), &dy, &(2 * n as i32)]);
    let axpy: Vec<u16> =
        x.iter().zip(&y).map(|(&x, &y)| brain(0.75f32.mul_add(single(x), single(y)))).collect();
    assert_eq!(dy.halves(), axpy);
}

fn close(got: f64, expected: f64, tolerance: f64) -> bool {
    got == expected
        || got.is_nan() && expected.is_nan()
        || (got - expected).abs() <= expected.abs() * tolerance
}

#[test]
fn double_precision() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(7), 96usize);
    let program = gpu.fixture("double_math");
    let mut numbers =
        |scale: f64| -> Vec<f64> { (0..n).map(|_| (f64::from(seeded.unit()) * 2.0 - 1.0) * scale).collect() };
    let (a, x) = (numbers(3.0), numbers(1.0));
    let (rows, columns) = (12usize, 8usize);
    let y = gpu.zeros(8 * rows as u64);
    let params: [&dyn Bytes; 5] = [&gpu.array(&a), &gpu.array(&x), &y, &(rows as i32), &(columns as i32)];
    gpu.ok(&program, "dgemv", &line(1, 32), &params);
    for (row, got) in y.doubles().into_iter().enumerate() {
        let expected = (0..columns).fold(0.0f64, |sum, k| a[row * columns + k].mul_add(x[k], sum));
        assert_eq!(got, expected);
    }

    let (a, b) = (numbers(1000.0), numbers(10.0));
    let out = gpu.zeros(48 * n as u64);
    let params: [&dyn Bytes; 4] = [&gpu.array(&a), &gpu.array(&b), &out, &(n as i32)];
    gpu.ok(&program, "double_arithmetic", &line(1, 96), &params);
    for (i, got) in out.doubles().chunks(6).enumerate() {
        let (a, b) = (a[i], b[i]);
        let expected = [a / b, a.sqrt(), 1.0 / a.sqrt(), a.mul_add(b, a), a.floor(), a % b];
        for (k, (got, expected)) in got.iter().zip(expected).enumerate() {
            let tolerance = if k == 2 { 3e-16 } else { 0.0 };
            assert!(close(*got, expected, tolerance), "{k}: {a} {b}: {got} {expected}");
        }
    }

    // One large argument takes the slow path of the trigonometric functions.
    let mut a = numbers(20.0);
    (a[3], a[40]) = (1e15, -123_456_789.25);
    let out = gpu.zeros(40 * n as u64);
    gpu.ok(&program, "double_functions", &line(1, 96), &[&gpu.array(&a), &out, &(n as i32)]);
    for (i, got) in out.doubles().chunks(5).enumerate() {
        let a = a[i];
        let expected = [a.sin(), a.cos(), a.exp(), a.ln(), a.powf(1.5)];
        for (k, (got, expected)) in got.iter().zip(expected).enumerate() {
            assert!(close(*got, expected, 2e-15), "{k}: {a}: {got} {expected}");
        }
    }
}

#[test]
fn single_precision_functions() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(8), 96usize);
    let program = gpu.fixture("double_math");
    let mut a: Vec<f32> = seeded.floats(n).iter().map(|x| x * 3.0).collect();
    (a[1], a[2]) = (1e6, 2e-20);
    let out = gpu.zeros(24 * n as u64);
    gpu.ok(&program, "float_functions", &line(1, 96), &[&gpu.array(&a), &out, &(n as i32)]);
    for (i, got) in out.floats().chunks(6).enumerate() {
        let x = f64::from(a[i]);
        let expected = [x.sin(), x.cos(), x.tanh(), x.ln(), x.sqrt(), x.abs().powf(1.5)];
        for (k, (got, expected)) in got.iter().zip(expected).enumerate() {
            assert!(close(f64::from(*got), f64::from(expected as f32), 5e-7), "{k}: {x}: {got} {expected}");
        }
    }
    let out = gpu.zeros(24 * n as u64);
    gpu.ok(&program, "float_intrinsics", &line(1, 96), &[&gpu.array(&a), &out, &(n as i32)]);
    for (i, got) in out.floats().chunks(6).enumerate() {
        let x = f64::from(a[i]);
        let expected = [x.sin(), x.cos(), x.exp(), x.ln(), x / 3.0, x.clamp(0.0, 1.0)];
        for (k, (got, expected)) in got.iter().zip(expected).enumerate() {
            let close = close(f64::from(*got), f64::from(expected as f32), 4e-6);
            assert!(close || (f64::from(*got) - expected).abs() < 4e-6, "{k}: {x}: {got} {expected}");
        }
    }
}

#[test]
fn conversions() {
    let (gpu, n) = (Gpu::new(), 8usize);
    let program = gpu.fixture("double_math");
    let a = [0.1, -2.5, 3.5, 1e10, -1e10, 4294967296.5, 1e-300, 123456789.123];
    let (floats, ints, longs, back) = (
        gpu.zeros(8 * n as u64),
        gpu.zeros(16 * n as u64),
        gpu.zeros(8 * n as u64),
        gpu.zeros(24 * n as u64),
    );
    let params: [&dyn Bytes; 6] = [&gpu.array(&a), &floats, &ints, &longs, &back, &(n as i32)];
    gpu.ok(&program, "double_conversions", &line(1, 32), &params);
    for (i, &a) in a.iter().enumerate() {
        let [down, up] = [floats.floats()[2 * i], floats.floats()[2 * i + 1]];
        assert!(f64::from(down) <= a && a <= f64::from(up) && up <= down.next_up(), "{a}");
        let expected = [a as i32, a.round_ties_even() as i32, a.ceil() as i32, a.floor() as i32];
        assert_eq!(ints.ints()[4 * i..4 * i + 4], expected, "{a}");
        assert_eq!(longs.longs()[i], a as u64, "{a}");
        assert_eq!(
            back.doubles()[3 * i..3 * i + 3],
            [f64::from(a as i32), (a as u64) as f64, a.round_ties_even()]
        );
    }
}

#[test]
fn calls() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(9), 70usize);
    let program = gpu.fixture("device_call");
    let ints: Vec<i32> = (0..n).map(|_| seeded.next() as i32).collect();
    let out = gpu.zeros(4 * n as u64);
    gpu.ok(&program, "call_simple", &line(1, 96), &[&gpu.array(&ints), &out, &(n as i32)]);
    let expected: Vec<i32> = (0..n).map(|i| ints[i].wrapping_add(3 * i as i32)).collect();
    assert_eq!(out.ints(), expected);

    let mut points = Vec::new();
    let mut mirrored = Vec::new();
    for i in 0..n {
        let (x, y, tag) = (i as f64 * 0.5, i as f32 * 0.25, i as i32);
        points.extend([x.bytes(), y.bytes(), tag.bytes()].concat());
        mirrored.extend([(-x).bytes(), (y * 2.0).bytes(), (tag + 1).bytes()].concat());
    }
    let out = gpu.zeros(16 * n as u64);
    gpu.ok(&program, "call_struct", &line(1, 96), &[&gpu.array(&points), &out, &(n as i32)]);
    assert_eq!(out.bytes(), mirrored);

    let out = gpu.zeros(4 * n as u64);
    gpu.ok(&program, "call_recursive", &line(1, 96), &[&out, &(n as i32)]);
    let mut fibonacci = vec![0u32, 1];
    (2..16).for_each(|i| fibonacci.push(fibonacci[i - 1] + fibonacci[i - 2]));
    assert_eq!(out.words(), (0..n).map(|i| fibonacci[i % 16]).collect::<Vec<_>>());

    let which: Vec<i32> = (0..n).map(|_| seeded.below(4) as i32).collect();
    let others: Vec<i32> = (0..n).map(|_| seeded.next() as i32).collect();
    let out = gpu.zeros(4 * n as u64);
    let params: [&dyn Bytes; 5] =
        [&gpu.array(&which), &gpu.array(&ints), &gpu.array(&others), &out, &(n as i32)];
    gpu.ok(&program, "call_indirect", &line(1, 96), &params);
    let operation = |i: usize| match which[i] {
        0 => ints[i].wrapping_add(others[i]),
        1 => ints[i].wrapping_sub(others[i]),
        2 => ints[i].wrapping_mul(others[i]),
        _ => ints[i].max(others[i]),
    };
    assert_eq!(out.ints(), (0..n).map(operation).collect::<Vec<_>>());

    let out = gpu.zeros(4 * n as u64);
    gpu.ok(&program, "local_array", &line(1, 96), &[&gpu.array(&ints), &out, &(n as i32)]);
    let sum = |i: usize| {
        let mut table = [0i32; 32];
        (0..32).for_each(|k| table[(k * 7 + i) % 32] = ints[i].wrapping_add(k as i32));
        table[..i % 32].iter().fold(0i32, |sum, x| sum.wrapping_add(*x))
    };
    assert_eq!(out.ints(), (0..n).map(sum).collect::<Vec<_>>());
}

#[test]
fn large_parameter() {
    let (gpu, n) = (Gpu::new(), 120usize);
    let program = gpu.fixture("device_call");
    let source: Vec<f32> = (0..n).map(|i| i as f32 * 0.5).collect();
    let array = gpu.array(&source);
    let mut table = 3i32.bytes();
    (0..100).for_each(|i| table.extend((i as i16 - 50).bytes()));
    table.resize(208, 0);
    (0..64).for_each(|i| table.extend((f64::from(i) * 0.125).bytes()));
    table.extend(array.bytes_of_address());
    assert_eq!(table.len(), 728);
    let out = gpu.zeros(8 * n as u64);
    gpu.ok(&program, "large_parameter", &line(1, 128), &[&table, &out, &(n as i32)]);
    let expected = |i: usize| {
        let scaled = f64::from(source[i]) * ((i % 64) as f64 * 0.125) * 3.0;
        scaled + ((i % 100) as f64 - 50.0)
    };
    assert_eq!(out.doubles(), (0..n).map(expected).collect::<Vec<_>>());
}

#[test]
fn votes() {
    let gpu = Gpu::new();
    let program = gpu.fixture("votes");
    let values: Vec<i32> = (0..32).map(|i| (i * 5 % 7) - 3).collect();
    let input = gpu.array(&values);
    let out = gpu.zeros(32 * 32);
    gpu.ok(&program, "votes", &line(1, 32), &[&input, &out]);
    let mask = |test: &dyn Fn(i32) -> bool| {
        values.iter().enumerate().filter(|(_, v)| test(**v)).fold(0u32, |m, (i, _)| m | 1 << i)
    };
    for (i, got) in out.words().chunks(8).enumerate() {
        let same = mask(&|v| v == values[i]);
        assert_eq!(got, [mask(&|v| v > 0), 1, 0, same, 0, 0, u32::MAX, 1], "lane {i}");
    }

    let out = gpu.zeros(32 * 24);
    gpu.ok(&program, "shuffles", &line(1, 32), &[&input, &out]);
    for (i, got) in out.ints().chunks(6).enumerate() {
        let down = if i + 3 < 32 { i + 3 } else { i };
        let up = if i >= 3 { i - 3 } else { i };
        let in_group = if i % 8 >= 1 { i - 1 } else { i };
        let sources = [down, up, i ^ 5, 2 * i % 32, in_group, i / 8 * 8 + 3];
        assert_eq!(got, sources.map(|lane| values[lane]), "lane {i}");
    }

    let out = gpu.zeros(32 * 28);
    gpu.ok(&program, "warp_reduce", &line(1, 32), &[&input, &out]);
    let words: Vec<u32> = values.iter().map(|v| v.cast_unsigned()).collect();
    let fold = |f: fn(u32, u32) -> u32| words.iter().copied().reduce(f).unwrap();
    let expected = [
        fold(u32::wrapping_add),
        fold(u32::min),
        fold(u32::max),
        fold(|a, b| a & b),
        fold(|a, b| a | b),
        fold(|a, b| a ^ b),
        values.iter().min().unwrap().cast_unsigned(),
    ];
    assert!(out.words().chunks(7).all(|got| got == expected));

    let out = gpu.zeros(32 * 8);
    gpu.ok(&program, "votes_diverged", &line(1, 32), &[&input, &out]);
    let odd = mask(&|v| v & 1 != 0);
    for (i, got) in out.words().chunks(2).enumerate() {
        let (half, first) = if i < 16 { (0xffff, 0) } else { (0xffff_0000, 16) };
        assert_eq!(got, [odd & half, words[first]], "lane {i}");
    }

    let block: Vec<i32> = (0..80).map(|i| i % 3).collect();
    let out = gpu.zeros(80 * 12);
    gpu.ok(&program, "block_votes", &line(1, 80), &[&gpu.array(&block), &out]);
    let count = block.iter().filter(|&&x| x > 0).count() as i32;
    // The intrinsics promise "not zero" only; the compiler makes it one.
    assert!(out.ints().chunks(3).all(|got| got == [count, 1, 0]));

    let doubles: Vec<f64> = (0..32).map(|i| f64::from(i) * 1.5).collect();
    let (out, sums) = (gpu.zeros(256), gpu.zeros(128));
    gpu.ok(&program, "shuffles_wide", &line(1, 32), &[&gpu.array(&doubles), &out, &sums]);
    assert_eq!(out.doubles(), (0..32).map(|i| doubles[(i + 1).min(31)]).collect::<Vec<_>>());
    assert!(sums.floats().iter().all(|&sum| sum == 744.0));
}

#[test]
fn module_variables() {
    let (gpu, n) = (Gpu::new(), 40usize);
    let program = gpu.fixture("const_global");
    let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.25).collect();
    let out = gpu.zeros(4 * n as u64);
    gpu.set_global(&program, "scale", &5i32.bytes());
    gpu.ok(&program, "constant_table", &line(1, 64), &[&gpu.array(&x), &out, &(n as i32)]);
    let polynomial = |x: f32| (-0.125f32).mul_add(x, 0.25).mul_add(x, -0.5).mul_add(x, 1.0) * 5.0;
    assert_eq!(out.floats(), x.iter().map(|&x| polynomial(x)).collect::<Vec<_>>());

    let out = gpu.zeros(40);
    gpu.ok(&program, "global_variables", &line(1, 1), &[&out, &2i32]);
    assert_eq!(out.ints(), [42, 1, 2, 3, 250, 255, i32::from(b'g'), 7, 11, 7]);
    assert_eq!(gpu.global_bytes(&program, "counter"), 43i32.bytes());
    assert_eq!(gpu.global_bytes(&program, "zeroed")[..8], 0.5f64.bytes());

    gpu.ok(&program, "swap_pointers", &line(1, 1), &[&99i32]);
    assert_eq!(gpu.global_bytes(&program, "second_target"), 99i32.bytes());
    assert_eq!(gpu.global_bytes(&program, "first_target"), 7i32.bytes());

    let values: Vec<f32> = (0..64).map(|i| (i * 11 % 40) as f32).collect();
    let out = gpu.zeros(17 * 8);
    gpu.ok(&program, "shared_struct", &line(1, 64), &[&gpu.array(&values), &out]);
    let mut expected = vec![f64::from(values.iter().sum::<f32>())];
    expected.extend((0..16).map(|k| values.iter().filter(|&&v| v as usize % 16 == k).count() as f64));
    assert_eq!(out.doubles(), expected);
}
