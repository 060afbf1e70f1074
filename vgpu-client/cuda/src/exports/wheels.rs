//! The arguments of every implemented function, against NVIDIA's own header: how many, how large each, and how large what
//! it points to; and the version of every function. A C++ compiler compares, so that nothing here reads C.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{EXPORTS, signatures};
use crate::pointers::{HostPointer, In, Out, Text, TextOut};
use crate::proc_address;

/// An argument of a C function.
pub(crate) trait Argument: Sized {
    /// Size of what it points to; 0 where that is not one type's, or it is no pointer.
    const POINTEE: usize = 0;
}

impl Argument for u8 {}
impl Argument for u16 {}
impl Argument for u32 {}
impl Argument for i32 {}
impl Argument for u64 {}
impl Argument for usize {}
impl Argument for Text {}
impl Argument for TextOut {}
impl Argument for HostPointer {}
impl Argument for Option<extern "C" fn(u64)> {}
impl Argument for Option<extern "C" fn(u64, u32, u64)> {}
impl Argument for Option<extern "C" fn(i32) -> usize> {}

impl<T: Copy> Argument for In<T> {
    const POINTEE: usize = size_of::<T>();
}

impl<T> Argument for Out<T> {
    const POINTEE: usize = size_of::<T>();
}

/// The arguments of the function that stands at `ID` in the table, as `driver_calls!` reads them.
#[derive(Debug)]
pub(crate) struct Arguments<const ID: usize>;

/// Arguments of a function.
pub(crate) trait Signature {
    /// Size of each and of what it points to.
    fn sizes() -> Vec<[usize; 2]>;
}

pub(crate) const fn sizes<T: Argument>() -> [usize; 2] {
    [size_of::<T>(), T::POINTEE]
}

/// Functions that are not in `cuda.h`, without arguments.
const ELSEWHERE: [&str; 2] = ["cuProfilerStart", "cuProfilerStop"];

/// `matches<N, P, N, P, ...>(f)`: sizes of each argument and of what it points to.
const CHECK: &str = "
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>
#include <type_traits>
// Handles point to structures that nobody sees.
template <class T> constexpr size_t size(decltype(sizeof(T))) { return sizeof(T); }
template <class T> constexpr size_t size(...) { return 0; }
template <class A> constexpr size_t pointee() {
    using T = std::remove_pointer_t<A>;
    if constexpr (!std::is_pointer_v<A> || std::is_void_v<T> || std::is_function_v<T>) return 0;
    else return size<T>(0);
}
template <size_t... N, class... A> constexpr bool matches(CUresult (*)(A...)) {
    if (sizeof...(N) != 2 * sizeof...(A)) return false;
    const size_t ours[] = {N..., 0}, sizes[] = {sizeof(A)..., 0}, points[] = {pointee<A>()..., 0};
    for (size_t at = 0; at < sizeof...(A); at++) {
        size_t to = ours[2 * at + 1];
        if (ours[2 * at] != sizes[at] || (to && points[at] && to != points[at])) return false;
    }
    return true;
}
";

fn header(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let here = files.into_iter().find(|path| path.file_name().is_some_and(|name| name == "cuda.h"));
    here.or_else(|| folders.iter().find_map(|folder| header(folder)))
}

/// Has a C++ compiler check a program against the header of the newest CUDA that the table knows.
fn compile(name: &str, program: &str) {
    let folder = std::env::var_os("VGPU_WHEELS_DIR").expect("VGPU_WHEELS_DIR names a folder with wheels");
    let header = header(&Path::new(&folder).join("cuda-13.0")).expect("the wheels have a header");
    let source = std::env::temp_dir().join(format!("vgpu-{name}-{}.cpp", std::process::id()));
    std::fs::write(&source, program).unwrap();
    let mut compiler = Command::new("c++");
    compiler.args(["-std=c++17", "-fsyntax-only", "-I"]).arg(header.parent().unwrap()).arg(&source);
    let output = compiler.output().expect("there is a C++ compiler");
    std::fs::remove_file(&source).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "needs NVIDIA's headers: VGPU_WHEELS_DIR names the folder that tests/wheels.sh filled"]
fn arguments_are_those_of_the_header() {
    let mut program = CHECK.to_owned();
    for (name, sizes) in signatures() {
        if ELSEWHERE.contains(&name) {
            assert!(sizes.is_empty(), "{name}");
            continue;
        }
        let list: Vec<String> = sizes.concat().iter().map(usize::to_string).collect();
        writeln!(program, "static_assert(matches<{}>(&{name}), \"{name}\");", list.join(", ")).unwrap();
    }
    compile("arguments", &program);
}

/// What a caller of `cuGetProcAddress` calls by a version's type is the export that has that type.
#[test]
#[ignore = "needs NVIDIA's headers: VGPU_WHEELS_DIR names the folder that tests/wheels.sh filled"]
fn versions_are_those_of_the_header() {
    let mut program = "
#define __CUDA_API_VERSION_INTERNAL
#include <cudaTypedefs.h>
#include <type_traits>
"
    .to_owned();
    // Those for graphics and profilers have headers of their own, which the wheels lack.
    let is_elsewhere = |name: &str| {
        let parts = ["cuGL", "cuEGL", "cuVDPAU", "EGL", "Egl", "GraphicsGL", "GraphicsVDPAU", "cuProfiler"];
        parts.iter().any(|part| name.contains(part))
    };
    for export in EXPORTS.iter().filter(|export| export.version > 0 && !is_elsewhere(export.name)) {
        let (base, _) = proc_address::base(export.name);
        let thread = ["_ptds", "_ptsz"].into_iter().find(|suffix| export.name.ends_with(suffix));
        let (name, version, thread) = (export.name, export.version, thread.unwrap_or(""));
        let named = format!("PFN_{base}_v{version}{thread}");
        writeln!(program, "static_assert(std::is_same_v<decltype(&{name}), {named}>, \"{name}\");").unwrap();
    }
    compile("versions", &program);
}
