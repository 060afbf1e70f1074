//! Files and folders: a file is replaced as a whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::FlockOperation;

use super::StateError;

/// Replaces the file of that name in a folder.
pub(super) type Replace = fn(&Path, &str, &[u8]) -> io::Result<()>;

/// The state tells who was quarantined and why; nobody else reads or changes it.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// What nobody but the host's user and root may do to the folder.
const OTHERS_WRITE: u32 = 0o022;

/// Writes a file beside the old one and puts it into its place, each step on disk before the next. Whenever the machine
/// stops, the file is the old one or the new one; after an error too, and almost always the old one: only a disk that fails
/// to note the last step may show the new one after a restart.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    // One that an earlier host left, or somebody put there.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let opened = File::open(folder)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&temporary)?;
    let replaced = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, folder.join(name)));
    if replaced.is_err() {
        // What could not be written takes room that the next try may need. The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        return replaced;
    }
    opened.sync_all()
}

/// Makes the folder, or checks the one that is there.
pub(super) fn make_folder(folder: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Write { folder: folder.to_owned(), source };
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Ok(()) => std::fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).map_err(failed),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_folder(folder),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Checks that nobody else may change the folder.
pub(super) fn check_folder(folder: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Write { folder: folder.to_owned(), source };
    let metadata = folder.metadata().map_err(failed)?;
    if !metadata.is_dir() {
        return Err(failed(ErrorKind::NotADirectory.into()));
    }
    let uid = rustix::process::geteuid().as_raw();
    if (metadata.uid() != uid && metadata.uid() != 0) || metadata.mode() & OTHERS_WRITE != 0 {
        return Err(StateError::Unsafe { folder: folder.to_owned(), uid });
    }
    Ok(())
}

/// Locks the folder for as long as the file lives. The folder itself, so that nothing has to be written for it: a host whose
/// folder can only be read still starts.
pub(super) fn lock(folder: &Path) -> Result<File, StateError> {
    let failed = |source| StateError::Write { folder: folder.to_owned(), source };
    let opened = File::open(folder).map_err(failed)?;
    match rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(opened),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::InUse { folder: folder.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}
