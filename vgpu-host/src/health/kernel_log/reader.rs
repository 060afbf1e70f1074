//! The thread that reads the log.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::{LogError, LoggedXid, parse};

const LOG: &str = "/dev/kmsg";

/// A record and its properties; the kernel bounds both to less.
const RECORD_BYTES_MAX: usize = 8 << 10;

/// How often to look whether anybody still wants to hear.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The initial process namespace has this number in every kernel.
const INITIAL_NAMESPACE: &str = "pid:[4026531836]";

/// Reads the log from its end on a thread of its own. `tell` says whether anybody still wants to hear.
pub(crate) fn start(tell: impl FnMut(Heard) -> bool + Send + 'static) -> Result<(), LogError> {
    let own = std::fs::read_link("/proc/self/ns/pid")?;
    if own.as_os_str() != INITIAL_NAMESPACE {
        return Err(LogError::Namespace);
    }
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut log = File::options().read(true).custom_flags(nonblocking).open(LOG)?;
    // What happened before is not this host's; its process ids may be others' by now.
    log.seek(SeekFrom::End(0))?;
    std::thread::Builder::new().name("vgpu-kmsg".into()).spawn(move || read(log, tell))?;
    Ok(())
}

/// What the thread tells.
#[derive(Debug)]
pub(crate) enum Heard {
    /// An Xid.
    Xid(LoggedXid),
    /// Nothing new; only to learn whether anybody listens.
    Nothing,
    /// The log cannot be read any more.
    Ended(LogError),
}

fn read(mut log: File, mut tell: impl FnMut(Heard) -> bool) {
    let mut record = [0; RECORD_BYTES_MAX];
    loop {
        let heard = match log.read(&mut record) {
            Ok(0) => Heard::Ended(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(bytes) => match parse(&record[..bytes]) {
                Some(xid) => Heard::Xid(xid),
                None => continue,
            },
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => {
                    // A signal or an error of the wait is one more round.
                    let _ = rustix::event::poll(&mut [PollFd::new(&log, PollFlags::IN)], Some(&LOOK));
                    Heard::Nothing
                }
                // Records were overwritten before they were read, and the next read goes on behind them.
                Some(Errno::PIPE | Errno::INTR) => continue,
                _ => Heard::Ended(error.into()),
            },
        };
        let last = matches!(heard, Heard::Ended(_));
        if !tell(heard) || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn xids_are_told_until_the_log_ends() {
        let (kernel, ours) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        for record in [
            "6,1,1,-;usb 1-1: new device\n",
            "3,2,2,-;NVRM: Xid (PCI:0000:3b:00): 31, pid=7, name=x, Ch 1\n",
            "12,3,3,-;NVRM: Xid (PCI:0000:3b:00): 31, pid=8, name=x, Ch 1\n",
            "3,4,4,-;NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.\n",
        ] {
            kernel.send(record.as_bytes()).unwrap();
        }
        // A read of nothing is the end.
        kernel.send(b"").unwrap();
        let mut told = Vec::new();
        read(File::from(OwnedFd::from(ours)), |heard| {
            told.push(heard);
            true
        });
        let xids: Vec<_> = told
            .iter()
            .filter_map(
                |heard| if let Heard::Xid(found) = heard { Some((found.xid.0, found.pid)) } else { None },
            )
            .collect();
        assert_eq!(xids, [(31, Some(7)), (79, None)]);
        assert!(matches!(told.last(), Some(Heard::Ended(LogError::Unreadable(_)))), "{told:?}");
    }

    #[test]
    fn it_ends_when_nobody_listens() {
        let (_kernel, ours) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        read(File::from(OwnedFd::from(ours)), |heard| {
            assert!(matches!(heard, Heard::Nothing));
            false
        });
    }

    mod root {
        use super::*;

        #[test]
        #[ignore = "needs root and the machine's process namespace"]
        fn the_kernels_log_can_be_read() {
            let (sender, heard) = std::sync::mpsc::channel();
            start(move |heard| sender.send(heard).is_ok()).unwrap();
            let first = heard.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
            assert!(!matches!(first, Heard::Ended(_)), "{first:?}");
        }
    }
}
