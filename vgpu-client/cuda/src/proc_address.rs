//! `cuGetProcAddress`: a function by name and CUDA version.
//!
//! A name stands for a chain of exports, the versions of that function: the newest that is not newer than what the
//! caller knows is answered. Callers that want per-thread default streams get the chain of `_ptds` or `_ptsz` exports
//! where there is one. Names with suffixes are no names. Compared with the driver's own answers for every name and
//! version.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::device::DRIVER_VERSION;
use crate::exports::{EXPORTS, Export};
use crate::fail::{Call, INVALID_VALUE, NOT_FOUND};
use crate::pointers::{Out, Text};

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`; 1 asks for the legacy stream, as 0 does.
const PER_THREAD: u64 = 2;
const FLAGS_KNOWN: u64 = 3;

/// `CUdriverProcAddressQueryResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    At(*const ()),
    NoSuchName,
    NotInThatVersion,
}

/// The exports of a name, oldest first.
#[derive(Debug, Default)]
struct Chain {
    plain: Vec<&'static Export>,
    per_thread: Vec<&'static Export>,
}

/// The name without suffixes, and whether they ask for per-thread default streams.
pub(crate) fn base(name: &str) -> (&str, bool) {
    let stripped = name.strip_suffix("_ptds").or_else(|| name.strip_suffix("_ptsz"));
    let rest = stripped.unwrap_or(name);
    let digits = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    let base = if digits.len() < rest.len() { digits.strip_suffix("_v").unwrap_or(rest) } else { rest };
    (base, stripped.is_some())
}

fn chains() -> &'static HashMap<&'static str, Chain> {
    static CHAINS: OnceLock<HashMap<&'static str, Chain>> = OnceLock::new();
    CHAINS.get_or_init(|| {
        let mut chains: HashMap<&'static str, Chain> = HashMap::new();
        for export in EXPORTS.iter().filter(|export| export.version > 0) {
            let (base, per_thread) = base(export.name);
            let chain = chains.entry(base).or_default();
            if per_thread { chain.per_thread.push(export) } else { chain.plain.push(export) }
        }
        for chain in chains.values_mut() {
            chain.plain.sort_by_key(|export| export.version);
            chain.per_thread.sort_by_key(|export| export.version);
        }
        chains
    })
}

fn find(name: &str, version: i32, flags: u64) -> Found {
    let Some(chain) = chains().get(name) else { return Found::NoSuchName };
    let per_thread = flags & PER_THREAD != 0 && !chain.per_thread.is_empty();
    let exports = if per_thread { &chain.per_thread } else { &chain.plain };
    match exports.iter().rev().find(|export| export.version <= version) {
        Some(export) => Found::At(export.address),
        None => Found::NotInThatVersion,
    }
}

/// `status`: where a caller of the second form wants to hear why; one who does not hears it as an error.
fn get(name: Text, out: Out<u64>, version: i32, flags: u64, status: Option<Out<u32>>) -> Call {
    let name = name.read()?;
    out.required()?;
    if !(0..=DRIVER_VERSION).contains(&version) || flags & !FLAGS_KNOWN != 0 {
        return Err(INVALID_VALUE);
    }
    let found = find(&name, version, flags);
    crate::log::debug(format_args!("  {name} {version} {flags}: {found:?}"));
    let (address, why) = match found {
        Found::At(address) => (address as u64, 0),
        Found::NoSuchName => (0, 1),
        Found::NotInThatVersion => (0, 2),
    };
    out.set(address);
    match status.filter(|status| !status.is_null()) {
        Some(status) => status.set(why),
        None if address == 0 => return Err(NOT_FOUND),
        None => {}
    }
    Ok(())
}

driver_calls! {
    fn cuGetProcAddress(name: Text, out: Out<u64>, version: i32, flags: u64) {
        get(name, out, version, flags, None)
    }
    fn cuGetProcAddress_v2(name: Text, out: Out<u64>, version: i32, flags: u64, status: Out<u32>) {
        get(name, out, version, flags, Some(status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(found: Found) -> &'static str {
        let Found::At(address) = found else { return "none" };
        EXPORTS.iter().find(|export| export.address == address).map_or("unknown", |export| export.name)
    }

    #[test]
    fn the_newest_that_the_caller_knows_is_answered() {
        assert_eq!(name_of(find("cuMemAlloc", 2_000, 0)), "cuMemAlloc");
        assert_eq!(name_of(find("cuMemAlloc", 13_000, 0)), "cuMemAlloc_v2");
        assert_eq!(name_of(find("cuCtxCreate", 12_040, 0)), "cuCtxCreate_v3");
        assert_eq!(name_of(find("cuGetProcAddress", 11_080, 0)), "cuGetProcAddress");
    }

    #[test]
    fn per_thread_callers_get_their_chain_where_there_is_one() {
        assert_eq!(name_of(find("cuMemcpyHtoDAsync", 13_000, 2)), "cuMemcpyHtoDAsync_v2_ptsz");
        assert_eq!(find("cuMemcpyHtoDAsync", 6_050, 2), Found::NotInThatVersion);
        assert_eq!(name_of(find("cuMemAlloc", 6_050, 2)), "cuMemAlloc_v2");
        assert_eq!(name_of(find("cuMemcpyHtoDAsync", 13_000, 1)), "cuMemcpyHtoDAsync_v2");
    }

    #[test]
    fn names_with_suffixes_and_no_name_are_no_names() {
        for name in ["", "cuMemAlloc_v2", "cuStreamQuery_ptsz", "cuNothing"] {
            assert_eq!(find(name, 13_000, 0), Found::NoSuchName, "{name}");
        }
        assert_eq!(find("cuMemAlloc", 1_000, 0), Found::NotInThatVersion);
    }
}
