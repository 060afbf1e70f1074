//! A host inside a program of your own, with one guest beside it.
//!
//! The host accepts on a thread; each session is a worker process, which is this executable started again.

use std::error::Error;

use vgpu_client::{Client, LaunchConfig, args};
use vgpu_host::Host;
use vgpu_host::config::Config;

/// `void increment(int *word)`.
const PTX: &str = include_str!("../vgpu-core/fixtures/tiny.ptx");

fn main() -> Result<(), Box<dyn Error>> {
    // In a worker process this call does not return. It comes before anything else, so that a worker starts nothing of
    // this program.
    vgpu_host::worker_main_if_asked();

    // A folder of our own for the sockets; two tenants on one software GPU, each with its quota.
    let folder = std::env::temp_dir().join(format!("vgpu-embed-{}", std::process::id()));
    let config = Config::from_toml(&format!(
        r#"
        [host]
        runtime_dir = "{folder}"
        state_dir = "{folder}/state"
        drain_timeout_ms = 2000
        [[gpu]]
        name = "gpu0"
        device = "soft"
        [[tenant]]
        name = "alice"
        gpu = "gpu0"
        memory_bytes = 67108864
        [[tenant]]
        name = "bob"
        gpu = "gpu0"
        memory_bytes = 67108864
        "#,
        folder = folder.display(),
    ))?;
    let host = Host::new(config).start()?;
    println!("serving in {}", host.runtime_dir().display());

    // Guests are usually other processes or virtual machines; a thread of this one serves as well.
    for tenant in ["alice", "bob"] {
        let client = Client::builder().socket(host.tenant_socket(tenant)).connect()?;
        let context = client.context()?;
        let increment = context.load_module(PTX)?.function("increment")?;
        let stream = context.stream()?;
        let word = context.alloc::<i32>(1)?;
        stream.memset(&word, 0_i32, 1)?;
        for _ in 0..100 {
            stream.launch(&increment, LaunchConfig::default(), args![&word])?;
        }
        let mut count = [0];
        stream.copy_to_host(&word, &mut count)?;
        let memory = context.memory_info()?;
        println!(
            "{tenant}: session {} counted to {} and has {} of {} MiB left",
            client.session_id(),
            count[0],
            memory.free_bytes >> 20,
            memory.total_bytes >> 20
        );
        assert_eq!(count, [100]);

        // The quota is the host's: asking for more is CUDA's out-of-memory error, and the session goes on.
        let refused = context.alloc_bytes(1 << 30).expect_err("a GiB is over the quota");
        println!("{tenant}: {refused}");
    }

    // Drains: the sessions above have ended with their clients, so this is at once.
    host.shutdown();
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
