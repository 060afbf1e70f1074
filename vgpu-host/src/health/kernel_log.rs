//! The kernel's log, which names the process behind an Xid.
//!
//! `/dev/kmsg` gives a record for each read. A line of the driver looks like
//! `NVRM: Xid (PCI:0000:3b:00): 31, pid=4711, name=vgpu-host, Ch 00000008, ...`, or has `pid='<unknown>'`. Everything in the log
//! counts as hostile: names of programs stand in it, and root may write into it. So a record must come from the kernel
//! itself, and the line must have this form from its first byte; the process id stands before any text that a program chose.

mod reader;

pub(crate) use self::reader::{Heard, start};

use std::fmt;

use vgpu_sched::Xid;

/// Where a card sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "an address of PCI has no more parts; a card is one function")]
pub struct PciAddress {
    /// Domain.
    pub domain: u32,
    /// Bus.
    pub bus: u8,
    /// Device on that bus.
    pub device: u8,
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}", self.domain, self.bus, self.device)
    }
}

/// An Xid as the log tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoggedXid {
    pub pci: PciAddress,
    pub xid: Xid,
    /// The process, by its id in the initial namespace; none where the driver does not know.
    pub pid: Option<u32>,
}

/// Why the log is not read. Xids are attributed to nobody then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// It cannot be opened or read.
    #[error("cannot read /dev/kmsg: {0}; run the host as root, or give it CAP_SYSLOG")]
    Unreadable(#[from] std::io::Error),
    /// Process ids of the log are not those that the host knows.
    #[error(
        "the host runs in a process namespace of its own, where the log's process ids mean others; share the machine's (for \
         a container: --pid=host)"
    )]
    Namespace,
}

/// What a record of the log says of an Xid, if it is one.
pub(crate) fn parse(record: &[u8]) -> Option<LoggedXid> {
    let separator = record.iter().position(|byte| *byte == b';')?;
    let (prefix, line) = (&record[..separator], &record[separator + 1..]);
    // Facility and level in one number; the kernel's own facility is 0, and nothing but the kernel can use it.
    let prefix = prefix.split(|byte| *byte == b',').next()?;
    if number(prefix)? > 7 {
        return None;
    }
    let line = line.split(|byte| *byte == b'\n').next()?;
    parse_line(line)
}

fn parse_line(line: &[u8]) -> Option<LoggedXid> {
    let rest = line.strip_prefix(b"NVRM: Xid (PCI:")?;
    let (address, rest) = until(rest, b"): ")?;
    let pci = parse_address(address)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let xid = Xid(number(&rest[..digits])?);
    let rest = &rest[digits..];
    if !rest.is_empty() && !rest.starts_with(b", ") {
        return None;
    }
    // What follows the number directly, or it is part of a text.
    let pid =
        rest.strip_prefix(b", pid=").and_then(|rest| until(rest, b",")).and_then(|(pid, _)| number(pid));
    // Process 0 is the kernel's idle one.
    Some(LoggedXid { pci, xid, pid: pid.filter(|pid| *pid > 0) })
}

/// `domain:bus:device`, hexadecimal, with or without a function behind it.
fn parse_address(text: &[u8]) -> Option<PciAddress> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split(':');
    let (domain, bus, device) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let device = device.strip_suffix(".0").unwrap_or(device);
    // `from_str_radix` alone would take a sign as well.
    let hex = |text: &str, max: usize| {
        let fits = (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
    };
    Some(PciAddress {
        domain: hex(domain, 8)?,
        bus: u8::try_from(hex(bus, 2)?).ok()?,
        device: u8::try_from(hex(device, 2)?).ok()?,
    })
}

/// A decimal number of digits only.
fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What stands before and behind the first `end`.
fn until<'a>(text: &'a [u8], end: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(end.len()).position(|window| window == end)?;
    Some((&text[..at], &text[at + end.len()..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PCI: PciAddress = PciAddress { domain: 0, bus: 0x3b, device: 0 };

    fn logged(number: u32, pid: Option<u32>) -> Option<LoggedXid> {
        Some(LoggedXid { pci: PCI, xid: Xid(number), pid })
    }

    fn line(text: &str) -> Option<LoggedXid> {
        parse(format!("3,1234,5678901,-;{text}\n SUBSYSTEM=pci\n DEVICE=+pci:0000:3b:00.0\n").as_bytes())
    }

    #[test]
    fn the_drivers_lines_are_read() {
        let known =
            "NVRM: Xid (PCI:0000:3b:00): 31, pid=4711, name=vgpu-host, Ch 00000008, intr 00000000. MMU Fault";
        assert_eq!(line(known), logged(31, Some(4711)));
        let unknown =
            "NVRM: Xid (PCI:0000:3b:00): 13, pid='<unknown>', name=<unknown>, Graphics SM Warp Exception";
        assert_eq!(line(unknown), logged(13, None));
        assert_eq!(line("NVRM: Xid (PCI:0000:3b:00.0): 79, GPU has fallen off the bus."), logged(79, None));
        assert_eq!(line("NVRM: Xid (PCI:0000:3b:00): 154, GPU recovery action changed"), logged(154, None));
        assert_eq!(line("NVRM: Xid (PCI:0000:3b:00): 79"), logged(79, None));
        let other = "NVRM: Xid (PCI:00010000:af:1f): 45, pid=1, name=x, Ch 1 caused by previous Xid 31";
        let pci = PciAddress { domain: 0x10000, bus: 0xaf, device: 0x1f };
        assert_eq!(line(other), Some(LoggedXid { pci, xid: Xid(45), pid: Some(1) }));
        assert_eq!(pci.to_string(), "10000:af:1f");
    }

    #[test]
    fn what_a_program_chose_names_no_process() {
        let name = "NVRM: Xid (PCI:0000:3b:00): 13, pid='<unknown>', name=a, pid=7, b, Graphics Exception";
        assert_eq!(line(name), logged(13, None));
        assert_eq!(line("NVRM: Xid (PCI:0000:3b:00): 13, Graphics Exception, pid=7, x"), logged(13, None));
        assert_eq!(line("evil NVRM: Xid (PCI:0000:3b:00): 13, pid=7, name=x"), None);
        assert_eq!(line("NVRM: Xid (PCI:[7]: segfault at 0 ip 0): 13, pid=7, name=x"), None);
        assert_eq!(line("NVRM: Xid (PCI:0000:3b:00): 13, pid=0, name=x"), logged(13, None));
        assert_eq!(line("NVRM: Xid (PCI:0000:3b:00): 13, pid=-7, name=x"), logged(13, None));
        assert_eq!(line("NVRM: Xid (PCI:0000:3b:00): 13, pid=99999999999, name=x"), logged(13, None));
    }

    #[test]
    fn only_the_kernel_is_heard() {
        let text = "NVRM: Xid (PCI:0000:3b:00): 31, pid=7, name=x";
        for prefix in ["0,1,2,-", "7,1,2,c", "3,1,2,-,caller=T1"] {
            assert_eq!(parse(format!("{prefix};{text}\n").as_bytes()), logged(31, Some(7)), "{prefix}");
        }
        // What programs write through /dev/kmsg has the facility of users or above.
        for prefix in ["8,1,2,-", "11,1,2,-", "3000000000000,1,2,-", "-3,1,2,-", "", "x,1,2,-"] {
            assert_eq!(parse(format!("{prefix};{text}\n").as_bytes()), None, "{prefix}");
        }
        let second = format!("3,1,2,-;harmless\n{text}\n");
        assert_eq!(parse(second.as_bytes()), None, "a record has one line; the rest are its properties");
    }

    #[test]
    fn broken_lines_are_no_xids() {
        for text in [
            "",
            "NVRM: Xid",
            "NVRM: Xid (PCI:",
            "NVRM: Xid (PCI:0000:3b:00): ",
            "NVRM: Xid (PCI:0000:3b:00): x",
            "NVRM: Xid (PCI:0000:3b:00): 31x, pid=7, name=x",
            "NVRM: Xid (PCI:0000:3b:00): 4294967296, pid=7,",
            "NVRM: Xid (PCI:0000:3b): 31, pid=7,",
            "NVRM: Xid (PCI:0000:3b:00:00): 31, pid=7,",
            "NVRM: Xid (PCI:0000:+b:00): 31, pid=7,",
            "NVRM: Xid (PCI:0000:13b:00): 31, pid=7,",
            "NVRM: Xid (PCI:000000000:3b:00): 31, pid=7,",
        ] {
            assert_eq!(line(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_record_breaks_the_parser(record in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = parse(&record);
        }

        #[test]
        fn no_line_that_begins_well_breaks_the_parser(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut record = b"3,1,2,-;NVRM: Xid (PCI:0000:3b:00): 31, pid=".to_vec();
            record.extend(&tail);
            let found = parse(&record).expect("its beginning is whole");
            prop_assert_eq!((found.pci, found.xid), (PCI, Xid(31)));
            if let Some(pid) = found.pid {
                let (text, _) = until(&tail, b",").expect("the id has an end");
                prop_assert_eq!(number(text), Some(pid));
            }
        }

        #[test]
        fn a_name_changes_nothing(name in "[ -~]{0,15}", pid in 1..u32::MAX, number in 0..400_u32) {
            let text = format!("NVRM: Xid (PCI:0000:3b:00): {number}, pid={pid}, name={name}, Ch 1");
            prop_assert_eq!(line(&text), logged(number, Some(pid)));
        }
    }
}
