//! The shims' files, and the names under which programs load them.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A shim's file and its names. A file of such a name never lies in a folder that cargo or a package manager puts on the
/// loader's path: the host would load it as its driver.
///
/// Programs ask for the name with the version; Numba and older NCCL ask for the one without first, and would find another
/// driver by it.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) file: &'static str,
    pub(crate) names: [&'static str; 2],
}

/// The driver's first: without it there is nothing to do.
pub(crate) const SHIMS: [Shim; 2] = [
    Shim { file: "libvgpu_cuda.so", names: ["libcuda.so.1", "libcuda.so"] },
    Shim { file: "libvgpu_nvml.so", names: ["libnvidia-ml.so.1", "libnvidia-ml.so"] },
];

/// What a library has that is a shim of ours (`vgpu-client/cuda`).
pub(crate) const MARK: &[u8] = b"vgpu_shim_abi";

/// Where shims are looked for, in this order.
pub(crate) fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("VGPU_LIB_DIR").map(PathBuf::from).into_iter().collect();
    if let Some(folder) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        places.push(folder.to_owned());
        places.push(folder.join("../lib/vgpu"));
    }
    places
}

/// The first of the places that has the driver's shim.
pub(crate) fn find(places: &[PathBuf]) -> Option<PathBuf> {
    let found = places.iter().find(|folder| folder.join(SHIMS[0].file).is_file())?;
    std::path::absolute(found).ok()
}

/// Gives the shims of `folder` their names in `links`, which is there, in place of links that are there. Returns those made
/// or found right. `seen_as` says where a file will be found when it is used.
pub(crate) fn link(
    folder: &Path,
    links: &Path,
    seen_as: impl Fn(&Path) -> PathBuf,
) -> io::Result<Vec<PathBuf>> {
    let mut linked = Vec::new();
    for Shim { file, names } in SHIMS {
        let file = folder.join(file);
        if !file.is_file() {
            continue;
        }
        for name in names {
            let link = links.join(name);
            point(&link, &seen_as(&file))?;
            linked.push(link);
        }
    }
    Ok(linked)
}

/// Makes a link, or makes it right.
fn point(link: &Path, target: &Path) -> io::Result<()> {
    if std::fs::read_link(link).is_ok_and(|found| found == target) {
        return Ok(());
    }
    // Beside it first, and then in its place in one step: another process may load it at this moment.
    let fresh = link.with_extension(format!("new-{}", std::process::id()));
    symlink(target, &fresh)?;
    std::fs::rename(&fresh, link).inspect_err(|_| drop(std::fs::remove_file(&fresh)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::scratch::Scratch;

    #[test]
    fn shims_are_found_where_the_first_lies_and_linked_under_the_drivers_names() {
        let scratch = Scratch::new();
        let [empty, full, links] = ["empty", "full", "links"].map(|name| scratch.folder(name));
        assert_eq!(find(&[empty.clone(), full.clone()]), None);
        std::fs::write(full.join("libvgpu_cuda.so"), b"shim").unwrap();
        assert_eq!(find(&[empty, full.clone()]), Some(full.clone()));
        for _ in 0..2 {
            assert_eq!(link(&full, &links, Path::to_owned).unwrap().len(), 2);
            assert_eq!(std::fs::read(links.join("libcuda.so.1")).unwrap(), b"shim");
            assert_eq!(std::fs::read(links.join("libcuda.so")).unwrap(), b"shim");
            assert!(!links.join("libnvidia-ml.so.1").exists());
        }
        std::fs::write(full.join("libvgpu_nvml.so"), b"nvml").unwrap();
        symlink("/elsewhere", links.join("libnvidia-ml.so")).unwrap();
        assert_eq!(link(&full, &links, Path::to_owned).unwrap().len(), 4);
        assert_eq!(std::fs::read(links.join("libnvidia-ml.so")).unwrap(), b"nvml");
        assert_eq!(std::fs::read_dir(&links).unwrap().count(), 4, "nothing else lies there");
    }
}
