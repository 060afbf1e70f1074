//! `vgpu-client run -- CMD`.

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use super::shims::{self, SHIMS};

/// Exit status where the command is not there, and where it cannot be run, as shells have it.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Run {
    /// Runs the command in this process's place, so that its exit status and the signals to it are its own. Returns where
    /// that fails.
    pub(crate) fn execute(&self) -> ExitCode {
        let (program, arguments) = self.command.split_first().expect("clap asks for at least one word");
        let mut command = Command::new(program);
        command.args(arguments);
        match shims::find(&shims::places()) {
            None => eprintln!(
                "vgpu-client: no {} in VGPU_LIB_DIR, beside this program or in ../lib/vgpu: running {} without it",
                SHIMS[0].file,
                program.display()
            ),
            Some(folder) => match links_of(&folder) {
                Ok(links) => {
                    super::log(format_args!("using {} through {}", folder.display(), links.display()));
                    command.env("LD_LIBRARY_PATH", first(&links, std::env::var_os("LD_LIBRARY_PATH")));
                }
                Err((links, error)) => {
                    eprintln!("vgpu-client: cannot make {}: {error}; remove it", links.display());
                    return ExitCode::from(NOT_RUN);
                }
            },
        }
        let error = command.exec();
        eprintln!("vgpu-client: cannot run {}: {error}", program.display());
        ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN })
    }
}

/// A search path that begins with `folder`. The loader takes an empty part for the working folder, so none is made.
fn first(folder: &Path, before: Option<OsString>) -> OsString {
    let mut path = OsString::from(folder);
    if let Some(before) = before.filter(|before| !before.is_empty()) {
        path.push(":");
        path.push(before);
    }
    path
}

/// The folder in which the shims of `folder` have the driver's names: one for each user and place, made when it is missing
/// and kept, since the command takes this process's place. Four links at most; they do no harm when they outlast their
/// files.
fn links_of(folder: &Path) -> Result<PathBuf, (PathBuf, io::Error)> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").filter(|base| !base.is_empty());
    let base = base.map_or_else(std::env::temp_dir, PathBuf::from);
    let own = |error| (base.clone(), error);
    let user = user().map_err(own)?;
    let mut place = DefaultHasher::new();
    folder.hash(&mut place);
    let links = base.join(format!("vgpu-run-{user}-{:016x}", place.finish()));
    let made = make(&links, user).and_then(|()| shims::link(folder, &links, Path::to_owned));
    made.map(|_| links.clone()).map_err(|error| (links, error))
}

/// Makes a folder for this user alone, or sees that it is one: another user's links would be loaded as code.
fn make(links: &Path, user: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(links) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(links)?;
    if found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "others may change it"))
}

/// The user whose process this is.
fn user() -> io::Result<u32> {
    std::fs::metadata(OsStr::new("/proc/self")).map(|process| process.uid())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::cli::scratch::Scratch;

    #[test]
    fn a_folder_of_links_is_this_users_alone() {
        let scratch = Scratch::new();
        let base = scratch.folder("base");
        let (links, user) = (base.join("links"), user().unwrap());
        make(&links, user).unwrap();
        make(&links, user).expect("one that is there is used again");
        assert!(make(&links, user + 1).is_err(), "another user's is not trusted");
        std::fs::set_permissions(&links, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(make(&links, user).is_err(), "one that a group may change is not trusted");
        symlink(&base, base.join("elsewhere")).unwrap();
        assert!(make(&base.join("elsewhere"), user).is_err(), "a link to a folder is none");
    }

    #[test]
    fn the_links_come_first_and_no_part_is_empty() {
        let path = |before: Option<&str>| first(Path::new("/l"), before.map(OsString::from));
        assert_eq!(path(None), "/l");
        assert_eq!(path(Some("")), "/l");
        assert_eq!(path(Some("/a:/b")), "/l:/a:/b");
    }
}
