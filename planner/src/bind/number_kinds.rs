//! What a number is to PostgreSQL: `double precision`, `numeric` or neither, where the planner has one type of the first two.
//!
//! In: an expression before its types are settled, with the kinds of what it is made of; out: its kind. A fraction that is
//! written out is a numeric, as is the average of whole numbers; a column of doubles, what is cast to one and a function
//! that knows no numerics are doubles, and so is what is computed of one of these.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Case, ScalarFunction, WindowFunction};
use datafusion::logical_expr::{Expr, ExprSchemable as _, Operator};

use crate::functions::{AS_WHOLE, CAST_KEY, MAYBE_VALUE, is_chain};

/// Functions whose result is a numeric if they are given one, and a double if they are given doubles or whole numbers.
const OF_NUMERICS: [&str; 17] = [
    "abs",
    "ceil",
    "div",
    "exp",
    "floor",
    "ln",
    "log",
    "log10",
    "negated",
    "numeric_product",
    "numeric_quotient",
    "power",
    "round",
    "sign",
    "signum",
    "sqrt",
    "trunc",
];
/// Those that give one of their arguments.
const OF_VALUES: [&str; 10] = [
    MAYBE_VALUE,
    "__auspex_only_value",
    "as_assigned",
    "as_real",
    "coalesce",
    "greatest",
    "least",
    "make_array",
    "nullif",
    "nvl",
];
/// What the names of functions of arrays begin with.
const OF_ARRAYS: &str = "array_";
/// Aggregates that give one of their values, or a sum of them.
const OF_GROUPS: [&str; 12] = [
    "__auspex_single_value",
    "any_value",
    "array_agg",
    "first_value",
    "last_value",
    "max",
    "median",
    "min",
    "mode",
    "nth_value",
    "percentile_disc",
    "sum",
];
/// Aggregates that are numerics of whole numbers.
const AVERAGES: [&str; 5] = ["avg", "stddev", "stddev_pop", "var", "var_pop"];
/// Functions of windows that give a value of another row, or their last argument.
const OF_ROWS: [&str; 5] = ["first_value", "lag", "last_value", "lead", "nth_value"];

/// In the order in which one of several branches tells what all are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A whole number, what is no number, or what does not tell.
    Other,
    /// A whole number, a decimal or NULL that is cast to a double: by the statement, or by the planner where it gives branches
    /// one type.
    Cast,
    /// `numeric`.
    Numeric,
    /// `double precision` or `real`.
    Double,
}

impl Kind {
    /// Of a column of a table; arrays are what their elements are.
    pub(super) fn of_type(data_type: &DataType) -> Kind {
        match data_type {
            DataType::Float32 | DataType::Float64 => Kind::Double,
            found if found.is_decimal() => Kind::Numeric,
            DataType::List(item) => Kind::of_type(item.data_type()),
            _ => Kind::Other,
        }
    }

    pub(super) fn is_double(self) -> bool {
        matches!(self, Kind::Double | Kind::Cast)
    }

    /// Of one of several values.
    pub(super) fn among(parts: impl IntoIterator<Item = Kind>) -> Kind {
        parts.into_iter().max().unwrap_or(Kind::Other)
    }

    /// Of what is computed of several values.
    fn computed(parts: &[Kind]) -> Kind {
        let told = |part: &Kind| match part {
            Kind::Cast => Kind::Double,
            part => *part,
        };
        Kind::among(parts.iter().map(told))
    }

    /// The kind, or that of the expression's type where it does not tell.
    fn or_of(self, expr: &Expr, schema: &DFSchema) -> Kind {
        match self {
            Kind::Other => by_type(expr, schema),
            kind => kind,
        }
    }
}

/// The kind of an expression that is no column and no subquery. `parts` are those of its operands, in their order.
pub(super) fn kind_of(expr: &Expr, parts: &[Kind], schema: &DFSchema) -> Kind {
    let first = parts.first().copied().unwrap_or(Kind::Other);
    match expr {
        Expr::Alias(_) | Expr::Negative(_) | Expr::Unnest(_) => first,
        Expr::Literal(value, _) if value.is_null() => Kind::Other,
        Expr::Literal(ScalarValue::Float32(_) | ScalarValue::Float64(_), _) => Kind::Numeric,
        Expr::Literal(value, _) => Kind::of_type(&value.data_type()),
        Expr::Cast(cast) => of_cast(&cast.expr, cast.field.data_type(), first, schema),
        Expr::TryCast(cast) => of_cast(&cast.expr, cast.field.data_type(), first, schema),
        Expr::BinaryExpr(binary) if computes(binary.op) => Kind::computed(parts),
        Expr::Case(case) => of_branches(case, parts),
        Expr::ScalarFunction(call) => of_call(call, parts, expr, schema),
        Expr::AggregateFunction(call) => of_group(call.func.name(), first, expr, schema),
        Expr::WindowFunction(call) => of_window(call, parts, expr, schema),
        Expr::Placeholder(parameter) => match &parameter.field {
            Some(field) => Kind::of_type(field.data_type()),
            None => Kind::Other,
        },
        _ => Kind::Other,
    }
}

fn by_type(expr: &Expr, schema: &DFSchema) -> Kind {
    // What has no type yet does not tell.
    let found = expr.get_type(schema);
    found.map_or(Kind::Other, |found| Kind::of_type(&found))
}

fn computes(op: Operator) -> bool {
    use Operator as O;
    matches!(op, O::Plus | O::Minus | O::Multiply | O::Divide | O::Modulo)
}

/// The type of an array's elements, or of a value that is none.
fn element(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::List(item) => element(item.data_type()),
        value => value,
    }
}

fn of_cast(operand: &Expr, to: &DataType, part: Kind, schema: &DFSchema) -> Kind {
    let may_be_planned = |found: DataType| {
        let found = element(&found);
        found.is_integer() || found.is_decimal() || found.is_null()
    };
    match Kind::of_type(to) {
        Kind::Double if element(to).is_floating() && !part.is_double() => {
            match operand.get_type(schema).is_ok_and(may_be_planned) {
                true => Kind::Cast,
                false => Kind::Double,
            }
        }
        kind => kind,
    }
}

/// The parts are those of the operand, if there is one, then of each condition and its value, then of ELSE.
fn of_branches(case: &Case, parts: &[Kind]) -> Kind {
    let parts = parts.get(usize::from(case.expr.is_some())..);
    let parts = parts.unwrap_or_default();
    let n_pairs = 2 * case.when_then_expr.len();
    let thens = parts.iter().take(n_pairs).skip(1).step_by(2);
    Kind::among(thens.chain(parts.iter().skip(n_pairs)).copied())
}

fn of_call(call: &ScalarFunction, parts: &[Kind], expr: &Expr, schema: &DFSchema) -> Kind {
    match call.func.name() {
        // `date_part` of what may have a fraction is a cast of the first one; the second one has none.
        "pg_extract" | "to_number" => Kind::Numeric,
        "date_part" => Kind::Other,
        AS_WHOLE => Kind::among(parts.iter().copied()),
        CAST_KEY => parts.first().copied().unwrap_or(Kind::Other),
        _ if is_chain(&call.func) => Kind::computed(parts),
        name if OF_NUMERICS.contains(&name) => Kind::computed(parts).or_of(expr, schema),
        name if OF_VALUES.contains(&name) => Kind::among(parts.iter().copied()).or_of(expr, schema),
        name if name.starts_with(OF_ARRAYS) => match by_type(expr, schema) {
            Kind::Double => Kind::among(parts.iter().copied()).or_of(expr, schema),
            kind => kind,
        },
        _ => by_type(expr, schema),
    }
}

fn of_group(name: &str, first: Kind, expr: &Expr, schema: &DFSchema) -> Kind {
    match name {
        name if AVERAGES.contains(&name) && first.is_double() => Kind::Double,
        name if AVERAGES.contains(&name) => Kind::Numeric,
        name if OF_GROUPS.contains(&name) => first,
        _ => by_type(expr, schema),
    }
}

fn of_window(call: &WindowFunction, parts: &[Kind], expr: &Expr, schema: &DFSchema) -> Kind {
    let args = parts.iter().take(call.params.args.len()).copied();
    match call.fun.name() {
        name if OF_ROWS.contains(&name) => Kind::among(args),
        name => of_group(name, Kind::among(args), expr, schema),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{Cast, binary_expr, col, lit};

    use super::*;

    fn kind(expr: &Expr, parts: &[Kind]) -> Kind {
        kind_of(expr, parts, &DFSchema::empty())
    }

    fn as_double(expr: Expr) -> Expr {
        Expr::Cast(Cast::new(Box::new(expr), DataType::Float64))
    }

    #[test]
    fn what_is_computed_of_a_double_is_one() {
        let sum = binary_expr(col("a"), Operator::Plus, col("b"));
        assert_eq!(kind(&sum, &[Kind::Numeric, Kind::Double]), Kind::Double);
        assert_eq!(kind(&sum, &[Kind::Numeric, Kind::Cast]), Kind::Double);
        assert_eq!(kind(&sum, &[Kind::Numeric, Kind::Other]), Kind::Numeric);
        assert_eq!(kind(&sum, &[Kind::Other, Kind::Other]), Kind::Other);
        let less = binary_expr(col("a"), Operator::Lt, col("b"));
        assert_eq!(kind(&less, &[Kind::Double, Kind::Double]), Kind::Other);
    }

    #[test]
    fn a_cast_that_the_planner_may_have_made_tells_less_than_a_fraction() {
        assert_eq!(kind(&as_double(lit(1_i32)), &[Kind::Other]), Kind::Cast);
        assert_eq!(kind(&as_double(lit(2.5)), &[Kind::Numeric]), Kind::Double);
        assert_eq!(kind(&as_double(lit("2.5")), &[Kind::Other]), Kind::Double);
        assert_eq!(Kind::among([Kind::Cast, Kind::Numeric]), Kind::Numeric);
        assert!(Kind::Cast.is_double());
    }

    #[test]
    fn only_values_of_branches_count() {
        let case = |operand: Option<Expr>, other: Option<Expr>| {
            let then = vec![(Box::new(lit(2.5)), Box::new(lit(1_i32)))];
            Expr::Case(Case::new(operand.map(Box::new), then, other.map(Box::new)))
        };
        let parts = [Kind::Numeric, Kind::Other, Kind::Double];
        assert_eq!(kind(&case(None, Some(col("f"))), &parts), Kind::Double);
        assert_eq!(kind(&case(None, None), &parts[..2]), Kind::Other);
        let parts = [Kind::Double, Kind::Numeric, Kind::Other];
        assert_eq!(kind(&case(Some(col("f")), None), &parts), Kind::Other);
    }
}
