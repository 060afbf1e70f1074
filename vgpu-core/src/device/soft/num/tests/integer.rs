//! Integer arithmetic and bit manipulation, against the loops that PTX defines them by.

use proptest::prelude::*;

use super::super::IntegerType::{self, S8, S16, S32, S64, U8, U16, U32, U64};
use super::super::bits::{
    bfe, bfi, bfind, bmsk, cnot, fns, lop3, prmt, shf_left, shf_right, shl, shr, szext,
};
use super::super::integer::{
    abs, add_carry_32, add_carry_64, add_sat, div, dp2a, dp4a, mad_hi_sat, max, min, mul_hi, mul_lo,
    mul_wide, mul24, rem, sad, sub_borrow_32, sub_borrow_64, sub_sat,
};
use super::super::{Overshoot, PermuteMode};

const TYPES: [IntegerType; 8] = [U8, U16, U32, U64, S8, S16, S32, S64];

#[test]
fn division_never_panics() {
    for ty in TYPES {
        assert_eq!(div(ty, 7, 0), ty.extend(u64::MAX));
        assert_eq!(rem(ty, 7, 0), ty.extend(u64::MAX));
        if ty.is_signed() {
            let smallest = ty.extend(1 << (ty.bits() - 1));
            assert_eq!(div(ty, smallest, u64::MAX), smallest);
            assert_eq!(rem(ty, smallest, u64::MAX), 0);
            assert_eq!(abs(ty, smallest), smallest);
        }
    }
    assert_eq!(div(S32, -7i64 as u64, 2), -3i64 as u64);
    assert_eq!(rem(S32, -7i64 as u64, 2), u64::MAX);
    assert_eq!(div(U32, 0xffff_fff9, 2), 0x7fff_fffc);
}

#[test]
fn products() {
    assert_eq!(mul_hi(U64, u64::MAX, u64::MAX), u64::MAX - 1);
    assert_eq!(mul_hi(S64, u64::MAX, u64::MAX), 0);
    assert_eq!(mul_hi(S64, 1 << 63, 1 << 63), 1 << 62);
    assert_eq!(mul_hi(U32, 0xffff_ffff, 0xffff_ffff), 0xffff_fffe);
    assert_eq!(mul_hi(S32, 0xffff_ffff, 2), u64::MAX);
    assert_eq!(mul_lo(S16, 0x100, 0x80), 0xffff_ffff_ffff_8000);
    assert_eq!(mul_wide(S32, 0xffff_ffff, 2), -2i64 as u64);
    assert_eq!(mul_wide(U16, 0xffff, 0xffff), 0xfffe_0001);
    assert_eq!(mul24(U32, 0xffff_ffff, 2, false), 0x01ff_fffe);
    assert_eq!(mul24(S32, 0xffff_ffff, 2, false), 0xffff_fffe);
    assert_eq!(mul24(U32, 0x00ff_ffff, 0x00ff_ffff, true), 0xffff_fe00);
    assert_eq!(mad_hi_sat(i32::MAX, i32::MAX, i32::MAX), i32::MAX);
    assert_eq!(add_sat(i32::MAX, 1), i32::MAX);
    assert_eq!(sub_sat(i32::MIN, 1), i32::MIN);
}

#[test]
fn carries() {
    assert_eq!(add_carry_32(u32::MAX, 0, true), (0, true));
    assert_eq!(add_carry_32(u32::MAX, u32::MAX, true), (u32::MAX, true));
    assert_eq!(add_carry_64(1, 2, false), (3, false));
    assert_eq!(sub_borrow_32(0, u32::MAX, true), (0, true));
    assert_eq!(sub_borrow_64(5, 4, true), (0, false));
}

#[test]
fn sums_of_differences_and_products() {
    assert_eq!(sad(S32, -5i64 as u64, 3, 1), 9);
    assert_eq!(sad(U32, 3, 5, 1), 3);
    assert_eq!(min(S32, 0xffff_ffff, 0), u64::MAX);
    assert_eq!(max(U32, 0xffff_ffff, 0), 0xffff_ffff);
    assert_eq!(dp4a(0x0102_03ff, true, 0x0101_0101, true, 10), 15);
    assert_eq!(dp4a(0x0102_03ff, false, 0x0101_0101, false, 10), 271);
    assert_eq!(dp2a(0x0002_ffff, true, 0x0403_0201, false, 0, false), 3);
    assert_eq!(dp2a(0x0002_ffff, true, 0x0403_0201, false, 0, true), 5);
}

#[test]
fn permutations() {
    let (a, b) = (0x3322_1100, 0x7766_5544);
    let permute = |selector, mode| prmt(a, b, selector, mode);
    assert_eq!(permute(0x7531, PermuteMode::Generic), 0x7755_3311);
    assert_eq!(prmt(0x0000_807f, 0, 0x8091, PermuteMode::Generic), 0x007f_ff80);
    assert_eq!(permute(1, PermuteMode::F4e), 0x4433_2211);
    assert_eq!(permute(1, PermuteMode::B4e), 0x6677_0011);
    assert_eq!(permute(2, PermuteMode::Rc8), 0x2222_2222);
    assert_eq!(permute(1, PermuteMode::Ecl), 0x3322_1111);
    assert_eq!(permute(2, PermuteMode::Ecr), 0x2222_1100);
    assert_eq!(permute(1, PermuteMode::Rc16), 0x3322_3322);
}

#[test]
fn shifts_clamp_or_wrap() {
    assert_eq!(shl(32, 1, 32), 0);
    assert_eq!(shl(64, 1, 63), 1 << 63);
    assert_eq!(shl(64, 1, 200), 0);
    assert_eq!(shr(S32, 0x8000_0000, 99), u64::MAX);
    assert_eq!(shr(U32, 0x8000_0000, 31), 1);
    assert_eq!(shr(U32, u64::MAX, 32), 0);
    assert_eq!(shr(U16, 0xffff, 64), 0);
    assert_eq!(shf_left(0x8000_0000, 1, 1, Overshoot::Clamp), 3);
    assert_eq!(shf_left(5, 1, 40, Overshoot::Clamp), 5);
    assert_eq!(shf_left(5, 1, 32, Overshoot::Wrap), 1);
    assert_eq!(shf_right(1, 1, 1, Overshoot::Clamp), 0x8000_0000);
    assert_eq!(shf_right(5, 7, 32, Overshoot::Clamp), 7);
    assert_eq!(shf_right(5, 7, 33, Overshoot::Wrap), 0x8000_0002);
    assert_eq!(bmsk(4, 8, Overshoot::Clamp), 0xff0);
    assert_eq!(bmsk(40, 8, Overshoot::Clamp), 0);
    assert_eq!(bmsk(0, 32, Overshoot::Clamp), u32::MAX);
    assert_eq!(szext(0xff, 8, true, Overshoot::Clamp), u32::MAX);
    assert_eq!(szext(0xff, 4, false, Overshoot::Clamp), 0xf);
    assert_eq!(szext(0xff, 0, true, Overshoot::Wrap), 0);
    assert_eq!(szext(0xff, 40, true, Overshoot::Clamp), 0xff);
    assert_eq!((cnot(0), cnot(9)), (1, 0));
}

#[test]
fn highest_bits() {
    assert_eq!(bfind(U32, 0, false), u32::MAX);
    assert_eq!(bfind(S32, 0xffff_ffff, true), u32::MAX);
    assert_eq!(bfind(S32, 0xffff_fffe, false), 0);
    assert_eq!(bfind(U32, 0x0001_0000, true), 15);
    assert_eq!(bfind(U64, 1 << 63, false), 63);
}

fn bfe_by_definition(ty: IntegerType, a: u64, pos: u32, len: u32) -> u64 {
    let (msb, pos, len) = (ty.bits() - 1, pos & 0xff, len & 0xff);
    let bit = |i: u32| a >> i & 1;
    let sign = if !ty.is_signed() || len == 0 { 0 } else { bit((pos + len - 1).min(msb)) };
    let word = (0..=msb).fold(0, |d, i| d | if i < len && pos + i <= msb { bit(pos + i) } else { sign } << i);
    ty.extend(word)
}

fn bfi_by_definition(bits: u32, a: u64, b: u64, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    (0..len).take_while(|i| pos + i < bits).fold(b, |f, i| f & !(1 << (pos + i)) | (a >> i & 1) << (pos + i))
}

fn fns_by_definition(mask: u32, base: u32, offset: i32) -> u32 {
    if offset == 0 {
        return if mask >> base & 1 == 1 { base } else { u32::MAX };
    }
    let (mut pos, mut count) = (i64::from(base), i64::from(offset.unsigned_abs()) - 1);
    while (0..32).contains(&pos) {
        if mask >> pos & 1 == 1 {
            if count == 0 {
                return pos as u32;
            }
            count -= 1;
        }
        pos += i64::from(offset.signum());
    }
    u32::MAX
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn fields(a in any::<u64>(), b in any::<u64>(), pos in 0u32..300, len in 0u32..300, small in 0u32..64, width in 0u32..66) {
        for (pos, len) in [(pos, len), (small, width)] {
            for ty in [U32, S32, U64, S64] {
                let a = a >> (64 - ty.bits());
                prop_assert_eq!(bfe(ty, a, pos, len), bfe_by_definition(ty, a, pos, len));
            }
            prop_assert_eq!(bfi(64, a, b, pos, len), bfi_by_definition(64, a, b, pos, len));
            let (a, b) = (a >> 32, b >> 32);
            prop_assert_eq!(bfi(32, a, b, pos, len), bfi_by_definition(32, a, b, pos, len));
        }
    }

    #[test]
    fn nth_set_bit(mask in any::<u32>(), base in 0u32..32, offset in prop_oneof![-35i32..36, any::<i32>()]) {
        prop_assert_eq!(fns(mask, base, offset), fns_by_definition(mask, base, offset));
    }

    #[test]
    fn logic_tables(a in any::<u32>(), b in any::<u32>(), c in any::<u32>()) {
        prop_assert_eq!(lop3(a, b, c, 0xf0 & 0xcc & 0xaa), a & b & c);
        prop_assert_eq!(lop3(a, b, c, 0xf0 ^ 0xcc ^ 0xaa), a ^ b ^ c);
        prop_assert_eq!(lop3(a, b, c, (0xf0 | 0xcc) & !0xaa), (a | b) & !c);
    }

    #[test]
    fn nothing_panics(a in any::<u64>(), b in any::<u64>(), n in any::<u32>(), i in any::<i32>()) {
        for ty in TYPES {
            let results = [mul_hi(ty, a, b), mul_lo(ty, a, b), div(ty, a, b), rem(ty, a, b), sad(ty, a, b, a), abs(ty, a), shr(ty, a, n), bfe(ty, a, n, n), min(ty, a, b), max(ty, a, b)];
            for result in results {
                prop_assert_eq!(result, ty.extend(result));
            }
            bfind(ty, a, true);
        }
        fns(a as u32, n, i);
        shl(64, a, n);
        bmsk(n, a as u32, Overshoot::Clamp);
        bmsk(n, a as u32, Overshoot::Wrap);
        szext(n, a as u32, true, Overshoot::Clamp);
    }
}
