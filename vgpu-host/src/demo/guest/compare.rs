//! Results against references.

/// The unit roundoff of single precision.
const UNIT_ROUNDOFF: f64 = 1.0 / (1_u64 << 24) as f64;

/// A result that differs from its reference by more than it may.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{what} {index} is {found}, not {expected}{}", allowance(*.tolerance))]
pub(super) struct Mismatch {
    /// What was compared, in the singular.
    pub what: &'static str,
    /// Which of them.
    pub index: usize,
    /// What the device computed.
    pub found: f64,
    /// What the CPU computed.
    pub expected: f64,
    /// By how much they may differ.
    pub tolerance: f64,
}

fn allowance(tolerance: f64) -> String {
    if tolerance == 0.0 { String::new() } else { format!(" within {tolerance:.1e}") }
}

/// A reference and how far a result may lie from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Expected {
    pub value: f64,
    pub tolerance: f64,
}

/// Compares numbers one by one. What is no number equals nothing.
pub(super) fn within(what: &'static str, found: &[f32], expected: &[Expected]) -> Result<(), Mismatch> {
    assert_eq!(found.len(), expected.len(), "as many results as references");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let (found, Expected { value, tolerance }) = (f64::from(*found), *expected);
        let fits = (found - value).abs() <= tolerance;
        if !fits {
            return Err(Mismatch { what, index, found, expected: value, tolerance });
        }
    }
    Ok(())
}

/// Compares integers one by one.
pub(super) fn exactly<T>(what: &'static str, found: &[T], expected: &[T]) -> Result<(), Mismatch>
where
    T: Copy + PartialEq + Into<f64>,
{
    assert_eq!(found.len(), expected.len(), "as many results as references");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        if found != expected {
            let (found, expected) = ((*found).into(), (*expected).into());
            return Err(Mismatch { what, index, found, expected, tolerance: 0.0 });
        }
    }
    Ok(())
}

/// How far a single-precision sum of products can be from the exact one, where no term takes part in more than `steps`
/// roundings and the terms' absolute values add up to `absolute`: `gamma_n * sum |x_i|` with `gamma_n = n u / (1 - n u)`
/// (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, sections 3.1 and 4.2).
pub(super) fn sum_tolerance(steps: usize, absolute: f64) -> f64 {
    let roundings = steps as f64 * UNIT_ROUNDOFF;
    roundings / (1.0 - roundings) * absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Expected = Expected { value: 1.0, tolerance: 0.25 };

    #[test]
    fn numbers_may_differ_by_the_tolerance_and_no_more() {
        assert_eq!(within("sum", &[1.25, 0.75], &[ONE, ONE]), Ok(()));
        let error = within("sum", &[1.0, 1.26], &[ONE, ONE]).unwrap_err();
        assert_eq!((error.index, error.expected, error.tolerance), (1, 1.0, 0.25));
        assert_eq!(error.to_string(), "sum 1 is 1.2599999904632568, not 1 within 2.5e-1");
    }

    #[test]
    fn no_number_is_never_right() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(within("sum", &[wrong], &[ONE]).is_err());
        }
    }

    #[test]
    fn integers_must_be_equal() {
        assert_eq!(exactly("count", &[1_u32, 2], &[1, 2]), Ok(()));
        let error = exactly("count", &[1_i32, -2], &[1, 2]).unwrap_err();
        assert_eq!((error.index, error.found, error.expected), (1, -2.0, 2.0));
        assert_eq!(error.to_string(), "count 1 is -2, not 2");
    }

    #[test]
    fn the_bound_grows_with_steps_and_terms() {
        assert_eq!(sum_tolerance(0, 5.0), 0.0);
        let bound = sum_tolerance(128, 32.0);
        assert!((bound - 128.0 * 32.0 / 16_777_216.0).abs() < 1e-8, "{bound}");
    }
}
