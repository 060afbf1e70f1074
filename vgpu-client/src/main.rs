//! Thin binary over the library: what a guest sees of its GPU, and programs run with it.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The guest side of vgpu.
#[derive(Debug, Parser)]
#[command(version, after_help = ENVIRONMENT)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const ENVIRONMENT: &str = "\
Environment:
  VGPU_SOCKET   the host's socket (default /run/vgpu/vgpu.sock)
  VGPU_SYNC     1: every call waits for its own work and reports its own error (CUDA_LAUNCH_BLOCKING does it too)
  VGPU_SPIN_NS  how long a waiting thread polls before it sleeps (default 2000000, or 50000 on fewer than
                four processors; 0 where vCPUs are overcommitted)
  VGPU_COPY_THREADS  how many threads share a large pageable copy, 1 to 4 (default: one for four processors)
  VGPU_LOG      info: say more on standard error
  VGPU_LIB_DIR  where `run` and `install` look for the shims first
  VGPU_CALLS    a folder: programs on the CUDA shim leave there what they called, `info --calls` shows it

Exit status: 69 no host or device, 75 try again later, 70 the worker was lost, 76 version or protocol, 77 no permission,
1 other errors; of `run`: the command's own, 126 or 127 where it could not be started.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the GPU, the session's limits and the round trip to the host.
    Info(cli::info::Info),
    /// Runs a command with the vgpu libraries in place of NVIDIA's driver.
    Run(cli::run::Run),
    /// Makes the vgpu libraries the driver of this whole system, or undoes it.
    Install(cli::install::Install),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Info(info) => match info.execute() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("vgpu-client: {error}");
                ExitCode::from(error.exit_code())
            }
        },
        Command::Run(run) => run.execute(),
        Command::Install(install) => install.execute(),
    }
}
