//! `vgpu-client run -- CMD`.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

/// The shim's file, and the name under which programs load it. A file of the second name never lies in a folder that
/// cargo or a package manager puts on the loader's path: the host would load it as its driver.
const SHIMS: [(&str, &str); 2] =
    [("libvgpu_cuda.so", "libcuda.so.1"), ("libvgpu_nvml.so", "libnvidia-ml.so.1")];

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
    pub(crate) fn execute(&self) -> ExitCode {
        let (program, arguments) = self.command.split_first().expect("clap asks for at least one word");
        let mut command = Command::new(program);
        command.args(arguments);
        match find_shims(&places()) {
            None => {
                eprintln!(
                    "vgpu-client: no {} in VGPU_LIB_DIR, beside this program or in ../lib/vgpu: running {} without it",
                    SHIMS[0].0,
                    program.display()
                );
                // The command takes this process's place, so its exit status and signals are its own.
                refused(program, &command.exec())
            }
            Some(folder) => run_with(&folder, program, command),
        }
    }
}

/// Where shims are looked for, in this order.
fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("VGPU_LIB_DIR").map(PathBuf::from).into_iter().collect();
    if let Some(folder) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        places.push(folder.to_owned());
        places.push(folder.join("../lib/vgpu"));
    }
    places
}

fn find_shims(places: &[PathBuf]) -> Option<PathBuf> {
    places.iter().find(|folder| folder.join(SHIMS[0].0).is_file()).cloned()
}

/// Runs the command with the shims of `folder` under the driver's names, in a folder that lasts as long as it does.
fn run_with(folder: &Path, program: &OsString, mut command: Command) -> ExitCode {
    let links = std::env::temp_dir().join(format!("vgpu-run-{}", std::process::id()));
    let status = link_shims(folder, &links).and_then(|()| {
        super::log(format_args!("using {} through {}", folder.display(), links.display()));
        let mut path = OsString::from(&links);
        if let Some(before) = std::env::var_os("LD_LIBRARY_PATH").filter(|before| !before.is_empty()) {
            path.push(":");
            path.push(before);
        }
        command.env("LD_LIBRARY_PATH", path).status()
    });
    // A folder that stays behind holds two links and does no harm.
    let _ = std::fs::remove_dir_all(&links);
    match status {
        Ok(status) => {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
        }
        Err(error) => refused(program, &error),
    }
}

/// Makes the folder, which must not be there, for this user alone: another user's links would be loaded as code.
fn link_shims(folder: &Path, links: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(links)?;
    for (file, name) in SHIMS {
        let file = folder.join(file);
        if file.is_file() {
            symlink(std::path::absolute(&file)?, links.join(name))?;
        }
    }
    Ok(())
}

fn refused(program: &OsString, error: &io::Error) -> ExitCode {
    eprintln!("vgpu-client: cannot run {}: {error}", program.display());
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shims_are_found_where_the_first_lies_and_linked_under_the_drivers_names() {
        let base = std::env::temp_dir().join(format!("vgpu-run-test-{}", std::process::id()));
        let (empty, full, links) = (base.join("empty"), base.join("full"), base.join("links"));
        for folder in [&empty, &full] {
            std::fs::create_dir_all(folder).unwrap();
        }
        assert_eq!(find_shims(&[empty.clone(), full.clone()]), None);
        std::fs::write(full.join("libvgpu_cuda.so"), b"shim").unwrap();
        assert_eq!(find_shims(&[empty, full.clone()]), Some(full.clone()));
        link_shims(&full, &links).unwrap();
        assert_eq!(std::fs::read(links.join("libcuda.so.1")).unwrap(), b"shim");
        assert!(!links.join("libnvidia-ml.so.1").exists());
        assert!(link_shims(&full, &links).is_err(), "a folder that is there is not trusted");
        std::fs::remove_dir_all(base).unwrap();
    }
}
