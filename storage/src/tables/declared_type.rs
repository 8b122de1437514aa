//! The types that columns were declared with, where their values do not tell it: `VARCHAR(n)`, `TIMESTAMP(p)`.
//!
//! A column with the notes of its log flows in, and its type flows out; a column of a domain has that of what the domain is
//! made of. Values know nothing of it.

use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::catalog::TableProvider;

use crate::catalog::schema_of;
use crate::tables::clock_digits::clock_digits;
use crate::tables::delta_scan::DeltaScan;
use crate::tables::domain_mark::domain_of;
use crate::tables::shape::TableShape;
use crate::tables::text_limits::TextLimit;

/// What a column was declared with beside the type of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclaredType {
    /// How long its texts may be.
    Text(TextLimit),
    /// The digits of its seconds.
    Clock(u8),
}

impl DeclaredType {
    /// That of a column; `None`: its values tell all.
    pub fn of(column: &Field) -> Option<DeclaredType> {
        match domain_of(column) {
            Some(domain) => {
                let base = schema_of(std::slice::from_ref(&domain.definition.column)).ok()?;
                noted(base.fields().first()?)
            }
            None => noted(column),
        }
    }
}

fn noted(column: &Field) -> Option<DeclaredType> {
    let limit = TextLimit::of_field(column).filter(|_| *column.data_type() == DataType::Utf8);
    let digits = || clock_digits(column).map(DeclaredType::Clock);
    limit.map(DeclaredType::Text).or_else(digits)
}

impl TableShape {
    /// Gives a column the type that another one was declared with.
    pub fn set_declared(&mut self, idx: usize, declared: DeclaredType) {
        match declared {
            DeclaredType::Text(limit) => self.set_text_limit(idx, Some(limit)),
            DeclaredType::Clock(digits) => self.set_clock_digits(idx, Some(digits)),
        }
    }
}

/// The columns of a managed table with what its log notes on them; `None`: the table is another one, or its files are no
/// plain ones.
pub fn noted_columns(table: &dyn TableProvider) -> Option<SchemaRef> {
    table.downcast_ref::<DeltaScan>().map(DeltaScan::noted)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Schema, TimeUnit};

    use super::*;

    #[test]
    fn notes_tell_the_type_of_what_they_fit() {
        let limit = TextLimit {
            is_fixed: true,
            length: Some(3),
        };
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        let schema = Schema::new(vec![
            Field::new("c", DataType::Utf8, true),
            Field::new("at", moment, true),
            Field::new("plain", DataType::Utf8, true),
        ]);
        let mut shape = TableShape::new(&schema);
        shape.set_declared(0, DeclaredType::Text(limit));
        shape.set_declared(1, DeclaredType::Clock(0));
        let declared = |idx: usize| DeclaredType::of(&shape.columns()[idx]);
        assert_eq!(declared(0), Some(DeclaredType::Text(limit)));
        assert_eq!(declared(1), Some(DeclaredType::Clock(0)));
        assert_eq!(declared(2), None);
        // Another engine made it a column of numbers.
        let column = shape.columns()[0].as_ref().clone();
        let column = column.with_data_type(DataType::Int32);
        assert_eq!(DeclaredType::of(&column), None);
    }
}
