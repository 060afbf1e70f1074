//! How much of a GPU a tenant is to have: beside others, at least, and at most.

use core::fmt;

/// What a tenant counts beside others: two tenants that both want the GPU all the time get it in the ratio of their
/// weights. From 1 to 10,000, as Linux's `cpu.weight`; 100 where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u32);

impl Weight {
    /// The smallest weight.
    pub const MIN: Self = Self(1);
    /// The largest weight. Ten thousand times the smallest is more than a fair schedule can show in a second.
    pub const MAX: Self = Self(10_000);

    /// A weight from 1 to 10,000.
    ///
    /// # Errors
    /// It is 0, which would be a tenant that never runs (suspend it instead), or more than 10,000.
    pub const fn new(weight: u32) -> Result<Self, BadShare> {
        if weight >= Self::MIN.0 && weight <= Self::MAX.0 {
            Ok(Self(weight))
        } else {
            Err(BadShare::Weight { weight })
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

/// A part of a GPU's time, in millionths, from one millionth to the whole GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u32);

impl Share {
    /// The whole GPU.
    pub const WHOLE: Self = Self(1_000_000);

    /// So many millionths of a GPU's time.
    ///
    /// # Errors
    /// It is 0 (say that there is no reservation, or suspend the tenant) or more than the whole.
    pub const fn from_millionths(millionths: u32) -> Result<Self, BadShare> {
        if millionths >= 1 && millionths <= Self::WHOLE.0 {
            Ok(Self(millionths))
        } else {
            Err(BadShare::Share { millionths })
        }
    }

    /// Millionths of a GPU's time.
    pub const fn millionths(self) -> u32 {
        self.0
    }
}

/// A number that is no weight or no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadShare {
    /// No weight.
    Weight {
        /// The number.
        weight: u32,
    },
    /// No share.
    Share {
        /// The number.
        millionths: u32,
    },
}

impl fmt::Display for BadShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weight { weight } => {
                write!(f, "{weight} is no weight; choose one from {} to {}", Weight::MIN.0, Weight::MAX.0)
            }
            Self::Share { millionths } => write!(
                f,
                "{millionths} millionths are no share of a GPU; choose from 1 to {}",
                Share::WHOLE.0
            ),
        }
    }
}

impl core::error::Error for BadShare {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_and_shares_have_ends() {
        assert_eq!(Weight::new(0), Err(BadShare::Weight { weight: 0 }));
        assert_eq!(Weight::new(10_001), Err(BadShare::Weight { weight: 10_001 }));
        assert_eq!(Weight::new(10_000), Ok(Weight::MAX));
        assert_eq!(Share::from_millionths(0), Err(BadShare::Share { millionths: 0 }));
        assert_eq!(Share::from_millionths(1_000_001), Err(BadShare::Share { millionths: 1_000_001 }));
        assert_eq!(Share::from_millionths(1_000_000), Ok(Share::WHOLE));
    }
}
