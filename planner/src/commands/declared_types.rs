//! Types of declared columns that the planner lacks: maps, and `FLOAT` as PostgreSQL means it, at any depth; and clocks
//! of so many digits.
//!
//! In: types of a syntax tree; out: types that the planner knows, and the columns that it makes of them as they were meant.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, ExactNumberInfo, Ident, StructBracketKind, StructField,
};

/// What a map is planned as: a record of two fields of names that no client's text can bring into a
/// statement.
const KEY: &str = "\u{1e}key";
const VALUE: &str = "\u{1e}value";

/// A type as the planner knows it.
pub(super) fn spell(data_type: &mut ast::DataType) {
    match data_type {
        ast::DataType::Float(precision) => *data_type = float_type(precision),
        ast::DataType::Array(
            ArrayElemTypeDef::AngleBracket(element) | ArrayElemTypeDef::SquareBracket(element, _),
        ) => spell(element),
        ast::DataType::Struct(fields, _) => {
            let types = fields.iter_mut().map(|field| &mut field.field_type);
            types.for_each(spell);
        }
        ast::DataType::Map(key, value) => {
            let field = |name: &str, field_type: &ast::DataType| {
                let mut field_type = field_type.clone();
                spell(&mut field_type);
                StructField {
                    field_name: Some(Ident::with_quote('"', name)),
                    field_type,
                    options: None,
                }
            };
            let fields = vec![field(KEY, key), field(VALUE, value)];
            *data_type = ast::DataType::Struct(fields, StructBracketKind::AngleBrackets);
        }
        _ => {}
    }
}

/// Takes away how many digits the seconds of a type have: the note of a column tells them, and the planner has other types
/// for some numbers of them and none for the others.
pub(super) fn without_digits(data_type: &mut ast::DataType) {
    use ast::DataType as T;
    match data_type {
        T::Timestamp(digits, _)
        | T::Time(digits, _)
        | T::Interval {
            precision: digits, ..
        } => *digits = None,
        _ => {}
    }
}

/// FLOAT is double precision unless few binary digits are asked for.
fn float_type(precision: &ExactNumberInfo) -> ast::DataType {
    match precision {
        ExactNumberInfo::Precision(1..=24) => ast::DataType::Real,
        _ => ast::DataType::DoublePrecision,
    }
}

/// The columns as they were meant.
pub(super) fn meant(schema: &Schema) -> SchemaRef {
    let fields: Vec<FieldRef> = schema.fields().iter().map(meant_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn meant_field(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::List(element) => DataType::List(meant_field(element)),
        DataType::FixedSizeList(element, length) => {
            DataType::FixedSizeList(meant_field(element), *length)
        }
        DataType::Struct(fields) => match fields.as_ref() {
            [key, value] if key.name() == KEY => {
                let named = |field: &FieldRef, name: &str, is_nullable: bool| {
                    let field = meant_field(field).as_ref().clone();
                    field.with_name(name).with_nullable(is_nullable)
                };
                let pair =
                    Fields::from(vec![named(key, "key", false), named(value, "value", true)]);
                let entries = Field::new("key_value", DataType::Struct(pair), false);
                DataType::Map(Arc::new(entries), false)
            }
            fields => DataType::Struct(fields.iter().map(meant_field).collect()),
        },
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_spelled_as_records_and_meant_again() {
        let text = ast::DataType::Text;
        let mut map = ast::DataType::Map(Box::new(text), Box::new(ast::DataType::Integer(None)));
        spell(&mut map);
        assert!(matches!(&map, ast::DataType::Struct(fields, _) if fields.len() == 2));
        let pair = Fields::from(vec![
            Field::new(KEY, DataType::Utf8, true),
            Field::new(VALUE, DataType::Int32, true),
        ]);
        let list = DataType::new_list(DataType::Struct(pair), true);
        let found = meant(&Schema::new(vec![Field::new("m", list, true)]));
        let DataType::List(element) = found.field(0).data_type() else {
            panic!("{found}");
        };
        assert!(
            matches!(element.data_type(), DataType::Map(..)),
            "{element}"
        );
    }
}
