//! What stands beside an address is one: a literal without a type is read, a text that has one is an error, as in PostgreSQL.
//! The texts that addresses are stored as are one form of several, and are not compared with others.
//!
//! In: a node of a plan that has to do with addresses; out: the same with such literals read, in comparisons, IN, BETWEEN and CASE,
//! functions of values of one type and of arrays, and UNION, or the error.

use std::sync::Arc;

use auspex_storage::AddressKind;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable as _, LogicalPlan, Operator, Projection, Union,
};

use crate::error::Error;
use crate::functions::{is_written_text, no_operator, of_one_kind, read_address, type_of};

/// Functions whose arguments are of one type, also as elements of an array.
const OF_ONE_TYPE: [&str; 19] = [
    "array_append",
    "array_concat",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_joined",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_remove_all",
    "array_replace",
    "array_replace_all",
    "coalesce",
    "greatest",
    "in_array",
    "least",
    "make_array",
    "nullif",
];

/// Reads the literals of a node.
pub(super) fn read(node: LogicalPlan) -> Result<LogicalPlan> {
    let node = match node {
        LogicalPlan::Union(union) => return united(union),
        LogicalPlan::Join(join) => {
            for (left, right) in &join.on {
                let pair = [
                    left.to_field(join.left.schema()),
                    right.to_field(join.right.schema()),
                ];
                if let [Ok((_, left)), Ok((_, right))] = pair {
                    check(&left, &right)?;
                }
            }
            LogicalPlan::Join(join)
        }
        node => node,
    };
    let schema = merge_schema(&node.inputs());
    // Columns keep their names, by which operators above know them.
    let names = NamePreserver::new(&node);
    let read = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let read = expr.transform_up(|expr| settled(expr, &schema))?;
        Ok(match read.transformed {
            true => read.update_data(|expr| name.restore(expr)),
            false => read,
        })
    })?;
    Ok(read.data)
}

fn settled(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Expr::InSubquery(within) = &expr {
        let rows = within.subquery.subquery.schema();
        if let (Ok((_, value)), Some(row)) = (within.expr.to_field(schema), rows.fields().first()) {
            check(&value, row)?;
        }
    }
    let mut is_changed = false;
    let values: Vec<&mut Expr> = match &mut expr {
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            vec![binary.left.as_mut(), binary.right.as_mut()]
        }
        Expr::InList(list) => {
            let first = std::iter::once(list.expr.as_mut());
            first.chain(&mut list.list).collect()
        }
        Expr::Between(between) => vec![
            between.expr.as_mut(),
            between.low.as_mut(),
            between.high.as_mut(),
        ],
        Expr::Case(case) => match &mut case.expr {
            Some(base) => {
                let whens = case.when_then_expr.iter_mut();
                let whens = whens.map(|(when, _)| when.as_mut());
                std::iter::once(base.as_mut()).chain(whens).collect()
            }
            None => Vec::new(),
        },
        Expr::ScalarFunction(call) if OF_ONE_TYPE.contains(&call.func.name()) => {
            is_changed = of_one_kind(&mut call.args, schema);
            call.args.iter_mut().collect()
        }
        _ => Vec::new(),
    };
    is_changed |= read_values(values, schema)?;
    Ok(Transformed::new_transformed(expr, is_changed))
}

fn is_comparison(op: Operator) -> bool {
    use Operator as O;
    matches!(
        op,
        O::Eq
            | O::NotEq
            | O::Lt
            | O::LtEq
            | O::Gt
            | O::GtEq
            | O::IsDistinctFrom
            | O::IsNotDistinctFrom
    )
}

/// Reads the literals among values of which one is an address; whether there are such.
fn read_values(values: Vec<&mut Expr>, schema: &DFSchema) -> Result<bool> {
    let fields = values.iter().map(|value| {
        let field = value.to_field(schema).ok();
        field.map(|(_, field)| field)
    });
    let fields: Vec<Option<FieldRef>> = fields.collect();
    let mut known = fields.iter().flatten();
    let Some(address) = known.find(|field| AddressKind::of_elements(field).is_some()) else {
        return Ok(false);
    };
    let mut is_changed = false;
    for (value, field) in values.into_iter().zip(&fields) {
        let Some(field) = field.as_ref().filter(|field| is_text(field)) else {
            continue;
        };
        if is_written_text(value) {
            *value = read_address(std::mem::take(value), AddressKind::Inet);
            is_changed = true;
        } else if !matches!(value, Expr::Placeholder(_)) {
            return Err(no_operator(&type_of(address), "=", &type_of(field)));
        }
    }
    Ok(is_changed)
}

/// Whether a field holds texts, or arrays of them, that are no addresses.
fn is_text(field: &Field) -> bool {
    let mut item = field.data_type();
    while let DataType::List(inner) = item {
        item = inner.data_type();
    }
    item.is_string() && AddressKind::of_elements(field).is_none()
}

/// Fails for an address and a text.
fn check(left: &Field, right: &Field) -> Result<()> {
    let is_address = |field: &Field| AddressKind::of_elements(field).is_some();
    let is_mixed = is_address(left) && is_text(right) || is_text(left) && is_address(right);
    match is_mixed {
        true => Err(no_operator(&type_of(left), "=", &type_of(right))),
        false => Ok(()),
    }
}

/// A UNION with addresses in all columns that have any: networks, if all are.
fn united(mut union: Union) -> Result<LogicalPlan> {
    let n_columns = union.schema.fields().len();
    for idx in 0..n_columns {
        let fields = union.inputs.iter();
        let fields = fields.filter_map(|input| input.schema().fields().get(idx));
        let addresses: Vec<FieldRef> = fields
            .filter(|field| AddressKind::of_elements(field).is_some())
            .cloned()
            .collect();
        let Some(address) = addresses.first() else {
            continue;
        };
        let is_network =
            |field: &FieldRef| AddressKind::of_elements(field) == Some(AddressKind::Cidr);
        let wanted = match addresses.iter().all(is_network) {
            true => AddressKind::Cidr,
            false => AddressKind::Inet,
        };
        for input in &mut union.inputs {
            let Some(field) = input.schema().fields().get(idx) else {
                continue;
            };
            let read = match AddressKind::of_elements(field) {
                Some(found) if found == wanted => continue,
                Some(_) => {
                    let columns = input.schema().columns().into_iter();
                    with_read(
                        input,
                        columns.map(Expr::Column).collect(),
                        (input, idx),
                        wanted,
                    )
                }
                None if is_text(field) => {
                    read_literal(input, idx, wanted).ok_or_else(|| unmatched(address, field))?
                }
                None => continue,
            };
            *input = Arc::new(read?);
        }
    }
    Ok(LogicalPlan::Union(union))
}

/// A query whose column is a literal with that read; `None`: it is none.
fn read_literal(input: &LogicalPlan, idx: usize, kind: AddressKind) -> Option<Result<LogicalPlan>> {
    let LogicalPlan::Projection(projection) = input else {
        return None;
    };
    is_written_text(projection.expr.get(idx)?).then(|| {
        let exprs = projection.expr.clone();
        with_read(&projection.input, exprs, (input, idx), kind)
    })
}

/// The columns of a query, of which one is read; `exprs` are what gives them of some rows.
fn with_read(
    rows: &LogicalPlan,
    mut exprs: Vec<Expr>,
    (query, idx): (&LogicalPlan, usize),
    kind: AddressKind,
) -> Result<LogicalPlan> {
    let (relation, field) = query.schema().qualified_field(idx);
    let read = read_address(std::mem::take(&mut exprs[idx]).unalias(), kind);
    exprs[idx] = read.alias_qualified(relation.cloned(), field.name());
    Projection::try_new(exprs, Arc::new(rows.clone())).map(LogicalPlan::Projection)
}

fn unmatched(address: &Field, other: &Field) -> DataFusionError {
    let (address, other) = (type_of(address), type_of(other));
    let message = format!("UNION types {address} and {other} cannot be matched");
    Error::invalid("42804", message, None).into()
}
