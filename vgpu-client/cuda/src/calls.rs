//! What a process called, left behind for `vgpu-client info --calls` where `VGPU_CALLS` names a folder.
//!
//! Written once, when the process ends by itself: one that is killed, or ends by `_exit`, leaves nothing. A file has at most
//! a line for each function of the table, some 40 KiB.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::exports;
use crate::log;

/// The variable that names the folder.
const FOLDER: &str = "VGPU_CALLS";

/// Sees to it that the driver ends with the process, and that the counts are left if they are wanted. Called once.
pub(crate) fn watch_exit() {
    extern "C" fn at_exit() {
        crate::entry::end();
        // A panic would end a process that ends anyway, but not as it wanted to.
        let _ = crate::entry::shield(|| {
            leave();
            Ok(())
        });
    }
    // SAFETY: the handler may run at any time from here to the end: it touches nothing that is dropped before. When the
    // library is unloaded, the C library calls it then.
    let _ = unsafe { libc::atexit(at_exit) };
}

fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// Leaves the counts of this process. A child of `fork` has its parent's, who tells of them.
fn leave() {
    let Some(folder) = folder().filter(|_| !vgpu_client::is_forked()) else { return };
    let pid = std::process::id();
    if let Err(error) = write(&folder.join(format!("{pid}.calls")), &text(pid)) {
        log::write(format_args!("{FOLDER}={}: {error}; make that folder", folder.display()));
    }
}

/// The program's process and name, and a line for each function: count, `bound` or `stub`, name.
fn text(pid: u32) -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut text = format!("vgpu-calls 1 {pid} {}\n", program.replace(char::is_control, "?"));
    for (count, bound, name) in exports::counted() {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{count} {} {name}", if bound { "bound" } else { "stub" });
    }
    text
}

/// Never over something that is there: an earlier process of that number may have left its own, and a link would lead
/// elsewhere.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_process_and_what_was_called() {
        exports::count(exports::Id::cuArrayCreate);
        let text = text(7);
        let mut lines = text.lines();
        assert!(lines.next().unwrap().starts_with("vgpu-calls 1 7 "), "{text}");
        assert!(lines.any(|line| line.ends_with(" stub cuArrayCreate")), "{text}");
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let path = std::env::temp_dir().join(format!("vgpu-calls-{}", std::process::id()));
        write(&path, "first").unwrap();
        assert!(write(&path, "second").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        std::fs::remove_file(path).unwrap();
    }
}
