//! Quoted moments beside what is a day so far: the planner takes CASE and UNION for what their first branch is, and the
//! branches are a day and a moment, which together are a moment.
//!
//! In: a literal that is read as a day beside such a value; out: the same with a note. Once branches have their common type:
//! an operation in, and out with the literal read as the moment that it says.

use std::collections::BTreeMap;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{ExprSchema, ScalarValue};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _};

/// Where the note stands beside the text.
const DAY_KEY: &str = "auspex.beside_day";

/// A literal read as a value of the type that stands beside it, with a note if that cut off the time of a day.
pub(crate) fn noted_day(mut read: Cast) -> Cast {
    let is_of_day = |c: char| c.is_ascii_digit() || c == '-';
    if let Expr::Literal(ScalarValue::Utf8(Some(text)), notes @ None) = read.expr.as_mut()
        && *read.field.data_type() == DataType::Date32
        && !text.chars().all(is_of_day)
    {
        let note = BTreeMap::from([(DAY_KEY.to_owned(), String::new())]);
        *notes = Some(FieldMetadata::new(note));
    }
    read
}

/// An operation whose literal was read as a day beside what is a moment now, with the moment that the literal says.
pub(crate) fn with_moment(mut expr: Expr, seen: &dyn ExprSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(binary) = &mut expr else {
        return Transformed::no(expr);
    };
    let texts = (text_of(&binary.left), text_of(&binary.right));
    let (literal, text, other) = match texts {
        (Some(text), None) => (&mut binary.left, text, &binary.right),
        (None, Some(text)) => (&mut binary.right, text, &binary.left),
        _ => return Transformed::no(expr),
    };
    let Ok(moment @ DataType::Timestamp(..)) = other.get_type(seen) else {
        return Transformed::no(expr);
    };
    let text = Expr::Literal(ScalarValue::Utf8(Some(text)), None);
    **literal = Expr::Cast(Cast::new(Box::new(text), moment));
    Transformed::yes(expr)
}

/// The text of a literal with a note.
fn text_of(expr: &Expr) -> Option<String> {
    let Expr::Cast(read) = expr else {
        return None;
    };
    match read.expr.as_ref() {
        Expr::Literal(ScalarValue::Utf8(Some(text)), Some(notes)) => {
            let is_noted = notes.inner().contains_key(DAY_KEY);
            is_noted.then(|| text.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema, TimeUnit};
    use datafusion::common::DFSchema;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn seen(data_type: DataType) -> DFSchema {
        DFSchema::try_from(Schema::new(vec![Field::new("x", data_type, true)])).unwrap()
    }

    fn read(text: &str) -> Expr {
        Expr::Cast(noted_day(Cast::new(Box::new(lit(text)), DataType::Date32)))
    }

    #[test]
    fn moments_beside_moments_are_read_anew() {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        let expected = Expr::Cast(Cast::new(Box::new(lit("2024-01-01 10:00")), moment.clone()));
        let found = with_moment(col("x").eq(read("2024-01-01 10:00")), &seen(moment.clone()));
        assert_eq!(found.data, col("x").eq(expected.clone()));
        let found = with_moment(read("2024-01-01 10:00").lt(col("x")), &seen(moment));
        assert_eq!(found.data, expected.lt(col("x")));
    }

    #[test]
    fn days_and_casts_of_the_statement_stay() {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert!(!with_moment(col("x").eq(read("2024-01-01")), &seen(moment.clone())).transformed);
        let days = seen(DataType::Date32);
        assert!(!with_moment(col("x").eq(read("2024-01-01 10:00")), &days).transformed);
        let own = Expr::Cast(Cast::new(
            Box::new(lit("2024-01-01 10:00")),
            DataType::Date32,
        ));
        assert!(!with_moment(col("x").eq(own), &seen(moment)).transformed);
    }
}
