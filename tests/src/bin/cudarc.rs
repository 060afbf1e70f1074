//! A Rust program that uses a GPU through cudarc's safe API and knows nothing of vgpu. Argument: `saxpy.ptx`.

use std::error::Error;

use cudarc::driver::sys::CUdevice_attribute;
use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

const COUNT: i32 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    let ptx = std::env::args().nth(1).ok_or("usage: vgpu-cudarc saxpy.ptx")?;
    let context = CudaContext::new(0)?;
    let major = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    assert!(major >= 7 && !context.name()?.is_empty());
    let saxpy = context.load_module(Ptx::from_file(ptx))?.load_function("saxpy")?;

    let (first, second) = (context.new_stream()?, context.new_stream()?);
    let x: Vec<f32> = (0..COUNT).map(|at| at as f32).collect();
    let device_x = first.clone_htod(&x)?;
    let mut device_y = second.alloc_zeros::<f32>(x.len())?;
    // cudarc orders the two streams by the events of the buffers.
    let start = second.record_event(None)?;
    let mut launch = second.launch_builder(&saxpy);
    launch.arg(&3.0f32).arg(&device_x).arg(&mut device_y).arg(&COUNT);
    // SAFETY: the kernel takes a factor, two arrays of COUNT numbers, and COUNT; it stays inside them.
    unsafe { launch.launch(LaunchConfig::for_num_elems(COUNT.unsigned_abs())) }?;
    let y = second.clone_dtoh(&device_y)?;
    second.synchronize()?;
    assert!(y.iter().zip(&x).all(|(y, x)| *y == 3.0 * x), "y is not 3 x");
    let copy = first.clone_dtod(&device_y)?;
    assert_eq!(first.clone_dtoh(&copy)?, y);
    first.join(&second)?;
    context.synchronize()?;
    drop(start);

    // The primary context is shared by threads.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                context.bind_to_thread().expect("the context is live");
                let stream = context.new_stream().expect("streams are left");
                let there = stream.clone_htod(&x).expect("memory is left");
                assert_eq!(stream.clone_dtoh(&there).expect("the copy works"), x);
            });
        }
    });
    println!("ok");
    Ok(())
}
