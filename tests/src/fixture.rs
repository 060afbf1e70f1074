//! CUDA programs of our own, as NVIDIA's compiler made PTX of them.

use std::path::PathBuf;

/// PTX text of a fixture, by name. `VGPU_FIXTURE_DIR` names their folder on a machine without this source tree.
///
/// # Panics
/// When there is no such fixture.
pub fn ptx(name: &str) -> String {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vgpu-core/fixtures");
    let folder = std::env::var_os("VGPU_FIXTURE_DIR").map_or_else(built, PathBuf::from);
    let path = folder.join(format!("{name}.ptx"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
