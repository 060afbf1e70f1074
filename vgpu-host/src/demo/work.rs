//! What the guests do.

use std::fmt;

/// The work of one guest, and the name of its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[expect(clippy::exhaustive_enums, reason = "the four guests of the demo")]
pub enum WorkKind {
    /// A tiled matrix product in single precision.
    Matmul,
    /// Sums by warp shuffles, in single precision and in integers.
    Reduction,
    /// A histogram of bytes with shared and global atomics.
    Histogram,
    /// Steps of gravity among bodies.
    Nbody,
}

impl WorkKind {
    /// All, in the order in which they are reported.
    pub const ALL: [Self; 4] = [Self::Matmul, Self::Reduction, Self::Histogram, Self::Nbody];

    /// Its weight as a tenant. One of the default weight, 100, is the lightest here.
    pub(super) const fn weight(self) -> u32 {
        match self {
            Self::Matmul => 400,
            Self::Reduction => 200,
            Self::Histogram | Self::Nbody => 100,
        }
    }

    /// Its name on the command line, in reports and as a tenant.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Matmul => "matmul",
            Self::Reduction => "reduction",
            Self::Histogram => "histogram",
            Self::Nbody => "nbody",
        }
    }
}

impl fmt::Display for WorkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn the_command_line_knows_them_by_their_names() {
        for kind in WorkKind::ALL {
            assert_eq!(WorkKind::from_str(kind.name(), false), Ok(kind));
        }
        assert_eq!(WorkKind::ALL.len(), WorkKind::value_variants().len());
    }
}
