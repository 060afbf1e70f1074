//! The global and constant variables of a module, and their initial values.

use std::collections::HashMap;

use super::super::memory::AddressSpace;
use super::super::ptx::{Module, PtxError, PtxErrorKind, Space, Type, Value, Variable};
use super::decode::Linker;
use super::memory::CODE_WINDOW;
use super::program::LoadError;

/// Where a module's variables lie.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Address and bytes of the one allocation that holds them all.
    pub(super) allocation: Option<(u64, u64)>,
    /// Address and bytes by name.
    pub(super) places: HashMap<String, (u64, u64)>,
    pub(super) const_bytes: u64,
}

impl Placed {
    pub(super) fn addresses(&self) -> HashMap<String, u64> {
        self.places.iter().map(|(name, &(address, _))| (name.clone(), address)).collect()
    }
}

fn in_memory(module: &Module) -> impl Iterator<Item = &Variable> {
    module.variables.iter().filter(|variable| matches!(variable.space, Space::Global | Space::Const))
}

/// Asks for memory for all variables and gives each its address.
pub(super) fn place(
    module: &Module,
    alloc: &mut dyn FnMut(u64, u64) -> Result<u64, LoadError>,
) -> Result<Placed, LoadError> {
    let (mut placed, mut end, mut align) = (Placed::default(), 0u64, 1);
    let mut offsets = Vec::new();
    for variable in in_memory(module) {
        if variable.is_extern {
            let kind = PtxErrorKind::UnknownName(variable.name.clone());
            return Err(PtxError::new(variable.line, kind).into());
        }
        let start = end.next_multiple_of(variable.align);
        end = start.saturating_add(variable.bytes);
        align = align.max(variable.align);
        offsets.push(start);
        if variable.space == Space::Const {
            placed.const_bytes += variable.bytes;
        }
    }
    if end == 0 {
        return Ok(placed);
    }
    let base = alloc(end, align)?;
    placed.allocation = Some((base, end));
    for (variable, offset) in in_memory(module).zip(offsets) {
        placed.places.insert(variable.name.clone(), (base.wrapping_add(offset), variable.bytes));
    }
    Ok(placed)
}

/// Writes the initial values; what has none is zero as it is. Pages without a value are not touched, so that they cost
/// no memory before the module is charged for.
pub(super) fn initialise(
    module: &Module,
    placed: &Placed,
    linker: &Linker,
    memory: &AddressSpace,
) -> Result<(), LoadError> {
    let Some((base, bytes)) = placed.allocation else {
        return Ok(());
    };
    let not_mapped = LoadError::NotMapped { address: base, bytes };
    let (region, offset) = memory.find(base, bytes).ok_or(not_mapped.clone())?;
    for variable in in_memory(module).filter(|variable| !variable.values.is_empty()) {
        let mut image = Vec::new();
        for value in &variable.values {
            encode(&mut image, variable, value, linker)?;
        }
        let at = offset + (placed.places[&variable.name].0 - base);
        region.write(at, &image).map_err(|_| not_mapped.clone())?;
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, reason = "values are rounded or cut to their element's type")]
fn encode(image: &mut Vec<u8>, variable: &Variable, value: &Value, linker: &Linker) -> Result<(), PtxError> {
    let element = variable.element;
    let bits = match value {
        Value::Integer(bits) => match element {
            Type::F32 => u64::from((bits.cast_signed() as f32).to_bits()),
            Type::F64 => (bits.cast_signed() as f64).to_bits(),
            _ => *bits,
        },
        Value::Float(number) if element == Type::F32 => u64::from((*number as f32).to_bits()),
        Value::Float(number) if element == Type::F64 => number.to_bits(),
        Value::Float(_) => {
            let expected = "an integer".into();
            let kind = PtxErrorKind::Expected { expected, found: "a floating point number".into() };
            return Err(PtxError::new(variable.line, kind));
        }
        Value::Address { symbol, addend, mask, .. } => {
            let function = || linker.functions.get(symbol).map(|&index| CODE_WINDOW + u64::from(index));
            let address = linker.globals.get(symbol).copied().or_else(function);
            let address = address
                .ok_or_else(|| PtxError::new(variable.line, PtxErrorKind::UnknownName(symbol.clone())))?;
            let address = address.wrapping_add_signed(*addend);
            match mask {
                // `0xFF00(symbol)` takes the bits under the mask, moved down.
                Some(mask) => (address & mask) >> mask.trailing_zeros().min(63),
                None => address,
            }
        }
    };
    let bytes = element.bytes() as usize;
    let mut wide = [0; 16];
    wide[..8].copy_from_slice(&bits.to_le_bytes());
    image.extend_from_slice(&wide[..bytes]);
    Ok(())
}
