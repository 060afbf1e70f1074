//! Which registers hold a value where, so that they can share rows.
//!
//! PTX has registers without end, each written about once. A row for each would make warps large and slow. A
//! row belongs to one lane at a time in the sense that each lane only sees its own column, and each lane
//! follows the control flow of the text: so the usual analysis of one thread holds for all lanes.

use super::super::super::ptx::{Body, Instruction, Operand};

/// Most bits of a set of registers for each basic block. A function that would need more keeps a row for
/// each of its registers.
const SET_BITS_MAX: usize = 1 << 27;
/// Most rounds of the data flow, which real functions settle in a few: as many as loops are nested, and some.
/// One built to need more keeps a row for each of its registers too.
const ROUNDS_MAX: u32 = 64;
/// Most ways from block to block: each `brx` has as many as its table, and any number of them may share one.
const EDGES_MAX: usize = 1 << 20;

/// Words of sets that the data flow of a function may look at, for each of its instructions, and for none. Real functions
/// take hundreds. Many small functions with many ways between few blocks would take the square of a module's text.
const WORDS_PER_INSTRUCTION: usize = 1 << 12;
const WORDS_MIN: usize = 1 << 16;

/// First and last instruction at which a register holds a value that matters.
pub(super) type Interval = (u32, u32);

/// A stretch of instructions without jumps in or out.
#[derive(Debug, Default)]
struct Block {
    first: usize,
    last: usize,
    next: Vec<usize>,
    /// Registers read before they are written.
    reads: Vec<u64>,
    /// Registers written whatever happens.
    writes: Vec<u64>,
    live_in: Vec<u64>,
}

/// Interval of each register; none for one that is never named. `None` if the function is too large.
pub(super) fn intervals(body: &Body) -> Option<Vec<Option<Interval>>> {
    let mut blocks = blocks(body)?;
    let words = body.registers.len().div_ceil(64);
    if blocks.len() * words * 64 * 3 > SET_BITS_MAX {
        return None;
    }
    for block in &mut blocks {
        summarise(body, block, words);
    }
    let mut left = WORDS_MIN + body.instructions.len() * WORDS_PER_INSTRUCTION;
    if !solve(&mut blocks, words, &mut left) {
        return None;
    }
    let mut intervals = vec![None; body.registers.len()];
    for block in &blocks {
        cover(&mut intervals, &block.live_in, block.first);
        cover(&mut intervals, &live_out(&blocks, block, words), block.last);
        for at in block.first..=block.last {
            let mut touch = |register: u32, _| widen(&mut intervals[register as usize], at);
            visit(&body.instructions[at], &mut touch);
        }
    }
    Some(intervals)
}

fn widen(interval: &mut Option<Interval>, at: usize) {
    let at = u32::try_from(at).unwrap_or(u32::MAX);
    let (first, last) = interval.unwrap_or((at, at));
    *interval = Some((first.min(at), last.max(at)));
}

fn cover(intervals: &mut [Option<Interval>], set: &[u64], at: usize) {
    for (word, &bits) in set.iter().enumerate() {
        let mut bits = bits;
        while bits != 0 {
            widen(&mut intervals[word * 64 + bits.trailing_zeros() as usize], at);
            bits &= bits - 1;
        }
    }
}

/// Where an instruction may go on: jump targets, and whether the next one follows.
fn flow<'a>(body: &'a Body, instruction: &'a Instruction) -> (&'a [u32], Option<u32>, bool) {
    let name = instruction.opcode.split('.').next().unwrap_or_default();
    let conditional = instruction.guard.is_some();
    match (name, instruction.operands.last()) {
        ("bra", Some(&Operand::Label(target))) => (&[], Some(target), conditional),
        ("brx", Some(&Operand::BranchTable(table))) => {
            (&body.branch_tables[table as usize], None, conditional)
        }
        ("ret" | "exit", _) => (&[], None, conditional),
        _ => (&[], None, true),
    }
}

/// The blocks in the order of the text; `None` if there are too many ways between them.
fn blocks(body: &Body) -> Option<Vec<Block>> {
    let count = body.instructions.len();
    let mut starts = vec![false; count + 1];
    if count > 0 {
        starts[0] = true;
    }
    for (at, instruction) in body.instructions.iter().enumerate() {
        let (table, target, falls) = flow(body, instruction);
        table.iter().chain(&target).for_each(|&target| starts[target as usize] = true);
        if !falls || target.is_some() || !table.is_empty() {
            starts[at + 1] = true;
        }
    }
    let mut number = vec![0; count + 1];
    let mut blocks: Vec<Block> = Vec::new();
    for at in 0..count {
        if starts[at] {
            blocks.push(Block { first: at, last: at, ..Block::default() });
        }
        number[at] = blocks.len() - 1;
        if let Some(block) = blocks.last_mut() {
            block.last = at;
        }
    }
    let mut edges = 0usize;
    for block in &mut blocks {
        let last = block.last;
        let (table, target, falls) = flow(body, &body.instructions[last]);
        let jumps = table.iter().chain(&target).map(|&target| target as usize);
        // What lies behind the last instruction is the function's end.
        let next = jumps.chain(falls.then_some(last + 1)).filter(|&at| at < count).map(|at| number[at]);
        block.next = next.collect();
        edges += block.next.len();
        if edges > EDGES_MAX {
            return None;
        }
        // A jump table may name a block many times.
        block.next.sort_unstable();
        block.next.dedup();
    }
    Some(blocks)
}

/// Calls `touch(register, writes)` for each register of an instruction: sources, then destinations.
fn visit(instruction: &Instruction, touch: &mut impl FnMut(u32, bool)) {
    if let Some((guard, _)) = instruction.guard {
        touch(guard, false);
    }
    let mut parts = instruction.opcode.split('.');
    let name = parts.next().unwrap_or_default();
    let reduces = parts.any(|part| part == "red");
    let writes = match name {
        "bar" | "barrier" => reduces,
        _ => !matches!(
            name,
            "st" | "red" | "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "nanosleep" | "cp"
        ),
    };
    let (targets, sources) =
        instruction.operands.split_at(usize::from(writes).min(instruction.operands.len()));
    sources.iter().for_each(|operand| registers(operand, &mut |register| touch(register, false)));
    for operand in targets {
        let is_address = matches!(operand, Operand::Address(..));
        registers(operand, &mut |register| touch(register, !is_address));
    }
}

fn registers(operand: &Operand, found: &mut impl FnMut(u32)) {
    match operand {
        Operand::Register(id) | Operand::Not(id) => found(*id),
        Operand::Address(base, _) => single(base, found),
        // The parser makes no group inside a group.
        Operand::Vector(parts) | Operand::List(parts) => parts.iter().for_each(|part| single(part, found)),
        Operand::Pair(first, second) => [first, second].into_iter().for_each(|one| single(one, found)),
        _ => {}
    }
}

fn single(operand: &Operand, found: &mut impl FnMut(u32)) {
    match operand {
        Operand::Register(id) | Operand::Not(id) => found(*id),
        Operand::Pair(first, second) => {
            for one in [first, second] {
                if let Operand::Register(id) | Operand::Not(id) = **one {
                    found(id);
                }
            }
        }
        _ => {}
    }
}

fn summarise(body: &Body, block: &mut Block, words: usize) {
    (block.reads, block.writes, block.live_in) = (vec![0; words], vec![0; words], vec![0; words]);
    for instruction in &body.instructions[block.first..=block.last] {
        // A guarded write leaves the old value in some lanes: it does not end the old value's life.
        let certain = instruction.guard.is_none();
        visit(instruction, &mut |register, writes| {
            let (word, bit) = (register as usize / 64, 1u64 << (register % 64));
            if writes && certain {
                block.writes[word] |= bit;
            } else if block.writes[word] & bit == 0 {
                block.reads[word] |= bit;
            }
        });
    }
}

fn live_out(blocks: &[Block], block: &Block, words: usize) -> Vec<u64> {
    let mut out = vec![0; words];
    for &next in &block.next {
        out.iter_mut().zip(&blocks[next].live_in).for_each(|(out, live)| *out |= live);
    }
    out
}

/// Backward data flow until nothing changes; false if it does not settle in [`ROUNDS_MAX`] rounds, or would look at more
/// than `left` words of sets.
fn solve(blocks: &mut [Block], words: usize, left: &mut usize) -> bool {
    let sets: usize = blocks.iter().map(|block| 1 + block.next.len()).sum();
    for _ in 0..ROUNDS_MAX {
        let Some(rest) = left.checked_sub(sets * words) else { return false };
        *left = rest;
        let mut changed = false;
        for index in (0..blocks.len()).rev() {
            let out = live_out(blocks, &blocks[index], words);
            let block = &mut blocks[index];
            let sets = block.reads.iter().zip(&block.writes).zip(&out).zip(&mut block.live_in);
            for (((reads, writes), out), live_in) in sets {
                let live = reads | (out & !writes);
                changed |= live != *live_in;
                *live_in = live;
            }
        }
        if !changed {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_many_registers_over_many_ways_are_given_up() {
        let labels: Vec<_> = (0..300).map(|block| format!("L{block}")).collect();
        let blocks: String = labels.iter().map(|label| format!("{label}: brx.idx %r0, T; ")).collect();
        let settled = |registers: u32| {
            let table = labels.join(",");
            let body = format!(".reg .b32 %r<{registers}>; T: .branchtargets {table}; {blocks} ret;");
            let text = format!(".version 8.0\n.target sm_80\n.address_size 64\n.entry k() {{ {body} }}");
            let module = super::super::super::super::ptx::parse(&text).unwrap();
            intervals(module.functions[0].body.as_ref().unwrap()).is_some()
        };
        assert!(settled(1));
        assert!(!settled(40_000));
    }

    #[test]
    fn jump_tables_that_many_instructions_share_are_given_up() {
        let table = "L,".repeat(1 << 12);
        let text = |jumps: usize| {
            let jumps = "brx.idx %r0, T;".repeat(jumps);
            let body = format!(".reg .b32 %r<1>; T: .branchtargets {table}L; {jumps} L: ret;");
            format!(".version 8.0\n.target sm_80\n.address_size 64\n.entry k() {{ {body} }}")
        };
        let intervals = |jumps: usize| {
            let module = super::super::super::super::ptx::parse(&text(jumps)).unwrap();
            intervals(module.functions[0].body.as_ref().unwrap())
        };
        assert!(intervals(16).is_some());
        assert!(intervals(1 << 10).is_none());
    }
}
