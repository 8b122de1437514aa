//! Operators and functions that mean something else of addresses than of the texts that they are.
//!
//! In: an operator and its operands, or a call, once their types are known; out: the call of the function of addresses, or the error
//! that PostgreSQL has none.

use auspex_storage::AddressKind;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ExprSchema, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Expr, ExprSchemable as _};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::{
    ABBREV, NETWORK_OF, OVERLAPS, READ_CIDR, SET_MASK, SET_NETWORK_MASK, SHORT_NETWORK, SHOWN,
    WITHIN, WITHIN_OR_EQUAL, called, kind_of, kind_of_elements, no_function, read,
};
use crate::functions::assigned_value::type_of;
use crate::functions::order_keys::no_operator;
use crate::functions::unknown::{is_unknown, is_written_text};

/// An operator that asks whether networks hold one another, also beside a text or a parameter without a type; `None`: it is
/// another. Error: PostgreSQL has none of an address and such a value.
pub(in crate::functions) fn planned(
    raw: &RawBinaryExpr,
    schema: &dyn ExprSchema,
) -> Result<Option<Expr>> {
    use BinaryOperator as B;
    let (name, is_swapped) = match &raw.op {
        B::PGBitwiseShiftLeft => (WITHIN, false),
        B::PGBitwiseShiftRight => (WITHIN, true),
        B::PGOverlap => (OVERLAPS, false),
        B::Custom(op) if op == "<<=" => (WITHIN_OR_EQUAL, false),
        B::Custom(op) if op == ">>=" => (WITHIN_OR_EQUAL, true),
        _ => return Ok(None),
    };
    let operands = [&raw.left, &raw.right];
    let kinds = operands.map(|operand| kind_of(operand, schema));
    if kinds.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut args = Vec::with_capacity(operands.len());
    for (operand, kind) in operands.into_iter().zip(kinds) {
        args.push(match (operand, kind) {
            (operand, Some(_)) => operand.clone(),
            // The function tells a parameter its type.
            (Expr::Placeholder(_), None) => operand.clone(),
            (operand, None) if is_unknown(operand) || is_null(operand, schema) => {
                read(operand.clone(), AddressKind::Inet)
            }
            _ => {
                let [left, right] = operands.map(|operand| shown_type(operand, schema));
                return Err(no_operator(&left, &raw.op.to_string(), &right));
            }
        });
    }
    if is_swapped {
        args.reverse();
    }
    Ok(Some(called(name, args)))
}

/// A value and an array, of which what has no type is read as addresses beside the other.
pub(in crate::functions) fn beside(
    value: &Expr,
    array: Expr,
    schema: &dyn ExprSchema,
) -> (Expr, Expr) {
    let of_elements = |expr: &Expr| kind_of_elements(expr, schema);
    let is_text = |expr: &Expr| matches!(expr, Expr::Literal(ScalarValue::Utf8(_), None));
    match (of_elements(value), of_elements(&array)) {
        (None, Some(_)) if is_text(value) => (read(value.clone(), AddressKind::Inet), array),
        (Some(_), None) if is_written_text(&array) => {
            (value.clone(), read(array, AddressKind::Inet))
        }
        _ => (value.clone(), array),
    }
}

fn is_null(operand: &Expr, schema: &dyn ExprSchema) -> bool {
    operand.get_type(schema).is_ok_and(|found| found.is_null())
}

fn shown_type(operand: &Expr, schema: &dyn ExprSchema) -> String {
    match operand.to_field(schema) {
        Ok((_, field)) if !is_unknown(operand) => type_of(&field),
        _ => "unknown".to_owned(),
    }
}

/// Functions that join the texts of what they are given, as PostgreSQL shows it.
const SHOWING: [&str; 4] = ["array_to_string", "concat", "concat_ws", "format"];

/// Functions of texts that PostgreSQL does not have of addresses: the texts that are stored are none of its.
const OF_TEXTS: [&str; 26] = [
    "ascii",
    "btrim",
    "character_length",
    "ends_with",
    "initcap",
    "left",
    "lower",
    "lpad",
    "ltrim",
    "md5",
    "octet_length",
    "overlay",
    "regexp_like",
    "regexp_match",
    "regexp_replace",
    "repeat",
    "replace",
    "reverse",
    "right",
    "rpad",
    "rtrim",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "upper",
];

/// Puts the functions of this module in the place of those that are given addresses, or networks.
#[derive(Debug)]
pub(in crate::functions) struct OfAddresses;

impl FunctionRewrite for OfAddresses {
    fn name(&self) -> &str {
        "of_addresses"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let changed = match &expr {
            Expr::ScalarFunction(call) => of_addresses(call, schema)?,
            Expr::Like(like) => match kind_of(&like.expr, schema) {
                Some(kind) => {
                    let pattern = shown_type(&like.pattern, schema);
                    return Err(no_operator(kind.name(), "~~", &pattern));
                }
                None => None,
            },
            _ => None,
        };
        Ok(match changed {
            Some(changed) => Transformed::yes(changed),
            None => Transformed::no(expr),
        })
    }
}

/// What a call means of addresses; `None`: the same, or it is given something else.
fn of_addresses(call: &ScalarFunction, schema: &DFSchema) -> Result<Option<Expr>> {
    let name = call.func.name();
    let wanted = match name {
        READ_CIDR => (AddressKind::Inet, NETWORK_OF),
        ABBREV => (AddressKind::Cidr, SHORT_NETWORK),
        SET_MASK => (AddressKind::Cidr, SET_NETWORK_MASK),
        name if SHOWING.contains(&name) => return Ok(shown(call, schema)),
        name if OF_TEXTS.contains(&name) => {
            let mut args = call.args.iter();
            return match args.any(|arg| kind_of(arg, schema).is_some()) {
                true => {
                    let types = call.args.iter().map(|arg| shown_type(arg, schema));
                    Err(no_function(name, &types.collect::<Vec<_>>()))
                }
                false => Ok(None),
            };
        }
        _ => return Ok(None),
    };
    let (kind, own) = wanted;
    let first = call.args.first().and_then(|arg| kind_of(arg, schema));
    Ok((first == Some(kind)).then(|| called(own, call.args.clone())))
}

/// The same call with addresses as they are shown.
fn shown(call: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
    let mut is_changed = false;
    let args = call
        .args
        .iter()
        .map(|arg| match kind_of_elements(arg, schema) {
            Some(AddressKind::Inet) => {
                is_changed = true;
                called(SHOWN, vec![arg.clone()])
            }
            _ => arg.clone(),
        });
    let args: Vec<Expr> = args.collect();
    is_changed.then(|| call.func.call(args))
}
