//! The product of two square matrices, in tiles through shared memory.

use vgpu_client::{Context, DeviceBuffer, Function, LaunchConfig, Result, Stream, args};

use super::compare::{Expected, Mismatch, sum_tolerance, within};
use super::input::Input;
use super::load::Launch;
use super::rounds::{LAUNCHES, Work};

const PTX: &str = include_str!("../../../../vgpu-core/fixtures/matmul_tiled.ptx");

/// Order of the matrices, a multiple of the tile.
const ORDER: usize = 96;
/// Order of a tile: the kernel's block is as large.
const TILE: u32 = 16;
const SEED: u64 = 0x6d61_746d;

/// Each launch of a round writes a product of its own.
#[derive(Debug)]
pub(super) struct Matmul {
    kernel: Function,
    left: Vec<f32>,
    right: Vec<f32>,
    expected: Vec<Expected>,
    found: Vec<f32>,
    device_left: DeviceBuffer<f32>,
    device_right: DeviceBuffer<f32>,
    products: DeviceBuffer<f32>,
}

impl Matmul {
    pub(super) fn new(context: &Context) -> Result<Self> {
        let mut input = Input::new(SEED);
        let mut matrix = || (0..ORDER * ORDER).map(|_| input.unit()).collect::<Vec<_>>();
        let (left, right) = (matrix(), matrix());
        Ok(Self {
            kernel: context.load_module(PTX)?.function("matmul_tiled")?,
            expected: reference(&left, &right, ORDER),
            left,
            right,
            found: vec![0.0; LAUNCHES * ORDER * ORDER],
            device_left: context.alloc(ORDER * ORDER)?,
            device_right: context.alloc(ORDER * ORDER)?,
            products: context.alloc(LAUNCHES * ORDER * ORDER)?,
        })
    }
}

impl Work for Matmul {
    fn begin(&mut self, stream: &Stream) -> Result<u64> {
        stream.copy_to_device(&self.device_left, &self.left)?;
        stream.copy_to_device(&self.device_right, &self.right)?;
        stream.memset(&self.products, f32::NAN, self.products.len() as u64)?;
        Ok(self.device_left.bytes() + self.device_right.bytes())
    }

    fn launch(&mut self, stream: &Stream, index: usize) -> Result<()> {
        let tiles = ORDER as u32 / TILE;
        let config =
            LaunchConfig { grid: [tiles, tiles, 1], block: [TILE, TILE, 1], ..LaunchConfig::default() };
        let product = self.products.at(index * ORDER * ORDER);
        stream.launch(
            &self.kernel,
            config,
            args![&self.device_left, &self.device_right, product, ORDER as i32],
        )
    }

    fn finish(&mut self, stream: &Stream) -> Result<u64> {
        stream.copy_to_host(&self.products, &mut self.found)?;
        Ok(self.products.bytes())
    }

    fn verify(&self) -> Result<(), Mismatch> {
        let products = self.found.chunks(ORDER * ORDER);
        products.into_iter().try_for_each(|product| within("element", product, &self.expected))
    }

    fn sized<'a>(&'a self, context: &Context, stream: &Stream, size: f64) -> Result<Launch<'a>> {
        // Work grows with the third power of the order.
        let tiles = (ORDER as f64 / f64::from(TILE) * size.cbrt()).round().max(1.0) as u32;
        let order = (tiles * TILE) as usize;
        let factor: DeviceBuffer<f32> = context.alloc(order * order)?;
        let product: DeviceBuffer<f32> = context.alloc(order * order)?;
        stream.memset(&factor, 1.0_f32, factor.len() as u64)?;
        let config =
            LaunchConfig { grid: [tiles, tiles, 1], block: [TILE, TILE, 1], ..LaunchConfig::default() };
        Ok(Box::new(move |stream| {
            stream.launch(&self.kernel, config, args![&factor, &factor, &product, order as i32])
        }))
    }

    fn size_max(&self) -> f64 {
        // An order of 2,880.
        27_000.0
    }
}

/// The product of two row-major matrices, in double precision. Single precision rounds each product and each addition.
fn reference(left: &[f32], right: &[f32], order: usize) -> Vec<Expected> {
    let mut expected = Vec::with_capacity(order * order);
    for row in left.chunks(order) {
        for column in 0..order {
            let products = row
                .iter()
                .zip(right.iter().skip(column).step_by(order))
                .map(|(left, right)| f64::from(*left) * f64::from(*right));
            let (mut value, mut absolute) = (0.0, 0.0);
            for product in products {
                value += product;
                absolute += product.abs();
            }
            expected.push(Expected { value, tolerance: sum_tolerance(order + 1, absolute) });
        }
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_multiplies_row_by_column() {
        let expected = reference(&[1.0, 2.0, 3.0, 4.0], &[5.0, -6.0, 7.0, 8.0], 2);
        let values: Vec<_> = expected.iter().map(|expected| expected.value).collect();
        assert_eq!(values, [19.0, 10.0, 43.0, 14.0]);
        assert_eq!(expected[1].tolerance, sum_tolerance(3, 22.0));
    }

    #[test]
    fn the_order_is_a_multiple_of_the_tile() {
        assert_eq!(ORDER % TILE as usize, 0);
    }
}
