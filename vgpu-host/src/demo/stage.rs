//! The host and its four guests, from their start to their end.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::arguments::Arguments;
use super::contest::{self, Contest};
use super::error::DemoError;
use super::guest;
use super::progress::Progress;
use super::report::{Outcome, Shares};
use super::scratch::Scratch;
use super::supervise::{Talk, supervise};
use super::work::WorkKind;
use crate::config::{
    Config, ConfigFile, GpuSection, HostSection, SchedulerSection, TenantKeys, TenantSection,
};
use crate::{Host, RunningHost};

/// Device memory of each tenant, in bytes. The guests use a few MiB.
const TENANT_BYTES: u64 = 128 << 20;

/// How long sessions that are still open at the end may take to end by themselves, in milliseconds.
const DRAIN_TIMEOUT_MS: u64 = 1_000;

/// What a guest may take beside its measured work: its start, its CPU reference, and checking, on a busy machine.
const ALLOWANCE: Duration = Duration::from_secs(30);

/// How often the host's counts are looked at while the guests' shares are counted.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// How long all guests together take for a turn each, in milliseconds: a turn is some launches, and there are enough of them
/// in some seconds.
const ROUND_MS: u64 = 40;

/// What became of each guest, and what it had of the GPU, in the order of [`WorkKind::ALL`].
pub(super) type Outcomes = (Vec<Outcome>, Result<Vec<Shares>, String>);

/// Starts the host, runs the guests to their ends and returns what became of them. When it returns, processes and folder are gone, whatever happened.
pub(super) fn run(arguments: &Arguments, device: &str, progress: &Progress) -> Result<Outcomes, DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(system("make the event loop"))?;
    // Watched before there is anything that an interrupt could leave behind.
    let interrupts = Interrupts::watch(&runtime)?;
    let scratch = Scratch::new()?;
    let host = Host::new(config(device, scratch.path())?).start()?;
    progress.watch(&host.control_socket());
    let program = std::env::current_exe().map_err(system("find this executable"))?;
    let outcomes = runtime.block_on(guests(arguments, &host, program, interrupts, progress));
    // The order matters: no guest is left to connect when the host ends, and no host when its folder goes. Draining lets
    // the workers of the last guests leave by themselves, and is bounded.
    drop(runtime);
    host.shutdown();
    drop(scratch);
    outcomes
}

/// Four tenants on one device.
fn config(device: &str, folder: &Path) -> Result<Config, DemoError> {
    const GPU: &str = "gpu0";
    let tenant = |kind: WorkKind| TenantSection {
        name: kind.name().into(),
        gpu: GPU.into(),
        keys: TenantKeys {
            memory_bytes: Some(TENANT_BYTES),
            weight: Some(kind.weight()),
            ..TenantKeys::default()
        },
        ..TenantSection::default()
    };
    let file = ConfigFile {
        host: HostSection {
            runtime_dir: Some(folder.to_owned()),
            state_dir: Some(folder.join("state")),
            drain_timeout_ms: Some(DRAIN_TIMEOUT_MS),
            ..HostSection::default()
        },
        gpu: vec![GpuSection {
            name: GPU.into(),
            device: device.into(),
            // Its guests all start at once, and only once.
            spares: Some(0),
            scheduler: Some(SchedulerSection {
                round_target_ms: Some(ROUND_MS),
                ..SchedulerSection::default()
            }),
            ..GpuSection::default()
        }],
        tenant: WorkKind::ALL.map(tenant).into(),
        ..ConfigFile::default()
    };
    Ok(Config::new(file)?)
}

async fn guests(
    arguments: &Arguments,
    host: &RunningHost,
    program: PathBuf,
    mut interrupts: Interrupts,
    progress: &Progress,
) -> Result<Outcomes, DemoError> {
    let least = Duration::from_secs(arguments.contended_seconds.into());
    let deadline = Duration::from_secs(arguments.seconds.into()) + Contest::longest(least) + ALLOWANCE;
    let (words, mut said) = mpsc::unbounded_channel();
    let mut running = JoinSet::new();
    let mut orders = Vec::new();
    for (guest, kind) in WorkKind::ALL.into_iter().enumerate() {
        let mut command = Command::new(&program);
        command
            .args(guest::words(kind, arguments.seconds))
            .env("VGPU_SOCKET", host.tenant_socket(kind.name()));
        let (order, received) = mpsc::unbounded_channel();
        orders.push(order);
        let talk = Talk { guest, words: words.clone(), orders: received };
        running.spawn(async move { (guest, supervise(kind.name(), command, deadline, talk).await) });
    }
    let mut contest = Contest::new(least, orders);
    let mut clock = tokio::time::interval(COUNT_EVERY);
    let mut ended = Vec::new();
    loop {
        let counts_are_due = tokio::select! {
            // Dropping the set kills the guests that still run.
            () = interrupts.next() => return Err(DemoError::Interrupted),
            next = running.join_next() => {
                let Some(joined) = next else { break };
                let (guest, outcome) = joined.map_err(|error| system("watch a guest")(error.into()))?;
                contest.left(&outcome.report.name);
                progress.guest_ended(&outcome);
                ended.push((guest, outcome));
                false
            }
            Some((guest, word)) = said.recv() => contest.said(guest, word),
            _ = clock.tick() => contest.is_running(),
        };
        if counts_are_due {
            let socket = host.control_socket();
            let counts = tokio::task::spawn_blocking(move || contest::counts(&socket)).await;
            contest.counted(Instant::now(), counts.map_err(|error| error.to_string()).flatten());
        }
    }
    ended.sort_by_key(|(guest, _)| *guest);
    Ok((ended.into_iter().map(|(_, outcome)| outcome).collect(), contest.outcome()))
}

/// The signals with which people and supervisors end a program.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Interrupts {
    fn watch(runtime: &Runtime) -> Result<Self, DemoError> {
        let _guard = runtime.enter();
        let watch = |kind| signal(kind).map_err(system("watch for signals"));
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hang_up: watch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> DemoError {
    move |source| DemoError::System { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guest_has_a_tenant_of_its_name() {
        let config = config("soft", Path::new("/tmp/vgpu-demo-0-0")).unwrap();
        let names: Vec<_> = config.tenants.iter().map(|tenant| tenant.name.as_str()).collect();
        assert_eq!(names, ["matmul", "reduction", "histogram", "nbody"]);
    }
}
