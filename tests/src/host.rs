//! A host of a test's own: `vgpu-host serve` in a temporary folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use crate::artifacts::artifacts;
use crate::process::{Process, piped};
use crate::wait::eventually;

/// What a host is started with.
#[derive(Clone, Debug)]
pub struct HostBuilder {
    tenants: Vec<String>,
    host: String,
    device: String,
}

/// A running host. Ended, with all that belongs to it, when dropped.
#[derive(Debug)]
pub struct Host {
    /// The daemon.
    pub daemon: Process,
    folder: Folder,
}

/// A temporary folder, removed when dropped. Short, because socket paths are bounded.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vgpu-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary folder can be written");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Default for HostBuilder {
    fn default() -> Self {
        Self {
            tenants: Vec::new(),
            host: String::new(),
            device: soft_device("memory_bytes = 1073741824, threads = 2"),
        }
    }
}

fn soft_device(settings: &str) -> String {
    format!("device = \"soft\"\nsoft = {{ {settings} }}")
}

impl HostBuilder {
    /// Adds a tenant with a memory quota and further lines of its table.
    #[must_use]
    pub fn tenant(mut self, name: &str, memory_bytes: u64, more: &str) -> Self {
        let table =
            format!("[[tenant]]\nname = \"{name}\"\ngpu = \"gpu0\"\nmemory_bytes = {memory_bytes}\n{more}\n");
        self.tenants.push(table);
        self
    }

    /// Adds lines to the host's table.
    #[must_use]
    pub fn host(mut self, lines: &str) -> Self {
        let _ = writeln!(self.host, "{lines}");
        self
    }

    /// Replaces the software GPU's settings.
    #[must_use]
    pub fn soft(mut self, settings: &str) -> Self {
        self.device = soft_device(settings);
        self
    }

    /// Replaces the software GPU by a card, `cuda:N`.
    #[must_use]
    pub fn card(mut self, device: &str) -> Self {
        self.device = format!("device = \"{device}\"");
        self
    }

    /// Keeps so many spare workers. After the device was chosen.
    #[must_use]
    pub fn spares(mut self, count: u32) -> Self {
        let _ = write!(self.device, "\nspares = {count}");
        self
    }

    /// Adds lines to the GPU's table. After the device was chosen.
    #[must_use]
    pub fn gpu(mut self, lines: &str) -> Self {
        let _ = write!(self.device, "\n{lines}");
        self
    }

    /// Starts the host and waits until it answers.
    ///
    /// # Panics
    /// When it does not start within the shared deadline.
    #[track_caller]
    pub fn start(self) -> Host {
        let folder = Folder::new();
        let path = folder.path();
        let (runtime, state) = (path.join("run"), path.join("state"));
        let config = format!(
            "[host]\nruntime_dir = {runtime:?}\nstate_dir = {state:?}\n{}\n[[gpu]]\nname = \"gpu0\"\n{}\n{}",
            self.host,
            self.device,
            self.tenants.concat()
        );
        let file = path.join("vgpu.toml");
        std::fs::write(&file, config).expect("the folder is ours");
        let daemon = serve(path);
        let mut host = Host { daemon, folder };
        host.wait_until_up();
        host
    }
}

/// Starts a daemon with the configuration in that folder; its log goes there too.
fn serve(folder: &Path) -> Process {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("log"));
    let daemon = Command::new(&artifacts().host)
        .args(["serve", "--config"])
        .arg(folder.join("vgpu.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.expect("the folder is ours"))
        .spawn()
        .expect("the host's binary runs");
    Process::new(daemon)
}

impl Host {
    /// A host with one tenant, `alice`, of 512 MiB.
    pub fn with_alice() -> Self {
        HostBuilder::default().tenant("alice", 512 << 20, "").start()
    }

    /// Kills the daemon and starts it again, with the configuration and the state that are there by then.
    ///
    /// # Panics
    /// When it does not start within the shared deadline.
    #[track_caller]
    pub fn restart(&mut self) {
        self.daemon.signal(Signal::KILL);
        self.daemon.wait();
        self.daemon = serve(self.folder.path());
        self.wait_until_up();
    }

    #[track_caller]
    fn wait_until_up(&mut self) {
        eventually("the host answers", || {
            assert!(self.daemon.is_running(), "the host ended at once:\n{}", self.log());
            self.ctl(&["tenants", "--json"]).status.success().then_some(())
        });
    }

    /// Where the host keeps what must survive it.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// What the host logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The host's configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("vgpu.toml")
    }

    /// Socket of a tenant.
    pub fn socket(&self, tenant: &str) -> PathBuf {
        self.folder.path().join("run/tenants").join(tenant).join("vgpu.sock")
    }

    /// Socket of the control API.
    pub fn control_socket(&self) -> PathBuf {
        self.folder.path().join("run/control.sock")
    }

    /// Runs `vgpu-host ctl` with these arguments.
    ///
    /// # Panics
    /// When the binary does not run.
    pub fn ctl(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new(&artifacts().host);
        command.arg("ctl").arg("--socket").arg(self.control_socket()).args(arguments);
        Process::new(piped(&mut command).spawn().expect("the host's binary runs")).finish()
    }

    /// The live sessions, as the control API tells them.
    ///
    /// # Panics
    /// When the host does not answer.
    #[track_caller]
    pub fn sessions(&self) -> Vec<serde_json::Value> {
        self.listed("sessions")
    }

    /// What the control API tells of the GPU.
    ///
    /// # Panics
    /// When the host does not answer.
    #[track_caller]
    pub fn device(&self) -> serde_json::Value {
        self.listed("devices").swap_remove(0)
    }

    /// What happened so far, as the control API tells it.
    ///
    /// # Panics
    /// When the host does not answer.
    #[track_caller]
    pub fn events(&self) -> Vec<serde_json::Value> {
        self.listed("events")
    }

    /// What the control API tells of a tenant.
    ///
    /// # Panics
    /// When the host does not answer, or has no such tenant.
    #[track_caller]
    pub fn tenant(&self, name: &str) -> serde_json::Value {
        let mut tenants = self.listed("tenants").into_iter();
        tenants.find(|tenant| tenant["name"] == name).expect("the host has the tenant")
    }

    #[track_caller]
    fn listed(&self, what: &str) -> Vec<serde_json::Value> {
        let output = self.ctl(&[what, "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let body: serde_json::Value = serde_json::from_slice(&output.stdout).expect("ctl prints JSON");
        body[what].as_array().expect("a list").clone()
    }

    /// Waits until no session is left.
    ///
    /// # Panics
    /// When one is left after the shared deadline.
    #[track_caller]
    pub fn wait_until_empty(&self) {
        eventually("all sessions end", || self.sessions().is_empty().then_some(()));
    }

    /// A guest process of a tenant that runs one of the test programs; see `vgpu-guest`.
    ///
    /// # Panics
    /// When the binary does not run.
    pub fn guest(&self, tenant: &str, arguments: &[&str]) -> Process {
        self.guest_with(tenant, arguments, &[])
    }

    /// The same with further variables.
    ///
    /// # Panics
    /// When the binary does not run.
    pub fn guest_with(&self, tenant: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Process {
        let mut command = Command::new(&artifacts().guest);
        command.args(arguments).env("VGPU_SOCKET", self.socket(tenant)).envs(variables.iter().copied());
        // The guest works until its standard input ends, which the test decides.
        Process::new(piped(&mut command).stdin(Stdio::piped()).spawn().expect("the guest's binary runs"))
    }
}
