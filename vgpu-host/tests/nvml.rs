//! NVML as the host reads it, on any machine: a library of a few lines of C that the loader finds in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vgpu_host::health::{Monitor as _, MonitorError, NvmlMonitor};

/// Says what the tests compare. Registering for events that old drivers do not know fails, as there.
const LIBRARY: &str = r#"
typedef unsigned u; typedef unsigned long long ull;
static int device;
u nvmlInit_v2(void) { return 0; }
u nvmlDeviceGetCount_v2(u *count) { *count = 2; return 0; }
u nvmlDeviceGetHandleByIndex_v2(u index, void **found) { *found = &device; return index ? 15 : 0; }
u nvmlDeviceGetUUID(void *d, char *text, u bytes) {
    const char *uuid = "GPU-00112233-4455-6677-8899-aabbccddeeff";
    while ((*text++ = *uuid++)) {}
    return 0;
}
struct pci { char legacy[16]; u domain, bus, device, id, sub; char bus_id[32]; };
u nvmlDeviceGetPciInfo_v3(void *d, struct pci *p) { *p = (struct pci){"", 1, 0x3b, 2, 0, 0, "1:3b:2"}; return 0; }
struct memory { u version; ull total, reserved, free, used; };
u nvmlDeviceGetMemoryInfo_v2(void *d, struct memory *m) { m->total = 1000; m->used = 300; return 0; }
u nvmlDeviceGetTemperature(void *d, u sensor, u *celsius) { *celsius = 41; return 0; }
u nvmlDeviceGetPowerUsage(void *d, u *milliwatts) { *milliwatts = 118000; return 0; }
u nvmlDeviceGetEnforcedPowerLimit(void *d, u *milliwatts) { return 3; }
u nvmlDeviceGetUtilizationRates(void *d, u *rates) { rates[0] = 97; rates[1] = 31; return 0; }
u nvmlDeviceGetTotalEccErrors(void *d, u kind, u counter, ull *count) { *count = 10 * kind + counter; return 0; }
u nvmlDeviceGetCurrentClocksThrottleReasons(void *d, ull *reasons) { *reasons = 0x4 | 0x40; return 0; }
struct field { u id, scope; long long timestamp, latency; u type, result; union { u ui; ull all; } value; };
u nvmlDeviceGetFieldValues(void *d, int count, struct field *f) {
    for (int i = 0; i < count; i++) {
        f[i].type = 1; f[i].result = 0;
        switch (f[i].id) {
        case 142: f[i].value.ui = 5; break;
        case 143: f[i].value.ui = 6; break;
        case 144: f[i].value.ui = 1; break;
        case 145: f[i].value.ui = 0; break;
        case 230: f[i].value.ui = 4; break;
        default: f[i].result = 3;
        }
    }
    return 0;
}
struct process { u pid; ull used; u gpu, compute; };
u nvmlDeviceGetComputeRunningProcesses_v3(void *d, u *count, struct process *p) {
    if (*count < 2) { *count = 2; return 7; }
    p[0] = (struct process){7, 64, -1, -1};
    p[1] = (struct process){8, -1, -1, -1};
    *count = 2;
    return 0;
}
struct sample { u pid; ull time; u sm, memory, encode, decode; };
u nvmlDeviceGetProcessUtilization(void *d, struct sample *s, u *count, ull since) {
    if (since >= 2000) { return 6; }
    if (*count < 2) { *count = 2; return 7; }
    s[0] = (struct sample){7, 2000, 55, 0, 0, 0};
    s[1] = (struct sample){7, 1000, 11, 0, 0, 0};
    *count = 2;
    return 0;
}
u nvmlEventSetCreate(void **set) { *set = &device; return 0; }
u nvmlEventSetFree(void *set) { return 0; }
u nvmlDeviceRegisterEvents(void *d, ull types, void *set) { return types & ~0x1ffull ? 3 : 0; }
struct event { void *device; ull type, data; u gpu, compute; };
u nvmlEventSetWait_v2(void *set, struct event *e, u milliseconds) {
    static int calls;
    *e = (struct event){&device, 0x8, 31, 0, 0};
    if (calls == 1) { e->type = 0x2; }
    return calls++ < 2 ? 0 : 10;
}
"#;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn compile(folder: &Path, source: &str) {
    let file = folder.join("nvml.c");
    std::fs::write(&file, source).expect("the folder can be written");
    let compiled = Command::new("cc")
        .args(["-w", "-shared", "-fPIC", "-o"])
        .arg(folder.join("libnvidia-ml.so.1"))
        .arg(&file)
        .status()
        .expect("the C compiler that Rust links with");
    assert!(compiled.success());
}

/// What `ask_and_tell` prints in a process that finds that library.
fn told_with(name: &str, source: &str) -> String {
    let folder = Folder(std::env::temp_dir().join(format!("vgpu-{name}-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).expect("a folder");
    compile(&folder.0, source);
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .args(["--exact", "ask_and_tell", "--nocapture"])
        .env("VGPU_TELL", "1")
        .env("LD_LIBRARY_PATH", &folder.0)
        .output()
        .expect("this program can run again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

/// The other tests run this one in a process of its own.
#[test]
fn ask_and_tell() {
    if std::env::var_os("VGPU_TELL").is_none() {
        return;
    }
    let mut monitor = match NvmlMonitor::open() {
        Ok(monitor) => monitor,
        Err(error) => return println!("{error:?}"),
    };
    let cards = monitor.cards();
    println!("{cards:x?}");
    println!("{:?}", monitor.health(cards[0]).unwrap());
    println!("{:?}", monitor.processes(cards[0]).unwrap());
    println!("{:?}", monitor.processes(cards[0]).unwrap());
    for _ in 0..3 {
        println!("{:?}", monitor.wait(Duration::from_millis(1)).unwrap());
    }
    assert_eq!(monitor.health([0; 16]), Err(MonitorError::UnknownCard));
}

#[test]
fn what_the_library_says_is_what_the_host_reads() {
    let told = told_with("nvml-read", LIBRARY);
    for expected in [
        "[[0, 11, 22, 33, 44, 55, 66, 77, 88, 99, aa, bb, cc, dd, ee, ff]]\n",
        "pci: Some(PciAddress { domain: 1, bus: 59, device: 2 })",
        "temperature_celsius: Some(41), power_milliwatts: Some(118000), power_limit_milliwatts: None",
        "gpu_percent: Some(97), memory_percent: Some(31)",
        "memory_used_bytes: Some(300), memory_total_bytes: Some(1000)",
        "volatile_corrected: 0, volatile_uncorrected: 10, aggregate_corrected: 1, aggregate_uncorrected: 11",
        "correctable: 5, uncorrectable: 6, pending: true, failed: false",
        "throttle: {PowerCap, HardwareThermal}, recovery: Some(DrainAndReset)",
        "[ProcessUse { pid: 7, memory_bytes: Some(64), sm: Some(SmUse { percent: 55, until_us: 2000 }) }, \
         ProcessUse { pid: 8, memory_bytes: None, sm: None }]\n",
        "[ProcessUse { pid: 7, memory_bytes: Some(64), sm: None }, ProcessUse { pid: 8, memory_bytes: None, sm: None }]\n",
        "xid: Xid(31), pid: None })\nSome(Changed)\nNone\n",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
}

#[test]
fn the_shim_is_not_asked() {
    let told = told_with("nvml-shim", &format!("{LIBRARY}\nint vgpu_shim_abi = 1;"));
    assert!(told.contains(&format!("{:?}\n", MonitorError::Shim)), "{told}");
}

#[test]
fn a_library_that_does_not_start_is_absent() {
    let told = told_with(
        "nvml-start",
        &LIBRARY.replace("nvmlInit_v2(void) { return 0; }", "nvmlInit_v2(void) { return 9; }"),
    );
    assert!(told.contains("Absent") && told.contains("driver is not loaded"), "{told}");
}
