//! What must survive the host: what operators changed at run time, quarantines, and what tenants owe.
//!
//! One file in the state folder ([`file`]). A change is on disk before it is in memory ([`Store::change`]), so what was
//! answered is never lost, and what could not be written did not happen. What is kept is kept by the tenant's name: ids
//! are places in a configuration that may be another one after a restart.

mod error;
mod file;
mod moment;
mod record;
mod replace;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use serde::{Deserialize, Serialize};

pub use self::error::StateError;
pub(crate) use self::moment::Moment;
pub(crate) use self::record::QuarantineState;
use self::replace::{Replace, replace};
use crate::config::TenantKeys;

/// The file's name in the state folder.
const FILE: &str = "state.json";

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// By the tenant's name. Those that the configuration does not have are kept as well: one that comes back by another
    /// configuration has its quarantine still.
    pub tenants: BTreeMap<String, TenantState>,
}

/// What is kept of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantState {
    /// What operators changed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overrides: TenantKeys,
    /// Strikes and quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<QuarantineState>,
    /// The latest strike, or the operator's order.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub quarantine_reason: String,
    /// GPU time that it owes others, in nanoseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub debt_ns: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl State {
    /// Forgets what operators set.
    pub(crate) fn forget_overrides(&mut self) {
        for tenant in self.tenants.values_mut() {
            tenant.overrides = TenantKeys::default();
        }
    }

    /// What is kept of the tenant of that name, to be changed.
    pub(crate) fn tenant(&mut self, name: &str) -> &mut TenantState {
        self.tenants.entry(name.to_owned()).or_default()
    }
}

/// The state folder of a running host.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    /// Held while the host runs: two hosts would overwrite one another's changes.
    lock: Option<File>,
    state: State,
    /// How the file is replaced; another one in tests of a full disk.
    replace: Replace,
}

impl Store {
    /// Reads what an earlier host kept. A folder that is not there is made when it is `named`; else it is made when there is
    /// something to keep.
    ///
    /// # Errors
    /// The file is torn or of another version, others may write the folder, another host uses it, or it cannot be read.
    pub(crate) fn open(folder: &Path, named: bool) -> Result<Self, StateError> {
        if named {
            replace::make_folder(folder)?;
        }
        let mut store = Self { folder: folder.to_owned(), lock: None, state: State::default(), replace };
        if store.read()?.is_some() {
            store.take_lock()?;
            // Again: another host may have changed it before it let go.
            store.state = store.read()?.unwrap_or_default();
        }
        Ok(store)
    }

    /// What is kept.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// What an operator changed of the tenant of that name.
    pub(crate) fn overrides(&self, name: &str) -> Option<&TenantKeys> {
        self.state.tenants.get(name).map(|tenant| &tenant.overrides)
    }

    /// Changes what is kept. When this returns it is on disk.
    ///
    /// # Errors
    /// It cannot be written; nothing changed, on disk or here.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut State)) -> Result<(), StateError> {
        let mut state = self.state.clone();
        change(&mut state);
        state.tenants.retain(|_, tenant| !is_default(tenant));
        if state == self.state {
            return Ok(());
        }
        let is_first = self.take_lock()?;
        // A host that had nothing to read, and so no lock, may find that another one has begun to keep something.
        if is_first && self.read()?.is_some() {
            self.lock = None;
            return Err(StateError::Changed { folder: self.folder.clone() });
        }
        (self.replace)(&self.folder, FILE, &file::encode(&state))
            .map_err(|source| StateError::Write { folder: self.folder.clone(), source })?;
        self.state = state;
        Ok(())
    }

    /// Why a change would fail, as far as that can be told without making one.
    pub(crate) fn check_writable(&self) -> Result<(), StateError> {
        let there = self.folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
        rustix::fs::access(there, Access::WRITE_OK)
            .map_err(|errno| StateError::Write { folder: self.folder.clone(), source: errno.into() })
    }

    fn read(&self) -> Result<Option<State>, StateError> {
        let path = self.folder.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Read { path, source }),
        };
        replace::check_folder(&self.folder)?;
        file::decode(&bytes).map(Some).map_err(|problem| StateError::Torn { path, problem })
    }

    /// Locks the folder, which is made if it is not there; false where this host has the lock already.
    fn take_lock(&mut self) -> Result<bool, StateError> {
        if self.lock.is_some() {
            return Ok(false);
        }
        replace::make_folder(&self.folder)?;
        self.lock = Some(replace::lock(&self.folder)?);
        Ok(true)
    }
}
