//! `ldmatrix` and `movmatrix`: 8x8 matrices of 16-bit elements, one register per lane.

use super::super::fault::Trap;
use super::super::lanes::{FULL, LANES, lanes_of, read, write};
use super::super::machine::Machine;
use super::super::memory::{Addresses, Generic, Memory, Shared, addresses};
use super::{MatrixSpace, Party};

/// Rows of a tile, and elements of a row.
const SIDE: usize = 8;
/// Words of a row.
const ROW_WORDS: usize = 4;

/// A tile: the words of its rows, each with two elements.
type Tile = [[u32; ROW_WORDS]; SIDE];

/// What each lane gets of a tile: elements 2*(lane mod 4) and the next of row lane/4, of the tile or its transpose.
fn deal(tile: &Tile, transposed: bool) -> [u32; LANES] {
    let element = |row: usize, column: usize| tile[row][column / 2] >> (column % 2 * 16) & 0xffff;
    std::array::from_fn(|lane| {
        let (row, column) = (lane / ROW_WORDS, lane % ROW_WORDS * 2);
        if transposed {
            element(column, row) | element(column + 1, row) << 16
        } else {
            tile[row][lane % ROW_WORDS]
        }
    })
}

/// `ldmatrix`: lane `8 * t + r` says where row `r` of tile `t` lies.
pub(super) fn load(
    machine: &mut Machine<'_>,
    parties: &[Party<'_>],
    space: MatrixSpace,
    count: usize,
    transposed: bool,
) -> Result<(), Trap> {
    let mask = FULL >> (LANES - count * SIDE);
    let all = gather_addresses(machine, parties);
    // Lanes whose addresses are not asked for may hold anything in theirs.
    let asked: Addresses = std::array::from_fn(|lane| all[if mask >> lane & 1 != 0 { lane } else { 0 }]);
    let mut words = [[0; LANES]; ROW_WORDS];
    match space {
        MatrixSpace::Shared => Shared::load::<u32, ROW_WORDS>(machine, &asked, mask, &mut words)?,
        _ => Generic::load::<u32, ROW_WORDS>(machine, &asked, mask, &mut words)?,
    }
    for number in 0..count {
        let tile = std::array::from_fn(|row| words.map(|word| word[number * SIDE + row]));
        let dealt = deal(&tile, transposed);
        for party in parties {
            write(&mut machine.frames[party.depth], party.site.targets[number], party.mask, &dealt);
        }
    }
    Ok(())
}

/// `movmatrix.trans`.
pub(super) fn transpose(machine: &mut Machine<'_>, parties: &[Party<'_>]) {
    let mut tile = Tile::default();
    for party in parties {
        let held = read::<u32>(&machine.frames[party.depth], party.site.sources[0][0]);
        lanes_of(party.mask).for_each(|lane| tile[lane / ROW_WORDS][lane % ROW_WORDS] = held[lane]);
    }
    let dealt = deal(&tile, true);
    for party in parties {
        write(&mut machine.frames[party.depth], party.site.targets[0], party.mask, &dealt);
    }
}

/// The address operands of all lanes.
pub(super) fn gather_addresses(machine: &Machine<'_>, parties: &[Party<'_>]) -> Addresses {
    let mut all = [0; LANES];
    for party in parties {
        let own = addresses(&machine.frames[party.depth], party.inst, party.mask);
        lanes_of(party.mask).for_each(|lane| all[lane] = own[lane]);
    }
    all
}
