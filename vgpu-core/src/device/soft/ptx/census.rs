//! Counts the instructions of a module by opcode.

use std::collections::BTreeMap;

use super::ast::Module;

/// How often each opcode, with its modifiers, stands in `module`.
pub fn census(module: &Module) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for body in module.functions.iter().filter_map(|function| function.body.as_ref()) {
        for instruction in &body.instructions {
            *counts.entry(instruction.opcode.clone()).or_insert(0) += 1;
        }
    }
    counts
}
