//! What functions take in their places, as PostgreSQL resolves an argument whose type nothing tells.
//!
//! In: a call in a plan, of an aggregate, too; out: the types of its parameters, with what marks them. A line of the table is a
//! function, or several of one kind, by the names that plans have for them; what is in no line takes what it is given.

use std::collections::HashMap;
use std::sync::Arc;

use auspex_storage::{AddressKind, EnumType, JsonKind, uuid_marks};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable as _};

use super::{all_marks, catalog_type, parameter, plain, typed_as};
use crate::functions::{
    ADDRESS_KEY, ENUM_POSITION, NETWORKS_OVERLAP, READ_BITS, READ_CIDR, READ_ENUM, READ_INET,
    READ_UUID, READ_VARYING_BITS, SERIES, TYPE_KEY, WITHIN_NETWORK, WITHIN_OR_EQUAL_NETWORK,
    is_bytes,
};

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// What a function takes in one place.
#[derive(Debug, Clone, Copy)]
enum Takes {
    /// Whatever it is given.
    Any,
    Bool,
    Int4,
    Int8,
    Float8,
    Numeric,
    Text,
    Bytea,
    /// A text, unless another argument is made of bytes.
    Letters,
    /// A text, but a place among bytes where another argument is made of them.
    Pattern,
    Interval,
    /// A timestamp with a zone, unless another argument is one without, or a time of day.
    Moment,
    /// A timestamp with a zone.
    Timestamptz,
    Uuid,
    Inet,
    Cidr,
    Json,
    Jsonb,
    Oid,
    Name,
    Int4s,
    Texts,
    /// A double, unless another argument is a numeric.
    Number,
    /// A bigint, unless another argument is an integer.
    Whole,
    /// An end of a series: a moment or a number as another argument.
    End,
    /// A step of a series: an interval between moments, else a number as another argument.
    Step,
    /// What stands in another place.
    Like(usize),
    /// An element of the array in another place.
    ElementOf(usize),
    /// An array of what stands in another place.
    ArrayOf(usize),
    /// A value of the rows whose least and greatest the record in another place has.
    Within(usize),
}

use Takes::{
    Any, ArrayOf, Bool, Bytea, Cidr, ElementOf, End, Float8, Inet, Int4, Int4s, Int8, Interval,
    Json, Jsonb, Letters, Like, Moment, Name, Number, Numeric, Oid, Pattern, Step, Text, Texts,
    Timestamptz, Uuid, Whole, Within,
};

/// Functions that take the same.
struct Line {
    names: &'static [&'static str],
    /// With how many arguments; `None`: any number.
    n_args: Option<usize>,
    /// The last one is also what stands behind it.
    takes: &'static [Takes],
}

const fn line(names: &'static [&'static str], takes: &'static [Takes]) -> Line {
    let n_args = None;
    Line {
        names,
        n_args,
        takes,
    }
}

/// Those that take this with so many arguments.
const fn with(n_args: usize, names: &'static [&'static str], takes: &'static [Takes]) -> Line {
    let n_args = Some(n_args);
    Line {
        names,
        n_args,
        takes,
    }
}

/// Functions that take the key of an advisory lock: one number, or two half as wide.
const ADVISORY: &[&str] = &[
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
];
/// Aggregates over pairs of numbers.
const OF_PAIRS: &[&str] = &[
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
];
/// Functions of one document.
const OF_JSONB: &[&str] = &[
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_array_length",
    "jsonb_each",
    "jsonb_each_text",
    "jsonb_in",
    "jsonb_key",
    "jsonb_object_keys",
    "jsonb_pretty",
    "jsonb_strip_nulls",
    "jsonb_typeof",
];
/// The same, as it was written.
const OF_JSON: &[&str] = &[
    "json_array_elements",
    "json_array_elements_text",
    "json_array_length",
    "json_each",
    "json_each_text",
    "json_in",
    "json_object_keys",
    "json_strip_nulls",
    "json_typeof",
];
/// Searches by a path, perhaps with variables.
const BY_PATH: &[&str] = &[
    "jsonb_path_exists",
    "jsonb_path_exists_tz",
    "jsonb_path_match",
    "jsonb_path_match_tz",
    "jsonb_path_query",
    "jsonb_path_query_array",
    "jsonb_path_query_array_tz",
    "jsonb_path_query_first",
    "jsonb_path_query_first_tz",
    "jsonb_path_query_tz",
];
/// Functions about an object of the catalogs.
const OF_OBJECT: &[&str] = &[
    "pg_function_is_visible",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_result",
    "pg_get_functiondef",
    "pg_get_triggerdef",
    "pg_get_userbyid",
    "pg_table_is_visible",
    "pg_type_is_visible",
];

/// Functions of addresses.
const OF_ADDRESSES: &[&str] = &[
    READ_INET,
    ADDRESS_KEY,
    WITHIN_NETWORK,
    WITHIN_OR_EQUAL_NETWORK,
    NETWORKS_OVERLAP,
    "abbrev",
    "broadcast",
    "family",
    "host",
    "hostmask",
    "inet_merge",
    "inet_same_family",
    "masklen",
    "netmask",
    "network",
];

/// The table.
const LINES: &[Line] = &[
    // Numbers.
    with(2, &["round", "trunc"], &[Numeric, Int4]),
    with(2, &["googlesql.round"], &[Numeric, Int4]),
    with(1, &["googlesql.round"], &[Float8]),
    with(2, &["log"], &[Numeric]),
    line(&["div"], &[Numeric]),
    line(&["gcd", "lcm"], &[Whole]),
    line(&["generate_series"], &[Int8]),
    line(&[SERIES], &[End, End, Step]),
    line(&["factorial"], &[Int8]),
    with(4, &["width_bucket"], &[Number, Number, Number, Int4]),
    with(2, &["width_bucket"], &[ElementOf(1), ArrayOf(0)]),
    with(2, &["bitwise_xor"], &[Like(1), Like(0)]),
    line(OF_PAIRS, &[Float8]),
    line(&["percentile_cont"], &[Float8]),
    line(&["bool_and", "bool_or", "every"], &[Bool]),
    // Texts and bytes.
    line(&["chr"], &[Int4]),
    line(&["left", "right", "repeat"], &[Text, Int4]),
    line(&["lpad", "rpad"], &[Text, Int4, Text]),
    line(&["substr"], &[Text, Int4]),
    line(&["regexp_substring", "similar_substring"], &[Text, Pattern]),
    line(&["strpos", "btrim", "ltrim", "rtrim"], &[Letters]),
    line(&["string_agg"], &[Letters]),
    line(&["split_part"], &[Text, Text, Int4]),
    line(&["overlay"], &[Like(1), Like(0), Int4]),
    line(&["regexp_count"], &[Text, Text, Int4, Text]),
    line(&["regexp_substr"], &[Text, Text, Int4, Int4, Text, Int4]),
    line(
        &["regexp_instr"],
        &[Text, Text, Int4, Int4, Int4, Text, Int4],
    ),
    line(&["sha224", "sha256", "sha384", "sha512"], &[Bytea]),
    line(&["encode"], &[Bytea, Text]),
    line(&["get_byte", "set_byte"], &[Bytea, Int4]),
    line(&["get_bit", "set_bit"], &[Bytea, Int8, Int4]),
    line(&["convert_from"], &[Bytea, Name]),
    line(&["convert_to"], &[Text, Name]),
    // Times.
    line(&["make_date"], &[Int4]),
    line(&["make_time"], &[Int4, Int4, Float8]),
    line(
        &["make_timestamp", "make_timestamptz"],
        &[Int4, Int4, Int4, Int4, Int4, Float8, Text],
    ),
    line(
        &["make_interval"],
        &[Int4, Int4, Int4, Int4, Int4, Int4, Float8],
    ),
    with(1, &["to_timestamp"], &[Float8]),
    line(&["interval_key"], &[Interval]),
    with(2, &["age"], &[Moment]),
    line(&["overlaps"], &[Moment]),
    line(&["date_bin"], &[Interval, Moment, Moment]),
    line(&["pg_extract"], &[Text, Any]),
    line(&["date_trunc"], &[Text, Timestamptz, Text]),
    line(
        &["justify_days", "justify_hours", "justify_interval"],
        &[Interval],
    ),
    // Arrays: `x = ANY ($1)`, `$1 = ANY (x)`.
    line(&["array_has"], &[ArrayOf(1), ElementOf(0)]),
    line(&["in_array"], &[ElementOf(1), ArrayOf(0)]),
    line(&["array_append"], &[ArrayOf(1), ElementOf(0)]),
    line(&["array_prepend"], &[ElementOf(1), ArrayOf(0)]),
    line(&["array_position"], &[ArrayOf(1), ElementOf(0), Int4]),
    line(&["array_positions"], &[ArrayOf(1), ElementOf(0)]),
    line(&["array_remove_all"], &[ArrayOf(1), ElementOf(0)]),
    line(&["array_replace_all"], &[ArrayOf(1), ElementOf(0)]),
    line(&["array_element", "array_slice"], &[Any, Int4]),
    line(
        &["array_extent", "array_lower", "array_upper", "trim_array"],
        &[Any, Int4],
    ),
    line(&["array_fill"], &[Any, Int4s]),
    line(&["quantified"], &[Within(1), Any]),
    // Documents.
    line(OF_JSON, &[Json]),
    line(OF_JSONB, &[Jsonb]),
    line(BY_PATH, &[Jsonb, Text, Jsonb, Bool]),
    line(
        &["json_extract_path", "json_extract_path_text"],
        &[Json, Text],
    ),
    line(
        &["jsonb_extract_path", "jsonb_extract_path_text"],
        &[Jsonb, Text],
    ),
    line(&["json_contains", "json_merged"], &[Jsonb]),
    line(
        &["json_path", "json_path_text", "json_without_path"],
        &[Any, Texts],
    ),
    line(&["json_has_any", "json_has_all"], &[Any, Texts]),
    line(&["json_object", "jsonb_object"], &[Texts]),
    line(&["jsonb_set", "jsonb_insert"], &[Jsonb, Texts, Jsonb, Bool]),
    line(&["jsonb_set_lax"], &[Jsonb, Texts, Jsonb, Bool, Text]),
    line(&[READ_UUID], &[Uuid]),
    line(OF_ADDRESSES, &[Inet]),
    line(&["set_masklen"], &[Inet, Int4]),
    line(&[READ_CIDR], &[Cidr]),
    line(&[READ_BITS, READ_VARYING_BITS], &[Text]),
    // The server and its catalogs.
    with(1, ADVISORY, &[Int8]),
    with(2, ADVISORY, &[Int4]),
    line(OF_OBJECT, &[Oid]),
    line(&["col_description", "format_type"], &[Oid, Int4]),
    line(&["obj_description", "shobj_description"], &[Oid, Name]),
    line(&["pg_get_constraintdef"], &[Oid, Bool]),
    line(&["pg_get_indexdef"], &[Oid, Int4, Bool]),
    line(&["pg_get_expr"], &[Any, Oid, Bool]),
    line(&["pg_encoding_to_char", "pg_cancel_backend"], &[Int4]),
    line(&["pg_terminate_backend"], &[Int4, Int8]),
    line(&["pg_notify"], &[Text]),
    line(&["pg_char_to_encoding"], &[Name]),
    line(&["pg_sleep"], &[Float8]),
    line(&["current_setting"], &[Text, Bool]),
    line(&["set_config"], &[Text, Text, Bool]),
    line(&["setval"], &[Any, Int8, Bool]),
];

/// The parameters among the arguments of a call, by name, with the types that it takes in their places.
pub(super) fn taken(call: &ScalarFunction, seen: &DFSchema) -> Vec<(String, FieldRef)> {
    match label(call) {
        Some(label) => vec![label],
        None => taken_by(call.func.name(), &call.args, seen),
    }
}

/// The same of a function by its name.
pub(super) fn taken_by(name: &str, args: &[Expr], seen: &DFSchema) -> Vec<(String, FieldRef)> {
    let is_found =
        |line: &&Line| line.names.contains(&name) && line.n_args.is_none_or(|n| n == args.len());
    let Some(line) = LINES.iter().find(is_found) else {
        return Vec::new();
    };
    let typed = args.iter().enumerate().filter_map(|(idx, arg)| {
        let name = parameter(arg)?;
        let takes = line.takes.get(idx).or(line.takes.last())?;
        Some((name, field(*takes, idx, args, seen)?))
    });
    typed.collect()
}

/// The parameter of `$1::mood` and `m < $1`, and the enum; `$1::mood[]` is read from an array of texts.
fn label(call: &ScalarFunction) -> Option<(String, FieldRef)> {
    let [value, Expr::Literal(ScalarValue::Utf8(Some(told)), _)] = call.args.as_slice() else {
        return None;
    };
    if ![READ_ENUM, ENUM_POSITION].contains(&call.func.name()) {
        return None;
    }
    let (value, data_type) = match value {
        Expr::Cast(cast) if cast.field.data_type().is_nested() => {
            (cast.expr.as_ref(), cast.field.data_type().clone())
        }
        value => (value, DataType::Utf8),
    };
    let marks = EnumType::of_text(told)?.marks();
    Some((parameter(value)?, marked(data_type, marks)))
}

/// A parameter that takes a place of a call; `None`: it has the type that it is given.
fn field(takes: Takes, idx: usize, args: &[Expr], seen: &DFSchema) -> Option<FieldRef> {
    let known = |place: usize| {
        let (_, field) = args.get(place)?.to_field(seen).ok()?;
        (!field.data_type().is_null()).then_some(field)
    };
    let others = || {
        let places = (0..args.len()).filter(move |place| *place != idx);
        places.filter_map(known)
    };
    let moment = || others().find_map(|other| clock(&other));
    let has_bytes = || others().any(|other| is_bytes(other.data_type()));
    let catalog = |name: &str| HashMap::from([(TYPE_KEY.to_owned(), name.to_owned())]);
    Some(match takes {
        Any => return None,
        Bool => plain(DataType::Boolean),
        Int4 => plain(DataType::Int32),
        Int8 => plain(DataType::Int64),
        Float8 => plain(DataType::Float64),
        Numeric => plain(DataType::Decimal128(38, 10)),
        Text => plain(DataType::Utf8),
        Bytea => plain(DataType::Binary),
        Letters if has_bytes() => plain(DataType::Binary),
        Letters => plain(DataType::Utf8),
        Pattern if has_bytes() => plain(DataType::Int32),
        Pattern => plain(DataType::Utf8),
        Interval => plain(INTERVAL),
        Timestamptz => plain(timestamp(true)),
        Int4s => plain(DataType::new_list(DataType::Int32, true)),
        Texts => plain(DataType::new_list(DataType::Utf8, true)),
        Uuid => marked(DataType::Utf8, uuid_marks()),
        Inet => marked(DataType::Utf8, AddressKind::Inet.marks()),
        Cidr => marked(DataType::Utf8, AddressKind::Cidr.marks()),
        Json => marked(DataType::Utf8, JsonKind::Json.marks()),
        Jsonb => marked(DataType::Utf8, JsonKind::Jsonb.marks()),
        Oid => marked(DataType::Int32, catalog("oid")),
        Name => marked(DataType::Utf8, catalog("name")),
        Moment => plain(moment().unwrap_or_else(|| timestamp(true))),
        Number => plain(numeric(others()).unwrap_or(DataType::Float64)),
        Whole => whole(others()),
        End => match moment().or_else(|| numeric(others())) {
            Some(end) => plain(end),
            None => whole(others()),
        },
        Step if moment().is_some() => plain(INTERVAL),
        Step => numeric(others()).map_or_else(|| whole(others()), plain),
        Like(place) => known(place).as_deref().map(typed_as)?,
        ArrayOf(place) => known(place).as_deref().map(array_of)?,
        ElementOf(place) => {
            let array = known(place)?;
            let DataType::List(item) = array.data_type() else {
                return None;
            };
            marked(item.data_type().clone(), element_marks(&array))
        }
        Within(place) => match known(place)?.data_type() {
            DataType::Struct(ends) => typed_as(ends.first()?),
            _ => return None,
        },
    })
}

/// A parameter with what marks its type.
fn marked(data_type: DataType, marks: HashMap<String, String>) -> FieldRef {
    Arc::new(Field::new("value", data_type, true).with_metadata(marks))
}

/// The numeric that one of several values makes of a number beside them; `None`: none of them is one.
fn numeric(mut values: impl Iterator<Item = FieldRef>) -> Option<DataType> {
    let is_exact = values.any(|value| value.data_type().is_decimal());
    is_exact.then_some(DataType::Decimal128(38, 10))
}

/// A whole number as wide as the first among several values.
fn whole(mut values: impl Iterator<Item = FieldRef>) -> FieldRef {
    let known = values.find(|value| value.data_type().is_integer());
    known.map_or_else(|| plain(DataType::Int64), |known| typed_as(&known))
}

fn timestamp(has_zone: bool) -> DataType {
    let zone = has_zone.then(|| "UTC".into());
    DataType::Timestamp(TimeUnit::Microsecond, zone)
}

/// The type of a moment beside another; a date is beside one with a zone. `None`: the other is none.
fn clock(other: &Field) -> Option<DataType> {
    match other.data_type() {
        DataType::Timestamp(_, None) => Some(timestamp(false)),
        DataType::Time64(unit) => Some(DataType::Time64(*unit)),
        DataType::Timestamp(_, Some(_)) | DataType::Date32 => Some(timestamp(true)),
        _ => None,
    }
}

/// A parameter that is an array of values like one.
fn array_of(value: &Field) -> FieldRef {
    let mut marks = all_marks(value);
    // The mark of jsonb, which has the same key, is that of its arrays, too.
    if catalog_type(value).is_some()
        && let Some(name) = marks.get_mut(TYPE_KEY)
    {
        name.insert(0, '_');
    }
    let list = DataType::new_list(value.data_type().clone(), true);
    marked(list, marks)
}

/// What marks the elements of an array.
fn element_marks(array: &Field) -> HashMap<String, String> {
    let mut marks = all_marks(array);
    if let Some(name) = marks.get_mut(TYPE_KEY) {
        *name = name.trim_start_matches('_').to_owned();
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_line() {
        for (idx, line) in LINES.iter().enumerate() {
            let is_hidden_by = |before: &&Line| {
                let (one, other) = (before.n_args, line.n_args);
                let may_meet = one.is_none() || other.is_none() || one == other;
                may_meet && before.names.iter().any(|name| line.names.contains(name))
            };
            let before = LINES[..idx].iter().find(is_hidden_by);
            assert!(before.is_none(), "{:?}", line.names);
        }
    }
}
