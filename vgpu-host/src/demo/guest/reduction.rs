//! Sums of many numbers by warp shuffles.

use vgpu_client::{Context, DeviceBuffer, Function, LaunchConfig, Result, Stream, args};

use super::compare::{Expected, Mismatch, exactly, sum_tolerance, within};
use super::input::Input;
use super::load::Launch;
use super::rounds::{LAUNCHES, Work};

const PTX: &str = include_str!("../../../../vgpu-core/fixtures/reduction_shuffle.ptx");

/// Numbers that are summed up.
const COUNT: usize = 32 << 10;
const BLOCKS: u32 = 16;
const BLOCK: u32 = 256;
const SEED: u64 = 0x7265_6475;

/// Launches of an even index sum floating-point numbers, the others integers, each into a total of its own.
#[derive(Debug)]
pub(super) struct Reduction {
    floats: Half<f32>,
    integers: Half<i32>,
    expected_float: Expected,
    expected_integer: i32,
}

/// One of the two kernels with its numbers.
#[derive(Debug)]
struct Half<T> {
    kernel: Function,
    numbers: Vec<T>,
    totals: Vec<T>,
    device_numbers: DeviceBuffer<T>,
    device_totals: DeviceBuffer<T>,
}

impl Reduction {
    pub(super) fn new(context: &Context) -> Result<Self> {
        let mut input = Input::new(SEED);
        let floats: Vec<_> = (0..COUNT).map(|_| input.unit()).collect();
        let integers: Vec<_> = (0..COUNT).map(|_| input.next() as i32).collect();
        let module = context.load_module(PTX)?;
        Ok(Self {
            expected_float: float_reference(&floats),
            expected_integer: integer_reference(&integers),
            floats: Half::new(context, module.function("reduction_shuffle_f32")?, floats)?,
            integers: Half::new(context, module.function("reduction_shuffle_s32")?, integers)?,
        })
    }
}

impl Work for Reduction {
    fn begin(&mut self, stream: &Stream) -> Result<u64> {
        Ok(self.floats.begin(stream, 0.0)? + self.integers.begin(stream, 0)?)
    }

    fn launch(&mut self, stream: &Stream, index: usize) -> Result<()> {
        if index.is_multiple_of(2) {
            self.floats.launch(stream, index / 2)
        } else {
            self.integers.launch(stream, index / 2)
        }
    }

    fn finish(&mut self, stream: &Stream) -> Result<u64> {
        Ok(self.floats.finish(stream)? + self.integers.finish(stream)?)
    }

    fn verify(&self) -> Result<(), Mismatch> {
        within("sum", &self.floats.totals, &[self.expected_float; LAUNCHES / 2])?;
        exactly("integer sum", &self.integers.totals, &[self.expected_integer; LAUNCHES / 2])
    }

    fn sized<'a>(&'a self, context: &Context, stream: &Stream, size: f64) -> Result<Launch<'a>> {
        let numbers: DeviceBuffer<f32> = context.alloc(((COUNT as f64 * size) as usize).max(1))?;
        let total: DeviceBuffer<f32> = context.alloc(1)?;
        stream.memset(&numbers, 0.0_f32, numbers.len() as u64)?;
        stream.memset(&total, 0.0_f32, 1)?;
        let config = LaunchConfig { grid: [BLOCKS, 1, 1], block: [BLOCK, 1, 1], ..LaunchConfig::default() };
        Ok(Box::new(move |stream| {
            stream.launch(&self.floats.kernel, config, args![&numbers, &total, numbers.len() as i32])
        }))
    }

    fn size_max(&self) -> f64 {
        512.0
    }
}

impl<T: vgpu_client::Element + Default> Half<T> {
    fn new(context: &Context, kernel: Function, numbers: Vec<T>) -> Result<Self> {
        Ok(Self {
            kernel,
            numbers,
            totals: vec![T::default(); LAUNCHES / 2],
            device_numbers: context.alloc(COUNT)?,
            device_totals: context.alloc(LAUNCHES / 2)?,
        })
    }

    fn begin(&self, stream: &Stream, zero: T) -> Result<u64> {
        stream.copy_to_device(&self.device_numbers, &self.numbers)?;
        stream.memset(&self.device_totals, zero, self.device_totals.len() as u64)?;
        Ok(self.device_numbers.bytes())
    }

    fn launch(&self, stream: &Stream, total: usize) -> Result<()> {
        let config = LaunchConfig { grid: [BLOCKS, 1, 1], block: [BLOCK, 1, 1], ..LaunchConfig::default() };
        let total = self.device_totals.at(total);
        stream.launch(&self.kernel, config, args![&self.device_numbers, total, COUNT as i32])
    }

    fn finish(&mut self, stream: &Stream) -> Result<u64> {
        stream.copy_to_host(&self.device_totals, &mut self.totals)?;
        Ok(self.device_totals.bytes())
    }
}

/// The sum in double precision. In the kernel a term takes part in the additions of its thread, twice those of a warp
/// and, at most, one for each block.
fn float_reference(numbers: &[f32]) -> Expected {
    let threads = (BLOCKS * BLOCK) as usize;
    let steps = numbers.len().div_ceil(threads) + 2 * 5 + BLOCKS as usize;
    let value = numbers.iter().copied().map(f64::from).sum();
    let absolute = numbers.iter().map(|number| f64::from(number.abs())).sum();
    Expected { value, tolerance: sum_tolerance(steps, absolute) }
}

/// The sum modulo 2^32, as the device adds.
fn integer_reference(numbers: &[i32]) -> i32 {
    numbers.iter().fold(0, |sum, number| sum.wrapping_add(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_references_sum_up() {
        let expected = float_reference(&[0.5, -0.25, 1.0]);
        assert_eq!(expected.value, 1.25);
        assert_eq!(expected.tolerance, sum_tolerance(1 + 10 + BLOCKS as usize, 1.75));
        assert_eq!(integer_reference(&[i32::MAX, 1, 5]), i32::MIN + 5);
    }

    #[test]
    fn both_kernels_have_as_many_launches_and_whole_warps() {
        assert_eq!(LAUNCHES % 2, 0);
        assert_eq!(BLOCK % 32, 0);
    }
}
