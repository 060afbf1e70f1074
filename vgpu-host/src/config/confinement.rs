//! How workers are confined.

use std::path::PathBuf;

use super::{ConfigError, ConfigFile};
use crate::worker::sandbox::{WORKER_UID_FIRST, WORKER_UIDS, Wanted};

/// Below, systems have users of their own.
const UID_MIN: u32 = 65_536;
/// Above, the last worker's would not fit; the largest number means that there is no user.
const UID_MAX: u32 = u32::MAX - WORKER_UIDS;

/// How workers are confined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confinement {
    /// The level.
    pub sandbox: Wanted,
    /// The user of the worker with process id 0, where workers are users of their own.
    pub worker_uid_first: u32,
    /// The cgroup that is the workers'.
    pub worker_cgroup: Option<PathBuf>,
}

pub(super) fn check(file: &ConfigFile) -> Result<Confinement, ConfigError> {
    let sandbox = file.host.sandbox.unwrap_or_default();
    let worker_uid_first = file.host.worker_uid_first.unwrap_or(WORKER_UID_FIRST);
    if !(UID_MIN..=UID_MAX).contains(&worker_uid_first) {
        return Err(ConfigError::WorkerUid { found: worker_uid_first, min: UID_MIN, max: UID_MAX });
    }
    let worker_cgroup = file.host.worker_cgroup.clone();
    if let Some(path) = worker_cgroup.as_ref().filter(|path| !path.is_absolute()) {
        return Err(ConfigError::RelativePath { key: "worker_cgroup", path: path.clone() });
    }
    if sandbox == Wanted::Off {
        if worker_cgroup.is_some() {
            return Err(ConfigError::CgroupOff);
        }
        // Tenants on one card do not trust one another, and a worker that a guest has taken over could reach the others.
        if let Some(gpu) = file.gpu.iter().find(|gpu| gpu.device != "soft") {
            return Err(ConfigError::SandboxOff { gpu: gpu.name.clone(), device: gpu.device.clone() });
        }
    }
    Ok(Confinement { sandbox, worker_uid_first, worker_cgroup })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn config(host: &str, device: &str) -> Result<Confinement, ConfigError> {
        let text = format!(
            "host = {{ runtime_dir = \"/r\", {host} }}\ngpu = [{{ name = \"g\", device = {device:?} }}]\n\
             tenant = [{{ name = \"t\", gpu = \"g\", memory_bytes = 1 }}]"
        );
        let checked = Config::from_toml(&text);
        if let Err(error) = &checked {
            assert!(error.to_string().contains(';'), "each message names a remedy: {error}");
        }
        checked.map(|config| config.confinement)
    }

    #[test]
    fn workers_are_confined_where_nothing_is_said() {
        for device in ["soft", "cuda:0"] {
            let confinement = config("drain_timeout_ms = 1", device).unwrap();
            assert_eq!((confinement.sandbox, confinement.worker_uid_first), (Wanted::Auto, 1_900_000_000));
            assert_eq!(confinement.worker_cgroup, None);
        }
    }

    #[test]
    fn what_is_said_is_checked() {
        for (word, wanted) in [("auto", Wanted::Auto), ("full", Wanted::Full), ("basic", Wanted::Basic)] {
            assert_eq!(config(&format!("sandbox = {word:?}"), "cuda:0").unwrap().sandbox, wanted);
        }
        assert!(matches!(config("sandbox = \"none\"", "soft"), Err(ConfigError::Form(_))));
        for uid in [0, 65_535, u32::MAX] {
            let error = config(&format!("worker_uid_first = {uid}"), "soft").unwrap_err();
            assert!(matches!(error, ConfigError::WorkerUid { .. }), "{error}");
        }
        let cgroup = config("worker_cgroup = \"/sys/fs/cgroup/vgpu\"", "soft").unwrap().worker_cgroup;
        assert_eq!(cgroup.as_deref(), Some(Path::new("/sys/fs/cgroup/vgpu")));
        let error = config("worker_cgroup = \"vgpu\"", "soft").unwrap_err();
        assert!(matches!(error, ConfigError::RelativePath { key: "worker_cgroup", .. }), "{error}");
    }

    #[test]
    fn off_is_for_the_software_gpu_alone() {
        assert_eq!(config("sandbox = \"off\"", "soft").unwrap().sandbox, Wanted::Off);
        let error = config("sandbox = \"off\"", "cuda:0").unwrap_err();
        assert!(matches!(error, ConfigError::SandboxOff { .. }), "{error}");
        let error = config("sandbox = \"off\", worker_cgroup = \"/c\"", "soft").unwrap_err();
        assert!(matches!(error, ConfigError::CgroupOff), "{error}");
    }
}
