//! Loads of modules, each in a session of its own: with an image that an earlier session left, and with one that is sent.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use support::HostBuilder;
use support::fixture::ptx;
use vgpu_bench::{Against, Bench, Goal, Quantity, is_asked_for};
use vgpu_client::Client;

/// Sizes of the images, in MiB: the smallest that is kept, and larger ones.
const SIZES: [(&str, usize); 3] = [("load of 2 MiB", 2), ("load of 8 MiB", 8), ("load of 32 MiB", 32)];

fn main() {
    if !is_asked_for("images") {
        return;
    }
    // What `asks` asks for fits nowhere and is not kept, so that each of its loads is a first one.
    let host = HostBuilder::default()
        .soft("memory_bytes = 1073741824, threads = 1")
        .tenant("keeps", 256 << 20, "images_bytes = 268435456")
        .tenant("asks", 256 << 20, "images_bytes = 1")
        .tenant("sends", 256 << 20, "images_bytes = 0")
        .start();
    let [keeps, asks, sends] = ["keeps", "asks", "sends"].map(|tenant| host.socket(tenant));
    let mut bench = Bench::new("images");
    for (figure, mib) in SIZES {
        let image = padded(mib << 20);
        leave(&keeps, &image, || host.tenant("keeps")["images"]["kept"].as_u64());
        let mut first = || load(&asks, &image);
        let mut sent = || load(&sends, &image);
        let mut hashed = || {
            let start = Instant::now();
            std::hint::black_box(Sha256::digest(&image));
            start.elapsed()
        };
        let mut bases = [
            Against { name: "sent by the first session", goal: Goal::RatioAtMost(1.0), measure: &mut first },
            Against { name: "sent, nothing is kept", goal: Goal::None, measure: &mut sent },
            Against { name: "one SHA-256", goal: Goal::None, measure: &mut hashed },
        ];
        bench.compare(figure, (Quantity::Time, 1), &mut bases, |count| {
            (0..count).map(|_| load(&keeps, &image)).sum()
        });
    }
    bench.finish();
}

/// A small module in an image of that many bytes: the text ends at its first zero, and what follows is only carried.
fn padded(bytes: usize) -> Vec<u8> {
    let mut image = ptx("tiny").into_bytes();
    image.push(0);
    let filler = (0..bytes - image.len()).map(|at| (at % 251) as u8);
    image.extend(filler);
    image
}

/// Lets a session leave an image with the host.
fn leave(socket: &PathBuf, image: &[u8], kept: impl Fn() -> Option<u64>) {
    let before = kept();
    let client = Client::builder().socket(socket).connect().expect("the host welcomes");
    let context = client.context().expect("a session has a context");
    context.load_module(image).expect("the fixture loads");
    support::eventually("the image is kept", || (kept() > before).then_some(()));
}

/// How long a load takes in a new session.
fn load(socket: &PathBuf, image: &[u8]) -> Duration {
    let client = Client::builder().socket(socket).connect().expect("the host welcomes");
    let context = client.context().expect("a session has a context");
    let start = Instant::now();
    let module = context.load_module(image).expect("the fixture loads");
    let elapsed = start.elapsed();
    drop(module);
    elapsed
}
