//! The parts of a state that are kept in memory or on disk each for itself.
//!
//! In: the vectors of a section; out: their bytes in a file, and back, to the bit. Knows nothing of what
//! the vectors mean.

use std::fs::File;

use datafusion::arrow::datatypes::ToByteSlice;

use super::spill::read_vec;
use crate::error::Result;

/// A vector of a section.
pub enum Values<'a> {
    /// Bytes.
    U8(&'a mut Vec<u8>),
    /// Numbers of two bytes.
    U16(&'a mut Vec<u16>),
    /// Numbers of four bytes.
    U32(&'a mut Vec<u32>),
    /// Numbers of eight bytes.
    U64(&'a mut Vec<u64>),
    /// Numbers in single precision.
    F32(&'a mut Vec<f32>),
    /// Numbers in double precision.
    F64(&'a mut Vec<f64>),
}

impl Values<'_> {
    /// The values as they are written.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Values::U8(values) => values.as_slice(),
            Values::U16(values) => values.to_byte_slice(),
            Values::U32(values) => values.to_byte_slice(),
            Values::U64(values) => values.to_byte_slice(),
            Values::F32(values) => values.to_byte_slice(),
            Values::F64(values) => values.to_byte_slice(),
        }
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        match self {
            Values::U8(values) => values.len(),
            Values::U16(values) => values.len(),
            Values::U32(values) => values.len(),
            Values::U64(values) => values.len(),
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
        }
    }

    /// Gives up the values and their memory.
    pub(super) fn clear(&mut self) {
        match self {
            Values::U8(values) => **values = Vec::new(),
            Values::U16(values) => **values = Vec::new(),
            Values::U32(values) => **values = Vec::new(),
            Values::U64(values) => **values = Vec::new(),
            Values::F32(values) => **values = Vec::new(),
            Values::F64(values) => **values = Vec::new(),
        }
    }

    /// Reads as many values from where the file stands.
    pub(super) fn read(&mut self, file: &mut File, len: usize) -> Result<()> {
        match self {
            Values::U8(values) => **values = read_vec(file, len)?,
            Values::U16(values) => **values = read_vec(file, len)?,
            Values::U32(values) => **values = read_vec(file, len)?,
            Values::U64(values) => **values = read_vec(file, len)?,
            Values::F32(values) => **values = read_vec(file, len)?,
            Values::F64(values) => **values = read_vec(file, len)?,
        }
        Ok(())
    }
}

/// Size of a section in memory.
pub(crate) fn section_bytes(section: &[Values<'_>]) -> usize {
    section.iter().map(|values| values.bytes().len()).sum()
}
