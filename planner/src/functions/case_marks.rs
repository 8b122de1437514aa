//! CASE whose branches are json, uuids, addresses or labels of an enum is of that type: the planner takes the type of values alone from branches.
//!
//! In: a statement in its last form before it is planned, in which CASE becomes the operand of an operator of ours, so that the
//! planner of operators is told the types of the branches; out: the mark on the planned CASE. Operators around it are those
//! of json then: `CASE … END || '{"a": 1}'`.

use auspex_storage::{marked_element, marks_of};
use datafusion::arrow::datatypes::{Field, FieldRef};
use datafusion::common::{ExprSchema, ScalarValue};
use datafusion::logical_expr::expr::{Case, ScalarFunction};
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Expr as Planned, ExprSchemable as _};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};

use super::addresses::{READ_CIDR, READ_INET, of_one_kind};
use super::fitted::read_beside;
use super::json::{read_marked, remarked};
use super::unknown::is_unknown;
use super::{enums, uuid};

/// The operator of a mark, which no client's text can write.
const MARK: &str = "\u{1e}case";

/// The operator of a CASE; `None`: it is another expression.
pub(super) fn marked(expr: &Expr) -> Option<Expr> {
    let operation = || Expr::BinaryOp {
        left: Box::new(expr.clone()),
        op: BinaryOperator::Custom(MARK.to_owned()),
        right: Box::new(Expr::Value(Value::Null.with_empty_span())),
    };
    matches!(expr, Expr::Case { .. }).then(|| Expr::Nested(Box::new(operation())))
}

/// The CASE of a mark; `None`: the operator is another.
pub(super) fn planned(raw: &RawBinaryExpr, schema: &dyn ExprSchema) -> Option<Planned> {
    let BinaryOperator::Custom(mark) = &raw.op else {
        return None;
    };
    (mark == MARK).then(|| match &raw.left {
        Planned::Case(case) => with_mark(case.clone(), schema),
        other => other.clone(),
    })
}

/// A CASE whose branches are all json, all uuids, all labels of one enum, or arrays of these, is of that type; texts and parameters
/// without a type among them are read as it.
pub(crate) fn with_mark(mut case: Case, seen: &dyn ExprSchema) -> Planned {
    let thens = case.when_then_expr.iter_mut().map(|(_, then)| then);
    let branches = thens.chain(&mut case.else_expr).map(Box::as_mut);
    of_one_kind(branches, seen);
    let Some(mark) = common_mark(&case, seen) else {
        return Planned::Case(case);
    };
    let thens = case.when_then_expr.iter_mut().map(|(_, then)| then);
    for branch in thens.chain(&mut case.else_expr) {
        if is_open(branch) {
            **branch = read(&mark, std::mem::take(branch.as_mut()));
        }
    }
    remarked(&mark, Planned::Case(case))
}

/// A branch without a type as a value of a mark, or as an array of such.
fn read(mark: &Field, branch: Planned) -> Planned {
    let array = marked_element(mark).and_then(|_| read_beside(mark, &branch));
    array.unwrap_or_else(|| read_marked(mark, branch))
}

/// The mark that all branches have which are neither NULL nor without a type; `None`: they have none, or several.
fn common_mark(case: &Case, seen: &dyn ExprSchema) -> Option<FieldRef> {
    let is_null =
        |branch: &Planned| matches!(branch, Planned::Literal(value, _) if value.is_null());
    let thens = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
    let branches = thens.chain(case.else_expr.as_deref());
    let typed = branches.filter(|branch| !is_null(branch) && !is_open(branch));
    let fields = typed.map(|branch| branch.to_field(seen).ok().map(|(_, field)| field));
    let fields = fields.collect::<Option<Vec<FieldRef>>>()?;
    let first = fields.first()?;
    let mark = marks_of(first);
    let is_of_values = first.data_type().is_string() || marked_element(first).is_some();
    let is_one = fields.iter().all(|field| marks_of(field) == mark);
    (is_of_values && !mark.is_empty() && is_one).then(|| FieldRef::clone(first))
}

/// The CASE that a statement's mark and that of its settled types both read: once is enough. `None`: it is another call.
pub(crate) fn read_once(call: &ScalarFunction) -> Option<Planned> {
    let [Planned::ScalarFunction(inner), rest @ ..] = call.args.as_slice() else {
        return None;
    };
    let is_same = inner.func == call.func && inner.args.get(1..) == Some(rest);
    let is_read = [enums::READ, uuid::READ, READ_INET, READ_CIDR].contains(&call.func.name());
    let is_case = matches!(inner.args.first(), Some(Planned::Case(_)));
    (is_read && is_same && is_case).then(|| Planned::ScalarFunction(inner.clone()))
}

/// Whether a branch has no type yet.
fn is_open(branch: &Planned) -> bool {
    literal_text(branch).is_some() || is_unknown(branch)
}

/// The text of a literal without a type.
pub(crate) fn literal_text(expr: &Planned) -> Option<&String> {
    match expr {
        Planned::Literal(ScalarValue::Utf8(Some(text)), None) => Some(text),
        Planned::Alias(alias) => literal_text(&alias.expr),
        _ => None,
    }
}
