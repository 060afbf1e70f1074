//! Work on two streams at once: events order it and time it, and pinned memory is copied without a detour.
//!
//! Needs a host; see README.md in this folder.

use std::sync::atomic::Ordering;

use vgpu_client::{Client, Error, LaunchConfig, WaitCondition, args};

/// `void saxpy(float a, const float *x, float *y, int n)`: y = a * x + y.
const PTX: &str = include_str!("../vgpu-core/fixtures/saxpy.ptx");

const LEN: usize = 1 << 16;
const BYTES: u64 = (LEN * size_of::<f32>()) as u64;

fn main() -> Result<(), Error> {
    let client = Client::connect()?;
    let context = client.context()?;
    let saxpy = context.load_module(PTX)?.function("saxpy")?;

    // One stream copies, the other computes: on a GPU with copy engines both go on at the same time.
    let (copies, kernels) = (context.stream()?, context.stream()?);

    // Pinned memory lies at the same address here and on the GPU. It is read when the stream gets to the copy, not when
    // the copy is queued, so it must stay as it is until then.
    let source = context.pinned::<f32>(LEN)?;
    let result = context.pinned::<f32>(LEN)?;
    source.write(0, &vec![1.0; LEN])?;

    let x = context.alloc::<f32>(LEN)?;
    let y = context.alloc::<f32>(LEN)?;
    copies.copy(&x, &source, BYTES)?;
    copies.memset(&y, 2.0_f32, LEN as u64)?;

    // The kernels' stream waits for the copies by an event. This thread does not wait for anything.
    let (filled, start, end) = (context.event()?, context.event()?, context.event()?);
    filled.record(&copies)?;
    kernels.wait_event(&filled)?;

    // A stream can also wait for a word in memory: here until this thread opens the gate, some lines below.
    let gate = context.pinned::<u32>(1)?;
    kernels.wait_value32(&gate, 1, WaitCondition::Equal)?;

    start.record(&kernels)?;
    let shape = LaunchConfig::linear(LEN as u32, 256);
    for _ in 0..10 {
        kernels.launch(&saxpy, shape, args![3.0_f32, &x, &y, LEN as i32])?;
    }
    end.record(&kernels)?;

    // And back: the copies' stream waits for the last kernel.
    copies.wait_event(&end)?;
    copies.copy(&result, &y, BYTES)?;

    println!("everything is queued; done already: {}", copies.query()?);
    gate.atomic_u32(0)?.store(1, Ordering::Release);
    copies.synchronize()?;

    let first = result.to_vec()[0];
    assert_eq!(first, 32.0, "ten times 3 * 1 on top of 2");
    println!("ten kernels over {LEN} numbers took {:?}", end.elapsed(&start)?);

    // How often each operation was used, and which CUDA calls a program would have made for it.
    for (op, count) in client.calls() {
        if count > 0 {
            println!("{count:>4} {:<16} {}", op.name(), vgpu_client::driver_calls(op));
        }
    }
    Ok(())
}
