//! A bare software GPU for tests: one address space, arrays in it, kernels run to their end.
#![allow(dead_code, reason = "each test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use vgpu_core::device::soft::exec::{Env, Fault, Grid, Launch, LoadError, Program, Progress};
use vgpu_core::device::soft::memory::AddressSpace;
use vgpu_core::device::soft::ptx;
use vgpu_window::Region;

/// One thread's slice of a grid, in instructions: small, so that blocks and grids really alternate.
const SLICE: u32 = 20_000;
/// Calls of `run` after which a kernel that should have ended is given up.
const SLICES_MAX: usize = 2_000_000;

pub(crate) struct Gpu {
    pub(crate) memory: Arc<AddressSpace>,
    next: AtomicU64,
    text: Arc<Mutex<Vec<u8>>>,
}

/// An array in device memory.
pub(crate) struct Array {
    pub(crate) address: u64,
    pub(crate) region: Arc<Region>,
}

impl Array {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.region.len() as usize];
        self.region.read(0, &mut bytes).unwrap();
        bytes
    }

    /// Its address, as a pointer in memory.
    pub(crate) fn bytes_of_address(&self) -> Vec<u8> {
        self.address.to_le_bytes().to_vec()
    }

    pub(crate) fn words(&self) -> Vec<u32> {
        self.bytes().chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
    }

    pub(crate) fn ints(&self) -> Vec<i32> {
        self.words().into_iter().map(u32::cast_signed).collect()
    }

    pub(crate) fn floats(&self) -> Vec<f32> {
        self.words().into_iter().map(f32::from_bits).collect()
    }

    pub(crate) fn longs(&self) -> Vec<u64> {
        self.bytes().chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect()
    }

    pub(crate) fn doubles(&self) -> Vec<f64> {
        self.longs().into_iter().map(f64::from_bits).collect()
    }

    pub(crate) fn halves(&self) -> Vec<u16> {
        self.bytes().chunks_exact(2).map(|c| u16::from_le_bytes(c.try_into().unwrap())).collect()
    }
}

/// A value that arrays and parameters are made of.
pub(crate) trait Plain: Copy {
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! plain {
    ($($ty:ty),*) => {$(
        impl Plain for $ty {
            fn put(self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        }
    )*};
}
plain!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

pub(crate) fn fixture(name: &str) -> String {
    let path = format!("{}/fixtures/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn fixture_names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(format!("{}/fixtures", env!("CARGO_MANIFEST_DIR")))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".ptx").map(str::to_owned))
        .collect();
    names.sort();
    names
}

impl Gpu {
    pub(crate) fn new() -> Self {
        Self {
            memory: Arc::new(AddressSpace::new()),
            next: AtomicU64::new(0x7000_0000_0000),
            text: Arc::default(),
        }
    }

    pub(crate) fn zeros(&self, bytes: u64) -> Array {
        let address = self.next.fetch_add(bytes.next_multiple_of(4096) + 4096, Ordering::Relaxed);
        let region = Arc::new(Region::anonymous(bytes).unwrap());
        self.memory.insert(address, Arc::clone(&region)).unwrap();
        Array { address, region }
    }

    pub(crate) fn array<T: Plain>(&self, values: &[T]) -> Array {
        let mut bytes = Vec::new();
        values.iter().for_each(|value| value.put(&mut bytes));
        let array = self.zeros(bytes.len() as u64);
        array.region.write(0, &bytes).unwrap();
        array
    }

    pub(crate) fn load(&self, text: &str) -> Result<Program, LoadError> {
        let module = ptx::parse(text)?;
        Program::load(&module, &mut |bytes, _| Ok(self.zeros(bytes).address), &self.memory)
    }

    pub(crate) fn fixture(&self, name: &str) -> Program {
        self.load(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn env(&self) -> Env {
        let (text, start) = (Arc::clone(&self.text), Instant::now());
        Env {
            memory: Arc::clone(&self.memory),
            output: Arc::new(move |_, bytes| text.lock().unwrap().extend(bytes)),
            budget: Arc::default(),
            clock_ns: Arc::new(move || start.elapsed().as_nanos() as u64),
        }
    }

    /// What kernels have printed.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn grid(&self, program: &Program, name: &str, shape: &Shape, params: &[&dyn Bytes]) -> Grid {
        let kernel = program.kernel(name).unwrap_or_else(|| panic!("no kernel {name}"));
        let mut bytes = vec![0; kernel.params_bytes() as usize];
        assert_eq!(params.len(), kernel.params().len(), "parameters of {name}");
        for (value, place) in params.iter().zip(kernel.params()) {
            let value = value.bytes();
            assert_eq!(value.len(), place.size_bytes as usize, "a parameter of {name}");
            bytes[place.offset_bytes as usize..][..value.len()].copy_from_slice(&value);
        }
        let launch = Launch {
            kernel,
            grid: shape.grid,
            block: shape.block,
            dynamic_shared_bytes: shape.shared,
            params: bytes.into(),
            cooperative: shape.cooperative,
        };
        Grid::new(launch, self.env()).unwrap()
    }

    /// Runs a kernel on two threads until it ends.
    pub(crate) fn run(
        &self,
        program: &Program,
        name: &str,
        shape: &Shape,
        params: &[&dyn Bytes],
    ) -> Option<Fault> {
        let grid = self.grid(program, name, shape, params);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| drive(&grid));
            }
        });
        grid.fault()
    }

    /// Writes a module variable from the host.
    pub(crate) fn set_global(&self, program: &Program, name: &str, bytes: &[u8]) {
        let (address, size) = program.global(name).unwrap_or_else(|| panic!("no variable {name}"));
        assert_eq!(size, bytes.len() as u64, "size of {name}");
        let (region, offset) = self.memory.find(address, size).unwrap();
        region.write(offset, bytes).unwrap();
    }

    /// Reads a module variable from the host.
    pub(crate) fn global_bytes(&self, program: &Program, name: &str) -> Vec<u8> {
        let (address, size) = program.global(name).unwrap_or_else(|| panic!("no variable {name}"));
        let (region, offset) = self.memory.find(address, size).unwrap();
        let mut bytes = vec![0; size as usize];
        region.read(offset, &mut bytes).unwrap();
        bytes
    }

    /// Runs a kernel that must not fault.
    pub(crate) fn ok(&self, program: &Program, name: &str, shape: &Shape, params: &[&dyn Bytes]) {
        if let Some(fault) = self.run(program, name, shape, params) {
            panic!("{fault}");
        }
    }
}

/// Runs slices of `grid` on this thread until it ends.
pub(crate) fn drive(grid: &Grid) {
    for _ in 0..SLICES_MAX {
        match grid.run(SLICE) {
            Progress::Finished => return,
            Progress::More => {}
            Progress::Idle => std::thread::yield_now(),
        }
    }
    panic!("the kernel did not end");
}

/// Shape of a launch.
pub(crate) struct Shape {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared: u32,
    pub(crate) cooperative: bool,
}

/// `grid` blocks of `block` threads in one dimension.
pub(crate) fn line(grid: u32, block: u32) -> Shape {
    Shape { grid: [grid, 1, 1], block: [block, 1, 1], shared: 0, cooperative: false }
}

/// The same with dynamic shared memory, in bytes.
pub(crate) fn line_shared(grid: u32, block: u32, shared: u32) -> Shape {
    Shape { shared, ..line(grid, block) }
}

/// Two dimensions.
pub(crate) fn plane(grid: [u32; 2], block: [u32; 2]) -> Shape {
    Shape { grid: [grid[0], grid[1], 1], block: [block[0], block[1], 1], shared: 0, cooperative: false }
}

/// A parameter.
pub(crate) trait Bytes {
    fn bytes(&self) -> Vec<u8>;
}

impl<T: Plain> Bytes for T {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }
}

impl Bytes for Array {
    fn bytes(&self) -> Vec<u8> {
        self.address.to_le_bytes().to_vec()
    }
}

impl Bytes for Vec<u8> {
    fn bytes(&self) -> Vec<u8> {
        self.clone()
    }
}

/// Numbers that look random and are the same every time (splitmix64).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// In 0..1, with 24 bits.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    pub(crate) fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.unit() * 2.0 - 1.0).collect()
    }

    pub(crate) fn words(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.next() as u32).collect()
    }
}
