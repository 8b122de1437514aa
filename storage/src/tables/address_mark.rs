//! Columns of network addresses: texts with a mark of our own, which tells clients what the text is.
//!
//! A field flows in, and which addresses it holds flows out, or the other way round; and an address as it is stored, as
//! PostgreSQL shows it. Kept as the mark of uuids is (see `uuid_mark`). Each address has one text, so that equal texts are equal
//! addresses: an `inet` has its mask also where all its bits count, as a `cidr` has it anyway.

use std::collections::HashMap;

use datafusion::arrow::datatypes::Field;

use crate::tables::extension_name::EXTENSION_KEY;
use crate::tables::uuid_mark::marked_element;

/// PostgreSQL's types of network addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressKind {
    /// `inet`, an address and its mask.
    Inet,
    /// `cidr`, a network, whose address has no bits beyond its mask.
    Cidr,
}

impl AddressKind {
    /// All of them.
    pub const ALL: [AddressKind; 2] = [AddressKind::Inet, AddressKind::Cidr];

    /// What a column of texts holds; `None`: no addresses, or arrays of them.
    pub fn of(field: &Field) -> Option<AddressKind> {
        let name = field
            .extension_type_name()
            .filter(|_| field.data_type().is_string())?;
        let mut kinds = AddressKind::ALL.into_iter();
        kinds.find(|kind| kind.mark() == name)
    }

    /// The same of a column of addresses or of arrays of them.
    pub fn of_elements(field: &Field) -> Option<AddressKind> {
        match marked_element(field) {
            Some(element) => AddressKind::of(&element),
            None => AddressKind::of(field),
        }
    }

    /// The type that PostgreSQL has under a name.
    pub fn named(name: &str) -> Option<AddressKind> {
        let mut kinds = AddressKind::ALL.into_iter();
        kinds.find(|kind| kind.name() == name)
    }

    /// The metadata of fields that hold it.
    pub fn marks(self) -> HashMap<String, String> {
        HashMap::from([(EXTENSION_KEY.to_owned(), self.mark().to_owned())])
    }

    /// PostgreSQL's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            AddressKind::Inet => "inet",
            AddressKind::Cidr => "cidr",
        }
    }

    /// Our name of it among Arrow's.
    fn mark(self) -> &'static str {
        match self {
            AddressKind::Inet => "auspex.inet",
            AddressKind::Cidr => "auspex.cidr",
        }
    }

    /// A stored address as PostgreSQL shows it: an `inet` without a mask of all bits.
    pub fn shown(self, stored: &str) -> &str {
        let whole = if stored.contains(':') { "/128" } else { "/32" };
        match self {
            AddressKind::Inet => stored.strip_suffix(whole).unwrap_or(stored),
            AddressKind::Cidr => stored,
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn marks_are_read_as_they_are_written() {
        for kind in AddressKind::ALL {
            let text = Field::new("ip", DataType::Utf8, true).with_metadata(kind.marks());
            assert_eq!(AddressKind::of(&text), Some(kind));
            assert_eq!(AddressKind::named(kind.name()), Some(kind));
            let texts = DataType::new_list(DataType::Utf8, true);
            let array = text.clone().with_data_type(texts);
            assert_eq!(AddressKind::of(&array), None);
            assert_eq!(AddressKind::of_elements(&array), Some(kind));
            assert_eq!(AddressKind::of(&text.with_data_type(DataType::Int32)), None);
        }
    }

    #[test]
    fn masks_of_all_bits_are_shown_of_networks_alone() {
        for (kind, stored, shown) in [
            (AddressKind::Inet, "10.0.0.1/32", "10.0.0.1"),
            (AddressKind::Inet, "10.0.0.1/8", "10.0.0.1/8"),
            (AddressKind::Inet, "::1/128", "::1"),
            (AddressKind::Inet, "::/32", "::/32"),
            (AddressKind::Cidr, "10.0.0.1/32", "10.0.0.1/32"),
        ] {
            assert_eq!(kind.shown(stored), shown);
        }
    }
}
