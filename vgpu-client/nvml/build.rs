//! Gives the library the name under which programs ask for NVIDIA's; the file keeps its own, as `vgpu_cuda`'s does.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libnvidia-ml.so.1");
    println!("cargo:rerun-if-changed=build.rs");
}
