//! Kernels compiled by NVIDIA's compiler, run by the interpreter, against references on the host.

mod support;

use support::{Gpu, Seeded, line, line_shared, plane};
use vgpu_core::device::soft::exec::Progress;
use vgpu_core::device::soft::ptx;

#[test]
fn every_fixture_loads() {
    let mut census = std::collections::BTreeMap::new();
    for name in support::fixture_names() {
        let module = ptx::parse(&support::fixture(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (opcode, count) in ptx::census(&module) {
            *census.entry(opcode).or_insert(0) += count;
        }
        Gpu::new().fixture(&name);
    }
    assert!(census.len() > 100);
    for (opcode, count) in census {
        println!("{count:6} {opcode}");
    }
}

#[test]
fn vector_add() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(1), 1000);
    let program = gpu.fixture("vector_add");
    let (a, b) = (seeded.floats(n), seeded.floats(n));
    let (da, db, dc) = (gpu.array(&a), gpu.array(&b), gpu.zeros(n as u64 * 4));
    gpu.ok(&program, "vector_add", &line(4, 256), &[&da, &db, &dc, &(n as i32)]);
    let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    assert_eq!(dc.floats(), expected);
}

#[test]
fn matmul_tiled() {
    matmul("matmul_tiled", 64, 16);
}

#[test]
fn matmul_tiled_reg() {
    matmul("matmul_tiled_reg", 128, 64);
}

fn matmul(name: &str, n: usize, tile: usize) {
    let (gpu, mut seeded) = (Gpu::new(), Seeded(2));
    let program = gpu.fixture(name);
    let (a, b) = (seeded.floats(n * n), seeded.floats(n * n));
    let (da, db, dc) = (gpu.array(&a), gpu.array(&b), gpu.zeros((n * n * 4) as u64));
    let blocks = (n / tile) as u32;
    gpu.ok(&program, name, &plane([blocks, blocks], [16, 16]), &[&da, &db, &dc, &(n as i32)]);
    let mut expected = vec![0.0f32; n * n];
    for row in 0..n {
        for column in 0..n {
            let mut sum = 0.0f32;
            for k in 0..n {
                sum = a[row * n + k].mul_add(b[k * n + column], sum);
            }
            expected[row * n + column] = sum;
        }
    }
    assert_eq!(dc.floats(), expected);
}

#[test]
fn saxpy() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(3), 1000);
    let program = gpu.fixture("saxpy");
    let (x, y) = (seeded.floats(n), seeded.floats(n));
    let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 2.5f32.mul_add(*x, *y)).collect();
    let (dx, dy) = (gpu.array(&x), gpu.array(&y));
    gpu.ok(&program, "saxpy", &line(3, 96), &[&2.5f32, &dx, &dy, &(n as i32)]);
    assert_eq!(dy.floats(), expected);
    let dy = gpu.array(&y);
    gpu.ok(&program, "saxpy_vector", &line(2, 64), &[&2.5f32, &dx, &dy, &(n as i32 / 4)]);
    assert_eq!(dy.floats(), expected);
}

#[test]
fn tiny() {
    let gpu = Gpu::new();
    let program = gpu.fixture("tiny");
    gpu.ok(&program, "empty", &line(7, 33), &[]);
    let word = gpu.array(&[41i32]);
    gpu.ok(&program, "increment", &line(1, 1), &[&word]);
    assert_eq!(word.ints(), [42]);
    let words = gpu.zeros(400);
    gpu.ok(&program, "fill", &line(2, 64), &[&words, &7u32, &99i32]);
    assert_eq!(words.words(), [vec![7; 99], vec![0]].concat());
}

#[test]
fn reduction_shuffle() {
    let (gpu, n) = (Gpu::new(), 10_000);
    let program = gpu.fixture("reduction_shuffle");
    let ints: Vec<i32> = (0..n).map(|i| i * 7 % 1000 - 300).collect();
    let total = gpu.zeros(4);
    gpu.ok(&program, "reduction_shuffle_s32", &line(5, 256), &[&gpu.array(&ints), &total, &n]);
    assert_eq!(total.ints()[0], ints.iter().sum::<i32>());
    let floats: Vec<f32> = ints.iter().map(|&i| i as f32).collect();
    let total = gpu.zeros(4);
    gpu.ok(&program, "reduction_shuffle_f32", &line(3, 1024), &[&gpu.array(&floats), &total, &n]);
    assert_eq!(total.floats()[0], ints.iter().sum::<i32>() as f32);
}

#[test]
fn histogram() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(5), 20_000);
    let program = gpu.fixture("histogram");
    let bytes: Vec<u8> = (0..n).map(|_| (seeded.next() & seeded.next()) as u8).collect();
    let mut expected = vec![0u32; 256];
    bytes.iter().for_each(|&byte| expected[usize::from(byte)] += 1);
    let counts = gpu.zeros(1024);
    gpu.ok(&program, "histogram", &line(4, 100), &[&gpu.array(&bytes), &counts, &n]);
    assert_eq!(counts.words(), expected);
}

#[test]
fn scan() {
    let (gpu, n, block) = (Gpu::new(), 1000usize, 128u32);
    let program = gpu.fixture("scan");
    let input: Vec<i32> = (0..n as i32).map(|i| i * 13 % 101 - 50).collect();
    let (out, totals, blocks) = (gpu.zeros(n as u64 * 4), gpu.zeros(8 * 4), (n as u32).div_ceil(block));
    let first = line_shared(blocks, block, 8 * block);
    gpu.ok(&program, "scan_blocks", &first, &[&gpu.array(&input), &out, &totals, &(n as i32)]);
    let null = 0u64;
    let second = line_shared(1, block, 8 * block);
    gpu.ok(&program, "scan_blocks", &second, &[&totals, &totals, &null, &(blocks as i32)]);
    gpu.ok(&program, "scan_add_offsets", &line(blocks, block), &[&out, &totals, &(n as i32)]);
    let expected: Vec<i32> = input
        .iter()
        .scan(0, |sum, x| {
            *sum += x;
            Some(*sum)
        })
        .collect();
    assert_eq!(out.ints(), expected);
}

#[test]
fn transpose() {
    let (gpu, mut seeded, width, height) = (Gpu::new(), Seeded(6), 45usize, 70usize);
    let program = gpu.fixture("transpose");
    let input = seeded.floats(width * height);
    let out = gpu.zeros((width * height * 4) as u64);
    let shape = plane([2, 3], [32, 8]);
    gpu.ok(&program, "transpose", &shape, &[&gpu.array(&input), &out, &(width as i32), &(height as i32)]);
    let out = out.floats();
    for y in 0..height {
        for x in 0..width {
            assert_eq!(out[x * height + y], input[y * width + x]);
        }
    }
}

#[test]
fn nbody() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(7), 128usize);
    let program = gpu.fixture("nbody");
    let (positions, velocities) = (seeded.floats(4 * n), seeded.floats(4 * n));
    let (p, v, q) = (gpu.array(&positions), gpu.array(&velocities), gpu.zeros(16 * n as u64));
    gpu.ok(&program, "nbody", &line_shared(2, 64, 1024), &[&p, &q, &v, &0.01f32, &0.1f32, &(n as i32)]);
    let (new_positions, new_velocities) = (q.floats(), v.floats());
    let at = |i: usize, k: usize| f64::from(positions[4 * i + k]);
    for i in 0..n {
        let mut pull = [0.0; 3];
        for j in 0..n {
            let d: [f64; 3] = std::array::from_fn(|k| at(j, k) - at(i, k));
            let cube = (d.iter().map(|x| x * x).sum::<f64>() + 0.01).powf(1.5);
            (0..3).for_each(|k| pull[k] += at(j, 3) * d[k] / cube);
        }
        for k in 0..3 {
            let velocity = f64::from(velocities[4 * i + k]) + pull[k] * 0.1;
            assert!((f64::from(new_velocities[4 * i + k]) - velocity).abs() < 1e-2, "body {i}");
            let position = at(i, k) + velocity * 0.1;
            assert!((f64::from(new_positions[4 * i + k]) - position).abs() < 1e-3, "body {i}");
        }
    }
}

#[test]
fn mandelbrot() {
    let (gpu, width, height, limit) = (Gpu::new(), 70usize, 50usize, 200);
    let program = gpu.fixture("mandelbrot");
    let out = gpu.zeros((width * height * 4) as u64);
    let (left, top, pixel) = (-2.0f32, 1.25f32, 0.05f32);
    let shape = plane([5, 4], [16, 16]);
    let params: [&dyn support::Bytes; 7] =
        [&out, &(width as i32), &(height as i32), &left, &top, &pixel, &limit];
    gpu.ok(&program, "mandelbrot", &shape, &params);
    // The fused operations are those of the `.ptx`.
    let count = |row: usize, column: usize| {
        let c_re = (column as f32).mul_add(pixel, left);
        let c_im = top - row as f32 * pixel;
        let (mut re, mut im, mut count) = (0.0f32, 0.0f32, 0);
        while re * re + im * im <= 4.0 && count < limit {
            let next = c_re + (re * re - im * im);
            im = (re + re).mul_add(im, c_im);
            re = next;
            count += 1;
        }
        count
    };
    let got = out.ints();
    let wrong = (0..width * height).filter(|i| got[*i] != count(i / width, i % width)).count();
    assert_eq!(wrong, 0);
}

#[test]
fn softmax() {
    let (gpu, mut seeded, rows, columns) = (Gpu::new(), Seeded(8), 3usize, 100usize);
    let program = gpu.fixture("softmax");
    let input: Vec<f32> = seeded.floats(rows * columns).iter().map(|x| x * 8.0).collect();
    let out = gpu.zeros((rows * columns * 4) as u64);
    let shape = line_shared(rows as u32, 64, 256);
    gpu.ok(&program, "softmax", &shape, &[&gpu.array(&input), &out, &(columns as i32)]);
    for (row, got) in input.chunks(columns).zip(out.floats().chunks(columns)) {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        for (x, got) in row.iter().zip(got) {
            assert!((f64::from(*x).exp() / sum - f64::from(*got)).abs() < 1e-6);
        }
    }
}

#[test]
fn bitonic_sort() {
    let (gpu, mut seeded, n) = (Gpu::new(), Seeded(9), 4096u32);
    let program = gpu.fixture("bitonic_sort");
    let mut keys = seeded.words(n as usize);
    let data = gpu.array(&keys);
    gpu.ok(&program, "bitonic_sort_shared", &line(n / 1024, 512), &[&data]);
    let mut size = 2048;
    while size <= n {
        let mut stride = size / 2;
        while stride >= 1024 {
            let params: [&dyn support::Bytes; 3] = [&data, &(size as i32), &(stride as i32)];
            gpu.ok(&program, "bitonic_step_global", &line(n / 2 / 256, 256), &params);
            stride /= 2;
        }
        gpu.ok(&program, "bitonic_merge_shared", &line(n / 1024, 512), &[&data, &(size as i32)]);
        size *= 2;
    }
    keys.sort_unstable();
    assert_eq!(data.words(), keys);
}

#[test]
fn stencil() {
    let (gpu, mut seeded, width, height) = (Gpu::new(), Seeded(10), 50usize, 37usize);
    let program = gpu.fixture("stencil");
    let input: Vec<f32> = (0..width * height).map(|_| seeded.below(100) as f32).collect();
    let out = gpu.zeros((width * height * 4) as u64);
    let params: [&dyn support::Bytes; 5] =
        [&gpu.array(&input), &out, &(width as i32), &(height as i32), &0.25f32];
    gpu.ok(&program, "stencil", &plane([4, 3], [16, 16]), &params);
    let got = out.floats();
    for y in 0..height {
        for x in 0..width {
            let at = |x: usize, y: usize| input[y * width + x];
            let inner = x > 0 && y > 0 && x + 1 < width && y + 1 < height;
            let expected = if inner {
                let around = at(x, y - 1) + at(x, y + 1) + at(x - 1, y) + at(x + 1, y);
                at(x, y) + 0.25 * (around - 4.0 * at(x, y))
            } else {
                at(x, y)
            };
            assert_eq!(got[y * width + x], expected, "({x}, {y})");
        }
    }
}

#[test]
fn grid_barrier() {
    let (gpu, blocks, rounds) = (Gpu::new(), 24u32, 5);
    let program = gpu.fixture("grid_barrier");
    let mut values: Vec<u32> = (0..blocks).map(|i| i * i).collect();
    let mut both = values.clone();
    both.resize(2 * blocks as usize, 0);
    let memory = gpu.array(&both);
    let shape = support::Shape { cooperative: true, ..line(blocks, 64) };
    gpu.ok(&program, "grid_barrier", &shape, &[&memory, &rounds]);
    for round in 0..rounds as u32 {
        let sum = values.iter().fold(0u32, |sum, &x| sum.wrapping_add(x));
        values = (0..blocks).map(|block| sum.wrapping_add(block).wrapping_add(round)).collect();
    }
    let half = (rounds as usize % 2) * blocks as usize;
    assert_eq!(memory.words()[half..half + blocks as usize], values);
}

#[test]
fn warp_lock() {
    let gpu = Gpu::new();
    let program = gpu.fixture("warp_lock");
    let (lock, counter) = (gpu.zeros(4), gpu.zeros(4));
    gpu.ok(&program, "warp_lock", &line(3, 64), &[&lock, &counter]);
    assert_eq!(counter.ints(), [192]);
}

#[test]
fn producer_and_consumer_alternate_on_one_thread_each_and_on_one_for_both() {
    let (gpu, rounds) = (Gpu::new(), 20);
    let program = gpu.fixture("producer_consumer");
    let expected = (0..rounds).fold(3u32, |x, _| 2 * x + 1);
    for threads in [1, 2] {
        let (flags, value) = (gpu.zeros(8), gpu.array(&[3u32]));
        let grids =
            ["ping", "pong"].map(|name| gpu.grid(&program, name, &line(1, 1), &[&flags, &value, &rounds]));
        if threads == 2 {
            std::thread::scope(|scope| {
                for grid in &grids {
                    scope.spawn(|| support::drive(grid));
                }
            });
        } else {
            let mut running = true;
            while running {
                let progress = grids.each_ref().map(|grid| grid.run(1000));
                running = progress.contains(&Progress::More);
            }
        }
        assert_eq!(value.words(), [expected]);
    }
}

#[test]
fn atomics() {
    let gpu = Gpu::new();
    let program = gpu.fixture("atomics");
    let t = 300u32;
    let words = gpu.array(&[0, 1_000_000, 5, u32::MAX, 0, u32::MAX, 0, 0, 0, 0, 0]);
    gpu.ok(&program, "atomics_u32", &line(3, 100), &[&words]);
    let got = words.words();
    let xor = (0..t).fold(0, |all, i| all ^ i);
    let dec = (0..t).fold(0u32, |x, _| if x == 0 || x > 100 { 100 } else { x - 1 });
    assert!(got[2] < t);
    assert_eq!([&got[..2], &got[3..]].concat(), [t, 1_000_000 - t, 0, t - 1, 0, 511, xor, t % 101, dec, t]);

    let longs = gpu.array(&[0, 9, i64::MAX, i64::MIN, -1, 0, 0]);
    gpu.ok(&program, "atomics_s64", &line(3, 100), &[&longs]);
    let got: Vec<i64> = longs.longs().into_iter().map(u64::cast_signed).collect();
    let sum = (0..300i64).map(|i| (1 << 32) + i).sum::<i64>();
    assert_eq!([&got[..1], &got[2..]].concat(), [sum, -299, 0, 0, 511 << 20, i64::from(xor) << 20]);

    let words = gpu.array(&[i32::MAX, i32::MIN]);
    gpu.ok(&program, "atomics_s32", &line(3, 100), &[&words]);
    assert_eq!(words.ints(), [5 - 299, 5]);

    let (single, twice, product) = (gpu.array(&[0.0f32]), gpu.array(&[0.0f64]), gpu.array(&[1.0f64]));
    gpu.ok(&program, "atomics_float", &line(2, 20), &[&single, &twice, &product]);
    assert_eq!((single.floats()[0], twice.doubles()[0], product.doubles()[0]), (20.0, 10.0, 2f64.powi(40)));

    let tickets = gpu.zeros(4 * 77);
    gpu.ok(&program, "atomics_ticket", &line(1, 77), &[&tickets]);
    let mut got = tickets.words();
    got.sort_unstable();
    assert_eq!(got, (0..77).collect::<Vec<_>>());

    let (words, half) = (gpu.array(&[0u32, 0]), gpu.array(&[0u16, 0]));
    gpu.ok(&program, "atomics_scopes", &line(3, 100), &[&words, &half]);
    assert_eq!((words.words()[0], half.halves()[0]), (600, 1));
}
