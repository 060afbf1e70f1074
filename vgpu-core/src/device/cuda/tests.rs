//! What needs no GPU: the order of counter writes, checked addresses, checked images.

use super::bounds::{check_fatbin, check_linked_fatbin};
use super::elf::{Elf, Looks, Needs, check_elf};
use super::order::{Kind, Order, Plan};
use super::printing::Printers;
use super::space::{Owner, Space};
use super::{CudaDevice, CudaError};
use crate::device::StreamKey;

const LEGACY: StreamKey = StreamKey(1);
const FIRST: StreamKey = StreamKey(2);
const SECOND: StreamKey = StreamKey(3);
const EXEMPT: StreamKey = StreamKey(4);

fn order() -> Order {
    let mut order = Order::default();
    order.add(LEGACY, Kind::Legacy);
    order.add(FIRST, Kind::Blocking);
    order.add(SECOND, Kind::Blocking);
    order.add(EXEMPT, Kind::NonBlocking);
    order
}

/// Submits work as a context does; tells which streams wrote before it.
fn work(order: &mut Order, key: StreamKey) -> Vec<(StreamKey, u64)> {
    let mut writes = order.before_work(key);
    for (other, count) in &writes {
        order.count_write(*other, *count);
    }
    writes.sort_unstable();
    order.count_work(key);
    writes
}

fn mark(order: &mut Order, key: StreamKey) -> Plan {
    let plan = order.plan_mark(key).expect("the stream is there");
    if let Plan::Write(count) = plan {
        order.count_write(key, count);
    }
    plan
}

#[test]
fn a_mark_behind_work_is_written() {
    let mut order = order();
    for key in [LEGACY, FIRST, EXEMPT] {
        assert_eq!(mark(&mut order, key), Plan::Write(1), "nothing stands against it");
    }
    assert_eq!(work(&mut order, EXEMPT), []);
    assert_eq!(mark(&mut order, EXEMPT), Plan::Write(3));
    assert_eq!(mark(&mut order, EXEMPT), Plan::Write(4));
}

#[test]
fn blocking_streams_write_before_legacy_work() {
    let mut order = order();
    work(&mut order, FIRST);
    work(&mut order, FIRST);
    work(&mut order, SECOND);
    work(&mut order, EXEMPT);
    assert_eq!(work(&mut order, LEGACY), [(FIRST, 2), (SECOND, 1)]);
    // A write now would wait for the legacy stream's work.
    assert_eq!(mark(&mut order, FIRST), Plan::Refer(2));
    assert_eq!(mark(&mut order, SECOND), Plan::Refer(1));
    assert_eq!(mark(&mut order, EXEMPT), Plan::Write(2));
    assert_eq!(work(&mut order, LEGACY), [], "written already");
    assert_eq!(work(&mut order, FIRST), [(LEGACY, 2)]);
    assert_eq!(mark(&mut order, FIRST), Plan::Write(4));
}

#[test]
fn the_legacy_stream_writes_before_blocking_work() {
    let mut order = order();
    work(&mut order, LEGACY);
    assert_eq!(work(&mut order, EXEMPT), []);
    assert_eq!(mark(&mut order, LEGACY), Plan::Write(2));
    assert_eq!(work(&mut order, SECOND), [], "the mark told all");
    assert_eq!(mark(&mut order, LEGACY), Plan::Refer(2));
    work(&mut order, LEGACY);
    assert_eq!(work(&mut order, FIRST), [(LEGACY, 3)]);
    assert_eq!(work(&mut order, SECOND), []);
    assert_eq!(mark(&mut order, LEGACY), Plan::Refer(3));
}

#[test]
fn removed_streams_are_forgotten() {
    let mut order = order();
    work(&mut order, FIRST);
    order.remove(FIRST);
    assert_eq!(work(&mut order, LEGACY), []);
    assert_eq!(order.plan_mark(FIRST), None);
    assert_eq!(order.due(FIRST), None);
}

#[test]
fn space_knows_its_ranges() {
    let space = Space::default();
    assert!(space.add(0x1000, 0x1000, Owner::Context(1)));
    assert!(space.add(0x2000, 0x10, Owner::Host));
    assert!(!space.add(0x1fff, 1, Owner::Host) && !space.add(0xfff, 2, Owner::Host));
    assert!(!space.add(u64::MAX, 2, Owner::Host));
    assert!(space.check(0x1000, 0x1000).is_ok() && space.check(0x1fff, 1).is_ok());
    for (address, bytes) in [(0xfff, 1), (0x1000, 0x1001), (0x1fff, 2), (0x2010, 1), (0x1000, u64::MAX)] {
        assert!(space.check(address, bytes).is_err(), "{address:#x} {bytes}");
    }
    assert!(space.is_host(0x2000) && !space.is_host(0x1000));
    space.remove_all(1);
    assert!(space.check(0x1000, 1).is_err() && space.check(0x2000, 1).is_ok());
}

#[test]
fn mappings_of_the_guest_are_one_array_where_they_are_open() {
    let space = Space::default();
    assert!(space.map(0x1000, 0x1000) && space.map(0x2000, 0x1000) && space.map(0x4000, 0x1000));
    assert!(!space.map(0x2fff, 1));
    assert!(space.add(0x3000, 0x1000, Owner::Context(1)));
    assert!(space.check(0x1000, 1).is_err(), "no access was set");
    space.open(0x1000, 0x2000, true);
    assert!(space.check(0x1fff, 2).is_ok() && space.check(0x1000, 0x2000).is_ok());
    assert!(space.check(0x2fff, 2).is_err(), "an allocation is no part of it");
    assert!(space.check(0x3fff, 2).is_err() && space.check(0x4000, 1).is_err());
    space.open(0x2000, 0x1000, false);
    assert!(space.check(0x1fff, 2).is_err() && space.check(0x1fff, 1).is_ok());
    space.unmap(0x1000, 0x2000);
    assert!(space.check(0x1000, 1).is_err() && space.check(0x3000, 1).is_ok());
    assert!(space.map(0x1000, 0x2000));
}

/// Memory that was found goes only once the work that was to use it is with the driver.
#[test]
fn memory_that_went_and_came_again_is_not_the_same() {
    let space = Space::default();
    assert!(space.add(0x1000, 0x1000, Owner::Context(1)) && space.map(0x2000, 0x1000));
    space.open(0x2000, 0x1000, true);
    let (added, generation) = (space.added(), space.generation());
    assert!(space.add(0x8000, 0x1000, Owner::Context(1)));
    for address in [0x1000, 0x2000] {
        assert!(space.check_older(address, 0x1000, added).is_ok());
    }
    assert!(space.check_older(0x8000, 1, added).is_err() && space.check(0x8000, 1).is_ok(), "it is new");
    assert_eq!(space.generation(), generation, "nothing went");
    space.remove(0x1000);
    space.unmap(0x2000, 0x1000);
    assert!(space.add(0x1000, 0x1000, Owner::Context(1)) && space.map(0x2000, 0x1000));
    space.open(0x2000, 0x1000, true);
    for address in [0x1000, 0x2000] {
        assert!(space.check(address, 0x1000).is_ok() && space.check_older(address, 1, added).is_err());
    }
    assert_ne!(space.generation(), generation);
}

#[test]
fn what_is_taken_away_waits_for_work_that_is_being_submitted() {
    let space = Space::default();
    assert!(space.add(0x1000, 0x1000, Owner::Host));
    assert!(!space.add(0x1000, 0, Owner::Host) && space.check(0x1000, 1).is_ok(), "nothing takes no place");
    let (sender, removed) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let held = space.hold();
        assert!(space.check(0x1000, 1).is_ok());
        let space = &space;
        scope.spawn(move || {
            space.remove(0x1000);
            sender.send(()).expect("somebody hears");
        });
        assert!(removed.recv_timeout(std::time::Duration::from_millis(20)).is_err());
        drop(held);
        removed.recv_timeout(std::time::Duration::from_secs(20)).expect("nothing holds it any more");
    });
    assert!(space.check(0x1000, 1).is_err());
}

#[test]
fn work_looks_at_ranges_while_memory_that_opens_waits_for_it() {
    let space = std::sync::Arc::new(Space::default());
    assert!(space.add(0x1000, 0x1000, Owner::Host));
    let (opening, looking) = (std::sync::Arc::clone(&space), std::sync::Arc::clone(&space));
    let (sender, looked) = std::sync::mpsc::channel();
    // Threads of their own: ones that wait for each other must not keep the test from failing.
    std::thread::spawn(move || {
        let _held = looking.hold();
        std::thread::spawn(move || opening.open(0x1000, 0x1000, true));
        std::thread::sleep(std::time::Duration::from_millis(20));
        sender.send(looking.check(0x1000, 1).is_ok()).expect("somebody hears");
    });
    assert_eq!(looked.recv_timeout(std::time::Duration::from_secs(20)), Ok(true));
}

/// A cubin with code, shared memory, and one symbol.
fn elf(symbol_kind: u8, symbol_flags: u8, name: &str) -> Vec<u8> {
    let texts = format!("\0.nv.shared.kernel\0{name}\0");
    let (code, symbols, strings) = (64_u64, 128_u64, 176_u64);
    let sections = (strings + texts.len() as u64).next_multiple_of(8);
    let mut image = vec![0; sections as usize + 5 * 64];
    image[..4].copy_from_slice(b"\x7fELF");
    let mut put = |at: u64, bytes: &[u8]| {
        let at = usize::try_from(at).expect("small");
        image[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(40, &sections.to_le_bytes());
    put(58, &64_u16.to_le_bytes());
    put(60, &5_u16.to_le_bytes());
    put(62, &3_u16.to_le_bytes());
    put(strings, texts.as_bytes());
    put(symbols + 24, &[19, 0, 0, 0, symbol_kind, symbol_flags]);
    for (index, name, kind, flags, offset, bytes) in [
        (1, 0_u32, 1_u32, 2_u64, code, 64_u64),
        (2, 0, 2, 0, symbols, 48),
        (3, 0, 3, 0, strings, texts.len() as u64),
        // Without bytes in the file.
        (4, 1, 8, 3, 1 << 40, 48 << 10),
    ] {
        let header = sections + index * 64;
        put(header, &name.to_le_bytes());
        put(header + 4, &kind.to_le_bytes());
        put(header + 8, &flags.to_le_bytes());
        put(header + 24, &offset.to_le_bytes());
        put(header + 32, &bytes.to_le_bytes());
        put(header + 40, &3_u32.to_le_bytes());
    }
    image
}

#[test]
fn cubins_are_checked_to_their_end() {
    assert_eq!(
        check_elf(&elf(2, 0x10, "k")),
        Ok(Needs { memory_bytes: 64, calls: false, printers: Printers::none() })
    );
    let whole = elf(2, 0x10, "k");
    for len in 0..whole.len() {
        assert!(check_elf(&whole[..len]).is_err(), "cut to {len}");
    }
    // Any byte may be wrong; the check ends with an answer.
    for at in 0..whole.len() {
        for value in [0xff, 0x80, 0x01] {
            let mut image = whole.clone();
            image[at] = value;
            let _ = check_elf(&image);
        }
    }
}

/// Names as CUDA 13.0's compiler makes them, of the program's functions and of its own.
#[test]
fn functions_of_the_program_need_a_stack_and_the_compilers_own_do_not() {
    let calls = |name: &str| check_elf(&elf(2, 0, name)).expect("it is sound").calls;
    for name in ["_Z3fibi", "$kernel$_Z3fibi", "vprintf", "", "my__internal_", "$kernel$my__cuda_sm20"] {
        assert!(calls(name), "{name}");
    }
    for name in [
        "$__internal_0_$__cuda_sm20_div_rn_f64_full",
        "__cuda_sm20_div_rn_f64_full",
        "$kernel$__internal_trig_reduction_slowpathd",
    ] {
        assert!(!calls(name), "{name}");
    }
}

#[test]
fn sections_beyond_the_headers_count_are_counted_in_the_first() {
    let mut image = elf(2, 0x10, "k");
    let first = usize::from(image[40]) | usize::from(image[41]) << 8;
    image[60..64].copy_from_slice(&[0, 0, 0xff, 0xff]);
    assert!(check_elf(&image).is_err(), "no sections at all");
    image[first + 32] = 5;
    image[first + 40] = 3;
    assert_eq!(check_elf(&image), Ok(Needs { memory_bytes: 64, calls: false, printers: Printers::none() }));
    image[first + 32..first + 40].fill(0xff);
    assert!(check_elf(&image).is_err(), "more sections than bytes");
}

/// Nothing else that is asked of sections holds for the first: what it says of a place may be a count.
#[test]
fn the_first_section_is_of_no_kind() {
    let mut image = elf(2, 0x10, "k");
    let first = usize::from(image[40]) | usize::from(image[41]) << 8;
    image[first + 24..first + 40].fill(0xff);
    assert!(check_elf(&image).is_ok(), "its place means nothing");
    for kind in [1_u32, 2, 3, 8, 0x7000_0000, 1 << 31] {
        image[first + 4..first + 8].copy_from_slice(&kind.to_le_bytes());
        let refused = check_elf(&image).expect_err("it has a kind");
        assert_eq!(refused, "its first section is not the empty one", "kind {kind:#x}");
    }
}

/// Sections of a hostile image may share their bytes, so that looking through all of them would take a square of its size.
#[test]
fn what_is_looked_through_is_bounded_by_the_image() {
    let whole = elf(2, 0x10, "k");
    let table = usize::from(whole[40]) | usize::from(whole[41]) << 8;
    let repeated = |section: usize, kind: u8, bytes: u64, count: u16| {
        let mut image = whole.clone();
        let mut header = image[table + section * 64..][..64].to_vec();
        header[4] = kind;
        header[32..40].copy_from_slice(&bytes.to_le_bytes());
        (0..count).for_each(|_| image.extend(&header));
        image[60..62].copy_from_slice(&(5 + count).to_le_bytes());
        image
    };
    assert!(check_elf(&repeated(2, 2, 48, 14)).is_ok());
    assert!(check_elf(&repeated(2, 2, 48, 16)).is_err(), "symbol tables");
    let bytes = whole.len() as u64 - 64;
    assert!(check_elf(&repeated(1, 1, bytes, 4)).is_ok());
    assert!(check_elf(&repeated(1, 1, bytes, 400)).is_ok(), "headers make the file longer too");
    let mut long = repeated(1, 1, bytes, 400);
    let end = long.len() as u64 - 64;
    for index in 5..405 {
        long[table + index * 64 + 32..][..8].copy_from_slice(&end.to_le_bytes());
    }
    assert!(check_elf(&long).is_err(), "the file many times over");
}

/// So may names: a table of texts may have none that ends, and each symbol name another part of it.
#[test]
fn names_are_looked_at_no_more_often_than_the_image_is_long() {
    const SYMBOLS: usize = 1 << 20;
    let own = b"$__internal_".repeat(1 << 9);
    for (texts, calls) in [(vec![b'v'; 16 << 20], true), ([own, vec![0]].concat(), true)] {
        let mut image = elf(2, 0, "$__internal_");
        let table = usize::from(image[40]) | usize::from(image[41]) << 8;
        let mut place = |section: usize, bytes: &[u8]| {
            let at = image.len() as u64;
            image.extend(bytes);
            image[table + section * 64 + 24..][..8].copy_from_slice(&at.to_le_bytes());
            image[table + section * 64 + 32..][..8].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        };
        place(3, &texts);
        let mut symbol = [0; 24];
        symbol[4] = 2;
        place(2, &symbol.repeat(SYMBOLS));
        let needs = check_elf(&image).expect("it is sound");
        assert_eq!((needs.calls, needs.printers), (calls, Printers::none()));
        let elf = Elf::check(&image).expect("it is sound");
        let mut looks = Looks::at(&elf);
        let looked: usize = (0..SYMBOLS).map_while(|_| looks.text(&texts, 0)).map(<[u8]>::len).sum();
        assert!(looked <= image.len(), "{looked} bytes of {}", image.len());
    }
}

/// A fatbin with an entry of a kind, with flags, that says it unpacks to `plain_bytes`.
fn fatbin(kind: u8, flags: u64, plain_bytes: u64, payload: &[u8]) -> Vec<u8> {
    let mut image = b"\x50\xed\x55\xba\x01\0\x10\0".to_vec();
    image.extend((64 + payload.len() as u64).to_le_bytes());
    image.extend([kind, 0, 1, 1, 64, 0, 0, 0]);
    image.extend((payload.len() as u64).to_le_bytes());
    image.resize(16 + 40, 0);
    image.extend(flags.to_le_bytes());
    image.resize(16 + 56, 0);
    image.extend(plain_bytes.to_le_bytes());
    image.extend(payload);
    image
}

#[test]
fn fatbins_are_checked_to_their_end() {
    let image = fatbin(2, 0, 0, &elf(2, 0x10, "k"));
    let needs = check_fatbin(&image).expect("it is sound");
    assert_eq!((needs.calls, needs.printers), (true, Printers::All));
    assert_eq!(check_linked_fatbin(&image), Ok(()));
    for len in 0..image.len() {
        assert!(check_fatbin(&image[..len]).is_err(), "cut to {len}");
        assert!(check_linked_fatbin(&image[..len]).is_err(), "cut to {len}");
    }
    let mut long = image.clone();
    long[24] += 1;
    assert!(check_fatbin(&long).is_err(), "an entry goes past the end");
    for header in [0, 16, 63] {
        let mut endless = image.clone();
        endless[20] = header;
        assert!(check_fatbin(&endless).is_err(), "an entry with a header of {header} bytes");
    }
    for at in 0..image.len() {
        for value in [0xff, 0x80, 0x01] {
            let mut image = image.clone();
            image[at] = value;
            let _ = check_fatbin(&image);
        }
    }
}

#[test]
fn fatbins_need_what_their_largest_entry_does() {
    let needs = |image: &[u8]| check_fatbin(image).map(|needs| needs.memory_bytes);
    for flags in [0x2000, 0x8000] {
        for plain_bytes in [16, 1 << 20, (64 << 20) + 1, u64::MAX] {
            let image = fatbin(2, flags, plain_bytes, &[7; 16]);
            assert!(needs(&image).is_err(), "variables that take no bytes of a file cannot be told there");
            assert_eq!(check_linked_fatbin(&image).is_ok(), plain_bytes <= 64 << 20, "{plain_bytes}");
        }
    }
    let mut code = elf(2, 0x10, "k");
    let table = usize::from(code[40]) | usize::from(code[41]) << 8;
    // Variables that take no bytes of the file.
    let cleared = 4 * 64 + table;
    code[cleared..cleared + 4].fill(0);
    assert_eq!(needs(&fatbin(2, 0, 0, &code)), Ok(64 + (48 << 10)));
    assert!(needs(&fatbin(2, 0, 0, &code[..code.len() - 1])).is_err(), "its code is cut");
}

#[test]
fn fatbins_that_are_loaded_hold_machine_code_only() {
    let text = b".version 9.0\n.target sm_90\n.address_size 64\n.visible .global .b8 x[34359738368];\n\0";
    let code = elf(2, 0x10, "k");
    for image in [
        fatbin(1, 0, 0, text),
        fatbin(1, 0x2000, 1 << 20, text),
        fatbin(1, 0x8000, 1 << 20, text),
        fatbin(1, 0, 0, &code),
        fatbin(2, 0, 0, text),
        fatbin(2, 0, 0, b""),
        fatbin(4, 0, 0, &code),
        fatbin(0, 0, 0, &code),
    ] {
        assert!(check_fatbin(&image).unwrap_err().contains("send the PTX itself"));
        assert_eq!(check_linked_fatbin(&image), Ok(()), "a link takes nothing of the device");
    }
    // The entry that is refused may come behind one that is not.
    let mut image = fatbin(2, 0, 0, &code);
    image.extend_from_slice(&fatbin(1, 0, 0, text)[16..]);
    let entries = image.len() as u64 - 16;
    image[8..16].copy_from_slice(&entries.to_le_bytes());
    assert!(check_fatbin(&image).is_err());
    assert!(check_linked_fatbin(&fatbin(2, 0, 0, &code[..code.len() - 1])).is_err(), "its code is cut");
}

#[test]
fn a_gpu_that_is_not_there_is_an_error() {
    // With or without a driver on this machine.
    match CudaDevice::open(7_000) {
        Err(CudaError::NoDriver | CudaError::NoDevice { .. } | CudaError::Driver(_)) => {}
        other => panic!("{other:?}"),
    }
}
