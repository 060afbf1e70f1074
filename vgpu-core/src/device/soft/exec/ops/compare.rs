//! Comparisons and choices: `setp`, `set`, `selp`, `slct`, `testp`.

use super::super::super::num::{Comparison, FloatProperty, HalfFormat, float, select as pick};
use super::super::super::ptx::Type;
use super::super::inst::{Alu, Combine, Inst, Mode};
use super::super::lanes::{BIT, Bits, Frame, LANES, NO_ROW, Value, read, test2, write};
use super::super::opcode::Opcode;
use super::Form;
use super::half::format;

pub(super) fn select(opcode: &Opcode<'_>) -> Option<Form> {
    match opcode.name {
        "setp" => setp(opcode),
        "set" => set(opcode),
        "selp" => selp(opcode),
        "slct" => slct(opcode),
        "testp" => testp(opcode),
        _ => None,
    }
}

fn comparison(opcode: &Opcode<'_>, ty: Type) -> Option<Comparison> {
    use Comparison as C;
    let found = opcode.one_of(&[
        ("eq", C::Eq),
        ("ne", C::Ne),
        ("lt", C::Lt),
        ("le", C::Le),
        ("gt", C::Gt),
        ("ge", C::Ge),
        ("lo", C::Lo),
        ("ls", C::Ls),
        ("hi", C::Hi),
        ("hs", C::Hs),
        ("equ", C::Equ),
        ("neu", C::Neu),
        ("ltu", C::Ltu),
        ("leu", C::Leu),
        ("gtu", C::Gtu),
        ("geu", C::Geu),
        ("num", C::Num),
        ("nan", C::Nan),
    ])?;
    // Ordered comparisons are the only ones of integers; `lo` and its kin those of unsigned ones.
    let fits = match found {
        C::Eq | C::Ne => true,
        C::Lt | C::Le | C::Gt | C::Ge => ty != Type::Pred,
        C::Lo | C::Ls | C::Hi | C::Hs => ty.is_integer() && !ty.is_signed(),
        _ => ty.is_float(),
    };
    fits.then_some(found)
}

fn combine(opcode: &Opcode<'_>) -> Combine {
    opcode
        .one_of(&[("and", Combine::And), ("or", Combine::Or), ("xor", Combine::Xor)])
        .unwrap_or(Combine::None)
}

/// Mode of a comparison of `ty`.
fn compare_mode(opcode: &Opcode<'_>, ty: Type) -> Option<Mode> {
    Some(Mode {
        comparison: comparison(opcode, ty)?,
        combine: combine(opcode),
        ftz: opcode.flag("ftz"),
        format: format(ty).map_or(HalfFormat::F16, |(format, _)| format),
        ..Mode::default()
    })
}

/// The choice of the comparison stays outside the loop over the lanes.
fn compare<T: Value + PartialOrd>(frame: &Frame, inst: &Inst) -> u32 {
    compare_by(frame, inst, |a: T| a)
}

fn compare_flushed(frame: &Frame, inst: &Inst) -> u32 {
    compare_by(frame, inst, |a: f32| float::flush_f32(a, true))
}

fn compare_half(frame: &Frame, inst: &Inst) -> u32 {
    let (format, ftz) = (inst.mode.format, inst.mode.ftz);
    compare_by(frame, inst, |a: u16| {
        let flushed = if ftz { format.abs(a, true) | a & 0x8000 } else { a };
        format.to_f32(flushed)
    })
}

#[allow(clippy::eq_op, reason = "a value that differs from itself is a NaN")]
#[inline(always)]
fn compare_by<T: Value, V: PartialOrd>(frame: &Frame, inst: &Inst, view: impl Fn(T) -> V) -> u32 {
    use Comparison as C;
    macro_rules! test {
        (|$a:ident, $b:ident| $e:expr) => {
            test2(frame, inst, |a: T, b: T| {
                let ($a, $b) = (view(a), view(b));
                $e
            })
        };
    }
    match inst.mode.comparison {
        C::Eq => test!(|a, b| a == b),
        C::Ne => test!(|a, b| (a < b) | (a > b)),
        C::Lt | C::Lo => test!(|a, b| a < b),
        C::Le | C::Ls => test!(|a, b| a <= b),
        C::Gt | C::Hi => test!(|a, b| a > b),
        C::Ge | C::Hs => test!(|a, b| a >= b),
        C::Equ => !test!(|a, b| (a < b) | (a > b)),
        C::Neu => test!(|a, b| a != b),
        C::Ltu => !test!(|a, b| a >= b),
        C::Leu => !test!(|a, b| a > b),
        C::Gtu => !test!(|a, b| a <= b),
        C::Geu => !test!(|a, b| a < b),
        C::Num => test!(|a, b| a == a && b == b),
        C::Nan => !test!(|a, b| a == a && b == b),
    }
}

/// Combines a comparison with the predicate row `c`.
fn combined(frame: &Frame, inst: &Inst, holds: u32) -> u32 {
    let other = || frame.predicates[inst.c as usize];
    match inst.mode.combine {
        Combine::None => holds,
        Combine::And => holds & other(),
        Combine::Or => holds | other(),
        Combine::Xor => holds ^ other(),
    }
}

macro_rules! setp_of {
    ($test:path) => {{
        let run: Alu = |frame, inst, mask| set_predicates(frame, inst, mask, $test(frame, inst));
        run
    }};
}

fn set_predicates(frame: &mut Frame, inst: &Inst, mask: u32, holds: u32) {
    let (first, second) = (combined(frame, inst, holds), combined(frame, inst, !holds));
    if inst.dst != NO_ROW {
        frame.set_predicate(inst.dst, mask, first);
    }
    if inst.d != NO_ROW {
        frame.set_predicate(inst.d, mask, second);
    }
}

fn setp(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    let mode = compare_mode(opcode, ty)?;
    let run: Alu = match ty {
        Type::U16 | Type::B16 => setp_of!(compare::<u16>),
        Type::S16 => setp_of!(compare::<i16>),
        Type::U32 | Type::B32 => setp_of!(compare::<u32>),
        Type::S32 => setp_of!(compare::<i32>),
        Type::U64 | Type::B64 => setp_of!(compare::<u64>),
        Type::S64 => setp_of!(compare::<i64>),
        Type::F32 if mode.ftz => setp_of!(compare_flushed),
        Type::F32 => setp_of!(compare::<f32>),
        Type::F64 => setp_of!(compare::<f64>),
        Type::F16 | Type::Bf16 => setp_of!(compare_half),
        _ => return None,
    };
    let mut sources = vec![ty; 2];
    if mode.combine != Combine::None {
        sources.push(Type::Pred);
    }
    let mut form = Form::new(run, Type::Pred, &sources).with(mode);
    form.second = true;
    Some(form)
}

/// `set.cmp.dtype.stype`: all ones, or 1.0, where the comparison holds.
fn set(opcode: &Opcode<'_>) -> Option<Form> {
    let [dst, source] = opcode.types()[..] else {
        return None;
    };
    // A pair compares half by half, which no other form does.
    if let (Some((format, true)), 32) = (format(source), dst.bits()) {
        return set_pair(opcode, dst, source, format);
    }
    let mut mode = compare_mode(opcode, source)?;
    // The value for "holds", by the bits of the destination.
    let ones: u32 = match dst {
        Type::U32 | Type::S32 => u32::MAX,
        Type::F32 => 1.0_f32.to_bits(),
        Type::U16 | Type::S16 => 0xffff,
        Type::F16 => 0x3c00,
        Type::Bf16 => 0x3f80,
        _ => return None,
    };
    mode.selector = match ones {
        u32::MAX => 0,
        0xffff => 1,
        0x3c00 => 2,
        0x3f80 => 3,
        _ => 4,
    };
    let run: Alu = match source {
        Type::U16 | Type::B16 => |f, i, m| set_words(f, i, m, compare::<u16>(f, i)),
        Type::S16 => |f, i, m| set_words(f, i, m, compare::<i16>(f, i)),
        Type::U32 | Type::B32 => |f, i, m| set_words(f, i, m, compare::<u32>(f, i)),
        Type::S32 => |f, i, m| set_words(f, i, m, compare::<i32>(f, i)),
        Type::U64 | Type::B64 => |f, i, m| set_words(f, i, m, compare::<u64>(f, i)),
        Type::S64 => |f, i, m| set_words(f, i, m, compare::<i64>(f, i)),
        Type::F32 => |f, i, m| set_words(f, i, m, compare_by(f, i, |a: f32| float::flush_f32(a, i.mode.ftz))),
        Type::F64 => |f, i, m| set_words(f, i, m, compare::<f64>(f, i)),
        Type::F16 | Type::Bf16 => |f, i, m| set_words(f, i, m, compare_half(f, i)),
        _ => return None,
    };
    let mut sources = vec![source; 2];
    if mode.combine != Combine::None {
        sources.push(Type::Pred);
    }
    Some(Form::new(run, dst, &sources).with(mode))
}

const SET_VALUES: [u32; 5] = [u32::MAX, 0xffff, 0x3c00, 0x3f80, 0x3f80_0000];

fn set_words(frame: &mut Frame, inst: &Inst, mask: u32, holds: u32) {
    let holds = combined(frame, inst, holds);
    let value = SET_VALUES[usize::from(inst.mode.selector) % SET_VALUES.len()];
    let out: [u32; LANES] = std::array::from_fn(|lane| if holds & BIT[lane] != 0 { value } else { 0 });
    write(frame, inst.dst, mask, &out);
}

fn set_pair(opcode: &Opcode<'_>, dst: Type, source: Type, source_format: HalfFormat) -> Option<Form> {
    let mut mode = Mode {
        comparison: comparison(opcode, source)?,
        combine: combine(opcode),
        ftz: opcode.flag("ftz"),
        format: source_format,
        ..Mode::default()
    };
    mode.selector = match dst {
        Type::U32 | Type::S32 => 1,
        Type::F16x2 => 2,
        Type::Bf16x2 => 3,
        _ => return None,
    };
    if mode.combine != Combine::None {
        return None;
    }
    let run: Alu = |frame, inst, mask| {
        let (a, b) = (read::<u32>(frame, inst.a), read::<u32>(frame, inst.b));
        let (mode, value) = (inst.mode, SET_VALUES[usize::from(inst.mode.selector) % SET_VALUES.len()]);
        let half = |a: u32, b: u32| {
            #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
            let (a, b) = (a as u16, b as u16);
            let holds =
                super::super::super::num::compare::compare_half(mode.comparison, mode.format, a, b, mode.ftz);
            if holds { value & 0xffff } else { 0 }
        };
        let out: [u32; LANES] =
            std::array::from_fn(|lane| half(a[lane], b[lane]) | half(a[lane] >> 16, b[lane] >> 16) << 16);
        write(frame, inst.dst, mask, &out);
    };
    Some(Form::new(run, dst, &[source; 2]).with(mode))
}

fn selp(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    let run: Alu = match ty.bits() {
        16 | 32 => choose_by_predicate::<u32>,
        64 => choose_by_predicate::<u64>,
        _ => return None,
    };
    Some(Form::new(run, ty, &[ty, ty, Type::Pred]))
}

fn choose_by_predicate<T: Bits>(frame: &mut Frame, inst: &Inst, mask: u32) {
    choose::<T>(frame, inst, mask, frame.predicates[inst.c as usize]);
}

fn choose<T: Bits>(frame: &mut Frame, inst: &Inst, mask: u32, first: u32) {
    let (a, b) = (read::<T>(frame, inst.a), read::<T>(frame, inst.b));
    let mut out = [T::default(); LANES];
    for lane in 0..LANES {
        out[lane] = if first & BIT[lane] != 0 { a[lane] } else { b[lane] };
    }
    write(frame, inst.dst, mask, &out);
}

/// `slct`: the first operand where the third is at least zero. A NaN counts as less.
fn slct(opcode: &Opcode<'_>) -> Option<Form> {
    let [ty, by] = opcode.types()[..] else {
        return None;
    };
    let mode = Mode { ftz: opcode.flag("ftz"), ..Mode::default() };
    let run: Alu = match (ty.bits(), by) {
        (32, Type::S32) => |f, i, m| choose::<u32>(f, i, m, at_least_zero(f, i, |c| c.cast_signed() >= 0)),
        (64, Type::S32) => |f, i, m| choose::<u64>(f, i, m, at_least_zero(f, i, |c| c.cast_signed() >= 0)),
        (32, Type::F32) => {
            |f, i, m| choose::<u32>(f, i, m, at_least_zero(f, i, |c| float_at_least_zero(i, c)))
        }
        (64, Type::F32) => {
            |f, i, m| choose::<u64>(f, i, m, at_least_zero(f, i, |c| float_at_least_zero(i, c)))
        }
        _ => return None,
    };
    Some(Form::new(run, ty, &[ty, ty, by]).with(mode))
}

fn float_at_least_zero(inst: &Inst, bits: u32) -> bool {
    float::flush_f32(f32::from_bits(bits), inst.mode.ftz) >= 0.0
}

fn at_least_zero(frame: &Frame, inst: &Inst, test: impl Fn(u32) -> bool) -> u32 {
    let c = read::<u32>(frame, inst.c);
    (0..LANES).fold(0, |mask, lane| mask | if test(c[lane]) { BIT[lane] } else { 0 })
}

fn testp(opcode: &Opcode<'_>) -> Option<Form> {
    let ty = opcode.ty()?;
    let index = opcode.one_of(&PROPERTIES.map(|(name, index, _)| (name, index)))?;
    let run: Alu = match ty {
        Type::F32 => |f, i, m| {
            let a = read::<u32>(f, i.a);
            let holds = bits_where(|lane| pick::has_property_f32(f32::from_bits(a[lane]), property(i)));
            f.set_predicate(i.dst, m, holds);
        },
        Type::F64 => |f, i, m| {
            let a = read::<u64>(f, i.a);
            let holds = bits_where(|lane| pick::has_property_f64(f64::from_bits(a[lane]), property(i)));
            f.set_predicate(i.dst, m, holds);
        },
        _ => return None,
    };
    Some(Form::new(run, Type::Pred, &[ty]).with(Mode { selector: index, ..Mode::default() }))
}

const PROPERTIES: [(&str, u8, FloatProperty); 6] = [
    ("finite", 0, FloatProperty::Finite),
    ("infinite", 1, FloatProperty::Infinite),
    ("number", 2, FloatProperty::Number),
    ("notanumber", 3, FloatProperty::NotANumber),
    ("normal", 4, FloatProperty::Normal),
    ("subnormal", 5, FloatProperty::Subnormal),
];

fn property(inst: &Inst) -> FloatProperty {
    PROPERTIES[usize::from(inst.mode.selector) % PROPERTIES.len()].2
}

fn bits_where(test: impl Fn(usize) -> bool) -> u32 {
    (0..LANES).fold(0, |mask, lane| mask | if test(lane) { BIT[lane] } else { 0 })
}
