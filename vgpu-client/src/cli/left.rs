//! What programs on the driver shim left of their calls, in the folder that `VGPU_CALLS` names.

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Processes that are told of, and the longest of their files, in bytes: a line for each of the driver's functions takes a
/// sixth of it. Whoever has more looks at the files.
const PROCESSES_MAX: usize = 1_000;
const FILE_BYTES_MAX: u64 = 256 << 10;

/// What a process left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) pid: u32,
    pub(crate) program: String,
    /// Calls of each function, those not supported first, then the most called.
    pub(crate) calls: Vec<Called>,
}

/// Calls of a function.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) count: u64,
    pub(crate) supported: bool,
    pub(crate) name: String,
}

/// The folder, if there is one.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os("VGPU_CALLS").filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// What lies in a folder, by process id. Files of another form are passed over.
pub(crate) fn read(folder: &Path) -> Vec<Left> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let files = files.map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "calls"));
    let mut left: Vec<Left> =
        files.take(PROCESSES_MAX).filter_map(|path| parse(&text(&path).ok()?)).collect();
    left.sort_by_key(|left| left.pid);
    left
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The form is the shim's (`vgpu-client/cuda/src/calls.rs`).
fn parse(text: &str) -> Option<Left> {
    let mut lines = text.lines();
    let (pid, program) = lines.next()?.strip_prefix("vgpu-calls 1 ")?.split_once(' ')?;
    let mut calls = lines.map(parse_call).collect::<Option<Vec<Called>>>()?;
    calls.sort_by(|a, b| (a.supported, b.count, &a.name).cmp(&(b.supported, a.count, &b.name)));
    Some(Left { pid: pid.parse().ok()?, program: program.to_owned(), calls })
}

fn parse_call(line: &str) -> Option<Called> {
    let (count, rest) = line.split_once(' ')?;
    let (state, name) = rest.split_once(' ')?;
    let supported = match state {
        "bound" => true,
        "stub" => false,
        _ => return None,
    };
    Some(Called { count: count.parse().ok()?, supported, name: name.to_owned() })
}

/// As lines for people.
pub(crate) fn plain(left: &[Left]) -> String {
    let mut text = String::new();
    for Left { pid, program, calls } in left {
        let unsupported = calls.iter().filter(|call| !call.supported).count();
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "\nprocess {pid} ({program}), {unsupported} functions not supported");
        for Called { count, supported, name } in calls {
            let note = if *supported { "" } else { "  not supported" };
            let _ = writeln!(text, "{count:>10}  {name}{note}");
        }
    }
    text
}

/// As a JSON list.
pub(crate) fn json(left: &[Left]) -> String {
    let quote = super::info::json_string;
    let call = |Called { count, supported, name }: &Called| {
        format!("{{\"function\":{},\"supported\":{supported},\"count\":{count}}}", quote(name))
    };
    let process = |Left { pid, program, calls }: &Left| {
        let calls: Vec<String> = calls.iter().map(call).collect();
        format!("{{\"pid\":{pid},\"program\":{},\"calls\":[{}]}}", quote(program), calls.join(","))
    };
    format!("[{}]", left.iter().map(process).collect::<Vec<String>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::scratch::Scratch;

    const GOOD: &str =
        "vgpu-calls 1 7 a program\n3 bound cuInit\n9 bound cuMemAlloc_v2\n1 stub cuArrayCreate\n";

    #[test]
    fn what_is_not_supported_comes_first() {
        let left = parse(GOOD).unwrap();
        assert_eq!((left.pid, left.program.as_str()), (7, "a program"));
        let order: Vec<_> = left.calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(order, ["cuArrayCreate", "cuMemAlloc_v2", "cuInit"]);
        assert!(plain(&[left]).contains("1  cuArrayCreate  not supported\n"));
    }

    #[test]
    fn other_files_and_broken_ones_are_passed_over() {
        for broken in ["", "vgpu-calls 2 7 p\n", "vgpu-calls 1 x p\n", "vgpu-calls 1 7 p\n1 maybe cuInit\n"] {
            assert_eq!(parse(broken), None, "{broken}");
        }
        let scratch = Scratch::new();
        let folder = scratch.folder("calls");
        for (name, text) in [("7.calls", GOOD), ("8.calls", "broken"), ("9.txt", GOOD)] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let left = read(&folder);
        assert_eq!(left.len(), 1);
        assert!(json(&left).starts_with("[{\"pid\":7,\"program\":\"a program\",\"calls\":[{\"function\":"));
        assert!(read(&folder.join("nowhere")).is_empty());
    }
}
