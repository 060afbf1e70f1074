//! The folder of the demo's sockets.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::error::DemoError;

/// Socket addresses are short. Below a temporary folder with a longer path than this, in bytes, `/tmp` is used.
const BASE_BYTES_MAX: usize = 60;

/// How many names are tried. One is taken only where a killed demo with the same process id left it behind.
const TRIES: u32 = 16;

/// A folder of this process's own, for this user alone. Removed, with all that is in it, when dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it.
    pub(super) fn new() -> Result<Self, DemoError> {
        let base = short(std::env::temp_dir());
        let failed = |source| DemoError::Folder { path: base.clone(), source };
        for number in 0..TRIES {
            let path = base.join(format!("vgpu-demo-{}-{number}", std::process::id()));
            // A folder that is there may be another user's, so it is never taken over.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(ErrorKind::AlreadyExists.into()))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is a few sockets without a listener.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn short(base: PathBuf) -> PathBuf {
    let fits = base.is_absolute() && base.as_os_str().len() <= BASE_BYTES_MAX;
    if fits { base } else { PathBuf::from("/tmp") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_private_and_gone_with_all_its_contents() {
        let (first, second) = (Scratch::new().unwrap(), Scratch::new().unwrap());
        assert_ne!(first.path(), second.path());
        assert_eq!(first.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::create_dir(first.path().join("tenants")).unwrap();
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn a_long_or_relative_temporary_folder_is_not_used() {
        assert_eq!(short("/var/tmp".into()), Path::new("/var/tmp"));
        assert_eq!(short("relative".into()), Path::new("/tmp"));
        assert_eq!(short(format!("/{}", "x".repeat(BASE_BYTES_MAX)).into()), Path::new("/tmp"));
    }
}
