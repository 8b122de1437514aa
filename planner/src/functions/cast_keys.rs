//! Keys of groups and calls that differ in their casts alone, `GROUP BY moment::date, moment`, have names of their own: the
//! planner calls a cast as it calls what is cast, so that it would take two such keys for one. Keys such as `x * 2` that the query
//! computes on with, `x * 2 + 1`, stay whole: the chain of operators would be one call (`checked.rs`), without the key in it.
//!
//! In: a statement in its last form before it is planned, in which such a key or cast becomes the operand of an operator of ours, wherever
//! the query has it; out: for the planner of operators, a function of it, which is gone once the plan is simplified.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr as Planned, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, lit,
};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Statement,
    Value, Visit, VisitMut, Visitor, VisitorMut,
};

use crate::commands::folded;

/// The function of a cast.
pub(crate) const CAST_KEY: &str = "cast_key";
/// What the operator of a mark begins with, which no client's text can write; the cast's number follows.
const MARK: &str = "\u{1e}cast key ";

static KEY: LazyLock<ScalarUDF> = LazyLock::new(|| {
    ScalarUDF::from(CastKey {
        signature: Signature::any(2, Volatility::Immutable),
    })
});

/// Marks such keys and casts.
pub(crate) fn mark_cast_keys(statement: &mut Statement) {
    mark_chosen(statement, casts_and_chains, 1);
}

/// Marks what is chosen of each SELECT with multiples of a number, one after the other.
pub(super) fn mark_chosen(statement: &mut Statement, chosen: fn(&Select) -> Vec<Expr>, step: i64) {
    let mut marking = Marking {
        chosen,
        step,
        last: 0,
    };
    // The visitor never breaks off.
    let _ = VisitMut::visit(statement, &mut marking);
}

/// What a mark stands on; `None`: the expression is another.
pub(super) fn marked(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Custom(mark),
            ..
        } if mark.starts_with(MARK) => Some(left),
        _ => None,
    }
}

/// The cast of a mark; `None`: the operator is another.
pub(super) fn planned(raw: &RawBinaryExpr) -> Option<Planned> {
    let BinaryOperator::Custom(mark) = &raw.op else {
        return None;
    };
    let number: i64 = mark.strip_prefix(MARK)?.parse().ok()?;
    Some(KEY.call(vec![raw.left.clone(), lit(number)]))
}

struct Marking {
    chosen: fn(&Select) -> Vec<Expr>,
    step: i64,
    last: i64,
}

impl VisitorMut for Marking {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.mark(&mut query.body);
        let casts = match query.body.as_ref() {
            SetExpr::Select(select) => (self.chosen)(select),
            _ => Vec::new(),
        };
        for cast in casts {
            let mark = self.next_mark();
            let mut replacing = Replacing::of(&cast, mark);
            let _ = VisitMut::visit(&mut query.order_by, &mut replacing);
            if let SetExpr::Select(select) = query.body.as_mut() {
                replacing.in_select(select);
            }
        }
        ControlFlow::Continue(())
    }
}

impl Marking {
    /// Marks casts of united queries.
    fn mark(&mut self, body: &mut SetExpr) {
        let SetExpr::SetOperation { left, right, .. } = body else {
            return;
        };
        for side in [left, right] {
            if let SetExpr::Select(select) = side.as_mut() {
                for cast in (self.chosen)(select) {
                    let mark = self.next_mark();
                    Replacing::of(&cast, mark).in_select(select);
                }
            }
            self.mark(side);
        }
    }

    fn next_mark(&mut self) -> String {
        self.last += self.step;
        format!("{MARK}{}", self.last)
    }
}

/// What is to be marked of a SELECT, each once; what stands around others first.
fn casts_and_chains(select: &Select) -> Vec<Expr> {
    let casts = shared_casts(select).into_iter();
    let all: BTreeMap<String, Expr> = casts
        .chain(chains_begun(select))
        .map(|expr| (spelt(&expr), expr))
        .collect();
    let mut all: Vec<(String, Expr)> = all.into_iter().collect();
    all.sort_by_key(|(text, _)| Reverse(text.len()));
    all.into_iter().map(|(_, expr)| expr).collect()
}

/// The keys with which longer chains of operators begin.
fn chains_begun(select: &Select) -> Vec<Expr> {
    let keys = keys_of(select).into_iter().map(without_brackets);
    let mut keys: Vec<Expr> = keys.filter(|key| first(key).is_some()).cloned().collect();
    if keys.is_empty() {
        return keys;
    }
    let mut chains = Found::of(|expr| first(expr).is_some());
    let _ = Visit::visit(&select.projection, &mut chains);
    let _ = Visit::visit(&select.having, &mut chains);
    let begun: BTreeSet<String> = chains.found.iter().filter_map(first).map(spelt).collect();
    keys.retain(|key| begun.contains(&spelt(key)));
    keys
}

/// What a chain of operators begins with; `None`: the expression is none.
fn first(expr: &Expr) -> Option<&Expr> {
    use BinaryOperator as B;
    match expr {
        Expr::BinaryOp {
            left,
            op: B::Plus | B::Minus | B::Multiply | B::StringConcat,
            ..
        } => Some(without_brackets(left)),
        _ => None,
    }
}

/// An expression without the brackets around it.
pub(super) fn without_brackets(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => without_brackets(inner),
        expr => expr,
    }
}

/// The casts in keys and calls whose names others of the query have, too.
fn shared_casts(select: &Select) -> Vec<Expr> {
    let mut named: Vec<Expr> = keys_of(select).into_iter().cloned().collect();
    let mut calls = Found::of(|expr| matches!(expr, Expr::Function(_)));
    let _ = Visit::visit(&select.projection, &mut calls);
    let _ = Visit::visit(&select.having, &mut calls);
    named.extend(calls.found);
    let casts = |expr: &Expr| {
        let mut casts = Found::of(|expr| matches!(expr, Expr::Cast { .. }));
        let _ = Visit::visit(expr, &mut casts);
        casts.found
    };
    if named.len() < 2 || named.iter().all(|expr| casts(expr).is_empty()) {
        return Vec::new();
    }
    let mut by_name: BTreeMap<String, BTreeMap<String, Expr>> = BTreeMap::new();
    for expr in named {
        let alike = by_name.entry(bare(&expr)).or_default();
        alike.insert(spelt(&expr), expr);
    }
    let shared = by_name.into_values().filter(|alike| alike.len() > 1);
    let shared: Vec<Expr> = shared.flat_map(BTreeMap::into_values).collect();
    shared.iter().flat_map(casts).collect()
}

/// The expressions of a kind, wherever they stand.
struct Found {
    is_one: fn(&Expr) -> bool,
    found: Vec<Expr>,
}

impl Found {
    fn of(is_one: fn(&Expr) -> bool) -> Found {
        Found {
            is_one,
            found: Vec::new(),
        }
    }
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if (self.is_one)(expr) {
            self.found.push(expr.clone());
        }
        ControlFlow::Continue(())
    }
}

/// The expressions that the keys of a SELECT mean.
pub(super) fn keys_of(select: &Select) -> Vec<&Expr> {
    let mut keys = Vec::new();
    if let GroupByExpr::Expressions(written, _) = &select.group_by {
        for expr in written {
            add_keys(expr, &select.projection, &mut keys);
        }
    }
    keys
}

/// Adds the expressions that a key of GROUP BY means: those of a set, of an output column by its place or name, or its own.
fn add_keys<'a>(expr: &'a Expr, items: &'a [SelectItem], keys: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Nested(expr) => add_keys(expr, items, keys),
        Expr::Tuple(exprs) => exprs.iter().for_each(|expr| add_keys(expr, items, keys)),
        Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets) => {
            let exprs = sets.iter().flatten();
            exprs.for_each(|expr| add_keys(expr, items, keys));
        }
        Expr::Value(value) => {
            let place = match &value.value {
                Value::Number(digits, _) => digits.parse::<usize>().ok(),
                _ => None,
            };
            let item = place.and_then(|place| items.get(place.checked_sub(1)?));
            if let Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) =
                item
            {
                keys.push(expr);
            }
        }
        Expr::Identifier(name) => {
            let named = items.iter().find_map(|item| match item {
                SelectItem::ExprWithAlias { expr, alias } if folded(alias) == folded(name) => {
                    Some(expr)
                }
                _ => None,
            });
            // Both, where it may be a column: a mark too many means nothing.
            keys.extend([expr].into_iter().chain(named));
        }
        expr => keys.push(expr),
    }
}

/// What the planner calls an expression, or what differs from that in the same way.
pub(super) fn bare(expr: &Expr) -> String {
    let mut expr = expr.clone();
    let _ = VisitMut::visit(&mut expr, &mut Baring);
    expr.to_string().to_lowercase()
}

struct Baring;

impl VisitorMut for Baring {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { expr: inner, .. } | Expr::Nested(inner) => {
                *expr = std::mem::replace(inner, Expr::Value(Value::Null.with_empty_span()));
            }
            Expr::CompoundIdentifier(names) => {
                if let Some(name) = names.pop() {
                    *expr = Expr::Identifier(name);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// An expression as it is written in one way.
pub(super) fn spelt(expr: &Expr) -> String {
    let mut expr = expr.clone();
    let _ = VisitMut::visit(&mut expr, &mut Spelling);
    expr.to_string()
}

struct Spelling;

impl VisitorMut for Spelling {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast {
                kind: kind @ CastKind::Cast,
                ..
            } => *kind = CastKind::DoubleColon,
            Expr::Nested(inner) => {
                *expr = std::mem::replace(inner, Expr::Value(Value::Null.with_empty_span()));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Puts a mark on a cast, or what else is chosen, wherever it stands.
struct Replacing<'a> {
    cast: &'a Expr,
    /// As it is written in one way.
    spelt: String,
    mark: String,
}

impl<'a> Replacing<'a> {
    fn of(cast: &'a Expr, mark: String) -> Replacing<'a> {
        Replacing {
            cast,
            spelt: spelt(cast),
            mark,
        }
    }

    /// In what is computed of the groups of a query.
    fn in_select(&mut self, select: &mut Select) {
        let _ = VisitMut::visit(&mut select.projection, self);
        let _ = VisitMut::visit(&mut select.group_by, self);
        let _ = VisitMut::visit(&mut select.having, self);
        let _ = VisitMut::visit(&mut select.named_window, self);
        let _ = VisitMut::visit(&mut select.distinct, self);
    }
}

impl VisitorMut for Replacing<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if discriminant(expr) == discriminant(self.cast) && spelt(expr) == self.spelt {
            let null = Expr::Value(Value::Null.with_empty_span());
            let marked = Expr::BinaryOp {
                left: Box::new(std::mem::replace(expr, null.clone())),
                op: BinaryOperator::Custom(self.mark.clone()),
                right: Box::new(null),
            };
            *expr = Expr::Nested(Box::new(marked));
        }
        ControlFlow::Continue(())
    }
}

/// A cast, with its number.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CastKey {
    signature: Signature,
}

impl ScalarUDFImpl for CastKey {
    fn name(&self) -> &str {
        CAST_KEY
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(without_cast)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        args.arg_fields.first().cloned().ok_or_else(without_cast)
    }

    fn simplify(&self, args: Vec<Planned>, _info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let key = args.into_iter().next().ok_or_else(without_cast)?;
        Ok(ExprSimplifyResult::Simplified(key))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        args.args.into_iter().next().ok_or_else(without_cast)
    }
}

fn without_cast() -> DataFusionError {
    DataFusionError::Internal("a marked cast has no value".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str) -> String {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        mark_cast_keys(&mut statement);
        statement.to_string().replace(MARK, "#")
    }

    #[test]
    fn keys_that_differ_in_casts_are_marked_everywhere() {
        assert_eq!(
            marked(
                "SELECT ts::date AS day, ts, count(*) FROM t GROUP BY 1, 2 ORDER BY CAST(ts AS date)"
            ),
            "SELECT (ts::DATE #1 NULL) AS day, ts, count(*) FROM t GROUP BY 1, 2 ORDER BY (CAST(ts AS DATE) #1 NULL)"
        );
        assert_eq!(
            marked("SELECT 1 FROM t GROUP BY ROLLUP (t.a::text, (a::int)) HAVING max(a::int) > 1"),
            "SELECT 1 FROM t GROUP BY ROLLUP ((t.a::TEXT #1 NULL), (a::INT #2 NULL)) HAVING max((a::INT #2 NULL)) > 1"
        );
    }

    #[test]
    fn calls_that_differ_in_casts_are_marked() {
        assert_eq!(
            marked("SELECT lag(ts::date) OVER (ORDER BY ts), lag(ts) OVER (ORDER BY ts) FROM t"),
            "SELECT lag((ts::DATE #1 NULL)) OVER (ORDER BY ts), lag(ts) OVER (ORDER BY ts) FROM t"
        );
        // The outer cast is told from the other one around the same.
        assert_eq!(
            marked("SELECT max(x::text::date), max((x::text)::int) FROM t"),
            "SELECT max(((x::TEXT #3 NULL)::DATE #1 NULL)), max((((x::TEXT #3 NULL))::INT #2 NULL)) FROM t"
        );
    }

    #[test]
    fn keys_with_which_chains_begin_are_marked() {
        assert_eq!(
            marked("SELECT (x + y) * 2, -(x + y) FROM t GROUP BY x + y HAVING x + y - 1 > 0"),
            "SELECT ((x + y #1 NULL)) * 2, -((x + y #1 NULL)) FROM t GROUP BY (x + y #1 NULL) HAVING (x + y #1 NULL) - 1 > 0"
        );
    }

    #[test]
    fn keys_of_other_names_stay() {
        for text in [
            "SELECT ts::DATE FROM t GROUP BY ts::DATE, id",
            "SELECT ts::DATE AS ts FROM t GROUP BY CAST(ts AS DATE), ts::DATE",
            "SELECT a, b FROM t GROUP BY a, b",
            "SELECT a + b, 1 + (a + b) FROM t GROUP BY a + b",
        ] {
            assert_eq!(marked(text), text);
        }
    }
}
