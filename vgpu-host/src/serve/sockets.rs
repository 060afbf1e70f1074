//! The runtime folder: who owns it, and the sockets in it.

use std::fs::{DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use vgpu_sched::TenantId;

use super::event::Event;
use super::{HostError, accept, reports};
use crate::config::{Config, Tenant};

/// Others may pass through these folders to a socket whose name they know, but not list whom the host serves.
const FOLDER_MODE: u32 = 0o711;
/// A tenant's own folder may be listed: it is handed to its containers.
const TENANT_FOLDER_MODE: u32 = 0o755;
/// The mode's bit that lets everybody add and remove files.
const OTHERS_WRITE: u32 = 0o002;
const OWNER_ONLY: u32 = 0o600;
/// For a tenant's socket that another user must reach and that we may not give away: everybody may connect, and the
/// credentials of each peer are checked.
const EVERYBODY: u32 = 0o666;

/// The sockets of a host. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Sockets {
    /// Of each tenant, in their order; none of one that was removed.
    tenants: Vec<Option<TenantSockets>>,
    /// The operators' listener.
    pub control: UnixListener,
    control_path: PathBuf,
    /// Where monitoring is answered over TCP.
    pub metrics: Option<TcpListener>,
    /// The lock on the runtime folder, held as long as this is.
    _lock: File,
}

/// The sockets of a tenant. Dropping it removes them, and ends the tasks that accept on them.
#[derive(Debug)]
pub(super) struct TenantSockets {
    guests: UnixListener,
    /// For its monitoring tools.
    reports: UnixListener,
    paths: Vec<PathBuf>,
    tasks: Vec<AbortHandle>,
}

impl Sockets {
    /// Takes the runtime folder and listens on every socket of the configuration.
    ///
    /// A socket that a killed daemon left is replaced; one that somebody listens on is not.
    pub(super) fn bind(config: &Config) -> Result<Self, HostError> {
        folder(&config.runtime_dir, FOLDER_MODE)?;
        let lock = lock(&config.runtime_dir)?;
        folder(&tenants_dir(config), FOLDER_MODE)?;
        let control_path = config.control_socket();
        let control = listen(&control_path, OWNER_ONLY)?;
        let metrics = config.metrics.map(listen_tcp).transpose()?;
        let mut sockets = Self { tenants: vec![], control, control_path, metrics, _lock: lock };
        for tenant in &config.tenants {
            sockets.tenants.push(Some(TenantSockets::bind(config, tenant)?));
        }
        Ok(sockets)
    }

    /// Starts the tasks that accept guests and tools of every tenant.
    pub(super) fn serve_all(&mut self, events: &mpsc::Sender<Event>) -> std::io::Result<()> {
        for (id, tenant) in (0..).zip(self.tenants.iter_mut().flatten()) {
            tenant.serve(TenantId(id), events)?;
        }
        Ok(())
    }

    /// Accepts on the sockets of a tenant that came later.
    pub(super) fn serve(&mut self, id: TenantId, mut bound: TenantSockets, events: &mpsc::Sender<Event>) {
        if let Err(error) = bound.serve(id, events) {
            tracing::error!(tenant = id.0, %error, "cannot accept guests of a new tenant");
        }
        let place = id.0 as usize;
        self.tenants.resize_with(self.tenants.len().max(place + 1), || None);
        self.tenants[place] = Some(bound);
    }

    /// Listens for that tenant no more.
    pub(super) fn close(&mut self, id: TenantId) {
        if let Some(tenant) = self.tenants.get_mut(id.0 as usize) {
            *tenant = None;
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        // Somebody else may have removed it; there is nothing left to do then.
        let _ = std::fs::remove_file(&self.control_path);
    }
}

fn listen_tcp(address: SocketAddr) -> Result<TcpListener, HostError> {
    let listener = TcpListener::bind(address);
    let ready = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    ready.map_err(|source| HostError::Metrics { address, source })
}

impl TenantSockets {
    /// Listens where a tenant's guests and tools connect.
    pub(super) fn bind(config: &Config, tenant: &Tenant) -> Result<Self, HostError> {
        folder(&tenants_dir(config).join(&tenant.name), TENANT_FOLDER_MODE)?;
        let paths = [config.tenant_socket(&tenant.name), config.report_socket(&tenant.name)];
        let guests = listen(&paths[0], OWNER_ONLY)?;
        let mut bound = Bound(vec![paths[0].clone()]);
        let reports = listen(&paths[1], OWNER_ONLY)?;
        bound.0.push(paths[1].clone());
        paths.iter().try_for_each(|path| admit_user(tenant, path))?;
        Ok(Self { guests, reports, paths: std::mem::take(&mut bound.0), tasks: vec![] })
    }

    fn serve(&mut self, id: TenantId, events: &mpsc::Sender<Event>) -> std::io::Result<()> {
        let guests = tokio::net::UnixListener::from_std(self.guests.try_clone()?)?;
        self.tasks.push(tokio::spawn(accept::accept(id, guests, events.clone())).abort_handle());
        let reports = tokio::net::UnixListener::from_std(self.reports.try_clone()?)?;
        self.tasks.push(tokio::spawn(reports::serve(id, reports, events.clone())).abort_handle());
        Ok(())
    }
}

impl Drop for TenantSockets {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        drop(Bound(std::mem::take(&mut self.paths)));
    }
}

/// Socket files, which go with this.
struct Bound(Vec<PathBuf>);

impl Drop for Bound {
    fn drop(&mut self) {
        for path in &self.0 {
            // Somebody else may have removed them; there is nothing left to do then.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn tenants_dir(config: &Config) -> PathBuf {
    config.runtime_dir.join("tenants")
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> HostError + 'a {
    move |source| HostError::Path { what, path: path.to_owned(), source }
}

fn folder(path: &Path, mode: u32) -> Result<(), HostError> {
    match DirBuilder::new().mode(mode).create(path) {
        // The process's umask may have taken bits away from a new folder; those of an old one are its owner's choice.
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return own_folder(path),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(mode).create(path)
        }
        Err(error) => Err(error),
    }
    .map_err(failed("make the folder", path))
}

/// Checks a folder that is there already: whoever else may change it could swap a socket for another, or for a link to
/// a file that the host then gives away.
fn own_folder(path: &Path) -> Result<(), HostError> {
    let metadata = path.metadata().map_err(failed("look at the folder", path))?;
    if !metadata.is_dir() {
        return Err(failed("make the folder", path)(ErrorKind::NotADirectory.into()));
    }
    let uid = rustix::process::geteuid().as_raw();
    let owned = metadata.uid() == uid || metadata.uid() == 0;
    if !owned || metadata.mode() & OTHERS_WRITE != 0 {
        return Err(HostError::UnsafeFolder { path: path.to_owned(), uid });
    }
    Ok(())
}

fn lock(runtime_dir: &Path) -> Result<File, HostError> {
    let path = runtime_dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(failed("open the lock", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(HostError::AlreadyRunning { runtime_dir: runtime_dir.to_owned() })
        }
        Err(errno) => Err(failed("lock", &path)(errno.into())),
    }
}

fn listen(path: &Path, mode: u32) -> Result<UnixListener, HostError> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed("listen on", path))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the mode of", path))?;
    listener.set_nonblocking(true).map_err(failed("listen on", path))?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> Result<(), HostError> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(HostError::NotASocket { path: path.to_owned() });
    }
    // The lock keeps other hosts away; this finds programs that are none.
    if UnixStream::connect(path).is_ok() {
        return Err(HostError::SomebodyListens { path: path.to_owned() });
    }
    std::fs::remove_file(path).map_err(failed("remove the stale socket", path))
}

/// Lets the tenant's user connect. Only root may give the socket to that user.
fn admit_user(tenant: &Tenant, path: &Path) -> Result<(), HostError> {
    let own = rustix::process::geteuid();
    if own.as_raw() == tenant.uid {
        return Ok(());
    }
    if own.is_root() {
        return std::os::unix::fs::lchown(path, Some(tenant.uid), None).map_err(failed("give away", path));
    }
    std::fs::set_permissions(path, Permissions::from_mode(EVERYBODY)).map_err(failed("set the mode of", path))
}
