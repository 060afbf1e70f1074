//! NVIDIA's Xid errors: what each asks for, and of whom.
//!
//! The driver numbers what goes wrong on a card. NVIDIA's catalogue of Xids says what to do about each; this is that
//! catalogue for a card that many tenants share, as a table.

use core::fmt;

/// An Xid's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a number, nothing else")]
pub struct Xid(pub u32);

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xid {}", self.0)
    }
}

/// What NVIDIA's catalogue asks for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// The program that caused it has to start again; nobody else is touched.
    RestartApp,
    /// Nothing at once. It is worth a look when it comes again.
    Ignore,
    /// It depends on what came with it.
    Workflow,
    /// The GPU is of no use until it was reset.
    ResetGpu,
    /// The machine has to be restarted.
    RestartNode,
    /// The virtual machine that holds the whole card has to be restarted: of a card that is passed through.
    RestartVm,
    /// Somebody has to look at the card's power and its seat.
    CheckHardware,
    /// Driver and vGPU software do not fit one another.
    UpdateSoftware,
    /// The driver has a new opinion of what the card needs: ask it.
    AskRecovery,
    /// It tells more of another Xid that came before.
    Detail,
    /// The catalogue has no such number, or had none when this was written.
    Unknown,
}

/// What an Xid says of the tenant to whose worker it was attributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// Nothing.
    Nobody,
    /// Its kernel did what no kernel may: its worker is killed, and it is a strike.
    Strike,
    /// It cost everybody the GPU: its worker is killed, and it is quarantined at once.
    Quarantine,
}

impl Xid {
    /// What the catalogue asks for.
    pub const fn action(self) -> Action {
        match self.0 {
            // Among them copy engines: 39-41, 70-72, 75-77, 85 and 126-135.
            8 | 11 | 13 | 25 | 31 | 32 | 39..=41 | 60 | 68..=72 | 75..=77 | 80 | 82..=86 | 88 | 89 | 94 => {
                Action::RestartApp
            }
            96..=105 | 126..=135 | 139 => Action::RestartApp,
            37 | 38 | 43 | 44 | 63 | 66 | 67 | 92 | 93 | 121 | 137 | 141 | 152 | 153 | 157 | 160 | 161 => {
                Action::Ignore
            }
            45 | 48 | 74 | 144..=150 => Action::Workflow,
            46 | 62 | 64 | 95 | 109 | 110 | 119 | 120 | 136 | 140 | 143 | 155 | 156 | 158 => Action::ResetGpu,
            79 => Action::RestartNode,
            151 => Action::RestartVm,
            54 => Action::CheckHardware,
            78 => Action::UpdateSoftware,
            154 => Action::AskRecovery,
            171 | 172 => Action::Detail,
            _ => Action::Unknown,
        }
    }

    /// What it says of the tenant whose worker the driver named. What the driver named nobody for says nothing.
    pub const fn blame(self) -> Blame {
        match self.0 {
            // Illegal instructions and addresses (13, 31), broken command streams (32, 69, 80), and memory that went bad
            // below the program (94), which must not run on with it.
            13 | 31 | 32 | 69 | 80 | 94 => Blame::Strike,
            // A reset that one program's channel brought about. Of all others the driver names whoever was there: memory (64, 95,
            // 140), links (136, 155), rows that were retired (156) and a card that does not start (143) fail by themselves,
            // and one whose own processor or firmware hangs (46, 62, 119, 120, 158) names whoever calls next.
            109 | 110 => Blame::Quarantine,
            _ => Blame::Nobody,
        }
    }

    /// What happened, in a few words for people.
    pub const fn text(self) -> &'static str {
        match self.0 {
            13 => "a kernel failed: illegal instruction or access",
            31 => "a kernel reached for memory that is not its own",
            32 | 69 | 80 => "commands that the GPU does not understand",
            43 => "the driver ended a program's work",
            45 => "the driver cleaned up after a program",
            48 => "memory error that could not be corrected",
            63 => "a bad row of memory was put aside",
            64 => "a bad row of memory could not be put aside",
            74 | 144..=150 => "NVLink error",
            79 => "the card fell off the bus",
            92 => "many memory errors were corrected",
            94 => "memory error, contained to one program",
            95 => "memory error, not contained",
            109 => "the GPU could not switch to another program",
            119 | 120 => "the GPU's own processor does not answer",
            140 => "ECC error that could not be recovered",
            _ => match self.action() {
                Action::RestartApp => "a program's work failed",
                Action::Ignore => "noted by the driver",
                Action::ResetGpu => "the GPU has to be reset",
                Action::CheckHardware => "the card's power or seat is wrong",
                Action::UpdateSoftware => "driver and vGPU software do not fit",
                Action::AskRecovery => "the driver says anew what the card needs",
                Action::Detail => "more of the memory error before it",
                _ => "see NVIDIA's catalogue of Xids",
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use core::ops::RangeInclusive;

    use super::*;

    /// NVIDIA's catalogue of October 2025, as lists of ranges.
    const CATALOGUE: &[(Action, &[RangeInclusive<u32>])] = &[
        (
            Action::RestartApp,
            &[
                8..=8,
                11..=11,
                13..=13,
                25..=25,
                31..=32,
                39..=41,
                60..=60,
                68..=69,
                70..=72,
                75..=77,
                80..=80,
                82..=84,
                85..=86,
                88..=89,
                94..=94,
                96..=105,
                126..=135,
                139..=139,
            ],
        ),
        (
            Action::Ignore,
            &[
                37..=38,
                43..=44,
                63..=63,
                66..=67,
                92..=93,
                121..=121,
                137..=137,
                141..=141,
                152..=153,
                157..=157,
                160..=161,
            ],
        ),
        (Action::Workflow, &[45..=45, 48..=48, 74..=74, 144..=150]),
        (
            Action::ResetGpu,
            &[
                46..=46,
                62..=62,
                64..=64,
                95..=95,
                109..=110,
                119..=120,
                136..=136,
                140..=140,
                143..=143,
                155..=156,
                158..=158,
            ],
        ),
        (Action::RestartNode, &[79..=79]),
        (Action::RestartVm, &[151..=151]),
        (Action::CheckHardware, &[54..=54]),
        (Action::UpdateSoftware, &[78..=78]),
        (Action::AskRecovery, &[154..=154]),
        (Action::Detail, &[171..=172]),
    ];

    #[test]
    fn each_number_has_the_catalogues_action() {
        for number in 0..=255 {
            let listed = CATALOGUE.iter().find(|(_, list)| list.iter().any(|range| range.contains(&number)));
            let expected = listed.map_or(Action::Unknown, |(action, _)| *action);
            assert_eq!(Xid(number).action(), expected, "Xid {number}");
        }
        assert_eq!(Xid(u32::MAX).action(), Action::Unknown);
    }

    #[test]
    fn only_what_a_kernel_did_is_a_strike_and_only_what_cost_the_gpu_is_a_quarantine() {
        let blamed = |blame| (0..=255).filter(move |number| Xid(*number).blame() == blame);
        assert!(blamed(Blame::Strike).eq([13, 31, 32, 69, 80, 94]));
        assert!(blamed(Blame::Quarantine).eq([109, 110]));
        assert!(blamed(Blame::Strike).all(|number| Xid(number).action() == Action::RestartApp));
        assert!(blamed(Blame::Quarantine).all(|number| Xid(number).action() == Action::ResetGpu));
    }

    #[test]
    fn each_has_a_text() {
        assert!((0..=255).all(|number| !Xid(number).text().is_empty()));
    }
}
