//! The smallest useful guest: adds two vectors on the GPU.
//!
//! Needs a host; see README.md in this folder.

use vgpu_client::{Client, Error, LaunchConfig, args};

/// What NVIDIA's compiler made of `vgpu-core/fixtures/vector_add.cu`:
/// `void vector_add(const float *a, const float *b, float *out, int n)`.
const PTX: &str = include_str!("../vgpu-core/fixtures/vector_add.ptx");

const LEN: usize = 100_000;

fn main() -> Result<(), Error> {
    // A session: this process's share of the GPU. `VGPU_SOCKET` says where the host is.
    let client = Client::connect()?;
    println!("connected to {}", client.device().name);

    // A context holds memory, streams and modules. The primary one is made at the first call.
    let context = client.context()?;
    let vector_add = context.load_module(PTX)?.function("vector_add")?;

    // Three pieces of device memory. They are freed when their handles are dropped.
    let a = context.alloc::<f32>(LEN)?;
    let b = context.alloc::<f32>(LEN)?;
    let out = context.alloc::<f32>(LEN)?;

    // A stream is a queue: what is put in runs in order, and putting it in does not wait.
    let stream = context.stream()?;
    let host_a: Vec<f32> = (0..LEN as u16).map(f32::from).cycle().take(LEN).collect();
    let host_b = vec![0.5; LEN];
    stream.copy_to_device(&a, &host_a)?;
    stream.copy_to_device(&b, &host_b)?;

    // One thread for each element, in blocks of 256. The arguments are checked against the kernel's parameters here,
    // so a wrong number or size never reaches the GPU.
    let n = i32::try_from(LEN).expect("LEN is a small constant");
    stream.launch(&vector_add, LaunchConfig::linear(LEN as u32, 256), args![&a, &b, &out, n])?;

    // Copies to the host wait for what was queued before them.
    let mut sum = vec![0.0; LEN];
    stream.copy_to_host(&out, &mut sum)?;

    assert!(sum.iter().zip(&host_a).all(|(sum, a)| *sum == a + 0.5), "the GPU computed something else");
    println!("{LEN} sums are right; the last is {}", sum[LEN - 1]);
    Ok(())
}
