//! An opcode with its modifiers, of which every one must be understood.

use std::cell::Cell;

use super::super::num::{IntegerRounding, Rounding};
use super::super::ptx::Type;

/// `cvt.rn.f32.s32` cut at its dots. Asking for a modifier marks it as understood; [`Opcode::understood`]
/// tells whether any is left, so that no modifier is ever ignored silently.
#[derive(Debug)]
pub(super) struct Opcode<'a> {
    /// The part before the first dot.
    pub(super) name: &'a str,
    modifiers: Vec<(&'a str, Cell<bool>)>,
}

impl<'a> Opcode<'a> {
    pub(super) fn new(full: &'a str) -> Self {
        let mut parts = full.split('.');
        let name = parts.next().unwrap_or(full);
        Self { name, modifiers: parts.map(|part| (part, Cell::new(false))).collect() }
    }

    /// Whether `modifier` is there.
    pub(super) fn flag(&self, modifier: &str) -> bool {
        let mut found = false;
        for (part, used) in &self.modifiers {
            if *part == modifier {
                used.set(true);
                found = true;
            }
        }
        found
    }

    /// The first of `modifiers` that is there.
    pub(super) fn one_of<T: Copy>(&self, modifiers: &[(&str, T)]) -> Option<T> {
        modifiers.iter().find(|(name, _)| self.flag(name)).map(|&(_, meaning)| meaning)
    }

    /// Accepts modifiers that change nothing here.
    pub(super) fn ignore(&self, modifiers: &[&str]) {
        for modifier in modifiers {
            self.flag(modifier);
        }
    }

    /// Accepts modifiers that begin with `prefix` and change nothing here.
    pub(super) fn ignore_prefix(&self, prefix: &str) {
        for (part, used) in &self.modifiers {
            if part.starts_with(prefix) {
                used.set(true);
            }
        }
    }

    /// What `parse` understands of the modifiers, in order.
    pub(super) fn all<T>(&self, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        for (part, used) in &self.modifiers {
            if let Some(meaning) = parse(part) {
                used.set(true);
                found.push(meaning);
            }
        }
        found
    }

    /// The types among the modifiers, in order.
    pub(super) fn types(&self) -> Vec<Type> {
        self.all(Type::parse)
    }

    /// The only type.
    pub(super) fn ty(&self) -> Option<Type> {
        match self.types()[..] {
            [ty] => Some(ty),
            _ => None,
        }
    }

    /// Rounding of a result, if it is said.
    pub(super) fn rounding(&self) -> Option<Rounding> {
        self.one_of(&[
            ("rn", Rounding::Rn),
            ("rz", Rounding::Rz),
            ("rm", Rounding::Rm),
            ("rp", Rounding::Rp),
            ("rna", Rounding::Rna),
        ])
    }

    /// Rounding to an integer, if it is said.
    pub(super) fn integral(&self) -> Option<IntegerRounding> {
        self.one_of(&[
            ("rni", IntegerRounding::Rni),
            ("rzi", IntegerRounding::Rzi),
            ("rmi", IntegerRounding::Rmi),
            ("rpi", IntegerRounding::Rpi),
        ])
    }

    /// Whether every modifier has been asked for.
    pub(super) fn understood(&self) -> bool {
        self.modifiers.iter().all(|(_, used)| used.get())
    }
}
