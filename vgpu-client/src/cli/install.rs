//! `vgpu-client install`: the shims as the driver of a whole guest, and the way back.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use super::shims::{self, MARK, SHIMS};

/// Where the links lie, below the root of the guest's system.
const LINKS: &str = "usr/local/lib/vgpu/driver";

/// The loader's list of folders. The loader takes the first folder that has a name, and reads these files in the order of
/// their names (ldconfig(8), and the `include` of `/etc/ld.so.conf`).
const CONF: &str = "etc/ld.so.conf.d/00-vgpu.conf";

/// Folders where a driver may lie, below the root: those of distributions, of NVIDIA's containers, and of WSL.
const DRIVER_FOLDERS: [&str; 8] = [
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib64",
    "usr/lib64",
    "usr/lib",
    "usr/lib/nvidia",
    "usr/local/nvidia/lib64",
    "usr/lib/wsl/lib",
];

/// Exit status for want of permission, and of all else.
const NOT_PERMITTED: u8 = 77;
const FAILED: u8 = 1;

/// Arguments of `install`.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The root of the guest's system, such as an image that is mounted somewhere. The loader's cache is renewed only for /.
    #[arg(long, value_name = "DIR", default_value = "/")]
    prefix: PathBuf,
    /// Removes what install made, and nothing else.
    #[arg(long)]
    undo: bool,
    /// Installs also where NVIDIA's driver is, which programs do not find any more then.
    #[arg(long, conflicts_with = "undo")]
    force: bool,
}

/// Why nothing was installed, or not all removed. Each message names cause and remedy.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error(
        "no {} in VGPU_LIB_DIR, beside this program or in ../lib/vgpu; set VGPU_LIB_DIR to its folder",
        SHIMS[0].file
    )]
    NoShim,
    #[error(
        "{} is a driver of NVIDIA's; a guest needs none: remove it, or say --force to hide it from programs",
        .0.display()
    )]
    RealDriver(PathBuf),
    #[error("{} is there and was not made by install; move it away", .0.display())]
    Foreign(PathBuf),
    #[error("cannot change {}: {source}; run as root, or name another --prefix", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error("ldconfig failed ({0}): the loader's cache is as it was; run ldconfig as root")]
    Ldconfig(String),
}

impl InstallError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Path { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => NOT_PERMITTED,
            _ => FAILED,
        }
    }
}

fn at<'a>(path: &'a Path) -> impl FnOnce(io::Error) -> InstallError + 'a {
    move |source| InstallError::Path { path: path.to_owned(), source }
}

impl Install {
    pub(crate) fn execute(&self) -> ExitCode {
        let done = if self.undo { self.undo() } else { self.install() };
        match done.and_then(|()| self.renew_cache()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("vgpu-client: {error}");
                ExitCode::from(error.exit_status())
            }
        }
    }

    fn install(&self) -> Result<(), InstallError> {
        let folder = shims::find(&shims::places()).ok_or(InstallError::NoShim)?;
        if let Some(driver) = real_driver(&self.prefix).filter(|_| !self.force) {
            return Err(InstallError::RealDriver(driver));
        }
        let (links, conf) = (self.prefix.join(LINKS), self.prefix.join(CONF));
        let made = install(&folder, &self.prefix, &links, &conf)?;
        for path in made {
            println!("{}", path.display());
        }
        Ok(())
    }

    fn undo(&self) -> Result<(), InstallError> {
        for path in undo(&self.prefix.join(LINKS), &self.prefix.join(CONF))? {
            println!("removed {}", path.display());
        }
        Ok(())
    }

    fn renew_cache(&self) -> Result<(), InstallError> {
        if self.prefix != Path::new("/") {
            println!("the loader's cache is not renewed: ldconfig -r {} does it", self.prefix.display());
            return Ok(());
        }
        let ran = Command::new("ldconfig").env("PATH", "/sbin:/usr/sbin:/bin:/usr/bin").status();
        match ran {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(InstallError::Ldconfig(status.to_string())),
            Err(error) => Err(InstallError::Ldconfig(error.to_string())),
        }
    }
}

/// What the loader's file says.
fn conf_text() -> String {
    format!("/{LINKS}\n")
}

/// Makes links and file; more than once is as once. Returns their paths.
fn install(folder: &Path, prefix: &Path, links: &Path, conf: &Path) -> Result<Vec<PathBuf>, InstallError> {
    match std::fs::read_to_string(conf) {
        Ok(text) if text != conf_text() => return Err(InstallError::Foreign(conf.to_owned())),
        _ => {}
    }
    for name in SHIMS.iter().flat_map(|shim| shim.names) {
        let link = links.join(name);
        if std::fs::symlink_metadata(&link).is_ok() && !is_ours(&link) {
            return Err(InstallError::Foreign(link));
        }
    }
    // Inside the system that is installed to, a path begins at its root.
    let seen_as = |file: &Path| match file.strip_prefix(prefix) {
        Ok(inside) => Path::new("/").join(inside),
        Err(_) => file.to_owned(),
    };
    std::fs::create_dir_all(links).map_err(at(links))?;
    let mut made = shims::link(folder, links, seen_as).map_err(at(links))?;
    if let Some(folder) = conf.parent() {
        std::fs::create_dir_all(folder).map_err(at(folder))?;
    }
    std::fs::write(conf, conf_text()).map_err(at(conf))?;
    made.push(conf.to_owned());
    Ok(made)
}

/// Removes what [`install`] made: its links, the folder if nothing else lies there, and the file if it says what it said.
/// Returns what was removed; what is not there is no error.
fn undo(links: &Path, conf: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let mut removed = Vec::new();
    for name in SHIMS.iter().flat_map(|shim| shim.names) {
        let link = links.join(name);
        if is_ours(&link) {
            std::fs::remove_file(&link).map_err(at(&link))?;
            removed.push(link);
        }
    }
    let is_empty = std::fs::read_dir(links).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        std::fs::remove_dir(links).map_err(at(links))?;
        removed.push(links.to_owned());
    }
    if std::fs::read_to_string(conf).is_ok_and(|text| text == conf_text()) {
        std::fs::remove_file(conf).map_err(at(conf))?;
        removed.push(conf.to_owned());
    }
    Ok(removed)
}

/// Whether it is a link to a file of a shim's name.
fn is_ours(link: &Path) -> bool {
    let target = std::fs::read_link(link).ok();
    let name = target.as_deref().and_then(Path::file_name);
    name.is_some_and(|name| SHIMS.iter().any(|shim| name == shim.file))
}

/// A driver of NVIDIA's below that root.
fn real_driver(prefix: &Path) -> Option<PathBuf> {
    let name = SHIMS[0].names[0];
    let mut found = DRIVER_FOLDERS.iter().map(|folder| prefix.join(folder).join(name));
    found.find(|path| path.is_file() && !is_shim(path))
}

/// Whether a library is one of ours, by its mark. One that cannot be read is taken for another's.
fn is_shim(path: &Path) -> bool {
    let Ok(mut file) = std::fs::File::open(path) else { return false };
    let mut bytes = vec![0; 1 << 20];
    let mut kept = 0;
    loop {
        let Ok(count) = file.read(&mut bytes[kept..]) else { return false };
        let filled = kept + count;
        if bytes[..filled].windows(MARK.len()).any(|part| part == MARK) {
            return true;
        }
        if count == 0 {
            return false;
        }
        // The mark may lie across two parts.
        let keep = filled.min(MARK.len() - 1);
        bytes.copy_within(filled - keep..filled, 0);
        kept = keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::scratch::Scratch;

    /// A root with a shim outside of it.
    fn stage(scratch: &Scratch) -> (PathBuf, PathBuf, PathBuf, PathBuf) {
        let (shims, root) = (scratch.folder("shims"), scratch.folder("root"));
        std::fs::write(shims.join("libvgpu_cuda.so"), b"shim").unwrap();
        let (links, conf) = (root.join(LINKS), root.join(CONF));
        (shims, root, links, conf)
    }

    #[test]
    fn what_is_installed_is_removed_and_nothing_else() {
        let scratch = Scratch::new();
        let (shims, root, links, conf) = stage(&scratch);
        for _ in 0..2 {
            assert_eq!(install(&shims, &root, &links, &conf).unwrap().len(), 3);
            assert_eq!(std::fs::read(links.join("libcuda.so.1")).unwrap(), b"shim");
            assert_eq!(std::fs::read_to_string(&conf).unwrap(), "/usr/local/lib/vgpu/driver\n");
        }
        std::fs::write(links.join("other"), b"theirs").unwrap();
        assert_eq!(undo(&links, &conf).unwrap().len(), 3);
        assert!(links.join("other").exists() && !conf.exists());
        std::fs::remove_file(links.join("other")).unwrap();
        assert_eq!(undo(&links, &conf).unwrap(), std::slice::from_ref(&links));
        assert_eq!(undo(&links, &conf).unwrap(), [] as [PathBuf; 0]);
        assert!(root.join("usr/local/lib").exists(), "folders that others may use stay");
    }

    #[test]
    fn what_others_made_is_left_alone() {
        let scratch = Scratch::new();
        let (shims, root, links, conf) = stage(&scratch);
        std::fs::create_dir_all(&links).unwrap();
        std::fs::write(links.join("libcuda.so.1"), b"theirs").unwrap();
        let refused = install(&shims, &root, &links, &conf);
        assert!(matches!(refused, Err(InstallError::Foreign(path)) if path.ends_with("libcuda.so.1")));
        std::fs::remove_file(links.join("libcuda.so.1")).unwrap();
        std::fs::create_dir_all(conf.parent().unwrap()).unwrap();
        std::fs::write(&conf, "/theirs\n").unwrap();
        assert!(matches!(install(&shims, &root, &links, &conf), Err(InstallError::Foreign(_))));
        undo(&links, &conf).unwrap();
        assert!(conf.exists());
    }

    #[test]
    fn shims_inside_the_root_are_linked_as_seen_from_it() {
        let scratch = Scratch::new();
        let (_, root, links, conf) = stage(&scratch);
        let shims = scratch.folder("root/usr/lib/vgpu");
        std::fs::write(shims.join("libvgpu_cuda.so"), b"shim").unwrap();
        install(&shims, &root, &links, &conf).unwrap();
        let target = std::fs::read_link(links.join("libcuda.so.1")).unwrap();
        assert_eq!(target, Path::new("/usr/lib/vgpu/libvgpu_cuda.so"));
        assert_eq!(undo(&links, &conf).unwrap().len(), 4);
    }

    #[test]
    fn a_driver_of_nvidias_is_told_from_a_shim_wherever_its_mark_lies() {
        let scratch = Scratch::new();
        let root = scratch.folder("root");
        assert_eq!(real_driver(&root), None);
        let library = scratch.folder("root/usr/lib64").join("libcuda.so.1");
        let mut bytes = vec![0; 3 << 20];
        std::fs::write(&library, &bytes).unwrap();
        assert_eq!(real_driver(&root), Some(library.clone()));
        for place in [0, (1 << 20) - 5, 2 << 20, bytes.len() - MARK.len()] {
            bytes.fill(0);
            bytes[place..place + MARK.len()].copy_from_slice(MARK);
            std::fs::write(&library, &bytes).unwrap();
            assert_eq!(real_driver(&root), None, "{place}");
        }
    }
}
