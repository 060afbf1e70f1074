//! How often each byte value occurs, counted with atomics.

use vgpu_client::{Context, DeviceBuffer, Function, LaunchConfig, Result, Stream, args};

use super::compare::{Mismatch, exactly};
use super::input::Input;
use super::load::Launch;
use super::rounds::{LAUNCHES, Work};

const PTX: &str = include_str!("../../../../vgpu-core/fixtures/histogram.ptx");

/// Bytes that are counted.
const COUNT: usize = 64 << 10;
const BINS: usize = 256;
const BLOCKS: u32 = 16;
const BLOCK: u32 = 256;
const SEED: u64 = 0x6869_7374;

/// Each launch of a round counts into counters of its own.
#[derive(Debug)]
pub(super) struct Histogram {
    kernel: Function,
    bytes: Vec<u8>,
    expected: Vec<u32>,
    found: Vec<u32>,
    device_bytes: DeviceBuffer<u8>,
    counters: DeviceBuffer<u32>,
}

impl Histogram {
    pub(super) fn new(context: &Context) -> Result<Self> {
        let mut input = Input::new(SEED);
        // Two numbers, bit by bit: values differ in frequency, so that a mixed-up counter shows.
        let bytes: Vec<_> = (0..COUNT).map(|_| (input.next() as u8 & input.next() as u8) ^ 0x5a).collect();
        Ok(Self {
            kernel: context.load_module(PTX)?.function("histogram")?,
            expected: reference(&bytes),
            bytes,
            found: vec![0; LAUNCHES * BINS],
            device_bytes: context.alloc(COUNT)?,
            counters: context.alloc(LAUNCHES * BINS)?,
        })
    }
}

impl Work for Histogram {
    fn begin(&mut self, stream: &Stream) -> Result<u64> {
        stream.copy_to_device(&self.device_bytes, &self.bytes)?;
        stream.memset(&self.counters, 0_u32, self.counters.len() as u64)?;
        Ok(self.device_bytes.bytes())
    }

    fn launch(&mut self, stream: &Stream, index: usize) -> Result<()> {
        let config = LaunchConfig { grid: [BLOCKS, 1, 1], block: [BLOCK, 1, 1], ..LaunchConfig::default() };
        let counters = self.counters.at(index * BINS);
        stream.launch(&self.kernel, config, args![&self.device_bytes, counters, COUNT as i32])
    }

    fn finish(&mut self, stream: &Stream) -> Result<u64> {
        stream.copy_to_host(&self.counters, &mut self.found)?;
        Ok(self.counters.bytes())
    }

    fn verify(&self) -> Result<(), Mismatch> {
        self.found.chunks(BINS).try_for_each(|counters| exactly("counter", counters, &self.expected))
    }

    fn sized<'a>(&'a self, context: &Context, stream: &Stream, size: f64) -> Result<Launch<'a>> {
        let bytes: DeviceBuffer<u8> = context.alloc(((COUNT as f64 * size) as usize).max(1))?;
        let counters: DeviceBuffer<u32> = context.alloc(BINS)?;
        stream.memset(&bytes, 0_u8, bytes.len() as u64)?;
        stream.memset(&counters, 0_u32, counters.len() as u64)?;
        let config = LaunchConfig { grid: [BLOCKS, 1, 1], block: [BLOCK, 1, 1], ..LaunchConfig::default() };
        Ok(Box::new(move |stream| {
            stream.launch(&self.kernel, config, args![&bytes, &counters, bytes.len() as i32])
        }))
    }

    fn size_max(&self) -> f64 {
        1_024.0
    }
}

fn reference(bytes: &[u8]) -> Vec<u32> {
    let mut counters = vec![0; BINS];
    for byte in bytes {
        counters[usize::from(*byte)] += 1;
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_counts_each_byte_once() {
        let counters = reference(&[3, 255, 3, 0]);
        assert_eq!((counters[0], counters[3], counters[255]), (1, 2, 1));
        assert_eq!(counters.iter().sum::<u32>(), 4);
    }
}
