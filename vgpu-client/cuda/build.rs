//! Gives the library the name under which programs ask for the driver.
//!
//! The file keeps its own name: a file called `libcuda.so.1` in a cargo output folder, which cargo puts on the loader's
//! path, would be loaded by a host on the same machine as its driver.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
    println!("cargo:rerun-if-changed=build.rs");
}
