//! The cells of VALUES whose meaning is plain: literals and arrays of them, and parameters, with casts that say what the column says.
//!
//! In: a syntax tree and the column that it is for; out: its value or its parameter, or nothing where the planner must say what it means
//! or what is wrong with it.

use std::sync::Arc;

use auspex_storage::marks_of;
use datafusion::arrow::array::{Array as _, ListArray, new_empty_array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::sql::sqlparser::ast::{DataType as Written, Expr, UnaryOperator, Value};

use super::own_casts::{is_numeric, is_own, whole, within_casts};
use super::plain_literals::plain_value;
use super::typed_values::is_declared;
use crate::constants::text_of;
use crate::functions::read_text;
use crate::logical::GivenCell;

/// The type of a numeric that tells no digits.
const NUMERIC: DataType = DataType::Decimal128(38, 10);

/// A numeric of so many digits is not rounded by a cast to one that tells none.
const SURE_NUMERIC: DataType = DataType::Decimal128(37, 9);

/// A column of VALUES.
pub(super) struct CellColumn<'a> {
    column: &'a Field,
    /// The casts around all of its cells, the outermost first.
    around: &'a [&'a Written],
    /// What a parameter is that has no type of its own; `None`: that is not plain.
    open: Option<FieldRef>,
    /// Whether the planner must say what texts without a type are among these cells.
    is_mixed: bool,
    /// The time zone of the clock on which moments are read.
    zone: &'a str,
}

impl<'a> CellColumn<'a> {
    /// A column of these cells.
    pub(super) fn new(
        column: &'a Field,
        around: &'a [&'a Written],
        zone: &'a str,
        cells: impl Iterator<Item = &'a Expr> + Clone,
    ) -> CellColumn<'a> {
        CellColumn {
            column,
            around,
            is_mixed: !around.is_empty() && are_mixed(cells.clone(), column),
            open: open_field(cells, around, column),
            zone,
        }
    }

    /// One of its cells.
    pub(super) fn plain_cell(&self, expr: &Expr) -> Option<GivenCell> {
        let (inner, casts) = within_casts(expr);
        let Some(name) = parameter_name(inner) else {
            if self.is_mixed && casts.is_empty() && text_of(inner).is_some() {
                return None;
            }
            let value = literal(expr, self.around, self.column, self.zone);
            return value.map(GivenCell::Value);
        };
        let field = match casts.is_empty() {
            // Without a cast although it is declared, it is a numeric.
            true if is_declared(inner) && !self.column.data_type().is_numeric() => return None,
            true => self.open.clone()?,
            false => parameter_field(&joined(self.around, &casts), self.column)?,
        };
        let parameter = Placeholder::new_with_field(name.to_owned(), Some(field));
        Some(GivenCell::Parameter(parameter))
    }
}

/// What a parameter without a type of its own is: of the column's type, or where casts are around all cells, which are those of a
/// query, of the type that the others have, else a text.
fn open_field<'a>(
    cells: impl Iterator<Item = &'a Expr>,
    around: &[&Written],
    column: &Field,
) -> Option<FieldRef> {
    if around.is_empty() || *column.data_type() == DataType::Utf8 && marks_of(column).is_empty() {
        return parameter_field(&[], column);
    }
    let mut common: Option<FieldRef> = None;
    for cell in cells {
        let (inner, casts) = within_casts(cell);
        let is_parameter = parameter_name(inner).is_some();
        if casts.is_empty() && (is_parameter || is_null(inner)) {
            continue;
        }
        // A literal would tell a type, too.
        let field = is_parameter.then(|| parameter_field(&joined(around, &casts), column))??;
        common = Some(match common {
            Some(known) => wider(known, field)?,
            None => field,
        });
    }
    common
}

/// Whether texts without a type stand among cells of a query that have another type than the column: they are read as values of that
/// one, before the query casts them.
fn are_mixed<'a>(mut cells: impl Iterator<Item = &'a Expr> + Clone, column: &Field) -> bool {
    let is_text = |cell: &Expr| {
        let (inner, casts) = within_casts(cell);
        casts.is_empty() && text_of(inner).is_some()
    };
    let is_other = |cell: &Expr| {
        let (inner, casts) = within_casts(cell);
        match casts.first() {
            Some(cast) => !is_own(cast, column),
            None => {
                let is_open = is_null(inner) || parameter_name(inner).is_some();
                !is_open && text_of(inner).is_none()
            }
        }
    };
    cells.clone().any(is_text) && cells.any(is_other)
}

/// The type that values of two types have in common, if that is one of them.
fn wider(one: FieldRef, other: FieldRef) -> Option<FieldRef> {
    if one == other {
        return Some(one);
    }
    let (first, second) = (one.data_type(), other.data_type());
    let are_whole = first.is_signed_integer() && second.is_signed_integer();
    let is_wider = first.primitive_width() > second.primitive_width();
    are_whole.then_some(if is_wider { one } else { other })
}

fn joined<'a>(around: &[&'a Written], casts: &[&'a Written]) -> Vec<&'a Written> {
    around.iter().chain(casts).copied().collect()
}

/// The type that the cells of a column have in common; `None`: not all of them can be of one.
pub(super) fn given_type(cells: &[GivenCell], column: &Field) -> Option<DataType> {
    let is_wide = |cell: &GivenCell| match cell {
        GivenCell::Parameter(parameter) => {
            let field = parameter.field.as_ref();
            field.is_some_and(|field| *field.data_type() == NUMERIC)
        }
        GivenCell::Value(_) => false,
    };
    let own = column.data_type();
    match own {
        DataType::Decimal128(precision, scale) if cells.iter().any(is_wide) => {
            let is_held = *scale <= 10 && i16::from(*precision) - i16::from(*scale) <= 28;
            is_held.then_some(NUMERIC)
        }
        own => Some(own.clone()),
    }
}

fn parameter_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// A parameter within casts, if each of its values is one of the column: of the column's type, or of a narrower one.
fn parameter_field(casts: &[&Written], column: &Field) -> Option<FieldRef> {
    let plain = |data_type: DataType| Arc::new(Field::new("value", data_type, true));
    let own = column.data_type();
    if casts.iter().all(|written| is_own(written, column)) {
        let field = Field::new("value", own.clone(), true);
        return Some(Arc::new(field.with_metadata(marks_of(column))));
    }
    let innermost = casts.last()?;
    match own {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let given = whole(innermost)?;
            let holds = |wide: &DataType| wide.primitive_width() >= given.primitive_width();
            let through = |written: &&Written| whole(written).is_some_and(|wide| holds(&wide));
            (holds(own) && casts.iter().all(through)).then(|| plain(given.clone()))
        }
        DataType::Decimal128(..) => {
            let keeps = |written: &&Written| is_numeric(written) || is_own(written, column);
            (is_numeric(innermost) && casts.iter().all(keeps)).then(|| plain(NUMERIC))
        }
        _ => None,
    }
}

/// The value of a literal within casts, each of which takes it as it is.
fn literal(expr: &Expr, around: &[&Written], column: &Field, zone: &str) -> Option<ScalarValue> {
    let (inner, casts) = within_casts(expr);
    let casts = joined(around, &casts);
    let value = match inner {
        // What is cast in `-1::int` is the number without its sign.
        Expr::UnaryOp {
            op: op @ UnaryOperator::Minus,
            expr: operand,
        } => {
            let (number, within) = within_casts(operand);
            if !within.is_empty() {
                cast_literal(number, &within, column, zone)?;
            }
            let mut all = casts;
            all.extend(&within);
            let negative = Expr::UnaryOp {
                op: *op,
                expr: Box::new(number.clone()),
            };
            cast_literal(&negative, &all, column, zone)?
        }
        inner => cast_literal(inner, &casts, column, zone)?,
    };
    (value.data_type() == *column.data_type()).then_some(value)
}

/// The value of what stands within casts.
fn cast_literal(
    expr: &Expr,
    casts: &[&Written],
    column: &Field,
    zone: &str,
) -> Option<ScalarValue> {
    let is_kept = |written: &&Written| is_own(written, column) || keeps(expr, written, column);
    match casts.iter().all(is_kept) {
        true => bare_literal(expr, !casts.is_empty(), column, zone),
        false => None,
    }
}

/// Whether a cast of a number to another type than the column's leaves it what it is for the column.
fn keeps(number: &Expr, written: &Written, column: &Field) -> bool {
    let to = column.data_type();
    let between = match whole(written) {
        Some(whole) if to.is_signed_integer() || matches!(to, DataType::Decimal128(..)) => whole,
        None if is_numeric(written) && matches!(to, DataType::Decimal128(..)) => SURE_NUMERIC,
        _ => return false,
    };
    plain_value(number, &Field::new("", between, true)).is_some()
}

fn bare_literal(expr: &Expr, is_cast: bool, column: &Field, zone: &str) -> Option<ScalarValue> {
    let data_type = column.data_type();
    if is_null(expr) {
        return ScalarValue::try_from(data_type).ok();
    }
    let read = |text: &str| read_text(text, data_type, zone).ok();
    match data_type {
        DataType::Time64(_) | DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            text_of(expr).filter(|text| is_no_word(text)).and_then(read)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) | DataType::Binary => {
            text_of(expr).and_then(read)
        }
        DataType::Boolean if text_of(expr).is_some() => text_of(expr).and_then(read),
        DataType::List(item) if marks_of(column).is_empty() && !item.data_type().is_nested() => {
            match text_of(expr) {
                // A word in it may mean the statement's time.
                Some(_) if item.data_type().is_temporal() => None,
                Some(text) => read(text),
                None => array(expr, is_cast, item, zone),
            }
        }
        // Texts are read as json, uuids and labels where they are assigned.
        data_type => plain_value(expr, &Field::new("", data_type.clone(), true)),
    }
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == Value::Null)
}

/// Whether a text is none of the words that mean the statement's time.
fn is_no_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// The value of `ARRAY[…]` of literals. Without a cast, texts alone are an array of texts, which no column of others takes, and texts
/// among others are values of the type of these, which may be narrower than the column's.
fn array(expr: &Expr, is_cast: bool, item: &FieldRef, zone: &str) -> Option<ScalarValue> {
    let Expr::Array(array) = expr else {
        return None;
    };
    let is_text = |element: &Expr| text_of(element).is_some();
    let is_texts = *item.data_type() == DataType::Utf8 && !array.elem.is_empty();
    let has_texts = array.elem.iter().any(is_text);
    let tells = is_cast || is_texts || !has_texts && !array.elem.iter().all(is_null);
    if !array.named || !tells {
        return None;
    }
    let element = Field::new("", item.data_type().clone(), true);
    let values = array.elem.iter();
    let values = values.map(|value| literal(value, &[], &element, zone));
    let values = values.collect::<Option<Vec<ScalarValue>>>()?;
    let values = match values.is_empty() {
        true => new_empty_array(item.data_type()),
        false => ScalarValue::iter_to_array(values).ok()?,
    };
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    let list = ListArray::try_new(Arc::clone(item), offsets, values, None).ok()?;
    Some(ScalarValue::List(Arc::new(list)))
}

#[cfg(test)]
mod tests {
    use auspex_storage::uuid_marks;

    use super::*;
    use crate::bind::parse_expr;

    fn cell(text: &str, data_type: DataType) -> Option<GivenCell> {
        let column = Field::new("x", data_type, true);
        let expr = parse_expr(text).unwrap();
        CellColumn::new(&column, &[], "Europe/Berlin", [&expr].into_iter()).plain_cell(&expr)
    }

    fn read(text: &str, data_type: DataType) -> Option<String> {
        match cell(text, data_type)? {
            GivenCell::Value(value) => Some(value.to_string()),
            GivenCell::Parameter(parameter) => {
                panic!("{text} is {parameter:?}")
            }
        }
    }

    fn parameter(text: &str, column: &Field) -> Option<DataType> {
        let expr = parse_expr(text).unwrap();
        let cells = CellColumn::new(column, &[], "UTC", [&expr].into_iter());
        match cells.plain_cell(&expr)? {
            GivenCell::Parameter(parameter) => Some(parameter.field.unwrap().data_type().clone()),
            GivenCell::Value(value) => panic!("{text} is {value}"),
        }
    }

    fn list(item: DataType) -> DataType {
        DataType::new_list(item, true)
    }

    fn moment() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    }

    const DECIMAL: DataType = DataType::Decimal128(5, 2);

    #[test]
    fn literals_in_casts_are_read() {
        for (text, data_type, expected) in [
            ("'x'::varchar", DataType::Utf8, "x"),
            ("NULL::integer", DataType::Int32, "NULL"),
            ("5::integer", DataType::Int64, "5"),
            ("-5::integer", DataType::Int64, "-5"),
            ("(-32768)::smallint", DataType::Int16, "-32768"),
            ("'t'", DataType::Boolean, "true"),
            ("ARRAY['a', 'b''']", list(DataType::Utf8), "[a, b']"),
            ("ARRAY[1, -2]", list(DataType::Int32), "[1, -2]"),
            ("ARRAY['1']::bigint[]", list(DataType::Int64), "[1]"),
            ("ARRAY[]::integer[]", list(DataType::Int32), "[]"),
            ("'{1,2}'", list(DataType::Int32), "[1, 2]"),
        ] {
            assert_eq!(read(text, data_type).as_deref(), Some(expected), "{text}");
        }
        for text in ["-1.5::numeric", "CAST(-1.5 AS numeric(5, 2))", "(-1.5)"] {
            let expected = GivenCell::Value(ScalarValue::Decimal128(Some(-150), 5, 2));
            assert_eq!(cell(text, DECIMAL), Some(expected), "{text}");
        }
        let at = |micros| ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
        for (text, micros) in [
            (
                "'2026-01-31T12:00:00.5+00:00'::timestamptz",
                1_769_860_800_500_000,
            ),
            ("'2026-01-31 12:00:00.5'", 1_769_857_200_500_000),
        ] {
            let expected = GivenCell::Value(at(micros));
            assert_eq!(cell(text, moment()), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_the_planner_must_read_is_left_to_it() {
        for (text, data_type) in [
            ("32768::smallint", DataType::Int64),
            ("-32768::smallint", DataType::Int16),
            ("1.5::integer", DataType::Int32),
            ("'5'::text", DataType::Int32),
            ("'x'::varchar(3)", DataType::Utf8),
            ("1.005::numeric", DECIMAL),
            ("0.12345678901::numeric", DataType::Decimal128(20, 12)),
            ("1000::numeric", DECIMAL),
            ("'now'", moment()),
            ("'2026-02-30'", moment()),
            ("'{now}'", list(moment())),
            ("'\\x6'", DataType::Binary),
            ("ARRAY['1']", list(DataType::Int32)),
            ("ARRAY['9999999999', 1]", list(DataType::Int64)),
            ("ARRAY[NULL]", list(DataType::Int32)),
            ("ARRAY[]", list(DataType::Utf8)),
            ("ARRAY[1.5]", list(DataType::Int32)),
            ("ARRAY[1]", list(DataType::Utf8)),
            ("ARRAY[[1]]", list(list(DataType::Int32))),
            ("upper('x')", DataType::Utf8),
            ("$1 + 1", DataType::Int32),
        ] {
            assert_eq!(cell(text, data_type), None, "{text}");
        }
    }

    #[test]
    fn parameters_have_types_that_their_columns_hold() {
        for (text, data_type, expected) in [
            ("$1", DataType::Utf8, DataType::Utf8),
            ("$1::varchar", DataType::Utf8, DataType::Utf8),
            ("$1::smallint", DataType::Int64, DataType::Int16),
            (
                "CAST(CAST($1 AS smallint) AS integer)",
                DataType::Int64,
                DataType::Int16,
            ),
            ("$1::numeric", DECIMAL, NUMERIC),
            ("CAST($1 AS numeric)::numeric(5, 2)", DECIMAL, NUMERIC),
            ("$1::numeric(5, 2)", DECIMAL, DECIMAL),
        ] {
            let column = Field::new("x", data_type, true);
            assert_eq!(parameter(text, &column), Some(expected), "{text}");
        }
        for (text, data_type) in [
            ("$1::bigint", DataType::Int32),
            ("CAST(CAST($1 AS bigint) AS integer)", DataType::Int64),
            ("$1::text", DataType::Int32),
            ("$1::double precision", DECIMAL),
        ] {
            let column = Field::new("x", data_type, true);
            assert_eq!(parameter(text, &column), None, "{text}");
        }
        let uuid = Field::new("x", DataType::Utf8, true).with_metadata(uuid_marks());
        assert_eq!(parameter("$1", &uuid), Some(DataType::Utf8));
        assert_eq!(parameter("$1::uuid", &uuid), Some(DataType::Utf8));
        assert_eq!(parameter("$1::text", &uuid), None);
    }

    #[test]
    fn parameters_of_a_query_are_what_stands_beside_them() {
        let column = Field::new("x", DataType::Int64, true);
        let around = parse_expr("p::bigint").unwrap();
        let (_, around) = within_casts(&around);
        let open = |cells: &[&str]| {
            let cells = cells.iter().map(|cell| parse_expr(cell).unwrap());
            let cells: Vec<Expr> = cells.collect();
            let column = CellColumn::new(&column, &around, "UTC", cells.iter());
            column.open.map(|field| field.data_type().clone())
        };
        assert_eq!(open(&["$1", "$2::smallint", "NULL"]), Some(DataType::Int16));
        let mixed = ["$1::integer", "$2::smallint", "$3"];
        assert_eq!(open(&mixed), Some(DataType::Int32));
        assert_eq!(open(&["$1", "$2"]), None);
        assert_eq!(open(&["$1::smallint", "$2", "5"]), None);
        assert_eq!(open(&["$1::text", "$2"]), None);
    }

    #[test]
    fn texts_of_a_query_beside_others_are_left_to_the_planner() {
        let column = Field::new("x", DataType::Int64, true);
        let around = parse_expr("p::bigint").unwrap();
        let (_, around) = within_casts(&around);
        let read = |around: &[&Written], cells: &[&str]| {
            let cells = cells.iter().map(|cell| parse_expr(cell).unwrap());
            let cells: Vec<Expr> = cells.collect();
            let column = CellColumn::new(&column, around, "UTC", cells.iter());
            let read = cells.iter().map(|cell| column.plain_cell(cell).is_some());
            read.collect::<Vec<bool>>()
        };
        assert_eq!(read(&around, &["'99999999999'", "5"]), [false, true]);
        assert_eq!(read(&around, &["'5'", "5::integer"]), [false, true]);
        for cells in [["'99999999999'", "NULL"], ["'99999999999'", "5::bigint"]] {
            assert_eq!(read(&around, &cells), [true, true], "{cells:?}");
        }
        assert_eq!(read(&[], &["'99999999999'", "5"]), [true, true]);
    }

    #[test]
    fn numerics_without_digits_are_what_their_column_is_given() {
        let column = Field::new("x", DECIMAL, true);
        let cells = ["$1::numeric", "$2", "NULL"].map(|text| cell(text, DECIMAL).unwrap());
        assert_eq!(given_type(&cells, &column), Some(NUMERIC));
        assert_eq!(given_type(&cells[1..], &column), Some(DECIMAL));
        let wide = Field::new("x", DataType::Decimal128(38, 20), true);
        assert_eq!(given_type(&cells, &wide), None);
    }
}
