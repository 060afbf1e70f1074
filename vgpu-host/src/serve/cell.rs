//! How a host confines its workers: the sandbox that they enter by themselves, and the cgroup that they are put into.
//!
//! A worker's cgroup bears its process id, so that nothing has to be remembered: a host that was killed and started again
//! finds those of workers that are gone, and removes them.

use std::io;
use std::path::{Path, PathBuf};

use vgpu_core::device::soft::THREADS_MAX;
use vgpu_proto::limits::REPLY_SLOTS;

use super::HostError;
use crate::config::{Config, Confinement, Device, Tenant};
use crate::worker::sandbox::{Level, Missing, Purpose, Sandbox, Survey, Wanted};

/// `f_type` of a cgroup v2 mount (`CGROUP2_SUPER_MAGIC`, linux/magic.h).
const CGROUP2: u64 = 0x6367_7270;

/// What bounds are set with.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// Memory of a worker that its tenant's quotas do not count: the driver and its compiler, code of running kernels, one
/// module while it is parsed. Each is bounded by the engine, to some GiB in all; this is where the system stops what is not.
const WORKER_BYTES: u64 = 8 << 30;

/// Threads of a worker: those of the software GPU, one for each call that may block, and some for itself and a driver.
const TASKS: u32 = THREADS_MAX + REPLY_SLOTS + 64;

/// How workers are confined.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    sandbox: Sandbox,
    /// Where their cgroups are made.
    cgroups: Option<PathBuf>,
}

/// Not at all.
impl Default for Cell {
    fn default() -> Self {
        Self { sandbox: Sandbox::OFF, cgroups: None }
    }
}

/// The workers' cgroup cannot be used, or a worker's not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// It is none.
    #[error("host.worker_cgroup: {} is no cgroup v2; name a folder below a mount of cgroup2", path.display())]
    NotCgroup2 {
        /// The folder.
        path: PathBuf,
    },
    /// It lacks a controller.
    #[error(
        "host.worker_cgroup: {} has no controller {controller:?}; write \"+{controller}\" to cgroup.subtree_control of the \
         cgroup above it", path.display()
    )]
    NoController {
        /// The folder.
        path: PathBuf,
        /// The controller.
        controller: &'static str,
    },
    /// A file of a cgroup cannot be written.
    #[error("host.worker_cgroup: cannot write {}: {source}; give the folder to the host's user and leave no process in it", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Cell {
    /// What the configuration wants and this machine has, for workers that execute `program`; says on the log what that is.
    pub(super) fn new(config: &Config, program: Option<&Path>) -> Result<Self, HostError> {
        let Confinement { sandbox: wanted, worker_uid_first, worker_cgroup } = &config.confinement;
        let cards = config.gpus.iter().any(|gpu| matches!(gpu.device, Device::Cuda(_)));
        let purpose = if cards { Purpose::Card } else { Purpose::Software };
        let Survey { sandbox, mut missing } = Survey::new(*wanted, *worker_uid_first, purpose, program)?;
        match worker_cgroup {
            Some(path) => delegated(path)?,
            None if sandbox.level() == Level::Full => {
                missing.push(Missing::Cgroup { reason: "host.worker_cgroup is not set".into() });
            }
            None => {}
        }
        say(*wanted, sandbox.level(), &missing);
        Ok(Self { sandbox, cgroups: worker_cgroup.clone() })
    }

    /// What a worker enters by itself.
    pub(super) const fn sandbox(&self) -> Sandbox {
        self.sandbox
    }

    /// Puts a new worker into a cgroup of its own, with bounds for one that has no tenant.
    pub(super) fn admit(&self, pid: u32) -> Result<(), CgroupError> {
        let Some(path) = self.cgroup(pid) else { return Ok(()) };
        let made = || {
            match std::fs::create_dir(&path) {
                // One of a worker that is gone and had this number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                made => made,
            }
        };
        made().map_err(|source| CgroupError::Write { path: path.clone(), source })?;
        write(&path, "pids.max", TASKS)?;
        write(&path, "memory.max", WORKER_BYTES)?;
        write(&path, "cgroup.procs", pid)
    }

    /// Lets a worker have the memory of its session besides, in bytes.
    pub(super) fn lend(&self, pid: u32, bytes: u64) {
        let Some(path) = self.cgroup(pid) else { return };
        if let Err(error) = write(&path, "memory.max", bytes.saturating_add(WORKER_BYTES)) {
            // It keeps the bound of a worker without a tenant.
            tracing::warn!(pid, %error, "a worker's memory bound stays low");
        }
    }

    /// Removes the cgroup of a worker that is gone.
    pub(super) fn clear(&self, pid: u32) {
        if let Some(path) = self.cgroup(pid)
            && let Err(error) = std::fs::remove_dir(path)
        {
            tracing::warn!(pid, %error, "a worker's cgroup stays");
        }
    }

    fn cgroup(&self, pid: u32) -> Option<PathBuf> {
        self.cgroups.as_ref().map(|folder| folder.join(format!("{NAME}{pid}")))
    }
}

/// How the names of workers' cgroups begin.
const NAME: &str = "worker-";

/// What a session may make its worker hold by its quotas, in bytes.
pub(super) fn session_bytes(tenant: &Tenant, device: &Device) -> u64 {
    let device_bytes = match device {
        Device::Soft(_) => tenant.memory_bytes,
        // That lies on the card.
        Device::Cuda(_) => 0,
    };
    device_bytes.saturating_add(tenant.pinned_bytes).saturating_add(tenant.images_bytes)
}

fn say(wanted: Wanted, level: Level, missing: &[Missing]) {
    if wanted == Wanted::Off {
        return tracing::warn!(%level, "workers are not sandboxed: each guest has the rights of this user");
    }
    // A bound that an operator may set is no hole.
    let whole = missing.iter().all(|part| matches!(part, Missing::Cgroup { .. }));
    let missing = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    match (whole, &*missing) {
        (_, "") => tracing::info!(%level, "workers are sandboxed"),
        (true, missing) => tracing::info!(%level, missing, "workers are sandboxed"),
        (false, missing) => tracing::warn!(%level, missing, "workers are sandboxed, but not wholly"),
    }
}

/// Checks that the folder is a cgroup that is the host's, has its children bounded, and removes what an earlier host left.
fn delegated(folder: &Path) -> Result<(), CgroupError> {
    let path = || folder.to_owned();
    match rustix::fs::statfs(folder) {
        Ok(system) if u64::try_from(system.f_type) == Ok(CGROUP2) => {}
        _ => return Err(CgroupError::NotCgroup2 { path: path() }),
    }
    let found = std::fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    for controller in CONTROLLERS {
        if !found.split_whitespace().any(|name| name == controller) {
            return Err(CgroupError::NoController { path: path(), controller });
        }
    }
    write(folder, "cgroup.subtree_control", CONTROLLERS.map(|name| format!("+{name}")).join(" "))?;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(NAME.as_bytes()) {
            // Refused where a worker of an earlier host still serves its session.
            let _ = std::fs::remove_dir(entry.path());
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &str, value: impl ToString) -> Result<(), CgroupError> {
    let path = folder.join(name);
    std::fs::write(&path, value.to_string()).map_err(|source| CgroupError::Write { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(host: &str) -> Config {
        let text = format!(
            "host = {{ runtime_dir = \"/r\", {host} }}\ngpu = [{{ name = \"g\", device = \"soft\" }}]\n\
             tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = 1000, pinned_bytes = 200, images_bytes = 30 }}]"
        );
        Config::from_toml(&text).unwrap()
    }

    #[test]
    fn what_is_no_cgroup_is_refused() {
        let config = config("worker_cgroup = \"/usr\"");
        let error = Cell::new(&config, None).unwrap_err();
        assert!(matches!(error, HostError::Cgroup(CgroupError::NotCgroup2 { .. })), "{error}");
        assert!(error.to_string().contains(';'));
    }

    #[test]
    fn a_session_may_have_what_its_tenant_may() {
        let config = config("sandbox = \"off\"");
        assert_eq!(session_bytes(&config.tenants[0], &config.gpus[0].device), 1230);
        let cell = Cell::new(&config, None).unwrap();
        assert_eq!(cell.sandbox(), Sandbox::OFF);
        cell.admit(1).unwrap();
    }

    #[test]
    fn a_worker_is_bounded_before_it_is_put_there_and_again_with_its_session() {
        let folder = std::env::temp_dir().join(format!("vgpu-cell-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let cell = Cell { cgroups: Some(folder.clone()), ..Cell::default() };
        cell.admit(7).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.join("worker-7").join(name)).unwrap();
        assert_eq!((read("cgroup.procs"), read("pids.max")), ("7".into(), TASKS.to_string()));
        assert_eq!(read("memory.max"), WORKER_BYTES.to_string());
        cell.lend(7, 5);
        assert_eq!(read("memory.max"), (WORKER_BYTES + 5).to_string());
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(cell.admit(7), Err(CgroupError::Write { .. })), "the folder is gone");
    }

    mod root {
        use super::*;

        /// `VGPU_TEST_CGROUP` names a cgroup as `worker_cgroup` wants it.
        #[test]
        #[ignore = "needs root and a cgroup v2 of its own, VGPU_TEST_CGROUP"]
        fn a_real_cgroup_holds_a_process_and_is_removed_after_it() {
            let folder = std::env::var("VGPU_TEST_CGROUP").unwrap();
            let cell = Cell::new(&config(&format!("worker_cgroup = {folder:?}")), None).unwrap();
            let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
            cell.admit(child.id()).unwrap();
            cell.lend(child.id(), 1 << 30);
            let own = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
            assert!(own.contains(&format!("worker-{}", child.id())), "{own}");
            child.kill().unwrap();
            child.wait().unwrap();
            cell.clear(child.id());
            assert!(!Path::new(&folder).join(format!("worker-{}", child.id())).exists());
        }
    }
}
