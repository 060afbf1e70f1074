//! `vprintf` and `__assertfail`, the two functions that CUDA programs get from the device runtime.

use vgpu_proto::control::OutputStream;

use super::fault::{FaultKind, Trap};
use super::inst::Inst;
use super::lanes::{LANES, lanes_of};
use super::machine::Machine;
use super::memory::{Generic, Memory};

/// Longest string that is read for a format, or for one `%s`, in bytes.
const STRING_BYTES_MAX: u64 = 4096;
/// Longest output of one call of one thread, in bytes.
const OUTPUT_BYTES_MAX: usize = 16 << 10;
/// Widest field and most digits that a format may ask for; CUDA's own limit is lower than the text it fits.
const WIDTH_MAX: usize = 1024;

/// Reads `bytes` (1, 4 or 8) bytes at a generic address of one lane.
fn read_at(machine: &mut Machine<'_>, lane: usize, address: u64, bytes: u32) -> Result<u64, Trap> {
    let (addresses, mask) = ([address; LANES], 1 << lane);
    if bytes == 8 {
        let mut out = [[0; LANES]];
        Generic::load::<u64, 1>(machine, &addresses, mask, &mut out)?;
        return Ok(out[0][lane]);
    }
    let mut out = [[0; LANES]];
    if bytes == 4 {
        Generic::load::<u32, 1>(machine, &addresses, mask, &mut out)?;
    } else {
        Generic::load::<u8, 1>(machine, &addresses, mask, &mut out)?;
    }
    Ok(out[0][lane].into())
}

fn read_string(machine: &mut Machine<'_>, lane: usize, address: u64) -> Result<Vec<u8>, Trap> {
    let mut text = Vec::new();
    for offset in 0..STRING_BYTES_MAX {
        match read_at(machine, lane, address.wrapping_add(offset), 1)? {
            0 => break,
            #[allow(clippy::cast_possible_truncation, reason = "one byte was read")]
            byte => text.push(byte as u8),
        }
    }
    Ok(text)
}

/// The argument that the caller stored `offset` bytes into its local variables.
fn argument(machine: &mut Machine<'_>, lane: usize, offset: u32) -> u64 {
    let base = u64::from(machine.frame().local_base[lane]);
    machine.local.get::<u64>(base + u64::from(offset), lane)
}

/// `vprintf(format, arguments)`: both offsets in `b` and `c`, the result's in `d`.
pub(super) fn vprintf(machine: &mut Machine<'_>, inst: &Inst, mask: u32) -> Result<(), Trap> {
    for lane in lanes_of(mask) {
        let format = argument(machine, lane, inst.b);
        let arguments = argument(machine, lane, inst.c);
        let format = read_string(machine, lane, format)?;
        let (text, count) = expand(machine, lane, &format, arguments)?;
        (machine.launch.env.output)(OutputStream::Stdout, &text);
        if inst.d != super::lanes::NO_ROW {
            let base = u64::from(machine.frame().local_base[lane]);
            machine.local.put::<u32>(base + u64::from(inst.d), lane, count);
        }
    }
    Ok(())
}

/// `__assertfail(message, file, line, function, size)`: the first four offsets in `b`, `c`, `d` and `target`.
pub(super) fn assert_fail(machine: &mut Machine<'_>, inst: &Inst, mask: u32) -> Result<(), Trap> {
    let mut first = None;
    for lane in lanes_of(mask) {
        let [message, file, function] = [inst.b, inst.c, inst.target].map(|at| argument(machine, lane, at));
        let base = u64::from(machine.frame().local_base[lane]);
        let line = machine.local.get::<u32>(base + u64::from(inst.d), lane);
        let mut texts = Vec::new();
        for address in [file, function, message] {
            texts.push(String::from_utf8_lossy(&read_string(machine, lane, address)?).into_owned());
        }
        let [[x, y, z], [tx, ty, tz]] = [machine.block, machine.thread(lane)];
        let text = format!(
            "{}:{line}: {}: block: [{x},{y},{z}], thread: [{tx},{ty},{tz}] Assertion `{}` failed.\n",
            texts[0], texts[1], texts[2]
        );
        (machine.launch.env.output)(OutputStream::Stderr, text.as_bytes());
        first = first.or(Some(lane));
    }
    Err(Trap::new(FaultKind::Assert, first.unwrap_or(0), 0))
}

/// One conversion of a format.
#[derive(Default)]
struct Conversion {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    long: bool,
    kind: u8,
}

/// Expands `format` with arguments packed at `arguments`, each at a multiple of its size.
fn expand(
    machine: &mut Machine<'_>,
    lane: usize,
    format: &[u8],
    arguments: u64,
) -> Result<(Vec<u8>, u32), Trap> {
    let (mut out, mut at, mut offset, mut count) = (Vec::new(), 0, 0u64, 0);
    while at < format.len() && out.len() < OUTPUT_BYTES_MAX {
        if format[at] != b'%' {
            out.push(format[at]);
            at += 1;
            continue;
        }
        at += 1;
        let mut take = |machine: &mut Machine<'_>, bytes: u32| {
            offset = offset.next_multiple_of(bytes.into());
            let value = read_at(machine, lane, arguments.wrapping_add(offset), bytes);
            offset += u64::from(bytes);
            count += 1;
            value
        };
        let mut conversion = Conversion::default();
        parse(format, &mut at, &mut conversion, |bytes| take(machine, bytes))?;
        match conversion.kind {
            b'%' => out.push(b'%'),
            b's' => {
                let address = take(machine, 8)?;
                let mut text = read_string(machine, lane, address)?;
                text.truncate(conversion.precision.unwrap_or(usize::MAX));
                pad(&mut out, &conversion, text);
            }
            b'd' | b'i' | b'u' | b'x' | b'X' | b'o' | b'c' | b'p' => {
                let wide = conversion.long || conversion.kind == b'p';
                let value = take(machine, if wide { 8 } else { 4 })?;
                integer(&mut out, &conversion, value, wide);
            }
            b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b'A' => {
                let value = f64::from_bits(take(machine, 8)?);
                let text = super::print_float::format(
                    value,
                    conversion.kind,
                    conversion.precision,
                    conversion.alternate,
                );
                number(&mut out, &conversion, value.is_sign_negative(), text, value.is_finite());
            }
            // What is no conversion is shown as it stands.
            0 => {}
            other => out.extend([b'%', other]),
        }
    }
    out.truncate(OUTPUT_BYTES_MAX);
    Ok((out, count))
}

fn parse(
    format: &[u8],
    at: &mut usize,
    conversion: &mut Conversion,
    mut star: impl FnMut(u32) -> Result<u64, Trap>,
) -> Result<(), Trap> {
    while let Some(&byte) = format.get(*at) {
        match byte {
            b'-' => conversion.left = true,
            b'+' => conversion.plus = true,
            b' ' => conversion.space = true,
            b'#' => conversion.alternate = true,
            b'0' => conversion.zero = true,
            _ => break,
        }
        *at += 1;
    }
    conversion.width = digits(format, at, &mut star)?.unwrap_or(0);
    if format.get(*at) == Some(&b'.') {
        *at += 1;
        conversion.precision = Some(digits(format, at, &mut star)?.unwrap_or(0));
    }
    while let Some(&byte @ (b'h' | b'l' | b'j' | b'z' | b't' | b'L')) = format.get(*at) {
        // `long` has 64 bits on every host that CUDA programs are built for here.
        conversion.long |= byte != b'h';
        *at += 1;
    }
    conversion.kind = format.get(*at).copied().unwrap_or(0);
    *at += 1;
    Ok(())
}

fn digits(
    format: &[u8],
    at: &mut usize,
    star: &mut impl FnMut(u32) -> Result<u64, Trap>,
) -> Result<Option<usize>, Trap> {
    if format.get(*at) == Some(&b'*') {
        *at += 1;
        let value = star(4)?;
        return Ok(Some(usize::try_from(value).unwrap_or(0).min(WIDTH_MAX)));
    }
    let mut value = None;
    while let Some(digit) = format.get(*at).filter(|byte| byte.is_ascii_digit()) {
        let so_far: usize = value.unwrap_or(0);
        value = Some((so_far * 10 + usize::from(digit - b'0')).min(WIDTH_MAX));
        *at += 1;
    }
    Ok(value)
}

#[allow(clippy::cast_possible_truncation, reason = "narrow arguments were read as such")]
fn integer(out: &mut Vec<u8>, conversion: &Conversion, value: u64, wide: bool) {
    let signed = if wide { value.cast_signed() } else { i64::from((value as u32).cast_signed()) };
    let mut text = match conversion.kind {
        b'c' => return pad(out, conversion, vec![value as u8]),
        b'd' | b'i' => signed.unsigned_abs().to_string(),
        b'x' if conversion.alternate && value != 0 => format!("0x{value:x}"),
        b'X' if conversion.alternate && value != 0 => format!("0X{value:X}"),
        b'x' => format!("{value:x}"),
        b'X' => format!("{value:X}"),
        b'o' => format!("{value:o}"),
        b'p' => format!("0x{value:x}"),
        _ => value.to_string(),
    };
    if let Some(precision) = conversion.precision {
        text.insert_str(0, &"0".repeat(precision.saturating_sub(text.len())));
    }
    let negative = matches!(conversion.kind, b'd' | b'i') && signed < 0;
    number(out, conversion, negative, text, conversion.precision.is_none());
}

/// Adds sign and padding to the digits of a number.
fn number(out: &mut Vec<u8>, conversion: &Conversion, negative: bool, digits: String, may_zero: bool) {
    let signed = !matches!(conversion.kind, b'u' | b'x' | b'X' | b'o' | b'p');
    let sign = match (negative, conversion.plus && signed, conversion.space && signed) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    let missing = conversion.width.saturating_sub(sign.len() + digits.len());
    if conversion.zero && !conversion.left && may_zero {
        out.extend(sign.bytes().chain(std::iter::repeat_n(b'0', missing)).chain(digits.bytes()));
        return;
    }
    pad(out, conversion, [sign.as_bytes(), digits.as_bytes()].concat());
}

fn pad(out: &mut Vec<u8>, conversion: &Conversion, text: Vec<u8>) {
    let blanks = std::iter::repeat_n(b' ', conversion.width.saturating_sub(text.len()));
    if conversion.left {
        out.extend(text.into_iter().chain(blanks));
    } else {
        out.extend(blanks.chain(text));
    }
}
