//! Bit manipulation: fields, permutations, shifts, logic tables.

use super::convert::IntegerType;

/// What becomes of a shift amount or position beyond the width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overshoot {
    /// `.clamp`: it counts as the width.
    Clamp,
    /// `.wrap`: its low bits count.
    Wrap,
}

/// Mode of `prmt`; all but [`PermuteMode::Generic`] use the low two bits of the selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PermuteMode {
    /// No mode: four selector nibbles, each a byte index and a bit for sign replication.
    Generic,
    /// `.f4e`: forward extract of four bytes.
    F4e,
    /// `.b4e`: backward extract of four bytes.
    B4e,
    /// `.rc8`: one byte replicated.
    Rc8,
    /// `.ecl`: edge clamp left.
    Ecl,
    /// `.ecr`: edge clamp right.
    Ecr,
    /// `.rc16`: one half-word replicated.
    Rc16,
}

#[inline]
const fn low_mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// `bfe`: the field of `len` bits from `pos` up, extended by its top bit for signed types. Positions and
/// lengths count modulo 256; a signed field that leaves the word is filled with the word's top bit.
#[inline]
pub fn bfe(ty: IntegerType, a: u64, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if len == 0 {
        return 0;
    }
    let msb = ty.bits() - 1;
    let field = (a & low_mask(ty.bits())).checked_shr(pos).unwrap_or(0) & low_mask(len);
    let filled = if ty.is_signed() && a >> (pos + len - 1).min(msb) & 1 == 1 {
        let width = len.min(ty.bits().saturating_sub(pos));
        field | !low_mask(width)
    } else {
        field
    };
    ty.extend(filled)
}

/// `bfi.b32` (`bits` 32) and `bfi.b64` (`bits` 64): `b` with the low `len` bits of `a` inserted at `pos`.
#[inline]
pub fn bfi(bits: u32, a: u64, b: u64, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let field = low_mask(len).checked_shl(pos).unwrap_or(0) & low_mask(bits);
    b & !field | a.checked_shl(pos).unwrap_or(0) & field
}

/// `bfind{.shiftamt}`: position of the highest bit that is no sign bit (or the shift that brings it to the
/// top); 0xffffffff if there is none.
#[inline]
pub fn bfind(ty: IntegerType, a: u64, shift_amount: bool) -> u32 {
    let a = ty.extend(a);
    let a = if ty.is_signed() && (a as i64) < 0 { !a } else { a };
    match a.checked_ilog2() {
        None => u32::MAX,
        Some(position) if shift_amount => ty.bits() - 1 - position,
        Some(position) => position,
    }
}

/// `prmt{.mode}.b32`: bytes picked from `b:a`, byte 0 the lowest of `a`.
#[inline]
pub fn prmt(a: u32, b: u32, selector: u32, mode: PermuteMode) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    let low = selector & 3;
    let picked = [0u32, 1, 2, 3].map(|i| {
        let nibble = match mode {
            PermuteMode::Generic => selector >> (4 * i) & 0xf,
            PermuteMode::F4e => low + i,
            PermuteMode::B4e => low.wrapping_sub(i) & 7,
            PermuteMode::Rc8 => low,
            PermuteMode::Ecl => low.max(i),
            PermuteMode::Ecr => low.min(i),
            PermuteMode::Rc16 => (low & 1) * 2 + (i & 1),
        };
        let byte = bytes[(nibble & 7) as usize];
        if nibble & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 }
    });
    u32::from_le_bytes(picked)
}

/// `lop3.b32`: each result bit is the bit of `table` that the bits of `a`, `b`, `c` (`a` highest) index.
#[inline]
pub fn lop3(a: u32, b: u32, c: u32, table: u8) -> u32 {
    (0..8u32).filter(|index| table >> index & 1 == 1).fold(0, |result, index| {
        let matching = |word: u32, bit: u32| if index >> bit & 1 == 1 { word } else { !word };
        result | matching(a, 2) & matching(b, 1) & matching(c, 0)
    })
}

/// `shl`: amounts of the width and beyond give zero.
#[inline]
pub fn shl(bits: u32, a: u64, amount: u32) -> u64 {
    a.checked_shl(amount).unwrap_or(0) & low_mask(bits)
}

/// `shr`: fills with the sign for signed types; amounts of the width and beyond give the fill alone.
#[inline]
pub fn shr(ty: IntegerType, a: u64, amount: u32) -> u64 {
    let a = ty.extend(a);
    if ty.is_signed() { ((a as i64) >> amount.min(63)) as u64 } else { a.checked_shr(amount).unwrap_or(0) }
}

#[inline]
fn settle(amount: u32, overshoot: Overshoot) -> u32 {
    match overshoot {
        Overshoot::Clamp => amount.min(32),
        Overshoot::Wrap => amount & 31,
    }
}

/// `shf.l.{clamp,wrap}.b32`: the upper word of `b:a` shifted left.
#[inline]
pub fn shf_left(a: u32, b: u32, amount: u32, overshoot: Overshoot) -> u32 {
    ((u64::from(b) << 32 | u64::from(a)) << settle(amount, overshoot) >> 32) as u32
}

/// `shf.r.{clamp,wrap}.b32`: the lower word of `b:a` shifted right.
#[inline]
pub fn shf_right(a: u32, b: u32, amount: u32, overshoot: Overshoot) -> u32 {
    ((u64::from(b) << 32 | u64::from(a)) >> settle(amount, overshoot)) as u32
}

/// `fns.b32`: position of the `offset`-th set bit of `mask` from `base` on, downwards if negative; 0xffffffff
/// if there is none. PTX leaves a `base` above 31 open: nothing is found then.
#[inline]
pub fn fns(mask: u32, base: u32, offset: i32) -> u32 {
    if base > 31 {
        return u32::MAX;
    }
    let mut found = match offset {
        0 => mask & 1 << base,
        1.. => mask & u32::MAX << base,
        _ => (mask & u32::MAX >> (31 - base)).reverse_bits(),
    };
    // Clearing the lowest bit more often than there are bits changes nothing.
    for _ in 1..offset.unsigned_abs().min(33) {
        found &= found.wrapping_sub(1);
    }
    match found {
        0 => u32::MAX,
        _ if offset < 0 => 31 - found.trailing_zeros(),
        _ => found.trailing_zeros(),
    }
}

/// `bmsk.{clamp,wrap}.b32`: a mask of `width` ones from bit `position` up.
#[inline]
pub fn bmsk(position: u32, width: u32, overshoot: Overshoot) -> u32 {
    let (position, width) = (settle(position, overshoot), settle(width, overshoot));
    (low_mask(width) << position) as u32
}

/// `szext.{clamp,wrap}.{u32,s32}`: the low `width` bits, extended by zeros or by their top bit.
#[inline]
pub fn szext(a: u32, width: u32, signed: bool, overshoot: Overshoot) -> u32 {
    let width = settle(width, overshoot);
    let mask = low_mask(width) as u32;
    let negative = signed && (1..32).contains(&width) && a >> (width - 1) & 1 == 1;
    if negative { a | !mask } else { a & mask }
}

/// `cnot`: one if the value is zero, else zero.
#[inline]
pub fn cnot(a: u64) -> u64 {
    u64::from(a == 0)
}
