//! What this machine can hold.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use landlock::{ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
use rustix::thread::CapabilitySet;

use super::{Level, Purpose, Sandbox, SandboxError, WORKER_UIDS, Wanted};

/// What a host must be able to do to give each worker a user: change to it, and end it then.
const FOR_OWN_USERS: CapabilitySet =
    CapabilitySet::SETUID.union(CapabilitySet::SETGID).union(CapabilitySet::KILL);

/// Bits of a file's mode, for users who neither have it nor are in its group.
const READ_AND_EXECUTE: u32 = 0o005;
const READ_AND_WRITE: u32 = 0o006;

/// The sandbox of a host's workers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Survey {
    /// What they enter.
    pub sandbox: Sandbox,
    /// What is missing in it.
    pub missing: Vec<Missing>,
}

/// A part of a level that a machine does not have, and what would be gained by it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// Users of their own, as root.
    OwnUsers {
        /// Why.
        reason: String,
    },
    /// Landlock.
    Landlock,
    /// A cgroup.
    Cgroup {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnUsers { reason } => write!(f, "users of their own ({reason})"),
            Self::Landlock => f.write_str(
                "Landlock (not in this kernel; a worker on a card opens whatever its user may: use Linux 5.13 or later with \
                 landlock among the modules of lsm=)",
            ),
            Self::Cgroup { reason } => write!(f, "a cgroup's bound on memory and threads ({reason})"),
        }
    }
}

impl Survey {
    /// Finds the sandbox that is wanted, or the highest one that can be held. `uid_first` is the user of a worker with
    /// process id 0, and `program` what workers execute, where that is a file: users of their own must be allowed to.
    ///
    /// With cards it is asked once they were used, which makes their devices.
    ///
    /// # Errors
    /// What is wanted by name cannot be held whole, or the kernel has no seccomp.
    pub fn new(
        wanted: Wanted,
        uid_first: u32,
        purpose: Purpose,
        program: Option<&Path>,
    ) -> Result<Self, SandboxError> {
        if wanted == Wanted::Off {
            return Ok(Self { sandbox: Sandbox::OFF, missing: vec![] });
        }
        // It answers an error where there is none.
        rustix::thread::secure_computing_mode().map_err(|_| SandboxError::NoSeccomp)?;
        let mut missing = vec![];
        let level = match (wanted, rustix::process::geteuid().is_root()) {
            (Wanted::Basic, _) | (Wanted::Auto, false) => Level::Basic,
            (Wanted::Full, false) => return Err(SandboxError::NotRoot),
            (_, _) => match (no_own_users(uid_first).or_else(|| closed(purpose, program)), wanted) {
                (None, _) => Level::Full,
                (Some(reason), Wanted::Full) => return Err(SandboxError::OwnUsers { reason }),
                (Some(reason), _) => {
                    missing.push(Missing::OwnUsers { reason });
                    Level::Basic
                }
            },
        };
        let landlock = has_landlock();
        if !landlock && wanted != Wanted::Auto {
            return Err(SandboxError::NoLandlock { level });
        }
        if !landlock {
            missing.push(Missing::Landlock);
        }
        Ok(Self { sandbox: Sandbox { level, uid_first, landlock }, missing })
    }
}

/// Whether the kernel has Landlock and it is turned on.
fn has_landlock() -> bool {
    // A set that is made and not entered changes nothing.
    let made = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create);
    made.is_ok()
}

/// Why root cannot give each worker a user, if so.
fn no_own_users(first: u32) -> Option<String> {
    match rustix::thread::capabilities(None) {
        Ok(sets) if sets.effective.contains(FOR_OWN_USERS) => {}
        Ok(_) => return Some("the host lacks CAP_SETUID, CAP_SETGID or CAP_KILL".into()),
        Err(error) => return Some(format!("the host's capabilities cannot be read: {error}")),
    }
    ["/proc/self/uid_map", "/proc/self/gid_map"].into_iter().find_map(|path| {
        let map = std::fs::read_to_string(path).unwrap_or_default();
        let last = first.saturating_add(WORKER_UIDS - 1);
        let unmapped = !maps(&map, first, last);
        unmapped.then(|| {
            format!("{path} does not have {first} to {last}: map them into this container, or set host.worker_uid_first")
        })
    })
}

/// What is closed to users that are nobody else's, if so.
fn closed(purpose: Purpose, program: Option<&Path>) -> Option<String> {
    let devices = match purpose {
        Purpose::Software => vec![],
        Purpose::Card => super::files::card_devices(),
    };
    let lacks = |path: &Path, needed: u32| {
        let mode = path.metadata().ok()?.mode();
        (mode & needed != needed).then(|| {
            format!("{} is closed to other users: give its mode the bits {needed:03o}", path.display())
        })
    };
    let program = program.and_then(|path| lacks(path, READ_AND_EXECUTE));
    let mut devices = devices.iter().filter(|path| is_needed(path));
    program.or_else(|| devices.find_map(|path| lacks(path, READ_AND_WRITE)))
}

/// Whether a driver opens that device for every program that computes: `nvidiactl`, `nvidia-uvm` and the cards.
fn is_needed(device: &Path) -> bool {
    let name = device.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = name.strip_prefix("nvidia").unwrap_or_default();
    matches!(number, "ctl" | "-uvm") || !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a user namespace has all those ids. The map has lines of three numbers: the first id within, the one outside, how
/// many (`user_namespaces(7)`).
fn maps(map: &str, first: u32, last: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        let (Some(begin), Some(_), Some(count)) = (numbers.next(), numbers.next(), numbers.next()) else {
            return false;
        };
        begin <= first.into() && u64::from(last) < begin + count
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn ids_are_looked_for_in_one_line_of_the_map() {
        let whole = "         0          0 4294967295\n";
        assert!(maps(whole, 1_900_000_000, 1_904_194_303));
        let container = "0 100000 65536\n65536 1900000000 4194304\n";
        assert!(maps(container, 65_536, 65_536 + 4_194_303));
        assert!(!maps(container, 65_537, 65_537 + 4_194_303));
        assert!(!maps(container, 1_900_000_000, 1_904_194_303));
        assert!(!maps("", 0, 0) && !maps("x y z", 0, 0));
    }

    #[test]
    fn off_is_off_and_what_is_wanted_by_name_is_held_or_refused() {
        let survey = |wanted, uid| Survey::new(wanted, uid, Purpose::Software, None);
        assert_eq!(survey(Wanted::Off, 0).unwrap().sandbox, Sandbox::OFF);
        let root = rustix::process::geteuid().is_root();
        match survey(Wanted::Full, super::super::WORKER_UID_FIRST) {
            Ok(survey) => {
                assert!(root && survey.missing.is_empty());
                assert_eq!(survey.sandbox.level(), Level::Full);
                assert_eq!(survey.sandbox.uid(7), Some(super::super::WORKER_UID_FIRST + 7));
            }
            Err(SandboxError::NotRoot) => assert!(!root),
            Err(error) => assert!(error.to_string().contains(';'), "{error}"),
        }
        if let Ok(survey) = survey(Wanted::Basic, 0) {
            assert_eq!((survey.sandbox.level(), survey.sandbox.uid(7)), (Level::Basic, None));
        }
    }

    #[test]
    fn a_program_that_only_its_owner_may_execute_is_told() {
        let path = std::env::temp_dir().join(format!("vgpu-survey-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o700);
        let reason = closed(Purpose::Software, Some(&path)).unwrap();
        assert!(reason.contains(path.to_str().unwrap()) && reason.contains("005"), "{reason}");
        mode(0o755);
        assert_eq!(closed(Purpose::Software, Some(&path)), None);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(closed(Purpose::Software, Some(&path)), None, "it is found by a search, or not at all");
    }

    #[test]
    fn a_card_is_used_through_these_devices() {
        for name in ["nvidiactl", "nvidia-uvm", "nvidia0", "nvidia15"] {
            assert!(is_needed(&Path::new("/dev").join(name)), "{name}");
        }
        for name in ["nvidia-modeset", "nvidia-uvm-tools", "nvidia-caps", "nvidia", "null"] {
            assert!(!is_needed(&Path::new("/dev").join(name)), "{name}");
        }
    }

    #[test]
    fn ids_that_root_has_not_are_told_and_not_taken() {
        // No namespace has so many.
        let Some(reason) = no_own_users(u32::MAX - 1) else { panic!("they cannot all be there") };
        assert!(!reason.is_empty());
    }
}
