//! `inet` and `cidr`: texts of addresses with their masks, with a mark that tells clients their type.
//!
//! In: texts as PostgreSQL reads addresses; out: their one form (see `AddressKind`), or 22P02, and what operators and functions
//! make of addresses. Equal texts are equal addresses, of both types; what orders addresses orders their keys
//! (`order_keys`). `value` knows what an address is, `operators` what operators and functions mean of addresses that are
//! others of texts.

mod operators;
mod value;

use std::sync::Arc;

use auspex_storage::{AddressKind, marks_of};
use datafusion::arrow::array::{ArrayRef, BooleanArray, Int32Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ExprSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, ExprSchemable as _, ReturnFieldArgs};
use datafusion::sql::sqlparser::ast::{self, Ident, ObjectName};

use super::array_agg::TYPE_KEY;
use super::assigned_value::type_of;
use super::call::{Call, Function, failure, function, function_of};
use super::dimensions::{map_texts, parts, texts_in_place_of};
use crate::commands::name_parts;
use crate::error::Error;
pub(super) use operators::{OfAddresses, beside, planned};
use value::{Address, Family};

/// The functions that read a text, or each text of an array.
pub(crate) const READ_INET: &str = "inet_in";
/// The same of networks.
pub(crate) const READ_CIDR: &str = "cidr_in";
/// The function by whose result addresses are ordered.
pub(crate) const KEY: &str = "inet_key";
const OF_KEY: &str = "inet_of_key";
/// PostgreSQL's operators: `<<`, `<<=` and `&&`.
pub(crate) const WITHIN: &str = "inet_within";
pub(crate) const WITHIN_OR_EQUAL: &str = "inet_within_or_equal";
pub(crate) const OVERLAPS: &str = "inet_overlaps";
/// What functions and casts are of a `cidr`, or of an `inet` that becomes one.
const NETWORK_OF: &str = "inet_to_cidr";
const SHORT_NETWORK: &str = "cidr_abbrev";
const SET_NETWORK_MASK: &str = "cidr_set_masklen";
/// An address as PostgreSQL shows it where it is no value of its type any more.
const SHOWN: &str = "inet_out";
/// PostgreSQL's functions that tell addresses from networks.
const ABBREV: &str = "abbrev";
const SET_MASK: &str = "set_masklen";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    use AddressKind::{Cidr, Inet};
    let key = |text: &str| Ok(stored(text)?.key());
    let of_key = |key: &str| {
        let address = Address::of_key(key).map(Address::text);
        address.ok_or_else(|| failure("22023", "a key is that of no address"))
    };
    let texts = |name, of: fn(&str) -> Result<String>| {
        let returns = |types: &[DataType]| Ok(texts_in_place_of(&types[0]));
        function_of(name, &[1], returns, move |call| {
            map_texts(call.arg(0)?, &of)
        })
    };
    let mut functions = vec![
        reader(Inet),
        reader(Cidr),
        texts(KEY, key),
        texts(SHOWN, |text| Ok(AddressKind::Inet.shown(text).to_owned())),
        texts(OF_KEY, of_key).returning(|_| Ok(of_kind(OF_KEY, Inet))),
        compared(WITHIN, |one, other| {
            other.holds(one) && one.n_bits > other.n_bits
        }),
        compared(WITHIN_OR_EQUAL, |one, other| other.holds(one)),
        compared(OVERLAPS, |one, other| one.holds(other) || other.holds(one)),
        compared("inet_same_family", |one, other| one.family == other.family),
        with_mask(SET_MASK, Inet),
        with_mask(SET_NETWORK_MASK, Cidr),
        merged(),
    ];
    functions.push(as_text());
    functions.extend(NUMBERS.map(|(name, of)| numbered(name, of)));
    functions.extend(TEXTS.map(|(name, of)| shown_by(name, of)));
    functions.extend(ADDRESSES.map(|(name, kind, of)| made(name, kind, of)));
    functions
}

/// What is computed of an address.
type OfAddress<T> = fn(Address) -> T;

/// PostgreSQL's functions that give numbers.
const NUMBERS: [(&str, OfAddress<i32>); 2] = [
    ("family", |address| match address.family {
        Family::V4 => 4,
        Family::V6 => 6,
    }),
    ("masklen", |address| i32::from(address.n_bits)),
];

/// Those that give texts.
const TEXTS: [(&str, OfAddress<Result<String>>); 3] = [
    ("host", |address| Ok(address.host())),
    (ABBREV, |address| {
        Ok(AddressKind::Inet.shown(&address.text()).to_owned())
    }),
    (SHORT_NETWORK, |network| {
        network
            .short_text()
            .ok_or_else(|| failure("0A000", "abbrev of an IPv6 network is not supported"))
    }),
];

/// Those that give addresses.
const ADDRESSES: [(&str, AddressKind, OfAddress<Address>); 5] = [
    ("broadcast", AddressKind::Inet, |address| {
        address.with_bits(address.bits | address.host_mask())
    }),
    ("netmask", AddressKind::Inet, |address| {
        of_all_bits(address.with_bits(address.mask()))
    }),
    ("hostmask", AddressKind::Inet, |address| {
        of_all_bits(address.with_bits(address.host_mask()))
    }),
    ("network", AddressKind::Cidr, Address::network),
    (NETWORK_OF, AddressKind::Cidr, Address::network),
];

fn of_all_bits(address: Address) -> Address {
    Address {
        n_bits: address.family.width(),
        ..address
    }
}

fn of_kind(name: &str, kind: AddressKind) -> Field {
    Field::new(name, DataType::Utf8, true).with_metadata(kind.marks())
}

/// An address of a text that is read as one, or was before.
fn stored(text: &str) -> Result<Address> {
    Address::inet(text).ok_or_else(|| no_address(AddressKind::Inet, text))
}

fn no_address(kind: AddressKind, text: &str) -> DataFusionError {
    let message = format!("invalid input syntax for type {}: \"{text}\"", kind.name());
    failure("22P02", message)
}

/// The one form of an address. Error: the text is none.
pub fn address_text(kind: AddressKind, text: &str) -> Result<String> {
    let address = match kind {
        AddressKind::Inet => Address::inet(text),
        AddressKind::Cidr => Address::cidr(text),
    };
    let address = address.ok_or_else(|| no_address(kind, text))?;
    if kind == AddressKind::Cidr && address.network() != address {
        let error = Error::Refused {
            sqlstate: "22P02",
            message: format!("invalid cidr value: \"{text}\""),
            detail: Some("Value has bits set to right of mask."),
            hint: None,
        };
        return Err(error.into());
    }
    Ok(address.text())
}

/// An address in PostgreSQL's binary form; `None`: the text is none.
pub fn address_bytes(kind: AddressKind, stored: &str) -> Option<Vec<u8>> {
    let is_cidr = u8::from(kind == AddressKind::Cidr);
    Some(Address::inet(stored)?.bytes(is_cidr))
}

/// The address of PostgreSQL's binary form; `None`: it is none, or none of the kind.
pub fn address_of_bytes(kind: AddressKind, bytes: &[u8]) -> Option<String> {
    let address = Address::of_bytes(bytes)?;
    let is_whole = kind == AddressKind::Inet || address.network() == address;
    is_whole.then(|| address.text())
}

/// Stored `inet` values, or arrays of them, as PostgreSQL shows them.
pub fn shown_addresses(stored: &ArrayRef) -> Result<ArrayRef> {
    map_texts(stored, &|text| Ok(AddressKind::Inet.shown(text).to_owned()))
}

/// The name of the function that reads texts.
pub(crate) fn reader_of(kind: AddressKind) -> &'static str {
    match kind {
        AddressKind::Inet => READ_INET,
        AddressKind::Cidr => READ_CIDR,
    }
}

fn reader(kind: AddressKind) -> Function {
    let name = reader_of(kind);
    function(name, &[1], DataType::Utf8, move |call| {
        map_texts(call.arg(0)?, &|text| address_text(kind, text))
    })
    .returning(move |args| {
        let found = &args.arg_fields[0];
        let (element, _) = parts(found.data_type());
        let is_other = !marks_of(found).is_empty() && AddressKind::of_elements(found).is_none();
        if is_other || !element.is_string() && !element.is_null() {
            let message = format!("cannot cast type {} to {}", type_of(found), kind.name());
            return Err(failure("42846", message));
        }
        let data_type = texts_in_place_of(found.data_type());
        Ok(Field::new(name, data_type, true).with_metadata(kind.marks()))
    })
}

/// A text as a column of addresses takes it.
pub(crate) fn read(value: Expr, kind: AddressKind) -> Expr {
    reader(kind).build().call(vec![value])
}

/// The same of a value that may be an address already, of which a network has no bits beyond its mask.
pub(super) fn assigned(value: Expr, found: &Field, kind: AddressKind) -> Expr {
    match (AddressKind::of_elements(found), kind) {
        (Some(found), kind) if found == kind => value,
        (Some(AddressKind::Inet), AddressKind::Cidr) if found.data_type().is_string() => {
            called(NETWORK_OF, vec![value])
        }
        _ => read(value, kind),
    }
}

/// Makes networks addresses where there are both among values of one type; whether there are.
pub(crate) fn of_one_kind<'a>(
    values: impl IntoIterator<Item = &'a mut Expr>,
    schema: &dyn ExprSchema,
) -> bool {
    let kinds = values
        .into_iter()
        .map(|value| (kind_of_elements(value, schema), value));
    let kinds: Vec<(Option<AddressKind>, &mut Expr)> = kinds.collect();
    let has = |wanted| kinds.iter().any(|(kind, _)| *kind == Some(wanted));
    let is_mixed = has(AddressKind::Inet) && has(AddressKind::Cidr);
    for (kind, value) in kinds {
        if is_mixed && kind == Some(AddressKind::Cidr) {
            *value = read(std::mem::take(value), AddressKind::Inet);
        }
    }
    is_mixed
}

/// By what an address is ordered, or the same of each in an array.
pub(super) fn key_of(value: Expr) -> Expr {
    called(KEY, vec![value])
}

/// The address of a key.
pub(super) fn of_key(key: Expr) -> Expr {
    called(OF_KEY, vec![key])
}

/// The call of a function of this family.
fn called(name: &str, args: Vec<Expr>) -> Expr {
    let functions = functions().into_iter().map(Function::build);
    let mut function = functions.filter(|function| function.name() == name);
    match function.next() {
        Some(function) => function.call(args),
        // There is one of each name that is called here.
        None => args.into_iter().next().unwrap_or_default(),
    }
}

/// Whether an expression gives addresses or arrays of them, and of which type.
fn kind_of_elements(expr: &Expr, schema: &dyn ExprSchema) -> Option<AddressKind> {
    let (_, field) = expr.to_field(schema).ok()?;
    AddressKind::of_elements(&field)
}

/// Whether an expression gives addresses, and of which type.
pub(super) fn kind_of(expr: &Expr, schema: &dyn ExprSchema) -> Option<AddressKind> {
    let (_, field) = expr.to_field(schema).ok()?;
    AddressKind::of(&field)
}

/// Fails unless the first arguments are addresses, or texts that are read as such.
fn check(args: &ReturnFieldArgs<'_>, name: &str, n_addresses: usize) -> Result<()> {
    let mut fields = args.arg_fields.iter().zip(args.scalar_arguments);
    let is_address = |(field, literal): (&Arc<Field>, &Option<_>)| {
        let is_open = literal.is_some() && field.data_type().is_string();
        let is_read = is_open && marks_of(field).is_empty() || field.data_type().is_null();
        // Addresses of the catalogs are texts.
        let named = field.metadata().get(TYPE_KEY);
        let is_named = named.is_some_and(|name| name == AddressKind::Inet.name());
        is_read || is_named || AddressKind::of(field).is_some()
    };
    if fields.by_ref().take(n_addresses).all(is_address) {
        return Ok(());
    }
    let types = args.arg_fields.iter().map(|field| type_of(field));
    Err(no_function(name, &types.collect::<Vec<_>>()))
}

fn no_function(name: &str, types: &[String]) -> DataFusionError {
    let message = format!("function {name}({}) does not exist", types.join(", "));
    let hint = "No function matches the given name and argument types. \
        You might need to add explicit type casts.";
    Error::invalid("42883", message, Some(hint)).into()
}

/// What is made of each address.
fn each<T>(call: &Call<'_>, of: impl Fn(Address) -> Result<T>) -> Result<Vec<Option<T>>> {
    let texts = call.texts(0)?;
    let made = texts.iter().map(|text| {
        let address = text.map(stored).transpose()?;
        address.map(&of).transpose()
    });
    made.collect()
}

/// What is made of two addresses.
fn both<T>(call: &Call<'_>, of: impl Fn(Address, Address) -> Result<T>) -> Result<Vec<Option<T>>> {
    let (left, right) = (call.texts(0)?, call.texts(1)?);
    let made = left.iter().zip(right.iter()).map(|pair| match pair {
        (Some(left), Some(right)) => of(stored(left)?, stored(right)?).map(Some),
        _ => Ok(None),
    });
    made.collect()
}

fn numbered(name: &'static str, of: fn(Address) -> i32) -> Function {
    let numbers = function(name, &[1], DataType::Int32, move |call| {
        let numbers = each(call, |address| Ok(of(address)))?;
        Ok(Arc::new(Int32Array::from(numbers)) as ArrayRef)
    });
    numbers.returning(move |args| {
        check(args, name, 1)?;
        Ok(Field::new(name, DataType::Int32, true))
    })
}

fn shown_by(name: &'static str, of: fn(Address) -> Result<String>) -> Function {
    let texts = function(name, &[1], DataType::Utf8, move |call| {
        Ok(Arc::new(StringArray::from(each(call, of)?)) as ArrayRef)
    });
    texts.returning(move |args| {
        check(args, name, 1)?;
        Ok(Field::new(name, DataType::Utf8, true))
    })
}

/// `text(address)`, which is the cast. Other values have none here.
fn as_text() -> Function {
    let name = "text";
    let texts = function(name, &[1], DataType::Utf8, |call| {
        let texts = each(call, |address| Ok(address.text()))?;
        Ok(Arc::new(StringArray::from(texts)) as ArrayRef)
    });
    texts.returning(move |args| match AddressKind::of(&args.arg_fields[0]) {
        Some(_) => Ok(Field::new(name, DataType::Utf8, true)),
        None => Err(no_function(name, &[type_of(&args.arg_fields[0])])),
    })
}

fn made(name: &'static str, kind: AddressKind, of: fn(Address) -> Address) -> Function {
    let texts = function(name, &[1], DataType::Utf8, move |call| {
        let made = each(call, |address| Ok(of(address).text()))?;
        Ok(Arc::new(StringArray::from(made)) as ArrayRef)
    });
    texts.returning(move |args| {
        check(args, name, 1)?;
        Ok(of_kind(name, kind))
    })
}

fn compared(name: &'static str, of: fn(Address, Address) -> bool) -> Function {
    let answers = function(name, &[2], DataType::Boolean, move |call| {
        let answers = both(call, |left, right| Ok(of(left, right)))?;
        Ok(Arc::new(BooleanArray::from(answers)) as ArrayRef)
    });
    answers.returning(move |args| {
        check(args, name, 2)?;
        Ok(Field::new(name, DataType::Boolean, true))
    })
}

/// `set_masklen(address, n)`: of so many bits, or of all with -1. A network loses its bits beyond them.
fn with_mask(name: &'static str, kind: AddressKind) -> Function {
    let texts = function(name, &[2], DataType::Utf8, move |call| {
        let (texts, lengths) = (call.texts(0)?, call.integers(1)?);
        let masked = texts.iter().zip(lengths.iter()).map(|pair| match pair {
            (Some(text), Some(length)) => masked(stored(text)?, length, kind).map(Some),
            _ => Ok(None),
        });
        Ok(Arc::new(masked.collect::<Result<StringArray>>()?) as ArrayRef)
    });
    texts.returning(move |args| {
        check(args, SET_MASK, 1)?;
        Ok(of_kind(name, kind))
    })
}

fn masked(address: Address, length: i64, kind: AddressKind) -> Result<String> {
    let n_bits = match length {
        -1 => Some(address.family.width()),
        length => u8::try_from(length).ok(),
    };
    let masked = n_bits.and_then(|n_bits| address.with_mask(n_bits));
    let masked =
        masked.ok_or_else(|| failure("22023", format!("invalid mask length: {length}")))?;
    Ok(match kind {
        AddressKind::Inet => masked.text(),
        AddressKind::Cidr => masked.network().text(),
    })
}

/// `inet_merge(a, b)`: the smallest network that holds both.
fn merged() -> Function {
    let name = "inet_merge";
    let texts = function(name, &[2], DataType::Utf8, |call| {
        let merged = both(call, |left, right| {
            if left.family != right.family {
                let message = "cannot merge addresses from different families";
                return Err(failure("22023", message));
            }
            let width = u32::from(left.family.width());
            let n_unlike = 128 - (left.bits ^ right.bits).leading_zeros();
            // Lossless: at most the bits of an address.
            let n_common = (width - n_unlike) as u8;
            let n_bits = n_common.min(left.n_bits).min(right.n_bits);
            Ok(Address { n_bits, ..left }.network().text())
        })?;
        Ok(Arc::new(StringArray::from(merged)) as ArrayRef)
    });
    texts.returning(move |args| {
        check(args, name, 2)?;
        Ok(of_kind(name, AddressKind::Cidr))
    })
}

/// The type of addresses that a written type is.
pub(crate) fn address_of_type(data_type: &ast::DataType) -> Option<AddressKind> {
    let ast::DataType::Custom(name, modifiers) = data_type else {
        return None;
    };
    match name_parts(name).as_slice() {
        [name] if modifiers.is_empty() => AddressKind::named(name),
        [schema, name] if modifiers.is_empty() && schema == "pg_catalog" => {
            AddressKind::named(name)
        }
        _ => None,
    }
}

/// The same as a type of a syntax tree.
pub(crate) fn address_type_name(kind: AddressKind) -> ast::DataType {
    let name = ObjectName::from(vec![Ident::new(kind.name())]);
    ast::DataType::Custom(name, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::report_of;

    #[test]
    fn networks_have_no_bits_beyond_their_masks() {
        let read = |text| address_text(AddressKind::Cidr, text);
        assert_eq!(read("10.1.0.0/16").unwrap(), "10.1.0.0/16");
        let report = report_of(&read("10.1.0.0/8").unwrap_err());
        assert_eq!(report.sqlstate, "22P02");
        let expected = "Value has bits set to right of mask.";
        assert_eq!(report.detail.as_deref(), Some(expected));
        let bytes = address_bytes(AddressKind::Cidr, "10.1.0.0/16").unwrap();
        assert_eq!(bytes, [2, 16, 1, 4, 10, 1, 0, 0]);
        let back = |kind, bytes: &[u8]| address_of_bytes(kind, bytes);
        assert_eq!(
            back(AddressKind::Cidr, &bytes).as_deref(),
            Some("10.1.0.0/16")
        );
        let wide = [2, 8, 0, 4, 10, 1, 0, 0];
        assert_eq!(back(AddressKind::Cidr, &wide), None);
        assert_eq!(
            back(AddressKind::Inet, &wide).as_deref(),
            Some("10.1.0.0/8")
        );
    }

    #[test]
    fn types_are_told_by_their_names() {
        for kind in AddressKind::ALL {
            assert_eq!(address_of_type(&address_type_name(kind)), Some(kind));
        }
        let of = |parts: &[Ident]| {
            let name = ObjectName::from(parts.to_vec());
            address_of_type(&ast::DataType::Custom(name, Vec::new()))
        };
        let inet = Some(AddressKind::Inet);
        assert_eq!(of(&[Ident::new("INET")]), inet);
        let catalog = Ident::new("pg_catalog");
        assert_eq!(of(&[catalog, Ident::new("inet")]), inet);
        assert_eq!(of(&[Ident::new("public"), Ident::new("inet")]), None);
        assert_eq!(of(&[Ident::with_quote('"', "INET")]), None);
    }
}
