//! Every container of real libraries: what is there for the device is found, and unpacks to what it says it is.

use std::path::{Path, PathBuf};

use super::tests::with;
use super::*;
use crate::elf;

/// Compute capability of H100 and H200.
const DEVICE: (u32, u32) = (9, 0);

/// Shared libraries below a folder that hold containers.
fn libraries(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            libraries(&path, found);
        } else if path.to_string_lossy().contains(".so") {
            found.push(path);
        }
    }
}

/// The part of a library that holds its containers (`.nv_fatbin`), in the words of its own section table.
fn containers(library: &[u8]) -> Option<&[u8]> {
    let table = usize::try_from(long(library, 40)).ok()?;
    let half = |at: usize| usize::from(u16::from_le_bytes([library[at], library[at + 1]]));
    let section = |index: usize| &library[table + 64 * index..table + 64 * (index + 1)];
    let part = |section: &[u8]| {
        let start = usize::try_from(long(section, 24)).ok()?;
        library.get(start..start + usize::try_from(long(section, 32)).ok()?)
    };
    let names = part(section(half(62)))?;
    let is_wanted = |section: &&[u8]| names[word(section, 0) as usize..].starts_with(b".nv_fatbin\0");
    (0..half(60)).map(section).find(is_wanted).and_then(part)
}

/// What was found in one container.
#[derive(Debug, Default)]
struct Census {
    containers: usize,
    with_code: usize,
    kernels: usize,
    largest_bytes: usize,
    longest_name_bytes: usize,
}

impl Census {
    fn take(&mut self, container: &[u8]) {
        self.containers += 1;
        with(container, |source| {
            let found = entries(source).expect("the container is sound");
            let is_there = found.iter().any(|entry| entry.kind == Kind::Machine && entry.architecture == 90);
            let chosen = best(&found, Kind::Machine, DEVICE);
            assert_eq!(chosen.map(|entry| entry.architecture), is_there.then_some(90));
            let ptx = best(&found, Kind::Ptx, DEVICE);
            for entry in chosen.into_iter().chain(ptx) {
                let payload = entry.payload(source).expect("it is no larger than an image may be");
                let plain = payload.unpack().expect("it unpacks to the size that it says");
                self.check(entry.kind, &plain);
            }
            self.with_code += usize::from(is_there);
        });
    }

    fn check(&mut self, kind: Kind, plain: &[u8]) {
        if kind == Kind::Ptx {
            assert!(plain.windows(8).any(|part| part == b".version"), "no PTX");
            return;
        }
        self.largest_bytes = self.largest_bytes.max(plain.len());
        assert_eq!(plain[..4], *b"\x7fELF");
        let (class, machine) = (plain[4], u16::from_le_bytes([plain[18], plain[19]]));
        assert_eq!((class, machine), (2, 190), "64 bits, EM_CUDA");
        assert!(matches!(plain[8], 7 | 8), "ABI version {}", plain[8]);
        let size =
            elf::size(&|offset, bytes| Ok(plain[usize::try_from(offset).unwrap()..][..bytes].to_vec()));
        let padding = plain.len() - size.expect("its headers point into it");
        assert!(
            padding < 8 && plain[plain.len() - padding..].iter().all(|byte| *byte == 0),
            "{padding} bytes left"
        );
        let names = elf::kernels(plain).expect("its symbols are there");
        self.kernels += names.len();
        let longest = names.iter().map(String::len).max().unwrap_or(0);
        self.longest_name_bytes = self.longest_name_bytes.max(longest);
    }
}

#[test]
#[ignore = "needs NVIDIA's libraries: VGPU_WHEELS_DIR names the folder that tests/wheels.sh filled"]
fn the_containers_of_nvidias_libraries_are_read() {
    let folder = std::env::var_os("VGPU_WHEELS_DIR").expect("VGPU_WHEELS_DIR names a folder with libraries");
    let mut paths = Vec::new();
    libraries(Path::new(&folder), &mut paths);
    let mut all = 0;
    for path in paths {
        let library = std::fs::read(&path).unwrap();
        if library.len() < 64 || !library.starts_with(b"\x7fELF") {
            continue;
        }
        let Some(mut rest) = containers(&library) else { continue };
        let mut census = Census::default();
        while rest.len() >= 16 {
            // Containers are aligned to eight bytes.
            if word(rest, 0) != MAGIC {
                rest = &rest[8..];
                continue;
            }
            let bytes = usize::try_from(long(rest, 8)).unwrap() + (word(rest, 4) >> 16) as usize;
            census.take(&rest[..bytes]);
            rest = &rest[bytes..];
        }
        println!("{}: {census:?}", path.display());
        all += census.containers;
    }
    assert!(all > 0, "no library in {} has device code", folder.display());
}
