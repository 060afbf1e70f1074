//! The runtime folder: who owns it, and the sockets in it.

use std::fs::{DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::HostError;
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
    /// One listener for each tenant, in their order.
    pub tenants: Vec<UnixListener>,
    /// One for each tenant's monitoring tools, in their order.
    pub reports: Vec<UnixListener>,
    /// The operators' listener.
    pub control: UnixListener,
    paths: Vec<PathBuf>,
    /// The lock on the runtime folder, held as long as this is.
    _lock: File,
}

impl Sockets {
    /// Takes the runtime folder and listens on every socket of the configuration.
    ///
    /// A socket that a killed daemon left is replaced; one that somebody listens on is not.
    pub(super) fn bind(config: &Config) -> Result<Self, HostError> {
        let tenants_dir = config.runtime_dir.join("tenants");
        folder(&config.runtime_dir, FOLDER_MODE)?;
        let lock = lock(&config.runtime_dir)?;
        folder(&tenants_dir, FOLDER_MODE)?;
        let control_path = config.control_socket();
        let control = listen(&control_path, OWNER_ONLY)?;
        let paths = vec![control_path];
        let mut sockets = Self { tenants: vec![], reports: vec![], control, paths, _lock: lock };
        for tenant in &config.tenants {
            folder(&tenants_dir.join(&tenant.name), TENANT_FOLDER_MODE)?;
            let listener = sockets.listen_for(tenant, config.tenant_socket(&tenant.name))?;
            sockets.tenants.push(listener);
            let listener = sockets.listen_for(tenant, config.report_socket(&tenant.name))?;
            sockets.reports.push(listener);
        }
        Ok(sockets)
    }

    /// Listens where a tenant's user may connect.
    fn listen_for(&mut self, tenant: &Tenant, path: PathBuf) -> Result<UnixListener, HostError> {
        let listener = listen(&path, OWNER_ONLY)?;
        let admitted = admit_user(tenant, &path);
        self.paths.push(path);
        admitted.map(|()| listener)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.paths {
            // Somebody else may have removed them; there is nothing left to do then.
            let _ = std::fs::remove_file(path);
        }
    }
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
