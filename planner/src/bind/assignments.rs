//! The values that statements give columns: of the column's type, or of one that is cast when it is assigned.
//!
//! In: values of INSERT, UPDATE and MERGE in a syntax tree, which are marked with their columns; out: a plan without marks,
//! or the error that a value is of another type (`functions/assigned_value.rs` has the rule). Defaults and generated values are looked at
//! where the table's definition is made; the rows of COPY are not.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    self, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, UnaryOperator, Value,
};

use super::column_rules::{cast_ast, value_for};
use super::typed_values::{DECLARED_NUMERIC, is_declared};
use crate::error::Result;
use crate::functions::{ASSIGNED_VALUE, check_assignment, check_default, type_of};

/// A value that a statement gives a column, marked and of the column's type.
pub(super) fn given_value(value: ast::Expr, column: &Field) -> ast::Expr {
    value_for(marked(value, column), column)
}

/// The value with the mark by which its type is checked, unless there is nothing to check.
pub(super) fn marked(value: ast::Expr, column: &Field) -> ast::Expr {
    if !is_checked(&value, column) {
        return value;
    }
    // It stands without a cast to take the digits of a column of numbers, which this one is not.
    let value = match is_declared(&value) {
        true => cast_ast(value, &DECLARED_NUMERIC),
        false => value,
    };
    let wanted = type_of(column);
    let text = |text: &str| ast::Expr::value(Value::SingleQuotedString(text.to_owned()));
    let args = [value, text(column.name()), text(&wanted)];
    let args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    ast::Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(ASSIGNED_VALUE)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Whether a column may not take a value: its form does not tell that it does, and not everything becomes a text.
pub(super) fn is_checked(value: &ast::Expr, column: &Field) -> bool {
    let data_type = column.data_type();
    !fits(value, data_type) && !element(data_type).is_nested() && type_of(column) != "text"
}

/// The innermost elements of an array, or what is none.
fn element(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::List(item) => element(item.data_type()),
        own => own,
    }
}

/// Whether the form of a value tells that a column of a type takes it: a literal or a parameter.
fn fits(value: &ast::Expr, wanted: &DataType) -> bool {
    match value {
        value if is_declared(value) => wanted.is_numeric(),
        ast::Expr::Nested(inner) => fits(inner, wanted),
        ast::Expr::UnaryOp {
            op: UnaryOperator::Plus | UnaryOperator::Minus,
            expr,
        } => wanted.is_numeric() && matches!(expr.as_ref(), ast::Expr::Value(_)),
        ast::Expr::Value(value) => match value.value {
            Value::Number(..) => wanted.is_numeric(),
            Value::Boolean(_) => *wanted == DataType::Boolean,
            _ => true,
        },
        _ => false,
    }
}

/// The plan without marks. Errors: 42804.
pub(super) fn checked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut is_marked = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            is_marked |= expr.exists(|expr| Ok(mark_of(expr).is_some()))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    if !is_marked {
        return Ok(plan);
    }
    let checked = plan.transform_up_with_subqueries(|node| {
        let input = node.inputs().first().map(|input| (*input).clone());
        let none = DFSchema::empty();
        let seen = input
            .as_ref()
            .map_or(&none, |input| input.schema().as_ref());
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match mark_of(&expr) {
                Some((value, column, wanted)) => {
                    if let Ok((_, found)) = value.to_field(seen)
                        && !is_untyped(value, input.as_ref())
                    {
                        check_assignment(column, wanted, &found)?;
                    }
                    Ok(Transformed::yes(value.clone()))
                }
                None => Ok(Transformed::no(expr)),
            })
        })
    })?;
    Ok(checked.data)
}

/// The value, the column and its type, if an expression is a mark.
fn mark_of(expr: &Expr) -> Option<(&Expr, &str, &str)> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else {
        return None;
    };
    match args.as_slice() {
        [
            value,
            Expr::Literal(ScalarValue::Utf8(Some(column)), _),
            Expr::Literal(ScalarValue::Utf8(Some(wanted)), _),
        ] if func.name() == ASSIGNED_VALUE => Some((value, column, wanted)),
        _ => None,
    }
}

/// Fails if a column of a query cannot be assigned to one of a table.
pub(super) fn check_output(plan: &LogicalPlan, idx: usize, column: &Field) -> Result<()> {
    match is_untyped_output(plan, idx) {
        true => Ok(()),
        false => {
            let found = plan.schema().field(idx);
            Ok(check_assignment(column.name(), &type_of(column), found)?)
        }
    }
}

/// Fails if what a definition gives a column, a default or an expression over `columns`, cannot be assigned to it.
pub(crate) fn check_definition(value: &Expr, column: &Field, columns: &DFSchema) -> Result<()> {
    if is_untyped(value, None) {
        return Ok(());
    }
    let Some(found) = written_type(value).or_else(|| Some(value.to_field(columns).ok()?.1)) else {
        return Ok(());
    };
    Ok(check_default(column, &found)?)
}

/// PostgreSQL's type of a fraction that is written out, which is a double to the planner.
fn written_type(value: &Expr) -> Option<FieldRef> {
    let data_type = match value {
        Expr::Negative(value) => return written_type(value),
        Expr::Literal(ScalarValue::Float64(_), _) => DataType::Decimal128(38, 10),
        _ => return None,
    };
    Some(Arc::new(Field::new("", data_type, true)))
}

/// Whether an expression is a literal or a parameter that has no type, also by the way of columns.
fn is_untyped(expr: &Expr, input: Option<&LogicalPlan>) -> bool {
    match expr {
        Expr::Alias(alias) => is_untyped(&alias.expr, input),
        Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Null, _) => true,
        Expr::Placeholder(parameter) => parameter.field.is_none(),
        Expr::Column(column) => input.is_some_and(|input| {
            let idx = input.schema().maybe_index_of_column(column);
            idx.is_some_and(|idx| is_untyped_output(input, idx))
        }),
        _ => false,
    }
}

/// The same of a column of a plan.
fn is_untyped_output(plan: &LogicalPlan, idx: usize) -> bool {
    match plan {
        LogicalPlan::Projection(node) => node
            .expr
            .get(idx)
            .is_some_and(|expr| is_untyped(expr, Some(&node.input))),
        LogicalPlan::Values(node) => {
            let mut cells = node.values.iter().filter_map(|row| row.get(idx));
            cells.all(|cell| is_untyped(cell, None))
        }
        LogicalPlan::SubqueryAlias(node) => is_untyped_output(&node.input, idx),
        LogicalPlan::Filter(node) => is_untyped_output(&node.input, idx),
        LogicalPlan::Sort(node) => is_untyped_output(&node.input, idx),
        LogicalPlan::Limit(node) => is_untyped_output(&node.input, idx),
        // Its own columns follow those of its input.
        LogicalPlan::Window(node) => {
            idx < node.input.schema().fields().len() && is_untyped_output(&node.input, idx)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn only_values_whose_type_is_not_seen_are_marked() -> Result<()> {
        let date = Field::new("d", DataType::Date32, true);
        let marks = |text: &str| {
            let value = super::super::parse_expr(text)?;
            Ok::<_, Error>(marked(value, &date).to_string().contains(ASSIGNED_VALUE))
        };
        for text in ["'2026-01-01'", "NULL", "$1", "('2026-01-01')"] {
            assert!(!marks(text)?, "{text}");
        }
        for text in ["5", "true", "x", "CAST($1 AS INT)", "-5", "(SELECT 5)"] {
            assert!(marks(text)?, "{text}");
        }
        Ok(())
    }

    #[test]
    fn values_of_arrays_are_marked_unless_they_are_literals() -> Result<()> {
        let list = DataType::new_list(DataType::Int32, true);
        let numbers = Field::new("numbers", list, true);
        let marks = |text: &str| {
            let value = super::super::parse_expr(text)?;
            Ok::<_, Error>(marked(value, &numbers).to_string().contains(ASSIGNED_VALUE))
        };
        for text in ["'{1,2}'", "NULL", "$1"] {
            assert!(!marks(text)?, "{text}");
        }
        for text in ["5", "-5", "true", "x", "$1::int", "ARRAY[1, 2]"] {
            assert!(marks(text)?, "{text}");
        }
        Ok(())
    }

    #[test]
    fn a_declared_numeric_is_marked_where_the_column_holds_no_numbers() {
        let parameter = ast::Value::Placeholder("$1".to_owned()).with_empty_span();
        let marked = |data_type: DataType| {
            let column = Field::new("x", data_type, true);
            marked(ast::Expr::Value(parameter.clone()), &column).to_string()
        };
        for data_type in [
            DataType::Int32,
            DataType::Float64,
            DataType::Decimal128(12, 2),
            DataType::Utf8,
        ] {
            assert_eq!(marked(data_type), "$1");
        }
        let expected = format!("{ASSIGNED_VALUE}(CAST($1 AS DECIMAL(38,10)), 'x', 'date')");
        assert_eq!(marked(DataType::Date32), expected);
    }
}
