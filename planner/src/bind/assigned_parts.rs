//! `SET a[1] = x` and `SET j['key'] = x`: the new value of a column of which a part is assigned.
//!
//! In: the reader's form of such an assignment, and the value that the column has so far; out: a call of the function that
//! changes an array (`functions/array_parts.rs`) or a document (`functions/json/parts.rs`) there.

use auspex_sql::ASSIGNED_PART;
use auspex_storage::{JsonKind, marked_element};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, Array, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Subscript,
    Value,
};

use super::assignments::{given_value, marked};
use super::column_rules::{cast_as_column, is_default};
use super::insert::is_fitted_array;
use crate::commands::name_parts;
use crate::error::{Error, Result};
use crate::functions::{
    ARRAY_WITH_PART, JSONB_WITH_PART, LAST_PLACE, function_call as call, type_of,
};

/// An assignment to a part of a column.
pub(super) struct Part<'a> {
    subscripts: Vec<&'a Subscript>,
    value: &'a Expr,
}

impl<'a> Part<'a> {
    /// The part that is assigned; `None`: it is the whole column.
    pub(super) fn of(value: &'a Expr) -> Option<Part<'a>> {
        let Expr::Function(function) = value else {
            return None;
        };
        let FunctionArguments::List(list) = &function.args else {
            return None;
        };
        let [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundFieldAccess {
                access_chain,
                ..
            })),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)),
        ] = list.args.as_slice()
        else {
            return None;
        };
        let subscript = |access: &'a AccessExpr| match access {
            AccessExpr::Subscript(subscript) => Some(subscript),
            AccessExpr::Dot(_) => None,
        };
        let subscripts = access_chain.iter().map(subscript);
        let subscripts = subscripts.collect::<Option<_>>()?;
        (name_parts(&function.name) == [ASSIGNED_PART]).then_some(Part { subscripts, value })
    }

    /// The expressions of the assignment, which alone are read.
    pub(super) fn read(&self) -> Vec<Expr> {
        let mut read = vec![self.value.clone()];
        for subscript in &self.subscripts {
            match subscript {
                Subscript::Index { index } => read.push(index.clone()),
                Subscript::Slice {
                    lower_bound,
                    upper_bound,
                    ..
                } => read.extend(lower_bound.iter().chain(upper_bound).cloned()),
            }
        }
        read
    }

    /// The value of the column with the part in it.
    pub(super) fn put(&self, before: Expr, column: &Field) -> Result<Expr> {
        if is_default(self.value) {
            let message = "cannot set an array element to DEFAULT";
            return Err(Error::invalid("0A000", message, None));
        }
        match column.data_type() {
            DataType::List(item) => self.put_in_array(before, column, item),
            _ if JsonKind::of(column) == Some(JsonKind::Jsonb) => {
                self.put_in_document(before, column)
            }
            _ => {
                let data_type = type_of(column);
                let message = format!(
                    "cannot subscript type {data_type} because it does not support subscripting"
                );
                Err(Error::invalid("42804", message, None))
            }
        }
    }

    fn put_in_array(&self, before: Expr, column: &Field, item: &Field) -> Result<Expr> {
        let [subscript] = self.subscripts.as_slice() else {
            return Err(several_dimensions());
        };
        if item.data_type().is_nested() {
            return Err(several_dimensions());
        }
        let (lower, upper, new) = match subscript {
            Subscript::Index { index } => {
                let element = marked_element(column).unwrap_or_else(|| item.clone());
                let element = element.with_name(column.name());
                let value = cast_as_column(marked(self.value.clone(), &element), &element);
                let only = Array {
                    elem: vec![value],
                    named: true,
                };
                (index.clone(), Some(index.clone()), Expr::Array(only))
            }
            Subscript::Slice {
                lower_bound,
                upper_bound,
                ..
            } => {
                let lower = lower_bound.clone().unwrap_or_else(|| number("1"));
                let new = given_value(self.value.clone(), column);
                // The function that takes it would cut off fractions.
                let new = match is_fitted_array(&new, column.data_type()) {
                    true => cast_as_column(new, column),
                    false => new,
                };
                (lower, upper_bound.clone(), new)
            }
        };
        let place = |place| as_type(place, ast::DataType::Integer(None));
        let args = vec![
            before,
            new,
            place(lower),
            upper.map_or_else(|| number(&LAST_PLACE.to_string()), place),
        ];
        Ok(call(ARRAY_WITH_PART, args))
    }

    fn put_in_document(&self, before: Expr, column: &Field) -> Result<Expr> {
        let value = cast_as_column(marked(self.value.clone(), column), column);
        let mut args = vec![before, value];
        for subscript in &self.subscripts {
            let Subscript::Index { index } = subscript else {
                let message = "jsonb subscript does not support slices";
                return Err(Error::invalid("42804", message, None));
            };
            let is_open = matches!(index, Expr::Value(value)
                if matches!(value.value, Value::Placeholder(_)));
            args.push(match is_open {
                true => as_type(index.clone(), ast::DataType::Text),
                false => index.clone(),
            });
        }
        Ok(call(JSONB_WITH_PART, args))
    }
}

fn several_dimensions() -> Error {
    Error::unsupported("assigning parts of arrays of several dimensions")
}

fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).with_empty_span())
}

fn as_type(expr: Expr, data_type: ast::DataType) -> Expr {
    Expr::Cast {
        kind: ast::CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}
