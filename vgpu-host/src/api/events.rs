//! Bodies of `GET /v1/events`: what happened that an operator may want to know.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Body of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventsBody {
    /// Events after the one that was asked for, oldest first; none when nothing happened in time.
    pub events: Vec<EventBody>,
    /// Number of the oldest event that the host still keeps; that of the next one when it keeps none.
    pub oldest: u64,
    /// Number of the latest event; 0 before the first.
    pub latest: u64,
    /// Events between the one that was asked for and the last of the list that the host keeps no more.
    pub missed: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventBody {
    /// Its number: 1 for the first since the host started, then one more each.
    pub sequence: u64,
    /// When: milliseconds since 1970, by the clock of the day, which may jump.
    pub time_ms: u64,
    /// When: milliseconds since the host started, by a clock that never jumps.
    pub uptime_ms: u64,
    /// What.
    pub kind: EventKind,
    /// Name of the tenant whom it concerns; null for the host's own.
    pub tenant: Option<String>,
    /// Number of the session, where it is about one.
    pub session: Option<u64>,
    /// Cause, for people.
    pub reason: String,
    /// How often it happened: more than 1 where repetitions are told as one.
    pub count: u64,
    /// Further facts, by name; `docs/operations.md` lists them for each kind.
    pub fields: BTreeMap<String, FieldValue>,
}

/// A fact of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum FieldValue {
    /// A number; its unit is in its name.
    Number(u64),
    /// A text.
    Text(String),
}

impl From<u64> for FieldValue {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for FieldValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// Declares the kinds once: name in the API, whether it is a warning, what it means.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal, $warning:literal;)*) => {
        /// Kinds of events. `docs/operations.md` says what to do about each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $kind,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Its name in the API.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// Whether somebody should look at it; else it only informs.
            pub const fn is_warning(self) -> bool {
                match self {
                    $(Self::$kind => $warning,)*
                }
            }
        }
    };
}

kinds! {
    /// The host began to serve, to drain or to close.
    Phase = "phase", false;
    /// A connection became no session.
    Refused = "refused", false;
    /// A guest broke the protocol; its session ended.
    Violation = "violation", true;
    /// The host killed a worker.
    Kill = "kill", true;
    /// A kernel, or a worker, was in the way of other tenants; its session was ended.
    Hang = "hang", true;
    /// A lease's work did not end in time; the next tenant runs beside it.
    Overrun = "overrun", true;
    /// A worker ended without saying why.
    WorkerLost = "worker_lost", true;
    /// A spare worker, which belongs to nobody, was lost.
    SpareLost = "spare_lost", true;
    /// Something went wrong that is nobody's fault, or that changes nothing for its tenant.
    Fault = "fault", true;
    /// A card reported an error.
    Xid = "xid", true;
    /// A card may be used for more, or for less, than before; or it slows down, or does not answer.
    Card = "card", true;
    /// A worker took more than it was lent or billed.
    Audit = "audit", true;
    /// A tenant's work failed by its own fault; new sessions of it are held back for a while.
    Strike = "strike", true;
    /// The wait after a strike is over.
    BackOffOver = "back_off_over", false;
    /// A tenant was put into quarantine.
    Quarantine = "quarantine", true;
    /// A tenant was released from quarantine, or its strikes were forgotten by an operator.
    Release = "release", false;
    /// An operator closed a session.
    Close = "close", false;
    /// An operator changed settings of a tenant, or a reload added or removed it.
    Change = "change", false;
    /// A change that an operator asked for was refused; nothing changed.
    ChangeRefused = "change_refused", true;
    /// Something that is to survive the host could not be written to its state folder.
    NotSaved = "not_saved", true;
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_find_every_kind_in_the_documentation() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
        let page = std::fs::read_to_string(page).unwrap();
        for kind in EventKind::ALL {
            assert!(page.contains(&format!("| `{kind}` |")), "docs/operations.md has no row for {kind}");
        }
    }

    #[test]
    fn an_event_reads_as_documented() {
        let event = EventBody {
            sequence: 7,
            time_ms: 1,
            uptime_ms: 2,
            kind: EventKind::BackOffOver,
            tenant: Some("alice".into()),
            session: None,
            reason: "over".into(),
            count: 1,
            fields: [("a".to_owned(), 3.into()), ("b".to_owned(), "c".into())].into(),
        };
        let text = r#"{"sequence":7,"time_ms":1,"uptime_ms":2,"kind":"back_off_over","tenant":"alice","session":null,"reason":"over","count":1,"fields":{"a":3,"b":"c"}}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
        assert_eq!(serde_json::from_str::<EventBody>(text).unwrap(), event);
    }
}
