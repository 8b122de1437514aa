//! Parts of arrays: `x[2:3]`, `x[:2]`, `x[0:2][1:1]`.
//!
//! In: an array and its subscripts, whose parts were rewritten before; out: slices with bounds from 1 on, of which the planner
//! counts negative ones from the end, and one within another for those of several dimensions.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, LambdaFunction, LambdaFunctionParameter, LambdaSyntax,
    OneOrManyWithParens, Subscript,
};

use super::casts::number_text;
use super::{call, is_parameter, number};
use crate::functions::SLICE_BOUND;

/// What a part of an array is called in a slice of its parts, which no client's text can write.
const PART: &str = "\u{1e}part of array";

/// The slices with bounds; `None`: there are none, or they are right as they stand.
pub(super) fn bounded(root: &Expr, access_chain: &[AccessExpr]) -> Option<Expr> {
    let is_slice =
        |access: &AccessExpr| matches!(access, AccessExpr::Subscript(Subscript::Slice { .. }));
    if !access_chain.iter().any(is_slice) {
        return None;
    }
    let mut access_chain = access_chain.to_vec();
    access_chain.iter_mut().for_each(bound);
    match access_chain.iter().all(is_slice) {
        true => sliced(root, &access_chain),
        false => Some(Expr::CompoundFieldAccess {
            root: Box::new(root.clone()),
            access_chain,
        }),
    }
}

/// A slice, of which each part is sliced by what follows.
fn sliced(array: &Expr, access_chain: &[AccessExpr]) -> Option<Expr> {
    let (first, rest) = access_chain.split_first()?;
    let slice = Expr::CompoundFieldAccess {
        root: Box::new(array.clone()),
        access_chain: vec![first.clone()],
    };
    if rest.is_empty() {
        return Some(slice);
    }
    let part = Ident::with_quote('"', PART);
    let body = sliced(&Expr::Identifier(part.clone()), rest)?;
    let each = Expr::Lambda(LambdaFunction {
        params: OneOrManyWithParens::One(LambdaFunctionParameter {
            name: part,
            data_type: None,
        }),
        body: Box::new(body),
        syntax: LambdaSyntax::Arrow,
    });
    Some(call("array_transform", vec![slice, each]))
}

/// Gives `[:2]` and `[2:]` the bounds that an array has at most, and all of them such that it has.
fn bound(access: &mut AccessExpr) {
    if let AccessExpr::Subscript(Subscript::Slice {
        lower_bound,
        upper_bound,
        ..
    }) = access
    {
        let last = || number(&i32::MAX.to_string());
        *lower_bound = Some(
            lower_bound
                .as_ref()
                .map_or_else(|| number("1"), |at| from(at, 1)),
        );
        *upper_bound = Some(upper_bound.as_ref().map_or_else(last, |at| from(at, 0)));
    }
}

/// A bound that is not below a number.
fn from(bound: &Expr, least: i64) -> Expr {
    let written = number_text(bound).and_then(|digits| digits.parse::<i64>().ok());
    match written {
        Some(written) if written < least => number(&least.to_string()),
        Some(_) => bound.clone(),
        None if is_parameter(bound) => bound.clone(),
        None => call(SLICE_BOUND, vec![bound.clone(), number(&least.to_string())]),
    }
}
