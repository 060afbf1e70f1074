//! What a card may be used for after what it said of itself.
//!
//! A card says two kinds of things. Xids are told once, so what one asks for is kept until somebody repaired the card.
//! Signs (rows that wait for a reset, the driver's recovery action, being gone) are read again and again, and count as
//! long as they are there. The worse of both holds.

use core::fmt;

use crate::time::{Duration, Instant};
use crate::xid::{Action, Xid};

/// Xids 43 and 45 that nobody is blamed for within [`REPEAT_WINDOW`], before they are worth an alarm: one is what a program
/// that was killed leaves behind.
pub const REPEATS_MAX: usize = 5;

/// The window of [`REPEATS_MAX`].
pub const REPEAT_WINDOW: Duration = Duration::from_millis(10 * 60 * 1_000);

/// An Xid 45 that follows another Xid within this time cleans up after that one, and is not alone.
const CLEAN_UP: Duration = Duration::from_millis(5_000);

/// What a card may be used for. The later, the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CardStanding {
    /// Anything.
    Good,
    /// Anything; it is to be reset when nobody uses it.
    ResetAtDrain,
    /// Sessions that run may run on; none begins. It is to be reset when the last one has ended.
    Closed,
    /// Nothing: it has to be reset now.
    Reset,
    /// Nothing: no reset of the card helps; the machine or the card needs a person.
    Fenced,
}

impl CardStanding {
    /// Stable name, for scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::ResetAtDrain => "reset-at-drain",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Fenced => "fenced",
        }
    }

    /// Whether sessions may begin on the card.
    pub const fn admits(self) -> bool {
        matches!(self, Self::Good | Self::ResetAtDrain)
    }

    /// What the operator has to do.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Good => "nothing to do",
            Self::ResetAtDrain => "reset it when nobody uses it",
            Self::Closed => "let its sessions end, then reset it",
            Self::Reset => "end its sessions and reset it",
            Self::Fenced => {
                "move its tenants away; restart the machine, and replace the card where that does not help"
            }
        }
    }
}

/// What the driver says the card needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recovery {
    /// Nothing, or the driver is too old to say.
    #[default]
    None,
    /// A reset of the GPU.
    GpuReset,
    /// A restart of the machine.
    NodeReboot,
    /// Traffic between this card and others has to end.
    DrainP2p,
    /// Its work has to end, then it has to be reset.
    DrainAndReset,
}

impl Recovery {
    /// Stable name, for scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::GpuReset => "gpu-reset",
            Self::NodeReboot => "node-reboot",
            Self::DrainP2p => "drain-p2p",
            Self::DrainAndReset => "drain-and-reset",
        }
    }
}

/// What can be read from a card at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "hosts build it from what the card says")]
pub struct CardSigns {
    /// Rows of memory are put aside at the next reset.
    pub remap_pending: bool,
    /// A row could not be put aside.
    pub remap_failed: bool,
    /// What the driver says the card needs.
    pub recovery: Recovery,
    /// The driver does not reach the card any more.
    pub lost: bool,
}

/// Why a card stands as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CardReason {
    /// An Xid asked for it.
    Xid(Xid),
    /// Rows of memory wait for a reset.
    RemapPending,
    /// A row could not be put aside.
    RemapFailed,
    /// The driver says so.
    Recovery(Recovery),
    /// The driver does not reach the card.
    Lost,
}

impl fmt::Display for CardReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xid(xid) => write!(f, "{xid}: {}", xid.text()),
            Self::RemapPending => f.write_str("bad rows of memory wait for a reset to be put aside"),
            Self::RemapFailed => f.write_str("a bad row of memory could not be put aside"),
            Self::Recovery(recovery) => write!(f, "the driver asks for {}", recovery.name()),
            Self::Lost => f.write_str("the driver does not reach the card"),
        }
    }
}

/// A standing and its reason; a good one has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CardVerdict {
    /// What the card may be used for.
    pub standing: CardStanding,
    /// Why.
    pub reason: Option<CardReason>,
}

impl CardVerdict {
    const GOOD: Self = Self { standing: CardStanding::Good, reason: None };

    const fn of(standing: CardStanding, reason: CardReason) -> Self {
        Self { standing, reason: Some(reason) }
    }

    /// The worse of two; of equals the first, so that a reason stays.
    fn or_worse(self, other: Self) -> Self {
        if other.standing > self.standing { other } else { self }
    }
}

/// What an Xid changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct XidNews {
    /// How the card stands now, where that is new.
    pub changed: Option<CardVerdict>,
    /// Xids 43 and 45 alone have become many; said once until they are fewer.
    pub repeated: bool,
}

/// How a card stands.
#[derive(Clone, Copy, Debug)]
pub struct CardState {
    latched: CardVerdict,
    signs: CardVerdict,
    /// The latest Xids 43 and 45 alone, newest first.
    repeats: [Option<Instant>; REPEATS_MAX],
    alarmed: bool,
    /// When the latest Xid came that an Xid 45 may clean up after.
    other: Option<Instant>,
}

impl Default for CardState {
    fn default() -> Self {
        Self::new()
    }
}

impl CardState {
    /// A card of which nothing bad is known.
    pub const fn new() -> Self {
        let (latched, signs) = (CardVerdict::GOOD, CardVerdict::GOOD);
        Self { latched, signs, repeats: [None; REPEATS_MAX], alarmed: false, other: None }
    }

    /// How it stands.
    pub fn verdict(&self) -> CardVerdict {
        self.latched.or_worse(self.signs)
    }

    /// The card reported an Xid. `blamed` says that a worker was found that caused it.
    pub fn xid(&mut self, now: Instant, xid: Xid, blamed: bool) -> XidNews {
        let before = self.verdict();
        self.latched = self.latched.or_worse(after_xid(xid));
        let repeated = self.repeats(now, xid, blamed);
        if xid.0 != 45 {
            self.other = Some(now);
        }
        XidNews { changed: self.change(before), repeated }
    }

    /// The card was read. Returns how it stands now, where that is new.
    pub fn observe(&mut self, signs: CardSigns) -> Option<CardVerdict> {
        let before = self.verdict();
        self.signs = after_signs(signs);
        self.change(before)
    }

    /// Somebody reset or replaced the card: what Xids asked for is done. What can be read from it still counts.
    pub const fn repaired(&mut self) {
        self.latched = CardVerdict::GOOD;
    }

    fn change(&self, before: CardVerdict) -> Option<CardVerdict> {
        let after = self.verdict();
        (after.standing != before.standing).then_some(after)
    }

    /// Whether Xids 43 and 45 alone have become many.
    fn repeats(&mut self, now: Instant, xid: Xid, blamed: bool) -> bool {
        let alone = match xid.0 {
            43 => true,
            45 => self.other.is_none_or(|other| now.since(other) > CLEAN_UP),
            _ => false,
        };
        if !alone || blamed {
            return false;
        }
        self.repeats.rotate_right(1);
        self.repeats[0] = Some(now);
        let many = self.repeats.iter().all(|at| at.is_some_and(|at| now.since(at) <= REPEAT_WINDOW));
        let before = core::mem::replace(&mut self.alarmed, many);
        many && !before
    }
}

const fn after_xid(xid: Xid) -> CardVerdict {
    let standing = match xid.0 {
        // A memory error that could not be corrected, rows put aside, or about to be.
        48 | 63 | 92 => CardStanding::ResetAtDrain,
        _ => match xid.action() {
            Action::ResetGpu => CardStanding::Reset,
            Action::RestartNode => CardStanding::Fenced,
            _ => return CardVerdict::GOOD,
        },
    };
    CardVerdict::of(standing, CardReason::Xid(xid))
}

fn after_signs(signs: CardSigns) -> CardVerdict {
    let recovery = match signs.recovery {
        Recovery::None => CardStanding::Good,
        // Guests of different tenants have no traffic between cards.
        Recovery::DrainP2p => CardStanding::ResetAtDrain,
        Recovery::DrainAndReset => CardStanding::Closed,
        Recovery::GpuReset => CardStanding::Reset,
        Recovery::NodeReboot => CardStanding::Fenced,
    };
    let all = [
        (signs.lost, CardStanding::Fenced, CardReason::Lost),
        (signs.remap_failed, CardStanding::Fenced, CardReason::RemapFailed),
        (signs.recovery != Recovery::None, recovery, CardReason::Recovery(signs.recovery)),
        (signs.remap_pending, CardStanding::Closed, CardReason::RemapPending),
    ];
    let seen = all.into_iter().filter(|(seen, ..)| *seen);
    seen.fold(CardVerdict::GOOD, |worst, (_, standing, reason)| {
        worst.or_worse(CardVerdict::of(standing, reason))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn after(xids: &[u32]) -> CardStanding {
        let mut card = CardState::new();
        for xid in xids {
            card.xid(at(0), Xid(*xid), false);
        }
        card.verdict().standing
    }

    #[test]
    fn each_xid_leads_where_the_policy_says() {
        for number in 0..=255 {
            let expected = match number {
                48 | 63 | 92 => CardStanding::ResetAtDrain,
                46 | 62 | 64 | 95 | 109 | 110 | 119 | 120 | 136 | 140 | 143 | 155 | 156 | 158 => {
                    CardStanding::Reset
                }
                79 => CardStanding::Fenced,
                _ => CardStanding::Good,
            };
            assert_eq!(after(&[number]), expected, "Xid {number}");
        }
    }

    #[test]
    fn what_is_worse_stays() {
        assert_eq!(after(&[79, 95, 48, 13]), CardStanding::Fenced);
        assert_eq!(after(&[48, 95, 63]), CardStanding::Reset);
        let mut card = CardState::new();
        card.xid(at(0), Xid(95), false);
        card.xid(at(1), Xid(119), false);
        assert_eq!(
            card.verdict().reason,
            Some(CardReason::Xid(Xid(95))),
            "the first of equals is the reason"
        );
    }

    #[test]
    fn a_card_admits_until_rows_wait_for_a_reset() {
        let mut card = CardState::new();
        let news = card.xid(at(0), Xid(63), false);
        assert_eq!(news.changed.map(|verdict| verdict.standing), Some(CardStanding::ResetAtDrain));
        assert!(card.verdict().standing.admits());
        let pending = CardSigns { remap_pending: true, ..CardSigns::default() };
        let closed = card.observe(pending).unwrap();
        assert_eq!((closed.standing, closed.reason), (CardStanding::Closed, Some(CardReason::RemapPending)));
        assert!(!closed.standing.admits());
        assert_eq!(card.observe(pending), None, "told once");
    }

    #[test]
    fn signs_pass_and_xids_stay() {
        let mut card = CardState::new();
        card.xid(at(0), Xid(48), false);
        card.observe(CardSigns { recovery: Recovery::GpuReset, ..CardSigns::default() });
        assert_eq!(card.verdict().standing, CardStanding::Reset);
        let back = card.observe(CardSigns::default()).unwrap();
        assert_eq!(
            (back.standing, back.reason),
            (CardStanding::ResetAtDrain, Some(CardReason::Xid(Xid(48))))
        );
        card.repaired();
        assert_eq!(card.verdict(), CardVerdict::GOOD);
    }

    #[test]
    fn each_sign_leads_where_the_policy_says() {
        let signs = CardSigns::default();
        let pending = CardSigns { remap_pending: true, ..signs };
        let recovery = |recovery| CardSigns { recovery, ..pending };
        for (signs, standing, reason) in [
            (CardSigns { lost: true, ..pending }, CardStanding::Fenced, CardReason::Lost),
            (CardSigns { remap_failed: true, ..pending }, CardStanding::Fenced, CardReason::RemapFailed),
            (pending, CardStanding::Closed, CardReason::RemapPending),
            (recovery(Recovery::DrainP2p), CardStanding::Closed, CardReason::RemapPending),
            (
                recovery(Recovery::DrainAndReset),
                CardStanding::Closed,
                CardReason::Recovery(Recovery::DrainAndReset),
            ),
            (recovery(Recovery::GpuReset), CardStanding::Reset, CardReason::Recovery(Recovery::GpuReset)),
            (
                recovery(Recovery::NodeReboot),
                CardStanding::Fenced,
                CardReason::Recovery(Recovery::NodeReboot),
            ),
        ] {
            assert_eq!(CardState::new().observe(signs), Some(CardVerdict::of(standing, reason)), "{signs:?}");
        }
        let p2p = CardSigns { recovery: Recovery::DrainP2p, ..signs };
        assert_eq!(CardState::new().observe(p2p).unwrap().standing, CardStanding::ResetAtDrain);
    }

    #[test]
    fn many_programs_that_ended_for_no_reason_are_an_alarm_told_once() {
        let mut card = CardState::new();
        let alarms: [bool; 8] =
            core::array::from_fn(|n| card.xid(at(n as u64 * 60), Xid(43), false).repeated);
        let mut alarms = alarms.into_iter();
        assert!(alarms.by_ref().take(4).all(|alarm| !alarm));
        assert!(alarms.next().unwrap());
        assert!(alarms.all(|alarm| !alarm));
        assert!(!card.xid(at(5_000), Xid(43), false).repeated, "fewer again");
        assert!((1..6).any(|n| card.xid(at(5_000 + n), Xid(43), false).repeated), "and many again");
        let mut slow = CardState::new();
        assert!((0..20).all(|n| !slow.xid(at(n * 200), Xid(43), false).repeated), "too few in ten minutes");
    }

    #[test]
    fn what_has_a_cause_is_no_alarm() {
        let mut card = CardState::new();
        for n in 0..20 {
            card.xid(at(n * 20), Xid(31), true);
            assert!(!card.xid(at(n * 20 + 1), Xid(45), false).repeated, "it cleans up after another");
            assert!(!card.xid(at(n * 20 + 10), Xid(43), true).repeated, "its worker is known");
        }
        let mut alone = CardState::new();
        assert!((0..5).any(|n| alone.xid(at(n * 20), Xid(45), false).repeated));
    }
}
