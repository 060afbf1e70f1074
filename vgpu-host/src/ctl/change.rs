//! `ctl set`, `reset` and `reload`: what is sent, and what people read.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::api::ChangedBody;
use crate::config::TenantKeys;

/// A setting as an operator types it: `weight=200`.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    key: &'static str,
    value: serde_json::Value,
}

/// A text that is no setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignmentError {
    /// There is no `=`.
    #[error("{text:?} is not of the form KEY=VALUE; write weight=200, for example")]
    Form {
        /// The text.
        text: String,
    },
    /// No setting has the name.
    #[error("there is no setting {key:?}; use one of {}", TenantKeys::NAMES.join(", "))]
    Key {
        /// The name.
        key: String,
    },
}

impl FromStr for Assignment {
    type Err = AssignmentError;

    fn from_str(text: &str) -> Result<Self, AssignmentError> {
        let form = || AssignmentError::Form { text: text.to_owned() };
        let (key, value) = text.split_once('=').ok_or_else(form)?;
        let known = TenantKeys::NAMES.iter().find(|name| **name == key);
        let key = *known.ok_or_else(|| AssignmentError::Key { key: key.to_owned() })?;
        let value = match (value.parse::<u64>(), value.parse::<f64>()) {
            (Ok(number), _) => number.into(),
            // What is no finite number is a word; the host says that it is a wrong one.
            (_, Ok(number)) if number.is_finite() => number.into(),
            _ => value.into(),
        };
        Ok(Self { key, value })
    }
}

/// The body that sets all of them. Of a key that is there twice the later one holds.
pub(super) fn body(settings: &[Assignment]) -> String {
    let object: serde_json::Map<_, _> =
        settings.iter().map(|setting| (setting.key.to_owned(), setting.value.clone())).collect();
    serde_json::Value::Object(object).to_string()
}

/// What was done, for people.
pub(super) fn text(body: &ChangedBody) -> String {
    let mut text = String::new();
    for (what, names) in [("changed", &body.changed), ("added", &body.added), ("removed", &body.removed)] {
        if !names.is_empty() {
            let _ = writeln!(text, "{what}: {}", names.join(", "));
        }
    }
    if text.is_empty() {
        text.push_str("nothing is different\n");
    }
    for note in &body.notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_numbers_or_words() {
        let settings = ["weight=200", "cap=0.25", "reservation=none", "launches_per_s=1e3", "weight=300"];
        let settings: Vec<Assignment> = settings.iter().map(|text| text.parse().unwrap()).collect();
        let expected = r#"{"cap":0.25,"launches_per_s":1000.0,"reservation":"none","weight":300}"#;
        assert_eq!(body(&settings), expected);
        assert!(matches!("weight".parse::<Assignment>(), Err(AssignmentError::Form { .. })));
        assert!(matches!("wheight=1".parse::<Assignment>(), Err(AssignmentError::Key { .. })));
        let nan: Assignment = "cap=nan".parse().unwrap();
        assert_eq!(body(&[nan]), r#"{"cap":"nan"}"#);
    }
}
