//! Bit strings: texts of the digits 0 and 1 with a mark of our own, which tells clients what the text is.
//!
//! A field flows in, and whether it holds bit strings flows out, or the other way round. Results have such columns, tables
//! do not.

use std::collections::HashMap;

use datafusion::arrow::datatypes::Field;

use crate::tables::extension_name::EXTENSION_KEY;

/// PostgreSQL's types of bit strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitKind {
    /// `bit`, of so many digits.
    Fixed,
    /// `bit varying`, of any number of digits.
    Varying,
}

impl BitKind {
    /// What a column of texts holds; `None`: no bit strings.
    pub fn of(field: &Field) -> Option<BitKind> {
        let name = field
            .extension_type_name()
            .filter(|_| field.data_type().is_string())?;
        let mut kinds = [BitKind::Fixed, BitKind::Varying].into_iter();
        kinds.find(|kind| kind.mark() == name)
    }

    /// The metadata of fields that hold it.
    pub fn marks(self) -> HashMap<String, String> {
        HashMap::from([(EXTENSION_KEY.to_owned(), self.mark().to_owned())])
    }

    /// PostgreSQL's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            BitKind::Fixed => "bit",
            BitKind::Varying => "bit varying",
        }
    }

    /// Our name of it among Arrow's.
    fn mark(self) -> &'static str {
        match self {
            BitKind::Fixed => "auspex.bit",
            BitKind::Varying => "auspex.varbit",
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn marks_are_read_as_they_are_written() {
        for kind in [BitKind::Fixed, BitKind::Varying] {
            let text = Field::new("flags", DataType::Utf8, true).with_metadata(kind.marks());
            assert_eq!(BitKind::of(&text), Some(kind));
            assert_eq!(BitKind::of(&text.with_data_type(DataType::Int32)), None);
        }
        assert_eq!(BitKind::of(&Field::new("t", DataType::Utf8, true)), None);
    }
}
