//! Which files a process may open, by Landlock.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::{Purpose, SandboxError};

/// The rights that are spoken of here; a kernel that knows fewer closes what it knows. Of the later ones none is tested yet.
const KNOWN: ABI = ABI::V6;

/// Folders that a worker on a card reads: where libraries lie, and where the kernel and the driver tell of themselves. What
/// `/proc` tells of other processes is what it tells everybody, such as their names: Landlock keeps their memory,
/// environment and descriptors closed, as for anything that could be traced.
const READ: [&str; 10] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr",
    "/proc",
    "/sys",
    "/etc/ld.so.cache",
    "/etc/nvidia",
    "/dev/random",
    "/dev/urandom",
];

/// Devices of no card that a driver may open for reading and writing.
const PLAIN_DEVICES: [&str; 2] = ["/dev/null", "/dev/zero"];

/// Where the card's devices lie, and how their names begin: `nvidia0`, `nvidiactl`, `nvidia-uvm`, `nvidia-caps`.
const DEVICES: &str = "/dev";
const CARD_DEVICES: &str = "nvidia";

/// This very program, which a worker on a card may have to execute once more (`worker::resume`).
const PROGRAM: &str = "/proc/self/exe";

/// Closes everything but what the purpose needs.
pub(super) fn close(purpose: Purpose) -> Result<(), SandboxError> {
    let closed = match purpose {
        Purpose::Software => restrict(AccessFs::from_all(KNOWN), std::iter::empty()),
        Purpose::Card => {
            // Executing stays open here and is closed with the calls.
            let handled = AccessFs::from_all(KNOWN) & !BitFlags::from(AccessFs::Execute);
            restrict(handled, card_rules())
        }
    };
    match closed.map_err(|error| SandboxError::Files { reason: error.to_string() })? {
        // Where the kernel knows fewer rights than we do, those it knows hold.
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => {
            Err(SandboxError::Files { reason: "the kernel that had it at the start has it no more".into() })
        }
    }
}

fn restrict(
    files: BitFlags<AccessFs>,
    rules: impl Iterator<Item = Result<PathBeneath<PathFd>, RulesetError>>,
) -> Result<RulesetStatus, RulesetError> {
    let status = Ruleset::default()
        .handle_access(files)?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(rules)?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// What is not there is passed over.
fn card_rules() -> impl Iterator<Item = Result<PathBeneath<PathFd>, RulesetError>> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::WriteFile | AccessFs::IoctlDev;
    let folders = READ.map(PathBuf::from).into_iter().chain([PROGRAM.into()]).chain(loader_folders());
    let devices = PLAIN_DEVICES.map(PathBuf::from).into_iter().chain(card_devices());
    path_beneath_rules(folders, read).chain(path_beneath_rules(devices, device))
}

/// Where the operator has the loader look for the driver. Relative ones are none that a daemon should have.
fn loader_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect()
}

/// Those that are there: the host asked the card before it started a worker, and that made them.
pub(super) fn card_devices() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(DEVICES).into_iter().flatten().flatten();
    let of_card = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(CARD_DEVICES.as_bytes());
    entries.filter(|entry| of_card(&entry.file_name())).map(|entry| entry.path()).collect()
}
