//! Gravity among bodies, step by step.

use vgpu_client::{Context, DeviceBuffer, Function, LaunchConfig, Result, Stream, args};

use super::compare::{Expected, Mismatch, within};
use super::input::Input;
use super::load::Launch;
use super::rounds::{LAUNCHES, Work};

const PTX: &str = include_str!("../../../../vgpu-core/fixtures/nbody.ptx");

/// Number of bodies, a multiple of the block.
const BODIES: usize = 256;
const BLOCK: u32 = 64;
/// Added to each squared distance, in the bodies' unit of length squared.
const SOFTENING: f32 = 0.01;
/// Length of a step, in the bodies' unit of time.
const STEP: f32 = 0.01;
const SEED: u64 = 0x6e62_6f64;

/// How far a coordinate may be off after a round. Coordinates are near 1, where single precision resolves 6e-8; a round
/// adds up a few roundings in each step and the error of a reciprocal square root (2^-22) in each force.
const TOLERANCE: f64 = 1e-5;

/// Four single-precision numbers: position and mass, or velocity and nothing.
type Float4 = [f32; 4];

/// Each launch of a round is a step: from one buffer of positions to the other.
#[derive(Debug)]
pub(super) struct Nbody {
    kernel: Function,
    positions: Vec<Float4>,
    velocities: Vec<Float4>,
    expected: Vec<Expected>,
    found: Vec<Float4>,
    device_positions: [DeviceBuffer<Float4>; 2],
    device_velocities: DeviceBuffer<Float4>,
}

impl Nbody {
    pub(super) fn new(context: &Context) -> Result<Self> {
        let mut input = Input::new(SEED);
        let mass = 1.0 / BODIES as f32;
        let positions: Vec<_> =
            (0..BODIES).map(|_| [input.unit(), input.unit(), input.unit(), mass]).collect();
        let velocities: Vec<_> =
            (0..BODIES).map(|_| [input.unit(), input.unit(), input.unit(), 0.0]).collect();
        Ok(Self {
            kernel: context.load_module(PTX)?.function("nbody")?,
            expected: reference(&positions, &velocities, LAUNCHES),
            positions,
            velocities,
            found: vec![[0.0; 4]; BODIES],
            device_positions: [context.alloc(BODIES)?, context.alloc(BODIES)?],
            device_velocities: context.alloc(BODIES)?,
        })
    }
}

impl Work for Nbody {
    fn begin(&mut self, stream: &Stream) -> Result<u64> {
        let [from, to] = &self.device_positions;
        stream.copy_to_device(from, &self.positions)?;
        stream.copy_to_device(&self.device_velocities, &self.velocities)?;
        stream.memset(to.address(), f32::NAN, to.bytes() / size_of::<f32>() as u64)?;
        Ok(from.bytes() + self.device_velocities.bytes())
    }

    fn launch(&mut self, stream: &Stream, index: usize) -> Result<()> {
        let config =
            LaunchConfig::linear(BODIES as u32, BLOCK).with_shared_bytes(BLOCK * size_of::<Float4>() as u32);
        let [from, to] = [index % 2, (index + 1) % 2].map(|buffer| &self.device_positions[buffer]);
        stream.launch(
            &self.kernel,
            config,
            args![from, to, &self.device_velocities, SOFTENING, STEP, BODIES as i32],
        )
    }

    fn finish(&mut self, stream: &Stream) -> Result<u64> {
        let last = &self.device_positions[LAUNCHES % 2];
        stream.copy_to_host(last, &mut self.found)?;
        Ok(last.bytes())
    }

    fn verify(&self) -> Result<(), Mismatch> {
        within("coordinate", self.found.as_flattened(), &self.expected)
    }

    fn sized<'a>(&'a self, context: &Context, stream: &Stream, size: f64) -> Result<Launch<'a>> {
        // Work grows with the second power of the number of bodies.
        let blocks = (BODIES as f64 / f64::from(BLOCK) * size.sqrt()).round().max(1.0) as u32;
        let bodies = blocks * BLOCK;
        let [from, to, velocities] = [(); 3].map(|()| context.alloc::<Float4>(bodies as usize));
        let (from, to, velocities) = (from?, to?, velocities?);
        for buffer in [&from, &velocities] {
            stream.memset(buffer.address(), 0.0_f32, buffer.bytes() / size_of::<f32>() as u64)?;
        }
        let config =
            LaunchConfig::linear(bodies, BLOCK).with_shared_bytes(BLOCK * size_of::<Float4>() as u32);
        Ok(Box::new(move |stream| {
            stream.launch(
                &self.kernel,
                config,
                args![&from, &to, &velocities, SOFTENING, STEP, bodies as i32],
            )
        }))
    }

    fn size_max(&self) -> f64 {
        // A million bodies.
        16_777_216.0
    }
}

/// Positions and masses after a number of steps, in double precision, by the formula in the kernel's source.
fn reference(positions: &[Float4], velocities: &[Float4], steps: usize) -> Vec<Expected> {
    let mut positions: Vec<_> = positions.iter().map(|position| position.map(f64::from)).collect();
    let mut velocities: Vec<_> = velocities.iter().map(|velocity| velocity.map(f64::from)).collect();
    let step = f64::from(STEP);
    for _ in 0..steps {
        let before = positions.clone();
        for (position, velocity) in positions.iter_mut().zip(&mut velocities) {
            let acceleration = acceleration(*position, &before);
            for axis in 0..3 {
                velocity[axis] += acceleration[axis] * step;
                position[axis] += velocity[axis] * step;
            }
        }
    }
    positions.into_iter().flatten().map(|value| Expected { value, tolerance: TOLERANCE }).collect()
}

fn acceleration(own: [f64; 4], bodies: &[[f64; 4]]) -> [f64; 3] {
    let mut acceleration = [0.0; 3];
    for other in bodies {
        let way: [f64; 3] = std::array::from_fn(|axis| other[axis] - own[axis]);
        let squared = way.iter().map(|way| way * way).sum::<f64>() + f64::from(SOFTENING);
        let pull = other[3] / (squared * squared.sqrt());
        for axis in 0..3 {
            acceleration[axis] += pull * way[axis];
        }
    }
    acceleration
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(positions: &[Float4], velocities: &[Float4], steps: usize) -> Vec<f64> {
        reference(positions, velocities, steps).into_iter().map(|expected| expected.value).collect()
    }

    #[test]
    fn a_lone_body_flies_straight() {
        let values = values(&[[1.0, 0.0, 0.0, 5.0]], &[[0.0, 1.0, 0.0, 0.0]], 10);
        let step = f64::from(STEP);
        assert_eq!((values[0], values[2], values[3]), (1.0, 0.0, 5.0));
        assert!((values[1] - 10.0 * step).abs() < 1e-12, "{values:?}");
    }

    #[test]
    fn two_bodies_attract_each_other_by_the_formula() {
        let positions = [[0.0, 0.0, 0.0, 2.0], [1.0, 0.0, 0.0, 1.0]];
        let values = values(&positions, &[[0.0; 4]; 2], 1);
        let (step, softening) = (f64::from(STEP), f64::from(SOFTENING));
        let unit_pull = step * step / (1.0 + softening).powf(1.5);
        assert!((values[0] - unit_pull).abs() < 1e-12, "{values:?}");
        assert!((values[4] - (1.0 - 2.0 * unit_pull)).abs() < 1e-12, "{values:?}");
    }

    #[test]
    fn the_number_of_bodies_is_a_multiple_of_the_block() {
        assert_eq!(BODIES % BLOCK as usize, 0);
    }
}
