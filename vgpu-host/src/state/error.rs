//! Why state cannot be kept or read.

use std::io;
use std::path::PathBuf;

/// State cannot be kept, or what was kept cannot be used. Each message names cause and remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The state file is not as it was written.
    #[error(
        "the state file {} is not as it was written ({problem}), and without it the host would forget quarantines; restore \
         it, or move it away to forget them and all that was set at run time",
        path.display()
    )]
    Torn {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The state file cannot be read.
    #[error("cannot read the state file {}: {source}; check its permissions, and those of its folder", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state folder cannot be written.
    #[error(
        "cannot keep state in {}: {source}; give the host's user room and permission there, or set another host.state_dir",
        folder.display()
    )]
    Write {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may change the state folder, and so lift a quarantine.
    #[error("{} can be changed by others; give it to user {uid} and take away what others may write", folder.display())]
    Unsafe {
        /// The folder.
        folder: PathBuf,
        /// The user who runs the host.
        uid: u32,
    },
    /// Another host uses the state folder.
    #[error("another host keeps its state in {}; stop it or set another host.state_dir", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// Another host has kept something since this one started.
    #[error("another host has kept state in {} since this one started; set another host.state_dir", folder.display())]
    Changed {
        /// The folder.
        folder: PathBuf,
    },
}
