//! Software GPUs whose work takes its time.

use vgpu_client::Client;

use crate::{Host, HostBuilder};

/// Runs a case in a session on a device without delays, and on two with random delays, each from a seed of its own.
///
/// # Panics
/// Where the host does not start, or the case panics.
pub fn with_and_without_delays(case: impl Fn(&Client)) {
    for delays in ["", ", delay_seed = 1", ", delay_seed = 20"] {
        let soft = format!("memory_bytes = 1073741824, threads = 2{delays}");
        let host: Host = HostBuilder::default().soft(&soft).tenant("alice", 512 << 20, "").start();
        let client = Client::builder().socket(host.socket("alice")).connect().expect("the host serves alice");
        println!("device settings: {soft}");
        case(&client);
        drop(client);
        host.wait_until_empty();
    }
}
