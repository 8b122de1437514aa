//! Clocks whose seconds have so many digits: `TIMESTAMP(p)`, `TIMESTAMPTZ(p)`, `TIME(p)` and `INTERVAL(p)`.
//!
//! A definition flows in and becomes a note of a column, and the other way round. Nothing here rounds: values are rounded
//! where they are assigned, before a table sees them.

use datafusion::arrow::datatypes::{DataType, Field};

use crate::tables::shape::TableShape;

/// Where a column keeps the digits that it was declared with.
const NOTE: &str = "auspex.precision";

/// The digits that the seconds of a column were declared with; none where another engine made it one of another type.
pub fn clock_digits(column: &Field) -> Option<u8> {
    let is_clock = matches!(
        column.data_type(),
        DataType::Timestamp(..) | DataType::Time64(_) | DataType::Interval(_)
    );
    let note = column.metadata().get(NOTE).filter(|_| is_clock)?;
    note.parse().ok()
}

/// The name of a type with the digits where PostgreSQL has them: `timestamp(3) without time zone`.
pub fn with_clock_digits(type_name: &str, digits: u8) -> String {
    match type_name.split_once(' ') {
        Some((first, rest)) => format!("{first}({digits}) {rest}"),
        None => format!("{type_name}({digits})"),
    }
}

impl TableShape {
    /// Sets or removes the digits that a column's seconds have.
    pub fn set_clock_digits(&mut self, idx: usize, digits: Option<u8>) {
        let note = digits.map(|digits| digits.to_string());
        self.set_note(idx, NOTE, note.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Schema, TimeUnit};

    use super::*;

    #[test]
    fn digits_are_a_note_of_the_column() {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        let schema = Schema::new(vec![Field::new("at", moment, true)]);
        let mut shape = TableShape::new(&schema);
        assert_eq!(clock_digits(&shape.columns()[0]), None);
        shape.set_clock_digits(0, Some(0));
        assert_eq!(clock_digits(&shape.columns()[0]), Some(0));
        assert_eq!(shape.schema().as_ref(), &schema);
        let text = shape.columns()[0].as_ref().clone();
        assert_eq!(clock_digits(&text.with_data_type(DataType::Utf8)), None);
        shape.set_clock_digits(0, None);
        assert_eq!(clock_digits(&shape.columns()[0]), None);
    }

    #[test]
    fn digits_stand_behind_the_first_word() {
        let timestamp = with_clock_digits("timestamp with time zone", 3);
        assert_eq!(timestamp, "timestamp(3) with time zone");
        assert_eq!(with_clock_digits("interval", 0), "interval(0)");
    }
}
