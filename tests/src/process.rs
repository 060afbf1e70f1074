//! Child processes of a test: always ended, and asked about their use of the machine.

use std::io::{ErrorKind, Read};
use std::process::{Child, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::eventually;

/// A child that is killed and reaped when the test drops it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Takes a started child.
    pub fn new(child: Child) -> Self {
        Self { child }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.pid()), signal).expect("the child has not been reaped");
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not within the shared deadline.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("a child process ends", || self.child.try_wait().expect("the child is ours"))
    }

    /// Waits, and reads what it printed into its pipes.
    ///
    /// # Panics
    /// As [`Process::wait`].
    #[track_caller]
    pub fn finish(mut self) -> Output {
        // Read on threads of their own: a child that fills one pipe must not wait for the other.
        let stdout = self.child.stdout.take().map(|pipe| std::thread::spawn(move || drain(pipe)));
        let stderr = self.child.stderr.take().map(|pipe| std::thread::spawn(move || drain(pipe)));
        let status = self.wait();
        let join = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
            reader.map(|thread| thread.join().expect("the reader does not panic")).unwrap_or_default()
        };
        Output { status, stdout: join(stdout), stderr: join(stderr) }
    }

    /// Reads its standard output up to a line that begins with `line`.
    ///
    /// # Panics
    /// When it ends without that line; its output is in the message.
    #[track_caller]
    pub fn until(&mut self, line: &str) -> String {
        let mut seen = String::new();
        let stdout = self.child.stdout.as_mut().expect("standard output is a pipe");
        // Byte by byte: what follows the line stays in the pipe for `finish`.
        let mut byte = [0];
        loop {
            let start = seen.rfind('\n').map_or(0, |at| at + 1);
            match stdout.read(&mut byte) {
                Ok(1) if byte[0] == b'\n' && seen[start..].starts_with(line) => {
                    return seen[start..].to_owned();
                }
                Ok(1) => seen.push(char::from(byte[0])),
                _ => break,
            }
        }
        let mut stderr = String::new();
        let _ = self.child.stderr.as_mut().map(|pipe| pipe.read_to_string(&mut stderr));
        panic!("the process ended without saying {line:?}; it said:\n{seen}\n{stderr}");
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// Never in practice: the child is ours.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn drain(mut pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    bytes
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(pid.cast_signed()).expect("a process id is not 0")
}

/// Sends SIGKILL to a process that is not our child, such as a worker.
///
/// # Panics
/// When there is no such process.
pub fn kill(process: u32) {
    kill_process(pid(process), Signal::KILL).expect("the process runs");
}

/// Whether a process exists and is no zombie.
pub fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state follows the command's closing parenthesis; the command may hold anything.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Ids of the processes whose parent is `parent`.
pub fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task");
    let tasks = std::fs::read_dir(path).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Number of descriptors that a process holds.
pub fn descriptors(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

/// Proportional set size of a process, in bytes: its memory, shared pages divided by their sharers. For a worker in a sandbox, of
/// which the system tells that to root only, more: all its pages, whoever shares them.
///
/// # Panics
/// When there is no such process.
#[track_caller]
pub fn pss_bytes(process: u32) -> u64 {
    match file_bytes(process, "smaps_rollup", "Pss:") {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            file_bytes(process, "status", "VmRSS:").expect("everybody may read a process's status")
        }
        Err(error) => panic!("process {process}: {error}"),
    }
}

/// The part of [`pss_bytes`] that no file stands behind, in bytes: unlike the program's own pages it does not depend on how
/// many other processes run the same program.
///
/// # Panics
/// When there is no such process, or it is a worker in a sandbox and this is not root.
#[track_caller]
pub fn anonymous_bytes(process: u32) -> u64 {
    file_bytes(process, "smaps_rollup", "Pss_Anon:").expect("the process is there, and open to us")
}

/// A field of one of a process's files, which gives it in KiB.
fn file_bytes(process: u32, file: &str, field: &str) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    let kib: Option<u64> = line.split_whitespace().next().and_then(|kib| kib.parse().ok());
    Ok(kib.unwrap_or_else(|| panic!("process {process} has no {field} in {file}")) * 1024)
}

/// CPU time that a process has used, all its threads together.
pub fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    // Fields 14 and 15 of the file, counted from the state, which is field 3.
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// A child's pipes for [`Process::finish`].
pub fn piped(command: &mut std::process::Command) -> &mut std::process::Command {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())
}
