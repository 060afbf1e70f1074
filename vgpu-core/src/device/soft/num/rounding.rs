//! Rounding modes, and the one function that rounds an exact value to a binary floating-point format.

/// Rounding of a floating-point result to the precision of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// `.rn`: to the nearest value, ties to the one with an even last bit.
    Rn,
    /// `.rna`: to the nearest value, ties away from zero.
    Rna,
    /// `.rz`: towards zero.
    Rz,
    /// `.rm`: towards negative infinity.
    Rm,
    /// `.rp`: towards positive infinity.
    Rp,
}

/// Rounding of a floating-point value to an integer (`cvt` to an integer type, or within one float type).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegerRounding {
    /// `.rni`: to the nearest integer, ties to the even one.
    Rni,
    /// `.rzi`: towards zero.
    Rzi,
    /// `.rmi`: towards negative infinity.
    Rmi,
    /// `.rpi`: towards positive infinity.
    Rpi,
}

impl Rounding {
    /// Whether a value between two neighbours moves to the one of larger magnitude.
    ///
    /// `odd` is the last bit of the smaller neighbour; `half` and `rest` are the first discarded bit and the
    /// union of all later ones.
    #[inline]
    fn rounds_up(self, negative: bool, odd: bool, half: bool, rest: bool) -> bool {
        match self {
            Self::Rn => half && (rest || odd),
            Self::Rna => half,
            Self::Rz => false,
            Self::Rm => negative && (half || rest),
            Self::Rp => !negative && (half || rest),
        }
    }

    /// Whether a finite value beyond the format's largest becomes infinity (else: the largest finite value).
    #[inline]
    fn overflows_to_infinity(self, negative: bool) -> bool {
        match self {
            Self::Rn | Self::Rna => true,
            Self::Rz => false,
            Self::Rm => negative,
            Self::Rp => !negative,
        }
    }
}

/// Layout of a binary floating-point format with sign, biased exponent, fraction, as IEEE 754 orders them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Width of the biased exponent field.
    pub(super) exponent_bits: u32,
    /// Width of the stored fraction (precision less the hidden bit).
    pub(super) fraction_bits: u32,
}

impl Format {
    pub(super) const F16: Self = Self { exponent_bits: 5, fraction_bits: 10 };
    pub(super) const BF16: Self = Self { exponent_bits: 8, fraction_bits: 7 };
    pub(super) const TF32: Self = Self { exponent_bits: 8, fraction_bits: 10 };
    pub(super) const F32: Self = Self { exponent_bits: 8, fraction_bits: 23 };
    pub(super) const F64: Self = Self { exponent_bits: 11, fraction_bits: 52 };

    /// Bit pattern of positive infinity; also the first pattern past the largest finite value.
    #[inline]
    pub(super) const fn infinity(self) -> u64 {
        ((1 << self.exponent_bits) - 1) << self.fraction_bits
    }

    /// Sign bit, set when `negative`.
    #[inline]
    pub(super) const fn sign(self, negative: bool) -> u64 {
        (negative as u64) << (self.exponent_bits + self.fraction_bits)
    }

    /// Exponent of the smallest normal value.
    #[inline]
    const fn exponent_min(self) -> i32 {
        2 - (1 << (self.exponent_bits - 1))
    }
}

/// A nonzero finite number written as `(-1)^negative * significand * 2^exponent`.
///
/// `sticky` adds an unknown amount strictly between nothing and one unit of `significand`: enough to round
/// by when `significand` has at least two bits more than the target format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact {
    pub(super) negative: bool,
    pub(super) significand: u64,
    pub(super) exponent: i32,
    pub(super) sticky: bool,
}

impl Exact {
    /// The finite value `x`; its significand is zero for either zero.
    #[inline]
    pub(super) fn from_f64(x: f64) -> Self {
        let bits = x.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let biased = ((bits >> 52) & 0x7ff) as i32;
        let (significand, exponent) = match biased {
            0 => (fraction, -1074),
            _ => (fraction | 1 << 52, biased - 1075),
        };
        Self { negative: x.is_sign_negative(), significand, exponent, sticky: false }
    }

    /// Bit pattern of this number rounded to `format`, with gradual underflow (IEEE 754-2019, 4.3 and 7.4).
    #[inline]
    pub(super) fn round(self, format: Format, rounding: Rounding) -> u64 {
        let sign = format.sign(self.negative);
        if self.significand == 0 {
            return sign;
        }
        let zeros = self.significand.leading_zeros();
        let significand = self.significand << zeros;
        // Exponent of the leading bit, which now is bit 63.
        let exponent = self.exponent - zeros as i32 + 63;
        let below_normal = (format.exponent_min() - exponent).max(0) as u32;
        let dropped = 63 - format.fraction_bits + below_normal;
        let (kept, half, rest) = match dropped {
            0..64 => (
                significand >> dropped,
                significand >> (dropped - 1) & 1 == 1,
                significand & ((1 << (dropped - 1)) - 1) != 0,
            ),
            64 => (0, true, significand << 1 != 0),
            _ => (0, false, true),
        };
        let up = rounding.rounds_up(self.negative, kept & 1 == 1, half, rest || self.sticky);
        // The hidden bit of a normal number adds one to the exponent field, and so does a carry out of the
        // fraction: hence the field starts one lower.
        let field = (exponent - format.exponent_min()).max(0) as u64;
        let infinity = format.infinity();
        let magnitude = (field << format.fraction_bits) + kept + u64::from(up);
        if field << format.fraction_bits < infinity && magnitude < infinity {
            sign | magnitude
        } else if rounding.overflows_to_infinity(self.negative) {
            sign | infinity
        } else {
            sign | (infinity - 1)
        }
    }
}

/// Rounds `nearest` to odd: the `f64` next to `nearest + error` whose last bit is one, or `nearest` itself when
/// `error` is zero. `error` must be less than one unit in the last place of `nearest`, exact in sign.
///
/// A value rounded to odd and then to a format of at most 51 bits is rounded as if once (Boldo and Melquiond,
/// "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", 2008).
#[inline]
pub(super) fn to_odd(nearest: f64, error: f64) -> f64 {
    if error == 0.0 || !nearest.is_finite() || nearest.to_bits() & 1 == 1 {
        return nearest;
    }
    if error > 0.0 { nearest.next_up() } else { nearest.next_down() }
}

/// `a + b` rounded to odd; both finite, and their sum within range.
#[inline]
pub(super) fn sum_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    // Two-sum (Knuth): the exact rounding error of the addition, whatever the order of magnitudes.
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    to_odd(sum, error)
}
