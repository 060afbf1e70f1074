use super::*;

/// An entry of a made container.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Made<'a> {
    pub(crate) kind: u16,
    pub(crate) architecture: u32,
    pub(crate) flags: u64,
    pub(crate) payload: &'a [u8],
    pub(crate) plain_bytes: u64,
    /// Bytes of the header behind what every entry has.
    pub(crate) more_header: usize,
}

/// A container of these entries.
pub(crate) fn container(entries: &[Made<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for entry in entries {
        let padded = entry.payload.len().next_multiple_of(8);
        let mut header = vec![0; 64 + entry.more_header];
        let header_bytes = header.len() as u32;
        header[0..2].copy_from_slice(&entry.kind.to_le_bytes());
        header[4..8].copy_from_slice(&header_bytes.to_le_bytes());
        header[8..16].copy_from_slice(&(padded as u64).to_le_bytes());
        if entry.plain_bytes != 0 {
            header[16..20].copy_from_slice(&(entry.payload.len() as u32).to_le_bytes());
        }
        header[28..32].copy_from_slice(&entry.architecture.to_le_bytes());
        header[40..48].copy_from_slice(&entry.flags.to_le_bytes());
        header[56..64].copy_from_slice(&entry.plain_bytes.to_le_bytes());
        body.extend_from_slice(&header);
        body.extend_from_slice(entry.payload);
        body.resize(body.len().next_multiple_of(8), 0);
    }
    let mut all = MAGIC.to_le_bytes().to_vec();
    all.extend_from_slice(&[1, 0, 16, 0]);
    all.extend_from_slice(&(body.len() as u64).to_le_bytes());
    all.extend_from_slice(&body);
    all
}

/// Reads from bytes as from memory that ends with them.
pub(super) fn with<T>(bytes: &[u8], read: impl FnOnce(Source<'_>) -> T) -> T {
    read(&|offset, length| {
        let start = usize::try_from(offset).map_err(|_| BAD_IMAGE)?;
        let end = start.checked_add(length).ok_or(BAD_IMAGE)?;
        bytes.get(start..end).map(<[u8]>::to_vec).ok_or(BAD_IMAGE)
    })
}

fn unpacked(source: Source<'_>, entry: &Entry) -> Call<Vec<u8>> {
    Ok(entry.payload(source)?.unpack()?.into_owned())
}

#[test]
fn plain_and_lz4_entries_are_read() {
    let text = b".version 8.0\n.version 8.0\n.version 8.0\n.version 8.0\n";
    let packed = lz4_flex::block::compress(text);
    let all = container(&[
        Made { kind: 2, architecture: 80, payload: b"\x7fELF", ..Made::default() },
        Made { kind: 1, architecture: 75, payload: b"ptx", more_header: 16, ..Made::default() },
        Made {
            kind: 1,
            architecture: 80,
            flags: FLAG_LZ4,
            payload: &packed,
            plain_bytes: text.len() as u64,
            more_header: 48,
        },
    ]);
    with(&all, |source| {
        let found = entries(source).unwrap();
        let kinds: Vec<_> = found.iter().map(|entry| (entry.kind, entry.architecture)).collect();
        assert_eq!(kinds, [(Kind::Machine, 80), (Kind::Ptx, 75), (Kind::Ptx, 80)]);
        assert_eq!(unpacked(source, &found[1]).unwrap(), b"ptx");
        assert_eq!(unpacked(source, &found[2]).unwrap(), text);
    });
}

/// Kind, architecture and flags of the entry that a device takes.
fn chosen(entries_of: &[(u16, u32, u64)], kind: Kind, device: (u32, u32)) -> Option<(u32, Scope, bool)> {
    let made =
        |&(kind, architecture, flags)| Made { kind, architecture, flags, payload: b"x", ..Made::default() };
    let all = container(&entries_of.iter().map(made).collect::<Vec<_>>());
    let found = with(&all, entries).unwrap();
    best(&found, kind, device).map(|entry| (entry.architecture, entry.scope, entry.is_debug))
}

#[test]
fn the_entry_that_suits_the_device_best_is_chosen() {
    let all = [
        (2, 75, 0),
        (2, 80, 0),
        (2, 86, 0),
        (2, 90, FLAG_DEBUG),
        (2, 90, 0),
        (2, 90, FLAG_EXACT),
        (2, 100, FLAG_FAMILY),
        (2, 100, FLAG_EXACT),
        (2, 103, 0),
        (1, 80, 0),
        (1, 90, FLAG_EXACT),
        (1, 100, FLAG_FAMILY),
        (8, 90, 0),
    ];
    let machine = |device| chosen(&all, Kind::Machine, device);
    assert_eq!(machine((9, 0)), Some((90, Scope::Exact, false)));
    assert_eq!(machine((8, 0)), Some((80, Scope::Compatible, false)));
    assert_eq!(machine((8, 9)), Some((86, Scope::Compatible, false)));
    assert_eq!(machine((10, 0)), Some((100, Scope::Exact, false)));
    assert_eq!(machine((10, 1)), Some((100, Scope::Family, false)), "exact code is for 10.0 alone");
    assert_eq!(machine((10, 3)), Some((103, Scope::Compatible, false)));
    assert_eq!(machine((12, 0)), None);
    let ptx = |device| chosen(&all, Kind::Ptx, device);
    assert_eq!(ptx((9, 0)), Some((90, Scope::Exact, false)));
    assert_eq!(ptx((9, 1)), Some((80, Scope::Compatible, false)));
    assert_eq!(ptx((10, 3)), Some((100, Scope::Family, false)));
    assert_eq!(ptx((12, 0)), Some((80, Scope::Compatible, false)));
    assert_eq!(ptx((7, 5)), None);
    let debug_only = [(2, 90, FLAG_DEBUG), (2, 80, 0)];
    assert_eq!(chosen(&debug_only, Kind::Machine, (9, 0)), Some((90, Scope::Compatible, true)));
}

#[test]
fn what_is_packed_in_an_unknown_way_is_no_candidate() {
    let unknown = Made { kind: 2, architecture: 90, payload: b"?", plain_bytes: 9, ..Made::default() };
    let all =
        container(&[unknown, Made { kind: 2, architecture: 90, payload: b"\x7fELF", ..Made::default() }]);
    with(&all, |source| {
        let found = entries(source).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(unpacked(source, &found[0]).unwrap(), b"\x7fELF\0\0\0\0");
    });
}

#[test]
fn contradictions_are_refused() {
    let good = container(&[Made { kind: 1, architecture: 80, payload: b"ptx", ..Made::default() }]);
    let mut long = good.clone();
    long[16 + 8..16 + 16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(with(&long, entries), Err(BAD_IMAGE));
    let mut short_header = good.clone();
    short_header[16 + 4..16 + 8].copy_from_slice(&8u32.to_le_bytes());
    assert_eq!(with(&short_header, entries), Err(BAD_IMAGE));
    let mut magic = good.clone();
    magic[0] ^= 1;
    assert_eq!(with(&magic, entries), Err(BAD_IMAGE));
    let mut huge = good.clone();
    huge[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(with(&huge, entries), Err(BAD_IMAGE));
    for end in 0..good.len() {
        let cut = with(&good[..end], |source| entries(source).and_then(|found| unpacked(source, &found[0])));
        assert_eq!(cut, Err(BAD_IMAGE), "cut to {end} bytes");
    }
    assert_eq!(with(&container(&[]), entries), Ok(Vec::new()));
}

#[test]
fn entries_without_end_are_not_followed() {
    let empty = Made { kind: 2, architecture: 90, ..Made::default() };
    let all = container(&vec![empty; ENTRIES_MAX + 1]);
    assert_eq!(with(&all, entries).unwrap().len(), ENTRIES_MAX);
}

#[test]
fn a_bomb_is_refused() {
    // 4 MiB of zeros in a zstd frame of one repeated byte (RLE blocks), that claims 16 bytes.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    for block in 0..32u32 {
        let header = u32::from(block == 31) | 1 << 1 | (128 << 10) << 3;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(0);
    }
    let packed = |flags, plain_bytes| Made {
        kind: 1,
        architecture: 80,
        flags,
        payload: &frame,
        plain_bytes,
        ..Made::default()
    };
    let all = container(&[packed(FLAG_ZSTD, 16), packed(FLAG_LZ4, 16), packed(FLAG_ZSTD, 1 << 40)]);
    with(&all, |source| {
        let found = entries(source).unwrap();
        assert_eq!(found.len(), 3);
        for entry in found {
            assert_eq!(unpacked(source, &entry), Err(BAD_IMAGE));
        }
    });
}
