//! Floating point numbers as C's `printf` writes them, without their sign.

/// `value` by conversion `kind` (`f`, `e`, `g` or `a`, or the capital) with `precision` digits.
pub(super) fn format(value: f64, kind: u8, precision: Option<usize>, alternate: bool) -> String {
    let magnitude = value.abs();
    let text = if magnitude.is_nan() {
        "nan".to_owned()
    } else if magnitude.is_infinite() {
        "inf".to_owned()
    } else {
        match kind.to_ascii_lowercase() {
            b'f' => format!("{magnitude:.*}", precision.unwrap_or(6)),
            b'e' => exponential(magnitude, precision.unwrap_or(6)),
            b'g' => general(magnitude, precision.unwrap_or(6).max(1), alternate),
            _ => hexadecimal(magnitude),
        }
    };
    if kind.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text }
}

/// Digits and a signed exponent of at least two digits.
fn exponential(magnitude: f64, precision: usize) -> String {
    let text = format!("{magnitude:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// The shorter of both forms, by the rule of C: exponents below -4, or not below the precision, are shown.
fn general(magnitude: f64, precision: usize, alternate: bool) -> String {
    let rounded = exponential(magnitude, precision - 1);
    let exponent: i32 = rounded.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let fixed = exponent >= -4 && exponent < i32::try_from(precision).unwrap_or(i32::MAX);
    let (digits, suffix) = if fixed {
        let places = i32::try_from(precision).unwrap_or(i32::MAX) - 1 - exponent;
        (format!("{magnitude:.*}", usize::try_from(places).unwrap_or(0)), String::new())
    } else {
        let (digits, exponent) = rounded.split_once('e').unwrap_or((&rounded, "+00"));
        (digits.to_owned(), format!("e{exponent}"))
    };
    if alternate || !digits.contains('.') {
        return digits + &suffix;
    }
    digits.trim_end_matches('0').trim_end_matches('.').to_owned() + &suffix
}

fn hexadecimal(magnitude: f64) -> String {
    let bits = magnitude.to_bits();
    let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
    if exponent == 0 && fraction == 0 {
        return "0x0p+0".to_owned();
    }
    let (lead, power) = if exponent == 0 { (0, -1022) } else { (1, exponent.cast_signed() - 1023) };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("0x{lead}{point}{digits}p{power:+}")
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn formats_as_c_does() {
        assert_eq!(format(1234.5678, b'f', None, false), "1234.567800");
        assert_eq!(format(-1234.5678, b'e', Some(3), false), "1.235e+03");
        assert_eq!(format(0.0001, b'g', None, false), "0.0001");
        assert_eq!(format(0.00001, b'g', None, false), "1e-05");
        assert_eq!(format(100_000.0, b'g', None, false), "100000");
        assert_eq!(format(1_000_000.0, b'G', None, false), "1E+06");
        assert_eq!(format(1.0, b'a', None, false), "0x1p+0");
        assert_eq!(format(f64::INFINITY, b'f', None, false), "inf");
    }
}
