//! The cells of VALUES whose meaning is plain: literals and arrays of them, and parameters, with casts that say what the column says.
//!
//! In: a syntax tree and the column that it is for; out: its value or its parameter, or nothing where the planner must say what it means
//! or what is wrong with it. What casts to other types make of a parameter is for `cast_parameters` to say.

use std::sync::Arc;

use auspex_storage::marks_of;
use datafusion::arrow::array::{Array as _, ListArray, new_empty_array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::sql::sqlparser::ast::{DataType as Written, Expr, UnaryOperator, Value};

use super::own_casts::{
    is_built_in, is_exact, is_numeric, is_own, is_untyped, whole, within_casts,
};
use super::plain_literals::plain_value;
use super::typed_values::is_declared;
use crate::constants::text_of;
use crate::functions::read_text;
use crate::logical::GivenCell;

/// A numeric of so many digits is not rounded by a cast to one that tells none.
const SURE_NUMERIC: DataType = DataType::Decimal128(37, 9);

/// What a cell is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PlainCell<'a> {
    /// A value of the column's type, or a parameter of it.
    Own(GivenCell),
    /// A parameter within casts of which not all are to the column's type, the outermost first.
    Cast(&'a str, Vec<&'a Written>),
}

/// A column of VALUES.
pub(super) struct CellColumn<'a> {
    column: &'a Field,
    /// The casts around all of its cells, the outermost first.
    around: &'a [&'a Written],
    /// What a parameter is that has no type of its own.
    open: Open<'a>,
    /// Whether no cell becomes another value because of the type that the cells of a query have in common.
    is_uniform: bool,
    /// Whether the planner must say what texts without a type are among these cells.
    is_mixed: bool,
    /// The time zone of the clock on which moments are read.
    zone: &'a str,
}

/// What a parameter without a type of its own is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Open<'a> {
    /// One of the column's type.
    Own,
    /// One of the type that the cells beside it have.
    As(&'a Written),
    /// What the planner says.
    Unknown,
}

impl<'a> CellColumn<'a> {
    /// A column of these cells.
    pub(super) fn new(
        column: &'a Field,
        around: &'a [&'a Written],
        zone: &'a str,
        cells: impl Iterator<Item = &'a Expr> + Clone,
    ) -> CellColumn<'a> {
        let is_query = !around.is_empty();
        CellColumn {
            column,
            around,
            is_mixed: is_query && are_mixed(cells.clone(), column),
            is_uniform: !is_query || are_uniform(cells.clone()),
            open: match is_query {
                true => open_of_query(cells, column),
                false => Open::Own,
            },
            zone,
        }
    }

    /// One of its cells.
    pub(super) fn plain_cell(&self, expr: &'a Expr) -> Option<PlainCell<'a>> {
        let (inner, casts) = within_casts(expr);
        let Some(name) = parameter_name(inner) else {
            if self.is_mixed && casts.is_empty() && text_of(inner).is_some() {
                return None;
            }
            let value = literal(expr, self.around, self.column, self.zone)?;
            return Some(PlainCell::Own(GivenCell::Value(value)));
        };
        let casts = match (casts.is_empty(), self.open) {
            // Without a cast although it is declared, it is a numeric.
            (true, _) if is_declared(inner) && !self.column.data_type().is_numeric() => {
                return None;
            }
            (true, Open::Own) => Vec::new(),
            (true, Open::As(written)) => joined(self.around, &[written]),
            (true, Open::Unknown) => return None,
            (false, _) => joined(self.around, &casts),
        };
        if casts.iter().all(|written| is_own(written, self.column)) {
            return Some(PlainCell::Own(own_parameter(name, self.column)));
        }
        let is_plain = self.is_uniform && casts.iter().all(|written| is_built_in(written));
        is_plain.then_some(PlainCell::Cast(name, casts))
    }
}

/// A parameter of the column's type.
fn own_parameter(name: &str, column: &Field) -> GivenCell {
    let field = Field::new("value", column.data_type().clone(), true);
    let field: FieldRef = Arc::new(field.with_metadata(marks_of(column)));
    GivenCell::Parameter(Placeholder::new_with_field(name.to_owned(), Some(field)))
}

/// What a parameter without a type of its own is among the cells of a query: of the type that the others have, else a text.
fn open_of_query<'a>(cells: impl Iterator<Item = &'a Expr>, column: &Field) -> Open<'a> {
    let mut common: Option<&Written> = None;
    for cell in cells {
        let (inner, casts) = within_casts(cell);
        if casts.is_empty() && is_untyped(inner) {
            continue;
        }
        // A number would tell a type, too.
        let Some(cast) = casts.first().copied() else {
            return Open::Unknown;
        };
        let Some(wider) = wider_of(common.unwrap_or(cast), cast) else {
            return Open::Unknown;
        };
        common = Some(wider);
    }
    let is_text = *column.data_type() == DataType::Utf8 && marks_of(column).is_empty();
    match common {
        Some(common) => Open::As(common),
        None if is_text => Open::Own,
        None => Open::Unknown,
    }
}

/// Whether the cells of a query that have a type all have the same, or are numbers that every type of exact numbers holds.
fn are_uniform<'a>(cells: impl Iterator<Item = &'a Expr> + Clone) -> bool {
    let typed = cells.filter_map(|cell| {
        let (inner, casts) = within_casts(cell);
        let is_typed = !casts.is_empty() || !is_untyped(inner);
        is_typed.then(|| casts.first().copied())
    });
    let first = typed.clone().next();
    let is_as_first = |cast: Option<&Written>| cast.is_some() && Some(cast) == first;
    let is_number = |cast: Option<&Written>| cast.is_none_or(is_exact);
    typed.clone().all(is_as_first) || typed.clone().all(is_number)
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
fn wider_of<'a>(one: &'a Written, other: &'a Written) -> Option<&'a Written> {
    if one == other {
        return Some(one);
    }
    let (first, second) = (whole(one)?, whole(other)?);
    let is_wider = first.primitive_width() > second.primitive_width();
    Some(if is_wider { one } else { other })
}

fn joined<'a>(around: &[&'a Written], casts: &[&'a Written]) -> Vec<&'a Written> {
    around.iter().chain(casts).copied().collect()
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
        let cells = CellColumn::new(&column, &[], "Europe/Berlin", [&expr].into_iter());
        match cells.plain_cell(&expr)? {
            PlainCell::Own(cell) => Some(cell),
            PlainCell::Cast(..) => panic!("{text} is cast"),
        }
    }

    fn read(text: &str, data_type: DataType) -> Option<String> {
        match cell(text, data_type)? {
            GivenCell::Value(value) => Some(value.to_string()),
            GivenCell::Parameter(parameter) => {
                panic!("{text} is {parameter:?}")
            }
        }
    }

    /// The casts of a parameter that is not of its column's type, the outermost first; none if it is.
    fn casts_of(cell: Option<PlainCell<'_>>) -> Option<Vec<String>> {
        match cell? {
            PlainCell::Own(GivenCell::Parameter(_)) => Some(Vec::new()),
            PlainCell::Own(GivenCell::Value(value)) => panic!("{value}"),
            PlainCell::Cast(name, casts) => {
                assert_eq!(name, "$1");
                Some(casts.iter().map(ToString::to_string).collect())
            }
        }
    }

    fn parameter(text: &str, column: &Field) -> Option<Vec<String>> {
        let expr = parse_expr(text).unwrap();
        let cells = CellColumn::new(column, &[], "UTC", [&expr].into_iter());
        casts_of(cells.plain_cell(&expr))
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
    fn parameters_are_of_the_type_of_their_column_or_cast_to_it() {
        for (text, data_type, casts) in [
            ("$1", DataType::Utf8, &[][..]),
            ("$1::varchar", DataType::Utf8, &[]),
            ("$1::numeric(5, 2)", DECIMAL, &[]),
            ("CAST($1::bigint AS int8)", DataType::Int64, &[]),
            ("$1::smallint", DataType::Int64, &["SMALLINT"]),
            ("$1::bigint", DataType::Int32, &["BIGINT"]),
            (
                "CAST(CAST($1 AS smallint) AS integer)",
                DataType::Int64,
                &["INTEGER", "SMALLINT"],
            ),
            (
                "CAST($1 AS numeric)::numeric(5, 2)",
                DECIMAL,
                &["NUMERIC(5,2)", "NUMERIC"],
            ),
            ("$1::double precision", DECIMAL, &["DOUBLE PRECISION"]),
            ("$1::varchar(3)", DataType::Utf8, &["VARCHAR(3)"]),
        ] {
            let column = Field::new("x", data_type, true);
            let casts = casts.iter().map(ToString::to_string).collect();
            assert_eq!(parameter(text, &column), Some(casts), "{text}");
        }
        let column = Field::new("x", DataType::Utf8, true);
        assert_eq!(parameter("$1::mood", &column), None);
        let uuid = Field::new("x", DataType::Utf8, true).with_metadata(uuid_marks());
        assert_eq!(parameter("$1", &uuid), Some(Vec::new()));
        assert_eq!(parameter("$1::uuid", &uuid), Some(Vec::new()));
        assert_eq!(parameter("$1::text", &uuid), Some(vec!["TEXT".to_owned()]));
    }

    /// What the first of the cells of a query is, `p::bigint` of which fills a column.
    fn first_of_query(cells: &[&str]) -> Option<Vec<String>> {
        let column = Field::new("x", DataType::Int64, true);
        let around = parse_expr("p::bigint").unwrap();
        let (_, around) = within_casts(&around);
        let cells = cells.iter().map(|cell| parse_expr(cell).unwrap());
        let cells: Vec<Expr> = cells.collect();
        let column = CellColumn::new(&column, &around, "UTC", cells.iter());
        casts_of(column.plain_cell(&cells[0]))
    }

    #[test]
    fn parameters_of_a_query_are_what_stands_beside_them() {
        for (cells, casts) in [
            (["$1", "$2::smallint", "NULL"], Some("SMALLINT")),
            (["$1", "$2::integer", "$3::smallint"], Some("INTEGER")),
            (["$1", "$2::float8", "NULL::float8"], Some("FLOAT8")),
            (["$1", "'5'", "$2::text"], Some("TEXT")),
            (["$1", "$2", "NULL"], None),
            (["$1", "$2::smallint", "5"], None),
            (["$1", "$2::smallint", "$3::float8"], None),
        ] {
            let expected = casts.map(|cast| vec!["BIGINT".to_owned(), cast.to_owned()]);
            assert_eq!(first_of_query(&cells), expected, "{cells:?}");
        }
    }

    #[test]
    fn cells_of_a_query_that_have_another_type_in_common_are_left_to_the_planner() {
        for (cells, is_read) in [
            (["$1::float8", "$2::float8", "NULL"], true),
            (["$1::smallint", "$2::numeric", "5"], true),
            (["$1::numeric", "$2::float8", "NULL"], false),
            (["$1::float4", "5", "NULL"], false),
        ] {
            assert_eq!(first_of_query(&cells).is_some(), is_read, "{cells:?}");
        }
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
}
