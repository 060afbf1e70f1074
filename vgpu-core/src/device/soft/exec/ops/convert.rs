//! `cvt`: between integers, between floats, and across.

use super::super::super::num::{HalfFormat, IntegerRounding, IntegerType, Rounding, convert, float, half};
use super::super::super::ptx::Type;
use super::super::inst::{Alu, Inst, Mode};
use super::super::lanes::{map1, map2};
use super::super::opcode::Opcode;
use super::Form;
use super::half::format;

/// `ty` as an integer type; untyped ones count as unsigned.
pub(in super::super) fn integer_type(ty: Type) -> Option<IntegerType> {
    Some(match ty {
        Type::U8 | Type::B8 => IntegerType::U8,
        Type::U16 | Type::B16 => IntegerType::U16,
        Type::U32 | Type::B32 => IntegerType::U32,
        Type::U64 | Type::B64 => IntegerType::U64,
        Type::S8 => IntegerType::S8,
        Type::S16 => IntegerType::S16,
        Type::S32 => IntegerType::S32,
        Type::S64 => IntegerType::S64,
        _ => return None,
    })
}

/// What a `cvt` reads or writes.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Narrow(IntegerType),
    Wide(IntegerType),
    Half(HalfFormat),
    Single,
    Double,
}

fn kind(ty: Type) -> Option<Kind> {
    if let Some(integer) = integer_type(ty) {
        return Some(if integer.bits() == 64 { Kind::Wide(integer) } else { Kind::Narrow(integer) });
    }
    match ty {
        Type::F32 => Some(Kind::Single),
        Type::F64 => Some(Kind::Double),
        _ => format(ty).and_then(|(format, pair)| (!pair).then_some(Kind::Half(format))),
    }
}

pub(super) fn select(opcode: &Opcode<'_>) -> Option<Form> {
    if opcode.flag("tf32") {
        return tf32(opcode);
    }
    let [to, from] = opcode.types()[..] else {
        return None;
    };
    let mut mode = Mode {
        rounding: opcode.rounding().unwrap_or(Rounding::Rn),
        ftz: opcode.flag("ftz"),
        sat: opcode.flag("sat"),
        relu: opcode.flag("relu"),
        nan: opcode.flag("satfinite"),
        ..Mode::default()
    };
    if let Some((format, true)) = format(to) {
        mode.format = format;
        return (from == Type::F32).then(|| pair(to, mode));
    }
    let integral = opcode.integral();
    mode.integral = integral.unwrap_or(IntegerRounding::Rzi);
    let (target, source) = (kind(to)?, kind(from)?);
    if let Kind::Half(format) = target {
        mode.format = format;
    }
    if let Kind::Half(format) = source {
        mode.from_format = format;
    }
    mode.from = integer_type(from).unwrap_or(IntegerType::U64);
    mode.to = integer_type(to).unwrap_or(IntegerType::U64);
    let run = match target {
        Kind::Narrow(_) | Kind::Wide(_) => to_integer(source, target)?,
        Kind::Half(_) => to_half(source, integral)?,
        Kind::Single => to_single(source, integral)?,
        Kind::Double => to_double(source, integral)?,
    };
    Some(Form::new(run, to, &[from]).with(mode))
}

/// Bits of a result in a word register.
#[allow(clippy::cast_possible_truncation, reason = "results of narrow types fit")]
fn word(inst: &Inst, value: u64) -> u32 {
    // A narrow register holds zeros above its value; a wider one is extended by the decoder.
    let bits = inst.mode.to.bits();
    (value & (u64::MAX >> (64 - bits))) as u32
}

fn whole(inst: &Inst, value: u64) -> u64 {
    let mode = inst.mode;
    convert::integer_to_integer(value, mode.from, mode.to, mode.sat)
}

fn to_integer(source: Kind, target: Kind) -> Option<Alu> {
    use Kind::{Double, Half, Narrow, Single, Wide};
    use convert::{f32_to_integer, f64_to_integer, half_to_integer};
    Some(match (source, target) {
        (Narrow(_), Narrow(_)) => |f, i, m| map1(f, i, m, |a: u32| word(i, whole(i, a.into()))),
        (Narrow(IntegerType::U32), Wide(_)) => |f, i, m| map1(f, i, m, |a: u32| whole_wide::<false>(i, a)),
        (Narrow(IntegerType::S32), Wide(_)) => |f, i, m| map1(f, i, m, |a: u32| whole_wide::<true>(i, a)),
        (Narrow(_), Wide(_)) => |f, i, m| map1(f, i, m, |a: u32| whole(i, a.into())),
        (Wide(_), Narrow(_)) => |f, i, m| map1(f, i, m, |a: u64| word(i, whole(i, a))),
        (Wide(_), Wide(_)) => |f, i, m| map1(f, i, m, |a: u64| whole(i, a)),
        (Single, Narrow(_)) => |f, i, m| {
            map1(f, i, m, |a: f32| word(i, f32_to_integer(a, i.mode.integral, i.mode.ftz, i.mode.to)));
        },
        (Single, Wide(_)) => |f, i, m| {
            map1(f, i, m, |a: f32| f32_to_integer(a, i.mode.integral, i.mode.ftz, i.mode.to));
        },
        (Double, Narrow(_)) => |f, i, m| {
            map1(f, i, m, |a: f64| word(i, f64_to_integer(a, i.mode.integral, i.mode.to)));
        },
        (Double, Wide(_)) => |f, i, m| map1(f, i, m, |a: f64| f64_to_integer(a, i.mode.integral, i.mode.to)),
        (Half(_), Narrow(_)) => |f, i, m| {
            let mode = i.mode;
            map1(f, i, m, |a: u16| word(i, half_to_integer(a, mode.from_format, mode.integral, mode.to)));
        },
        (Half(_), Wide(_)) => |f, i, m| {
            map1(f, i, m, |a: u16| half_to_integer(a, i.mode.from_format, i.mode.integral, i.mode.to));
        },
        _ => return None,
    })
}

/// The commonest conversions without a choice in the loop; `.sat` to an unsigned 64-bit type clamps at zero.
fn whole_wide<const SIGNED: bool>(inst: &Inst, value: u32) -> u64 {
    if inst.mode.sat {
        return whole(inst, value.into());
    }
    if SIGNED { i64::from(value.cast_signed()).cast_unsigned() } else { value.into() }
}

fn to_single(source: Kind, integral: Option<IntegerRounding>) -> Option<Alu> {
    Some(match source {
        Kind::Narrow(IntegerType::S32) => |f, i, m| match i.mode.rounding {
            #[allow(clippy::cast_precision_loss, reason = "rounding to nearest is what is asked for")]
            Rounding::Rn => map1(f, i, m, |a: i32| saturated(i, a as f32)),
            _ => map1(f, i, m, |a: u32| saturated(i, from_integer_single(i, a.into()))),
        },
        Kind::Narrow(_) => |f, i, m| map1(f, i, m, |a: u32| saturated(i, from_integer_single(i, a.into()))),
        Kind::Wide(_) => |f, i, m| map1(f, i, m, |a: u64| saturated(i, from_integer_single(i, a))),
        Kind::Half(_) => |f, i, m| {
            map1(f, i, m, |a: u16| saturated(i, float::flush_f32(i.mode.from_format.to_f32(a), i.mode.ftz)));
        },
        Kind::Single if integral.is_some() => |f, i, m| {
            map1(f, i, m, |a: f32| saturated(i, convert::integral_f32(a, i.mode.integral, i.mode.ftz)));
        },
        Kind::Single => |f, i, m| map1(f, i, m, |a: f32| saturated(i, float::flush_f32(a, i.mode.ftz))),
        Kind::Double => |f, i, m| {
            map1(f, i, m, |a: f64| saturated(i, convert::f64_to_f32(a, i.mode.rounding, i.mode.ftz)));
        },
    })
}

fn from_integer_single(inst: &Inst, value: u64) -> f32 {
    convert::integer_to_f32(value, inst.mode.from, inst.mode.rounding)
}

fn saturated(inst: &Inst, x: f32) -> f32 {
    if inst.mode.sat { float::saturate_f32(x) } else { x }
}

fn to_double(source: Kind, integral: Option<IntegerRounding>) -> Option<Alu> {
    Some(match source {
        Kind::Narrow(_) => |f, i, m| {
            map1(f, i, m, |a: u32| {
                saturated_f64(i, convert::integer_to_f64(a.into(), i.mode.from, i.mode.rounding))
            });
        },
        Kind::Wide(_) => |f, i, m| {
            map1(f, i, m, |a: u64| {
                saturated_f64(i, convert::integer_to_f64(a, i.mode.from, i.mode.rounding))
            });
        },
        Kind::Half(_) => |f, i, m| map1(f, i, m, |a: u16| saturated_f64(i, i.mode.from_format.to_f64(a))),
        Kind::Single => {
            |f, i, m| map1(f, i, m, |a: f32| saturated_f64(i, convert::f32_to_f64(a, i.mode.ftz)))
        }
        Kind::Double if integral.is_some() => |f, i, m| {
            map1(f, i, m, |a: f64| saturated_f64(i, convert::integral_f64(a, i.mode.integral)));
        },
        Kind::Double => |f, i, m| map1(f, i, m, |a: f64| saturated_f64(i, a)),
    })
}

fn saturated_f64(inst: &Inst, x: f64) -> f64 {
    if inst.mode.sat { float::saturate_f64(x) } else { x }
}

fn to_half(source: Kind, integral: Option<IntegerRounding>) -> Option<Alu> {
    Some(match source {
        Kind::Narrow(_) => |f, i, m| {
            let mode = i.mode;
            map1(f, i, m, |a: u32| {
                finish(i, convert::integer_to_half(a.into(), mode.from, mode.format, mode.rounding))
            });
        },
        Kind::Wide(_) => |f, i, m| {
            let mode = i.mode;
            map1(f, i, m, |a: u64| {
                finish(i, convert::integer_to_half(a, mode.from, mode.format, mode.rounding))
            });
        },
        Kind::Half(_) if integral.is_some() => |f, i, m| {
            map1(f, i, m, |a: u16| finish(i, convert::integral_half(a, i.mode.format, i.mode.integral)));
        },
        Kind::Half(_) => |f, i, m| {
            let mode = i.mode;
            map1(f, i, m, |a: u16| {
                finish(i, convert::half_to_half(a, mode.from_format, mode.format, mode.rounding))
            });
        },
        Kind::Single => |f, i, m| {
            map1(f, i, m, |a: f32| {
                finish(i, i.mode.format.round_f32(float::flush_f32(a, i.mode.ftz), i.mode.rounding))
            });
        },
        Kind::Double => {
            |f, i, m| map1(f, i, m, |a: f64| finish(i, i.mode.format.round_f64(a, i.mode.rounding)))
        }
    })
}

/// Clamps a 16-bit result as the modifiers say.
fn finish(inst: &Inst, x: u16) -> u16 {
    let (mode, format) = (inst.mode, inst.mode.format);
    let x = if mode.sat { format.saturate(x) } else { x };
    let x = if mode.relu { format.relu(x) } else { x };
    if mode.nan { format.saturate_finite(x) } else { x }
}

/// `cvt.rn.f16x2.f32 d, a, b`: `a` becomes the high half.
fn pair(to: Type, mode: Mode) -> Form {
    let run: Alu = |f, i, m| {
        map2(f, i, m, |a: f32, b: f32| {
            let part = |x| finish(i, i.mode.format.round_f32(x, i.mode.rounding));
            half::pack_pair(part(b), part(a))
        });
    };
    Form::new(run, to, &[Type::F32; 2]).with(mode)
}

fn tf32(opcode: &Opcode<'_>) -> Option<Form> {
    if opcode.ty()? != Type::F32 {
        return None;
    }
    let mode = Mode {
        rounding: opcode.rounding()?,
        relu: opcode.flag("relu"),
        nan: opcode.flag("satfinite"),
        ..Mode::default()
    };
    let run: Alu = |f, i, m| {
        let mode = i.mode;
        map1(f, i, m, |a: f32| convert::f32_to_tf32(a, mode.rounding, mode.relu, mode.nan));
    };
    Some(Form::new(run, Type::B32, &[Type::F32]).with(mode))
}
