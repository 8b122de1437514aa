//! Enums: texts with a mark that names the type and its labels, in whose order they are compared.
//!
//! In: labels; out: the same, checked and marked, their places, or arrays of them. A function is told its type by a text,
//! so that it needs no catalog, also on other machines. What orders labels orders their places (`order_keys`).

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_storage::EnumType;
use datafusion::arrow::array::{
    ArrayRef, AsArray as _, Int32Array, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{ExprSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable as _, ReturnFieldArgs, lit};
use datafusion::sql::sqlparser::ast::{self, Ident, ObjectName};

use super::assigned_value::type_of;
use super::call::{Call, Function, failure, function, function_of};
use super::dimensions::{in_place_of, map_elements, map_texts, parts, texts_in_place_of};

/// The function that reads a text, or each text of an array, as a label.
pub(crate) const READ: &str = "enum_in";
/// The function that tells the place of a label.
pub(crate) const POSITION: &str = "enum_position";
const LABEL: &str = "enum_label";
const BETWEEN: &str = "enum_labels_between";
/// PostgreSQL's functions of enums.
const FIRST: &str = "enum_first";
const LAST: &str = "enum_last";
const RANGE: &str = "enum_range";

/// What a type of a syntax tree starts its modifier with when it is known which enum it is. No client's text can
/// bring it there.
const TOLD: &str = "\u{1e}enum:";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        reader(),
        positions(),
        labels(),
        labels_between(),
        end_of(FIRST, &[1]),
        end_of(LAST, &[1]),
        range(),
    ]
}

fn reader() -> Function {
    function(READ, &[2], DataType::Utf8, |call| {
        let known = known_of(call, 1)?;
        map_texts(call.arg(0)?, &|text| match known.position(text) {
            Some(_) => Ok(text.to_owned()),
            None => Err(no_label(&known, text)),
        })
    })
    .returning(|args| {
        let known = told(args, 1)?;
        let found = &args.arg_fields[0];
        let (element, _) = parts(found.data_type());
        if !element.is_string() && !element.is_null() {
            let message = format!("cannot cast type {} to {}", type_of(found), known.name);
            return Err(failure("42846", message));
        }
        let data_type = texts_in_place_of(found.data_type());
        Ok(Field::new(READ, data_type, true).with_metadata(known.marks()))
    })
}

fn positions() -> Function {
    let returns = |types: &[DataType]| Ok(in_place_of(&types[0], &DataType::Int32));
    function_of(POSITION, &[2], returns, |call| {
        let known = known_of(call, 1)?;
        let labels = known.labels.iter().map(String::as_str);
        let places: BTreeMap<&str, i32> = labels.zip(0..).collect();
        let place = |label: &str| {
            let place = places.get(label).copied();
            place.ok_or_else(|| no_label(&known, label))
        };
        map_elements(call.arg(0)?, &|labels| {
            let labels = cast(labels, &DataType::Utf8)?;
            let labels = labels.as_string::<i32>().iter();
            let found = labels.map(|label| label.map(place).transpose());
            let found: Int32Array = found.collect::<Result<_>>()?;
            Ok(Arc::new(found))
        })
    })
}

fn labels() -> Function {
    function(LABEL, &[2], DataType::Utf8, |call| {
        let known = known_of(call, 1)?;
        let label = |place: i64| {
            let label = known.labels.get(usize::try_from(place).ok()?)?;
            Some(label.as_str())
        };
        let places = call.integers(0)?;
        let found: StringArray = places.iter().map(|place| place.and_then(label)).collect();
        Ok(Arc::new(found) as ArrayRef)
    })
    .returning(|args| {
        let known = told(args, 1)?;
        Ok(Field::new(LABEL, DataType::Utf8, true).with_metadata(known.marks()))
    })
}

/// The labels from one to another; NULL stands for the first and for the last one.
fn labels_between() -> Function {
    function(BETWEEN, &[3], texts(), |call| {
        let known = known_of(call, 2)?;
        let place = |label: &str| {
            let place = known.position(label);
            place.ok_or_else(|| no_label(&known, label))
        };
        let (lows, highs) = (call.texts(0)?, call.texts(1)?);
        let mut lists = ListBuilder::new(StringBuilder::new());
        for (low, high) in lows.iter().zip(highs.iter()) {
            let low = low.map(place).transpose()?.unwrap_or(0);
            let end = high.map(place).transpose()?.map_or(usize::MAX, |at| at + 1);
            let wanted = known.labels.iter().take(end).skip(low);
            wanted.for_each(|label| lists.values().append_value(label));
            lists.append(true);
        }
        Ok(Arc::new(lists.finish()) as ArrayRef)
    })
    .returning(|args| {
        let known = told(args, 2)?;
        Ok(Field::new(BETWEEN, texts(), true).with_metadata(known.marks()))
    })
}

fn texts() -> DataType {
    DataType::new_list(DataType::Utf8, true)
}

/// `enum_first(x)` and `enum_last(x)`, in whose place stands a label when a statement is bound.
fn end_of(name: &'static str, arities: &'static [usize]) -> Function {
    function(name, arities, DataType::Utf8, move |_| Err(unbound(name))).returning(move |args| {
        let known = of_arguments(args, name)?;
        Ok(Field::new(name, DataType::Utf8, true).with_metadata(known.marks()))
    })
}

/// `enum_range(x)` and `enum_range(low, high)`, likewise.
fn range() -> Function {
    function(RANGE, &[1, 2], texts(), |_| Err(unbound(RANGE))).returning(|args| {
        let known = of_arguments(args, RANGE)?;
        Ok(Field::new(RANGE, texts(), true).with_metadata(known.marks()))
    })
}

fn unbound(name: &str) -> DataFusionError {
    failure("0A000", format!("{name} can only be called in a statement"))
}

/// The enum of one of the arguments. Error: none is a label.
fn of_arguments(args: &ReturnFieldArgs<'_>, name: &str) -> Result<EnumType> {
    let mut fields = args.arg_fields.iter();
    let known = fields.find_map(|field| EnumType::of(field));
    known.ok_or_else(|| {
        let types: Vec<String> = args.arg_fields.iter().map(|field| type_of(field)).collect();
        let message = format!("function {name}({}) does not exist", types.join(", "));
        failure("42883", message)
    })
}

/// The enum that a call names in one of its arguments.
fn known_of(call: &Call<'_>, idx: usize) -> Result<EnumType> {
    let texts = call.texts(idx)?;
    let known = texts.iter().flatten().next().and_then(EnumType::of_text);
    // Without rows no label is asked for.
    Ok(known.unwrap_or_default())
}

/// The same when the call is planned.
fn told(args: &ReturnFieldArgs<'_>, idx: usize) -> Result<EnumType> {
    let known = match args.scalar_arguments.get(idx).copied().flatten() {
        Some(ScalarValue::Utf8(Some(text))) => EnumType::of_text(text),
        _ => None,
    };
    known.ok_or_else(|| failure("22023", "a function of enums was not told its type"))
}

/// The error that a type has no such label.
fn no_label(known: &EnumType, text: &str) -> DataFusionError {
    let message = format!("invalid input value for enum {}: \"{text}\"", known.name);
    failure("22P02", message)
}

fn called(function: Function, mut args: Vec<Expr>, known: &EnumType) -> Expr {
    args.push(lit(known.to_text()));
    function.build().call(args)
}

/// A text as a column of the enum takes it.
pub(super) fn read(value: Expr, known: &EnumType) -> Expr {
    called(reader(), vec![value], known)
}

/// The place of a label, or those of an array of labels.
pub(super) fn position_of(label: Expr, known: &EnumType) -> Expr {
    called(positions(), vec![label], known)
}

/// The label of a place.
pub(crate) fn label_of(place: Expr, known: &EnumType) -> Expr {
    called(labels(), vec![place], known)
}

/// The enum whose label an expression is.
pub(crate) fn enum_of(expr: &Expr, schema: &dyn ExprSchema) -> Option<EnumType> {
    let (_, field) = expr.to_field(schema).ok()?;
    EnumType::of(&field)
}

/// Whether an expression is a call that gives labels.
pub(crate) fn is_call(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call)
        if [READ, FIRST, LAST, RANGE].contains(&call.func.name()))
}

/// What a call of PostgreSQL's functions of enums means; `None`: it is one of another function.
pub(crate) fn meant(call: &ScalarFunction, schema: &dyn ExprSchema) -> Option<Expr> {
    let name = call.func.name();
    if ![FIRST, LAST, RANGE].contains(&name) {
        return None;
    }
    let known = call.args.iter().find_map(|arg| enum_of(arg, schema))?;
    let text = |label: Option<&String>| lit(ScalarValue::Utf8(label.cloned()));
    let none = || text(None);
    Some(match (name, call.args.as_slice()) {
        (FIRST, _) => read(text(known.labels.first()), &known),
        (LAST, _) => read(text(known.labels.last()), &known),
        (_, [low, high]) => called(labels_between(), vec![low.clone(), high.clone()], &known),
        _ => called(labels_between(), vec![none(), none()], &known),
    })
}

/// An enum as a type of a syntax tree that needs no catalog to be understood.
pub(crate) fn enum_type_name(known: &EnumType) -> ast::DataType {
    let parts = [&known.schema, &known.name].map(|part| Ident::with_quote('"', part.as_str()));
    let told = format!("{TOLD}{}", known.to_text());
    ast::DataType::Custom(ObjectName::from(parts.to_vec()), vec![told])
}

/// The enum that such a type is.
pub(crate) fn enum_of_type(data_type: &ast::DataType) -> Option<EnumType> {
    let ast::DataType::Custom(_, modifiers) = data_type else {
        return None;
    };
    EnumType::of_text(modifiers.first()?.strip_prefix(TOLD)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_syntax_trees_tell_which_enum_they_are() {
        let known = EnumType {
            id: "1".into(),
            schema: "public".into(),
            name: "Mood".into(),
            labels: vec!["it's \"so\"".into(), "happy".into()],
            ..EnumType::default()
        };
        let told = enum_type_name(&known);
        assert_eq!(enum_of_type(&told), Some(known));
        assert_eq!(enum_of_type(&ast::DataType::Text), None);
        let name = ObjectName::from(vec![Ident::new("mood")]);
        assert_eq!(enum_of_type(&ast::DataType::Custom(name, vec![])), None);
    }
}
