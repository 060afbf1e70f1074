use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::atomic::{AtomicU32, Ordering};

use vgpu_sched::quarantine::{Record, RecordHold};
use vgpu_sched::{Duration, Fault, Instant, Quarantine, QuarantineConfig, Standing};

use super::*;
use crate::config::Setting;

/// A folder that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("vgpu-state-{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test that failed with something mounted leaves it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn weight(weight: u32) -> TenantKeys {
    TenantKeys { weight: Some(weight), cap: Some(Setting::Value(0.3)), ..TenantKeys::default() }
}

fn set(store: &mut Store, tenant: &str, number: u32) -> Result<(), StateError> {
    store.change(|state| state.tenant(tenant).overrides = weight(number))
}

#[test]
fn what_was_changed_is_there_after_a_restart() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.state(), true).unwrap();
    assert_eq!(scratch.state().metadata().unwrap().mode() & 0o777, 0o700);
    set(&mut store, "alice", 7).unwrap();
    let mut quarantine = Quarantine::new(QuarantineConfig::default());
    quarantine.quarantine(Instant::default());
    let kept = QuarantineState::of(&quarantine, Instant::default());
    store.change(|state| state.tenant("bob").quarantine = Some(kept)).unwrap();
    store.change(|state| state.tenant("bob").debt_ns = 42).unwrap();
    let before = store.state().clone();
    drop(store);
    let store = Store::open(&scratch.state(), true).unwrap();
    assert_eq!(*store.state(), before);
    assert_eq!(store.overrides("alice"), Some(&weight(7)));
    assert_eq!(store.overrides("carol"), None);
    let bob = &store.state().tenants["bob"];
    let restored = bob.quarantine.clone().unwrap().restored(QuarantineConfig::default(), Instant::default());
    assert_eq!(restored.standing(Instant::default()), Standing::Quarantined { until: None });
    let file = scratch.state().join(FILE).metadata().unwrap();
    assert_eq!(file.mode() & 0o777, 0o600);
}

#[test]
fn a_tenant_of_whom_nothing_is_kept_leaves_the_file() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.state(), true).unwrap();
    set(&mut store, "alice", 7).unwrap();
    store.change(|state| state.tenant("alice").overrides = TenantKeys::default()).unwrap();
    assert!(store.state().tenants.is_empty());
    assert!(
        !String::from_utf8(std::fs::read(scratch.state().join(FILE)).unwrap()).unwrap().contains("alice")
    );
}

#[test]
fn a_torn_or_changed_file_stops_the_host() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.state(), true).unwrap();
    set(&mut store, "alice", 7).unwrap();
    drop(store);
    let path = scratch.state().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    let torn = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = Store::open(&scratch.state(), true).expect_err("it was not noticed");
        assert!(matches!(error, StateError::Torn { .. }), "{error}");
        assert!(error.to_string().contains("; restore"), "{error}");
    };
    for length in 0..whole.len() {
        torn(&whole[..length]);
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        torn(&bytes);
    }
    let text = String::from_utf8(whole.clone()).unwrap();
    torn(text.replace("\"version\":1", "\"version\":2").as_bytes());
    torn(text.replace("\"weight\": 7", "\"weight\": 8").as_bytes());
    std::fs::write(&path, whole).unwrap();
    assert_eq!(Store::open(&scratch.state(), true).unwrap().overrides("alice"), Some(&weight(7)));
}

#[test]
fn what_cannot_be_written_did_not_happen() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.state(), true).unwrap();
    set(&mut store, "alice", 7).unwrap();
    store.replace = |_, _, _| Err(rustix::io::Errno::NOSPC.into());
    let error = set(&mut store, "alice", 8).unwrap_err();
    assert!(
        matches!(&error, StateError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    );
    assert!(error.to_string().contains("; give"), "{error}");
    assert_eq!(store.overrides("alice"), Some(&weight(7)));
    store.replace = replace;
    assert_eq!(store.overrides("alice"), Some(&weight(7)));
    drop(store);
    assert_eq!(Store::open(&scratch.state(), true).unwrap().overrides("alice"), Some(&weight(7)));
}

#[test]
fn a_folder_that_is_gone_or_a_file_is_an_error_of_the_change() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.state(), true).unwrap();
    set(&mut store, "alice", 7).unwrap();
    let aside = scratch.0.join("aside");
    std::fs::rename(scratch.state(), &aside).unwrap();
    std::fs::write(scratch.state(), "no folder").unwrap();
    assert!(matches!(set(&mut store, "alice", 8), Err(StateError::Write { .. })));
    assert_eq!(store.overrides("alice"), Some(&weight(7)));
    std::fs::remove_file(scratch.state()).unwrap();
    std::fs::rename(&aside, scratch.state()).unwrap();
    set(&mut store, "alice", 8).unwrap();
    std::fs::remove_dir_all(scratch.state()).unwrap();
    std::fs::write(scratch.state(), "no folder").unwrap();
    assert!(matches!(Store::open(&scratch.state(), true), Err(StateError::Write { .. })));
}

#[test]
fn a_default_folder_that_cannot_be_made_stops_no_host() {
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join("file"), "").unwrap();
    let mut store = Store::open(&scratch.0.join("absent"), false).unwrap();
    assert!(!scratch.0.join("absent").exists(), "it is made when there is something to keep");
    set(&mut store, "alice", 7).unwrap();
    assert!(scratch.0.join("absent").join(FILE).exists());
    let below_a_file = scratch.0.join("file").join("state");
    let error = Store::open(&below_a_file, false).map(|mut store| set(&mut store, "alice", 7));
    assert!(matches!(error, Ok(Err(_)) | Err(StateError::Read { .. })), "{error:?}");
}

#[test]
fn what_an_interrupted_host_left_is_in_nobodys_way() {
    let scratch = Scratch::new();
    let mut store = Store::open(&scratch.state(), true).unwrap();
    std::fs::write(scratch.state().join("state.json.new"), "half").unwrap();
    set(&mut store, "alice", 7).unwrap();
    assert!(!scratch.state().join("state.json.new").exists());
}

#[test]
fn two_hosts_do_not_share_a_folder() {
    let scratch = Scratch::new();
    let mut first = Store::open(&scratch.state(), true).unwrap();
    let mut second = Store::open(&scratch.state(), true).expect("nothing is kept yet");
    set(&mut first, "alice", 7).unwrap();
    assert!(matches!(set(&mut second, "alice", 8), Err(StateError::InUse { .. })));
    assert!(matches!(Store::open(&scratch.state(), true), Err(StateError::InUse { .. })));
    drop(first);
    assert!(matches!(set(&mut second, "alice", 8), Err(StateError::Changed { .. })));
    assert_eq!(Store::open(&scratch.state(), true).unwrap().overrides("alice"), Some(&weight(7)));
}

#[test]
fn a_folder_that_others_may_change_is_not_believed() {
    let scratch = Scratch::new();
    set(&mut Store::open(&scratch.state(), true).unwrap(), "alice", 7).unwrap();
    std::fs::set_permissions(scratch.state(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Store::open(&scratch.state(), true), Err(StateError::Unsafe { .. })));
    assert!(matches!(Store::open(&scratch.state(), false), Err(StateError::Unsafe { .. })));
}

#[test]
fn the_days_clock_may_jump() {
    let hour_ns = 3_600_000_000_000;
    let kept = Moment::at("a", 5 * hour_ns, 1_000_000);
    let since = |boot: &str, boot_ns, unix_ms| Moment::at(boot, boot_ns, unix_ms).since(&kept).as_nanos();
    assert_eq!(since("a", 6 * hour_ns, 0), hour_ns, "the same boot: the day's clock says nothing");
    assert_eq!(since("a", 6 * hour_ns, u64::MAX), hour_ns);
    assert_eq!(since("b", 0, 1_002_000), 2_000_000_000, "another boot");
    assert_eq!(since("b", 0, 0), 0, "back in time: nothing passed");
    assert_eq!(since("", 0, 0), 0);
}

#[test]
fn a_quarantine_outlasts_every_clock() {
    let config = QuarantineConfig::default();
    let mut quarantine = Quarantine::new(config);
    let start = Instant::default();
    quarantine.fault(start, Fault::Reset);
    let record = quarantine.record(start);
    assert!(matches!(record.hold, RecordHold::Timed { .. }));
    let at = |moment| QuarantineState::at(record, moment);
    // Written in the future of the day's clock, by an earlier boot: it is as young as it can be.
    let state = at(Moment::at("another boot", u64::MAX, u64::MAX));
    let restored = state.restored(config, start);
    let Standing::Quarantined { until: Some(until) } = restored.standing(start) else {
        panic!("{restored:?}")
    };
    assert_eq!(until, start.after(config.quarantine_min));
    // Long ago by the day's clock: over.
    let restored = at(Moment::at("another boot", 0, 0)).restored(config, start);
    assert_eq!(restored.standing(start), Standing::Good);
    // By hand: no clock ends it.
    quarantine.quarantine(start);
    let by_hand = QuarantineState::at(quarantine.record(start), Moment::at("another boot", 0, 0));
    let restored = by_hand.restored(config, start);
    assert_eq!(restored.standing(start), Standing::Quarantined { until: None });
}

#[test]
fn a_record_is_the_same_after_a_file() {
    let strike_ages = [Some(Duration::from_nanos(1)), None, Some(Duration::from_millis(3)), None, None];
    for hold in [
        RecordHold::Free,
        RecordHold::BackOff { left: Duration::from_millis(1) },
        RecordHold::Timed { left: Duration::from_millis(2) },
        RecordHold::ByHand,
    ] {
        let quarantined_age = Some(Duration::from_millis(9));
        let record = Record { strike_ages, hold, quarantines: 4, quarantined_age, faults: 77 };
        let state = QuarantineState::at(record, Moment::now());
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<QuarantineState>(&text).unwrap().record(), record);
    }
}

/// What needs root to be arranged.
mod root {
    use super::*;

    #[test]
    #[ignore = "needs root: mounts a small file system"]
    fn a_full_disk_is_an_error_of_the_change() {
        let scratch = Scratch::new();
        let folder = scratch.state();
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mounted = |arguments: &[&str]| {
            let status = std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(&folder).status();
            assert!(status.unwrap().success(), "{arguments:?}");
        };
        mounted(&["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none"]);
        let mut store = Store::open(&folder, true).unwrap();
        set(&mut store, "alice", 7).unwrap();
        // Takes all the room there is.
        let _ = std::fs::write(folder.join("filler"), vec![1; 1 << 20]);
        let error = set(&mut store, "alice", 8).unwrap_err();
        assert!(
            matches!(&error, StateError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull)
        );
        assert_eq!(store.overrides("alice"), Some(&weight(7)));
        drop(store);
        assert_eq!(Store::open(&folder, true).unwrap().overrides("alice"), Some(&weight(7)));
        std::fs::remove_file(folder.join("filler")).unwrap();
        mounted(&["mount", "-o", "remount,ro"]);
        let mut store = Store::open(&folder, true).expect("a host starts on what it can only read");
        assert_eq!(store.overrides("alice"), Some(&weight(7)));
        assert!(store.check_writable().is_err());
        let error = set(&mut store, "alice", 8).unwrap_err();
        assert!(
            matches!(&error, StateError::Write { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem)
        );
        assert_eq!(store.overrides("alice"), Some(&weight(7)));
        drop(store);
        mounted(&["umount"]);
    }
}
