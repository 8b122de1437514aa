//! The PostgreSQL type of an Arrow column, and the reverse for parameters.
//!
//! In: Arrow fields; out: type, size and modifier as a row description tells them. What PostgreSQL
//! has no type for (structs, maps, lists of them) travels as json; lists of lists are arrays of more dimensions.

use std::collections::HashMap;
use std::sync::Arc;

use auspex_planner::{
    AddressKind, BitKind, DeclaredType, EnumType, JsonKind, ORIGIN_KEY, declared_of_result,
    is_uuid, marked_element, uuid_marks,
};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, TimeUnit};
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;
use pgwire::messages::data::{FieldDescription, RowDescription};
use postgres_types::Kind;

use super::record::composite_type;
use crate::pg_catalog::displayed_name;
use crate::sqlstate::Failure;

/// The key of the field metadata by which catalog tables mark a column's type, which only PostgreSQL has.
pub(crate) use auspex_planner::TYPE_KEY;

/// A column of a result as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireColumn {
    pub(crate) name: String,
    pub(crate) pg_type: Type,
    type_modifier: i32,
    /// The number of the relation and that of the column in it; zeros for what is no column.
    origin: (u32, i16),
}

impl WireColumn {
    /// The size that a row description tells: bytes, or -1 for types of varying length.
    pub(crate) fn type_size(&self) -> i16 {
        type_size(&self.pg_type)
    }

    /// Precision and scale of a decimal or of an array's decimals, the length of a text, the digits of a clock, as PostgreSQL
    /// packs them; -1 for everything else.
    pub(crate) fn type_modifier(&self) -> i32 {
        self.type_modifier
    }

    /// The type and the modifier of a column of a relation, whose values do not tell all that it was declared with.
    pub(crate) fn declared_as(&self, declared: Option<DeclaredType>) -> (Type, i32) {
        match declared {
            Some(declared) => declared_type(declared, &self.pg_type),
            None => (self.pg_type.clone(), self.type_modifier),
        }
    }
}

/// How structs travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Nested {
    /// As json, which every client can read.
    #[default]
    Json,
    /// As composite values.
    Composite,
}

/// The columns of a result; fails when there are more than a row message can count.
pub(crate) fn wire_columns(schema: &Schema) -> Result<Vec<WireColumn>, Failure> {
    wire_columns_as(schema, Nested::Json)
}

/// The same with structs as the client wants them.
pub(crate) fn wire_columns_as(schema: &Schema, nested: Nested) -> Result<Vec<WireColumn>, Failure> {
    let n_columns = schema.fields().len();
    if i16::try_from(n_columns).is_err() {
        let message = format!(
            "a result can have at most {} columns, got {n_columns}",
            i16::MAX
        );
        return Err(Failure::error("54011", message));
    }
    let column = |(idx, field): (usize, &Arc<Field>)| {
        let column = WireColumn {
            name: displayed_name(field.name(), &schema.fields()[..idx]).to_owned(),
            pg_type: match nested {
                Nested::Json => field_type(field),
                Nested::Composite => match field_type(field) {
                    Type::JSON => composite_type(field),
                    known => known,
                },
            },
            type_modifier: type_modifier(field.data_type()),
            origin: origin(field).unwrap_or_default(),
        };
        let (pg_type, type_modifier) = column.declared_as(declared_of_result(field));
        WireColumn {
            pg_type,
            type_modifier,
            ..column
        }
    };
    Ok(schema.fields().iter().enumerate().map(column).collect())
}

/// Types of the catalogs beside the plain one whose values they have.
const ALIKE: [&[Type]; 2] = [
    &[Type::TEXT, Type::NAME, Type::CHAR],
    &[Type::INT4, Type::OID, Type::XID, Type::REGPROC],
];

/// Whether rows of such columns are those that were described. Texts and numbers of catalogs are plain ones where an
/// expression gives them, and become what they are where it is nothing else (`CASE WHEN true THEN relname END`); in an array,
/// they are plain to the planner, and were described as what they are.
pub(crate) fn are_described(found: &[WireColumn], described: &[WireColumn]) -> bool {
    let is_same = |(found, described): (&WireColumn, &WireColumn)| {
        // The digits of a computed numeric follow from values: `round(x, $1)`.
        let has_own_scale = described.origin == (0, 0)
            && [Type::NUMERIC, Type::NUMERIC_ARRAY].contains(&described.pg_type);
        // An enum may have got another name and more labels.
        let are_same = found.pg_type.oid() == described.pg_type.oid()
            && (found.type_modifier == described.type_modifier || has_own_scale);
        let are_numbers = found.pg_type == Type::INT4_ARRAY && described.pg_type == Type::OID_ARRAY;
        let pair = [&found.pg_type, &described.pg_type];
        let are_alike = ALIKE
            .iter()
            .any(|types| pair.iter().all(|pg_type| types.contains(pg_type)));
        // Which table they come from may change.
        found.name == described.name && (are_same || are_numbers || are_alike)
    };
    found.len() == described.len() && found.iter().zip(described).all(is_same)
}

/// The message that describes the columns, each in its format.
pub(crate) fn row_description(columns: &[WireColumn], formats: &[FieldFormat]) -> RowDescription {
    let describe = |(column, format): (&WireColumn, &FieldFormat)| {
        FieldDescription::new(
            column.name.clone(),
            // The protocol's numbers are unsigned, pgwire's are not.
            column.origin.0 as i32,
            column.origin.1,
            column.pg_type.oid(),
            column.type_size(),
            column.type_modifier(),
            format.value(),
        )
    };
    RowDescription::new(columns.iter().zip(formats).map(describe).collect())
}

/// A type as it was declared, whose values have the type `plain`, and its modifier.
fn declared_type(declared: DeclaredType, plain: &Type) -> (Type, i32) {
    /// The fields that an interval has: all.
    const ALL_FIELDS: i32 = 0x7fff << 16;
    match declared {
        DeclaredType::Text(limit) => {
            // PostgreSQL adds the four bytes of a length header.
            let length = limit.length.and_then(|length| i32::try_from(length).ok());
            let modifier = length.map_or(-1, |length| length.saturating_add(4));
            let pg_type = match limit.is_fixed {
                true => Type::BPCHAR,
                false => Type::VARCHAR,
            };
            (pg_type, modifier)
        }
        DeclaredType::Clock(digits) if *plain == Type::INTERVAL => {
            (Type::INTERVAL, ALL_FIELDS | i32::from(digits))
        }
        DeclaredType::Clock(digits) => (plain.clone(), i32::from(digits)),
    }
}

/// Where a column of a result comes from, if the planner noted it.
fn origin(field: &Field) -> Option<(u32, i16)> {
    let (relation, column) = field.metadata().get(ORIGIN_KEY)?.split_once(':')?;
    Some((relation.parse().ok()?, column.parse().ok()?))
}

/// The PostgreSQL type of a column, by its marks and its Arrow type.
pub(crate) fn field_type(field: &Field) -> Type {
    if let Some(marked) = field.metadata().get(TYPE_KEY)
        && let Some(marked) = marked_type(marked, field.data_type())
    {
        return marked;
    }
    match field.extension_type_name() {
        Some("arrow.uuid") if *field.data_type() == DataType::FixedSizeBinary(16) => Type::UUID,
        _ => own_type(field)
            .or_else(|| own_array(&marked_element(field)?))
            .unwrap_or_else(|| pg_type(field.data_type())),
    }
}

/// The type that a text is marked with.
fn own_type(field: &Field) -> Option<Type> {
    match JsonKind::of(field) {
        Some(JsonKind::Json) => Some(Type::JSON),
        Some(JsonKind::Jsonb) => Some(Type::JSONB),
        None if is_uuid(field) => Some(Type::UUID),
        None => match BitKind::of(field) {
            Some(BitKind::Fixed) => Some(Type::BIT),
            Some(BitKind::Varying) => Some(Type::VARBIT),
            None => match AddressKind::of(field) {
                Some(kind) => Some(address_type(kind)),
                None => EnumType::of(field).map(|known| enum_type(&known)),
            },
        },
    }
}

/// PostgreSQL's type of addresses of a kind.
fn address_type(kind: AddressKind) -> Type {
    match kind {
        AddressKind::Inet => Type::INET,
        AddressKind::Cidr => Type::CIDR,
    }
}

/// The kind of addresses that a type has.
pub(super) fn address_kind(pg_type: &Type) -> Option<AddressKind> {
    let mut kinds = AddressKind::ALL.into_iter();
    kinds.find(|kind| address_type(*kind) == *pg_type)
}

/// The type of arrays of such texts.
fn own_array(element: &Field) -> Option<Type> {
    let of = own_type(element)?;
    match EnumType::of(element) {
        Some(known) => {
            let name = format!("_{}", known.name);
            Some(Type::new(
                name,
                known.array_oid,
                Kind::Array(of),
                known.schema,
            ))
        }
        None => array_type(&of),
    }
}

/// An enum of the catalog.
fn enum_type(known: &EnumType) -> Type {
    let kind = Kind::Enum(known.labels.clone());
    Type::new(known.name.clone(), known.oid, kind, known.schema.clone())
}

/// Whether a type is an enum, whose values travel as texts.
pub(super) fn is_enum(pg_type: &Type) -> bool {
    matches!(pg_type.kind(), Kind::Enum(_))
}

/// The type that a catalog column is marked with, where the values can travel as it.
fn marked_type(name: &str, data_type: &DataType) -> Option<Type> {
    let is_list = matches!(data_type, DataType::List(_));
    // A number, or both the number and the name.
    let is_named = data_type.is_integer() || matches!(data_type, DataType::Struct(_));
    let marked = match name {
        "oid" if data_type.is_integer() => Type::OID,
        "xid" if data_type.is_integer() => Type::XID,
        "regproc" if data_type.is_integer() => Type::REGPROC,
        "regclass" if is_named => Type::REGCLASS,
        "regnamespace" if is_named => Type::REGNAMESPACE,
        "regrole" if is_named => Type::REGROLE,
        "regtype" if is_named => Type::REGTYPE,
        "name" if data_type.is_string() => Type::NAME,
        "char" if data_type.is_string() => Type::CHAR,
        "varchar" if data_type.is_string() => Type::VARCHAR,
        "aclitem" if data_type.is_string() => Type::ACLITEM,
        "pg_node_tree" if data_type.is_string() => Type::PG_NODE_TREE,
        "inet" if data_type.is_string() => Type::INET,
        "_oid" if is_list => Type::OID_ARRAY,
        "_name" if is_list => Type::NAME_ARRAY,
        "_char" if is_list => Type::CHAR_ARRAY,
        "_aclitem" if is_list => Type::ACLITEM_ARRAY,
        "_regtype" if is_list => Type::REGTYPE_ARRAY,
        "oidvector" if is_list => Type::OID_VECTOR,
        "int2vector" if is_list => Type::INT2_VECTOR,
        _ => return None,
    };
    Some(marked)
}

/// The PostgreSQL type that carries an Arrow type.
pub(crate) fn pg_type(data_type: &DataType) -> Type {
    match data_type {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt32 => Type::INT8,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::UInt64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Type::NUMERIC,
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::TEXT,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Type::BYTEA,
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => Type::INTERVAL,
        DataType::Dictionary(_, values) => pg_type(values),
        DataType::RunEndEncoded(_, values) => pg_type(values.data_type()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => list_type(item, data_type),
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => Type::JSON,
    }
}

/// The most dimensions that PostgreSQL's arrays have.
const MAX_DIMENSIONS: usize = 6;

/// How many lists are in one another.
pub(crate) fn n_dimensions(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => 1 + n_dimensions(item.data_type()),
        _ => 0,
    }
}

/// The type of a list: an array of arrays has the type of those.
fn list_type(item: &Field, list: &DataType) -> Type {
    let element = field_type(item);
    match n_dimensions(list) {
        // What structs and maps are in is json as a whole.
        _ if element == Type::JSON && !item.data_type().is_string() => element,
        1 => array_type(&element).unwrap_or(Type::JSON),
        2..=MAX_DIMENSIONS => element,
        _ => Type::JSON,
    }
}

/// The element types that have an array type of their own, with it.
const ARRAYS: [(Type, Type); 26] = [
    (Type::BOOL, Type::BOOL_ARRAY),
    (Type::INT2, Type::INT2_ARRAY),
    (Type::INT4, Type::INT4_ARRAY),
    (Type::INT8, Type::INT8_ARRAY),
    (Type::OID, Type::OID_ARRAY),
    (Type::FLOAT4, Type::FLOAT4_ARRAY),
    (Type::FLOAT8, Type::FLOAT8_ARRAY),
    (Type::NUMERIC, Type::NUMERIC_ARRAY),
    (Type::TEXT, Type::TEXT_ARRAY),
    (Type::BYTEA, Type::BYTEA_ARRAY),
    (Type::DATE, Type::DATE_ARRAY),
    (Type::TIME, Type::TIME_ARRAY),
    (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
    (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
    (Type::INTERVAL, Type::INTERVAL_ARRAY),
    (Type::UUID, Type::UUID_ARRAY),
    (Type::INET, Type::INET_ARRAY),
    (Type::CIDR, Type::CIDR_ARRAY),
    (Type::NAME, Type::NAME_ARRAY),
    (Type::CHAR, Type::CHAR_ARRAY),
    (Type::VARCHAR, Type::VARCHAR_ARRAY),
    (Type::ACLITEM, Type::ACLITEM_ARRAY),
    (Type::REGTYPE, Type::REGTYPE_ARRAY),
    (Type::RECORD, Type::RECORD_ARRAY),
    (Type::JSON, Type::JSON_ARRAY),
    (Type::JSONB, Type::JSONB_ARRAY),
];

/// The array type of an element type; `None` for arrays.
fn array_type(element: &Type) -> Option<Type> {
    ARRAYS
        .iter()
        .find(|(scalar, _)| scalar == element)
        .map(|(_, array)| array.clone())
}

/// The element type of an array type; `None` for anything else.
pub(crate) fn element_type(array: &Type) -> Option<Type> {
    if let Kind::Array(element) = array.kind()
        && is_enum(element)
    {
        return Some(element.clone());
    }
    match *array {
        // Clients send varchar[] for arrays of strings.
        Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => return Some(Type::TEXT),
        Type::OID_VECTOR => return Some(Type::OID),
        Type::INT2_VECTOR => return Some(Type::INT2),
        _ => {}
    }
    ARRAYS
        .iter()
        .find(|(_, candidate)| candidate == array)
        .map(|(scalar, _)| scalar.clone())
}

/// A parameter that the client declared as `pg_type`, marked where Arrow has texts for it. `None`: as [`arrow_type`].
pub(crate) fn declared_field(pg_type: &Type) -> Option<FieldRef> {
    let element = element_type(pg_type);
    let marks = match *element.as_ref().unwrap_or(pg_type) {
        Type::UUID => Some(uuid_marks()),
        Type::JSON => Some(JsonKind::Json.marks()),
        Type::JSONB => Some(JsonKind::Jsonb.marks()),
        Type::INET => Some(AddressKind::Inet.marks()),
        Type::CIDR => Some(AddressKind::Cidr.marks()),
        // Looked up by a cast, as names and numbers alike.
        _ if is_registered(pg_type) => {
            let name = pg_type.name().to_owned();
            Some(HashMap::from([(TYPE_KEY.to_owned(), name)]))
        }
        _ => None,
    };
    let data_type = match (&marks, element) {
        (Some(_), None) => DataType::Utf8,
        (Some(_), Some(_)) => DataType::new_list(DataType::Utf8, true),
        (None, _) => arrow_type(pg_type)?,
    };
    let field = Field::new("value", data_type, true);
    Some(Arc::new(field.with_metadata(marks.unwrap_or_default())))
}

/// Whether clients may declare a parameter as `pg_type`.
pub(crate) fn is_taken(pg_type: &Type) -> bool {
    // A path in a document is a text to the functions that take one. The session knows which labels an enum has.
    let element = element_type(pg_type);
    let is_own = is_enum(element.as_ref().unwrap_or(pg_type));
    is_own || *pg_type == Type::JSONPATH || declared_field(pg_type).is_some()
}

/// Whether a type names objects of the catalogs.
pub(super) fn is_registered(pg_type: &Type) -> bool {
    [
        Type::REGCLASS,
        Type::REGNAMESPACE,
        Type::REGPROC,
        Type::REGROLE,
        Type::REGTYPE,
    ]
    .contains(pg_type)
}

/// The Arrow type of a parameter that the client declared as `pg_type`.
///
/// `None` leaves the choice to the planner: for those that are read as text and cast. A numeric, which has no scale
/// of its own, is as `$1::numeric` unless a column gives it one.
pub(crate) fn arrow_type(pg_type: &Type) -> Option<DataType> {
    if let Some(element) = element_type(pg_type) {
        let item = arrow_type(&element)?;
        return Some(DataType::List(Arc::new(Field::new_list_field(item, true))));
    }
    Some(match *pg_type {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 | Type::OID | Type::XID => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR => DataType::Utf8,
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => return None,
    })
}

fn type_size(pg_type: &Type) -> i16 {
    match *pg_type {
        Type::BOOL => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID | Type::XID | Type::REGPROC => 4,
        Type::REGCLASS | Type::REGNAMESPACE | Type::REGROLE | Type::REGTYPE => 4,
        Type::CHAR => 1,
        Type::NAME => 64,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL | Type::UUID => 16,
        // PostgreSQL keeps the number of a label.
        _ if is_enum(pg_type) => 4,
        _ => -1,
    }
}

/// Whether a number is one of PostgreSQL's `numeric` without precision and scale, each value of which has digits of its
/// own. Here such a column has ten digits behind the point, and products of it more; clients see no zeros at their end.
/// Sixteen are those of quotients and averages, which PostgreSQL shows.
pub(crate) fn has_own_digits(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(38, scale) if *scale >= 10 && *scale != 16)
}

fn type_modifier(data_type: &DataType) -> i32 {
    match data_type {
        // A quotient has no modifier, either.
        DataType::Decimal128(38, scale) if *scale >= 10 => -1,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale)
            if *scale >= 0 =>
        {
            // PostgreSQL adds the four bytes of a length header.
            ((i32::from(*precision) << 16) | i32::from(*scale)) + 4
        }
        DataType::List(item) => type_modifier(item.data_type()),
        _ => -1,
    }
}
