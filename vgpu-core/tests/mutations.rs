//! Damaged PTX: whatever it says, parsing, loading and running it never panics.

mod support;

use proptest::prelude::*;
use support::{Gpu, Seeded, Shape};
use vgpu_core::device::soft::exec::{Grid, Launch, Progress};
use vgpu_core::device::soft::ptx;

/// Instructions that a damaged kernel may run: it may never end.
const BUDGET: u32 = 20_000;

/// Replaces words of a text by others of the same text, or damages single bytes.
fn mutate(text: &str, seeded: &mut Seeded, changes: u64) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // Headers stay: most of what begins with damage there is refused at once.
    let body = 12.min(lines.len() as u64 - 1);
    for _ in 0..changes {
        let at = (body + seeded.below(lines.len() as u64 - body)) as usize;
        let other = (body + seeded.below(lines.len() as u64 - body)) as usize;
        match seeded.below(6) {
            0 => lines[at] = lines[other].clone(),
            1 => lines.swap(at, other),
            2 => lines[at].clear(),
            // An operand, modifier or opcode of another line.
            3 | 4 => {
                let words: Vec<&str> =
                    lines[other].split_inclusive([' ', '\t', ',', '.', '[', ']', '+']).collect();
                let mut own: Vec<&str> =
                    lines[at].split_inclusive([' ', '\t', ',', '.', '[', ']', '+']).collect();
                if !words.is_empty() && !own.is_empty() {
                    let place = seeded.below(own.len() as u64) as usize;
                    own[place] = words[seeded.below(words.len() as u64) as usize];
                    lines[at] = own.concat();
                }
            }
            _ => {
                let mut bytes = lines[at].clone().into_bytes();
                if !bytes.is_empty() {
                    let place = seeded.below(bytes.len() as u64) as usize;
                    bytes[place] = b" 0123456789abfpr%.,;:{}[]()-+!@|$_x"[seeded.below(35) as usize];
                    lines[at] = String::from_utf8_lossy(&bytes).into_owned();
                }
            }
        }
    }
    lines.join("\n")
}

/// Runs every kernel of a text that can be loaded; gives how many ran.
fn exercise(text: &str, seeded: &mut Seeded) -> usize {
    let gpu = Gpu::new();
    let Ok(program) = gpu.load(text) else {
        return 0;
    };
    let array = gpu.zeros(4096);
    let mut ran = 0;
    for kernel in program.kernels() {
        let mut params = vec![0; kernel.params_bytes() as usize];
        for param in kernel.params() {
            let place = &mut params[param.offset_bytes as usize..][..param.size_bytes as usize];
            match place.len() {
                8 => place.copy_from_slice(&array.address.to_le_bytes()),
                length => place.copy_from_slice(&vec![seeded.below(40) as u8; length]),
            }
        }
        let shape = Shape { cooperative: true, ..support::line_shared(3, 48, 512) };
        let launch = Launch {
            kernel: kernel.clone(),
            grid: shape.grid,
            block: shape.block,
            dynamic_shared_bytes: shape.shared,
            params: params.into(),
            cooperative: shape.cooperative,
        };
        let Ok(grid) = Grid::new(launch, gpu.env()) else {
            continue;
        };
        let mut slices = 4;
        while slices > 0 && grid.run(BUDGET) == Progress::More {
            slices -= 1;
        }
        ran += 1;
    }
    ran
}

#[test]
fn damaged_fixtures_do_not_panic() {
    let (mut seeded, mut ran) = (Seeded(0x5eed), 0);
    for name in support::fixture_names() {
        let text = support::fixture(&name);
        for round in 0..120 {
            let before = seeded.0;
            let damaged = mutate(&text, &mut seeded, 1 + round % 4);
            let result = std::panic::catch_unwind(|| exercise(&damaged, &mut Seeded(before)));
            match result {
                Ok(kernels) => ran += kernels,
                Err(panic) => {
                    let path = std::env::temp_dir().join("vgpu-damaged.ptx");
                    std::fs::write(&path, &damaged).unwrap();
                    eprintln!("{name}, seed {before:#x}: text in {}", path.display());
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    // Enough of the damage must get past the loader for the test to mean something.
    assert!(ran > 1000, "{ran} kernels ran");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = ptx::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_tokens_parse_or_are_refused(
        tokens in proptest::collection::vec(
            proptest::sample::select(vec![
                ".entry", ".func", "k", "(", ")", "{", "}", ".reg", ".b32", ".pred", "%r", "<", "4", ">", ";", ",",
                "%r1", "mov", "add", ".u32", "[", "]", "+", "-", "!", "@", "bra", "L", ":", ".shared", ".align",
                "0f3F800000", "=", ".global", ".param", "|", "_", "generic", ".branchtargets", ".callprototype",
                "call", "\"x\"", "//", "\n", "0x", "1e", "1.5e+", ".version", "8.0", ".target", ".section", ".loc",
            ]),
            0..200,
        ),
    ) {
        let _ = ptx::parse(&tokens.join(" "));
    }
}
