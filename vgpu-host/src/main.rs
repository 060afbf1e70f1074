//! `vgpu-host`: the thin binary over the library.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use vgpu_host::config::{Card, Config, ConfigError, control_socket, default_runtime_dir};
#[cfg(feature = "demo")]
use vgpu_host::demo;
use vgpu_host::{Host, HostError, ctl, exit, logging};

/// Shares GPUs among virtual machines and containers.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the tenants of a configuration until a signal ends it.
    Serve {
        /// The configuration, in TOML.
        #[arg(long)]
        config: PathBuf,
        /// Forget what operators set at run time; quarantines stay.
        #[arg(long)]
        forget_overrides: bool,
    },
    /// Serve one session; started by serve.
    #[command(hide = true)]
    Worker {
        /// Serve nobody; print what a card is, or why it cannot be used, as one line of JSON.
        #[arg(long, value_name = "cuda:N|cuda:GPU-UUID")]
        probe: Option<Card>,
    },
    /// Ask a running host, close a session, or hold a tenant back.
    Ctl {
        /// The host's control socket; that of the default runtime folder when absent.
        #[arg(long, global = true)]
        socket: Option<PathBuf>,
        /// Print the answer's body instead of a table.
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        request: Request,
    },
    /// Run four guests that do real work on a host of their own, check and measure them.
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
    /// Be one of these guests; started by demo.
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    DemoGuest(demo::GuestArguments),
}

#[derive(Debug, Subcommand)]
enum Request {
    /// List the GPUs and their spare workers.
    Devices,
    /// List the tenants.
    Tenants,
    /// List the sessions.
    Sessions,
    /// Watch what tenants do, frame after frame; Ctrl-C ends it. It has tables only, whether or not --json is there.
    Top {
        /// Milliseconds from one frame to the next.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(50..=60_000))]
        interval_ms: u64,
        /// One frame, after one interval.
        #[arg(long)]
        once: bool,
    },
    /// Set a tenant's settings, from now on and over restarts, until they are reset.
    Set {
        /// The tenant's name.
        tenant: String,
        /// Settings, as the configuration names them: weight=200 cap=0.5 launches_per_s=none
        #[arg(required = true, value_name = "KEY=VALUE")]
        settings: Vec<ctl::Assignment>,
    },
    /// Have a tenant as the configuration says.
    Reset {
        /// The tenant's name.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        tenant: Option<String>,
        /// Every tenant.
        #[arg(long)]
        all: bool,
    },
    /// Read the configuration file again, all of it or nothing.
    Reload,
    /// Close a session.
    Close {
        /// Its number, from `sessions`.
        id: u64,
    },
    /// List what happened: refusals, kills, faults, quarantine.
    Events {
        /// Only events after that one.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Go on with further events as they come; with --json one event a line.
        #[arg(long)]
        follow: bool,
    },
    /// End a tenant's sessions and allow none until it is released.
    Quarantine {
        /// Its name, from `tenants`.
        tenant: String,
    },
    /// Release a tenant from back-off and quarantine, and forget its strikes.
    Release {
        /// Its name, from `tenants`.
        tenant: String,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let status = match arguments.command {
        Command::Serve { config, forget_overrides } => {
            report(serve(&config, forget_overrides), HostError::exit_status)
        }
        Command::Worker { probe: None } => vgpu_host::worker_main(),
        Command::Worker { probe: Some(card) } => vgpu_host::probe::probe_main(card),
        Command::Ctl { socket, json, request } => match socket.map_or_else(default_socket, Ok) {
            Ok(socket) => report(ask(&socket, request, json), ctl::CtlError::exit_status),
            Err(error) => report(Err(error), |_| exit::CONFIG),
        },
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(&arguments),
        #[cfg(feature = "demo")]
        Command::DemoGuest(arguments) => demo::guest_main(&arguments),
    };
    ExitCode::from(status)
}

fn usage(error: &clap::Error) -> ExitCode {
    #[cfg(feature = "demo")]
    if let Some(status) = demo::answer_usage_error(error, &std::env::args_os().collect::<Vec<_>>()) {
        return ExitCode::from(status);
    }
    error.exit()
}

fn serve(config: &Path, forget_overrides: bool) -> Result<(), HostError> {
    logging::start();
    let host = Host::new(Config::from_path(config)?);
    if forget_overrides { host.forget_overrides() } else { host }.run()
}

fn default_socket() -> Result<PathBuf, ConfigError> {
    Ok(control_socket(&default_runtime_dir()?))
}

fn ask(socket: &Path, request: Request, json: bool) -> Result<(), ctl::CtlError> {
    let request = match request {
        Request::Devices => ctl::Request::Devices,
        Request::Tenants => ctl::Request::Tenants,
        Request::Sessions => ctl::Request::Sessions,
        Request::Top { interval_ms, once } => {
            let clear = !once && std::io::stdout().is_terminal();
            let interval = Duration::from_millis(interval_ms);
            return ctl::top(socket, ctl::TopOptions { interval, once, clear }, print);
        }
        Request::Set { tenant, settings } => ctl::Request::Set(tenant, settings),
        Request::Reset { tenant, .. } => ctl::Request::Reset(tenant),
        Request::Reload => ctl::Request::Reload,
        Request::Close { id } => ctl::Request::Close(id),
        Request::Events { after, follow: true } => return ctl::follow(socket, after, json, print),
        Request::Events { after, follow: false } => ctl::Request::Events(after),
        Request::Quarantine { tenant } => ctl::Request::Quarantine(tenant),
        Request::Release { tenant } => ctl::Request::Release(tenant),
    };
    let text = ctl::run(socket, request, json)?;
    // A reader that has seen enough, such as `head`, is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn report<E: std::error::Error>(result: Result<(), E>, status: impl Fn(&E) -> u8) -> u8 {
    match result {
        Ok(()) => exit::OK,
        Err(error) => {
            eprintln!("vgpu-host: {error}");
            status(&error)
        }
    }
}
