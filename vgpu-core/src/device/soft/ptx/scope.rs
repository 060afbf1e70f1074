//! Which names a place inside a function can see.

use std::collections::HashMap;

/// What a name inside a function stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Register by id.
    Register(u32),
    /// Variable of the function by id.
    Variable(u32),
    /// Return parameter or parameter by position.
    Param(u32),
    /// `.callprototype` by id.
    Prototype(u32),
}

#[derive(Debug)]
struct Scope {
    parent: Option<usize>,
    names: HashMap<String, Name>,
    /// `.reg .b32 %r<39>` by its prefix: first register and how many.
    ranges: HashMap<String, (u32, u32)>,
    /// Label to instruction index.
    labels: HashMap<String, u32>,
    /// Name of a `.branchtargets` table to its id.
    tables: HashMap<String, u32>,
}

/// The nested scopes of one function. Closed scopes are kept, since labels may be used before they stand.
#[derive(Debug)]
pub(super) struct Scopes {
    all: Vec<Scope>,
    current: usize,
}

impl Scopes {
    pub(super) fn new() -> Self {
        let mut scopes = Self { all: Vec::new(), current: 0 };
        scopes.push(None);
        scopes
    }

    fn push(&mut self, parent: Option<usize>) {
        self.all.push(Scope {
            parent,
            names: HashMap::new(),
            ranges: HashMap::new(),
            labels: HashMap::new(),
            tables: HashMap::new(),
        });
        self.current = self.all.len() - 1;
    }

    /// Opens a scope inside the current one.
    pub(super) fn open(&mut self) {
        self.push(Some(self.current));
    }

    /// Closes the current scope; false if it is the function's own.
    pub(super) fn close(&mut self) -> bool {
        match self.all[self.current].parent {
            Some(parent) => {
                self.current = parent;
                true
            }
            None => false,
        }
    }

    /// How many scopes were opened so far.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Which scope is the current one, for [`Scopes::label`] later.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// Declares `name` in the current scope; false if it is taken there.
    pub(super) fn declare(&mut self, name: &str, meaning: Name) -> bool {
        self.all[self.current].names.insert(name.to_owned(), meaning).is_none()
    }

    /// Declares the registers `prefix0` to `prefix(count-1)`; false if the prefix is taken.
    pub(super) fn declare_range(&mut self, prefix: &str, first: u32, count: u32) -> bool {
        self.all[self.current].ranges.insert(prefix.to_owned(), (first, count)).is_none()
    }

    /// Declares a label in the current scope; false if it is taken there.
    pub(super) fn declare_label(&mut self, label: &str, instruction: u32) -> bool {
        self.all[self.current].labels.insert(label.to_owned(), instruction).is_none()
    }

    /// Declares a branch table in the current scope; false if it is taken there.
    pub(super) fn declare_table(&mut self, name: &str, table: u32) -> bool {
        self.all[self.current].tables.insert(name.to_owned(), table).is_none()
    }

    /// What `name` means in the current scope.
    pub(super) fn find(&self, name: &str) -> Option<Name> {
        self.walk(self.current, |scope| scope.names.get(name).copied().or_else(|| scope.register(name)))
    }

    /// The instruction that `label` stands for when used in scope `from`.
    pub(super) fn label(&self, from: usize, label: &str) -> Option<u32> {
        self.walk(from, |scope| scope.labels.get(label).copied())
    }

    /// The branch table called `name` when used in scope `from`.
    pub(super) fn table(&self, from: usize, name: &str) -> Option<u32> {
        self.walk(from, |scope| scope.tables.get(name).copied())
    }

    fn walk<T>(&self, from: usize, mut find: impl FnMut(&Scope) -> Option<T>) -> Option<T> {
        let mut at = Some(from);
        while let Some(index) = at {
            let scope = &self.all[index];
            if let Some(found) = find(scope) {
                return Some(found);
            }
            at = scope.parent;
        }
        None
    }
}

impl Scope {
    fn register(&self, name: &str) -> Option<Name> {
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = &name[prefix.len()..];
        // `%r01` is not a name that `%r<2>` declares.
        if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
            return None;
        }
        let (first, count) = *self.ranges.get(prefix)?;
        let number: u32 = digits.parse().ok()?;
        (number < count).then(|| Name::Register(first + number))
    }
}
