//! Which row each register, constant and special register gets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::super::super::ptx::{Body, Type};
use super::super::inst::{Fill, Special};
use super::super::lanes::{FrameShape, NO_ROW};
use super::is_long;
use super::liveness::{self, Interval};

/// Index of the kind of row that a type needs: word, long or predicate.
fn kind(ty: Type) -> usize {
    if ty == Type::Pred { 2 } else { usize::from(is_long(ty)) }
}

/// Rows given out so far. Registers that no instruction names get none.
#[derive(Debug)]
pub(super) struct Rows {
    registers: Vec<u32>,
    types: Vec<Type>,
    shape: FrameShape,
    words: HashMap<u32, u32>,
    longs: HashMap<u64, u32>,
    specials: HashMap<Special, u32>,
    fills: Vec<Fill>,
    /// Temporary rows by kind (word, long, predicate), and how many of each this instruction uses.
    temporaries: [Vec<u32>; 3],
    used: [usize; 3],
}

impl Rows {
    pub(super) fn new(body: &Body) -> Self {
        let mut rows = Self {
            registers: vec![NO_ROW; body.registers.len()],
            types: body.registers.clone(),
            shape: FrameShape::default(),
            words: HashMap::new(),
            longs: HashMap::new(),
            specials: HashMap::new(),
            fills: Vec::new(),
            temporaries: [Vec::new(), Vec::new(), Vec::new()],
            used: [0; 3],
        };
        if let Some(intervals) = liveness::intervals(body) {
            rows.share(&intervals);
        }
        rows
    }

    /// Gives registers whose values are never needed at the same time the same row (linear scan; Poletto and
    /// Sarkar, 1999).
    fn share(&mut self, intervals: &[Option<Interval>]) {
        let mut order: Vec<(Interval, usize)> = intervals
            .iter()
            .enumerate()
            .filter_map(|(register, interval)| Some(((*interval)?, register)))
            .collect();
        order.sort_unstable();
        let mut busy: BinaryHeap<Reverse<(u32, usize, u32)>> = BinaryHeap::new();
        let mut free: [Vec<u32>; 3] = [Vec::new(), Vec::new(), Vec::new()];
        for ((first, last), register) in order {
            // Strictly before: an instruction may write its destination before it has read all its sources.
            while let Some(&Reverse((end, kind, row))) = busy.peek()
                && end < first
            {
                busy.pop();
                free[kind].push(row);
            }
            let ty = self.types[register];
            let kind = kind(ty);
            let row = free[kind].pop().unwrap_or_else(|| self.fresh(ty));
            self.registers[register] = row;
            busy.push(Reverse((last, kind, row)));
        }
    }

    fn fresh(&mut self, ty: Type) -> u32 {
        let count = if ty == Type::Pred {
            &mut self.shape.predicates
        } else if is_long(ty) {
            &mut self.shape.longs
        } else {
            &mut self.shape.words
        };
        *count += 1;
        u32::try_from(*count - 1).unwrap_or(u32::MAX)
    }

    /// Declared type of a register.
    pub(super) fn ty(&self, register: u32) -> Type {
        self.types[register as usize]
    }

    /// Row of a register.
    pub(super) fn register(&mut self, register: u32) -> u32 {
        if self.registers[register as usize] == NO_ROW {
            self.registers[register as usize] = self.fresh(self.ty(register));
        }
        self.registers[register as usize]
    }

    /// A row that is free until the instruction is decoded.
    pub(super) fn temporary(&mut self, ty: Type) -> u32 {
        let kind = kind(ty);
        let index = self.used[kind];
        self.used[kind] += 1;
        if index == self.temporaries[kind].len() {
            let row = self.fresh(ty);
            self.temporaries[kind].push(row);
        }
        self.temporaries[kind][index]
    }

    /// Makes all temporary rows free again.
    pub(super) fn end_temporaries(&mut self) {
        self.used = [0; 3];
    }

    /// Row that holds `bits` in every lane.
    pub(super) fn word(&mut self, bits: u32) -> u32 {
        if let Some(&row) = self.words.get(&bits) {
            return row;
        }
        let row = self.fresh(Type::B32);
        self.words.insert(bits, row);
        self.fills.push(Fill::Word(row, bits));
        row
    }

    /// Row that holds `bits` in every lane.
    pub(super) fn long(&mut self, bits: u64) -> u32 {
        if let Some(&row) = self.longs.get(&bits) {
            return row;
        }
        let row = self.fresh(Type::B64);
        self.longs.insert(bits, row);
        self.fills.push(Fill::Long(row, bits));
        row
    }

    /// Row of a special register that does not change.
    pub(super) fn special(&mut self, special: Special) -> u32 {
        if let Some(&row) = self.specials.get(&special) {
            return row;
        }
        let row = self.fresh(Type::B32);
        self.specials.insert(special, row);
        self.fills.push(Fill::Special(row, special));
        row
    }

    pub(super) fn finish(&self) -> (FrameShape, Vec<Fill>) {
        (self.shape, self.fills.clone())
    }
}
