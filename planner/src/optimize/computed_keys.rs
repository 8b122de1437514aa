//! Computes what rows are sorted by before they are: `ORDER BY length(name) > 3`, `ORDER BY abs(n * 2)`,
//! `count(*) OVER (PARTITION BY length(name) > 3)`.
//!
//! In: a logical plan; out: the same in which such keys are columns. DataFusion asks the bounds of a key whether rows are sorted
//! by it, and fails to compare those of a call or a CASE, which have no type, or of a function that has values for some numbers
//! alone, so that the sorted rows were refused. A key that gives another value whenever it is computed (`random()`) is computed
//! once. By such a key, and by one that a subquery gives (`ORDER BY (SELECT NULL)`), rows that have no column could not be sorted.
//! Partitions by several keys were not found where one is made of columns that are known to be equal: the sort has one of these
//! columns for the other, and is not known any more for one by the key that is asked for.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::sort_properties::ExprProperties;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Sort, Window};

use super::last_rule::LastRule;

/// What the names of such columns begin with.
const PREFIX: &str = "\u{1e}sort key ";

/// The rule, which runs where keys are not spelled anew any more.
pub(super) const COMPUTED_KEYS: LastRule = LastRule {
    name: "computed_keys",
    rewrite: with_keys,
};

fn with_keys(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Window(window) if has_computed(&window)? => {
            Ok(Transformed::yes(of_window(window)?))
        }
        LogicalPlan::Sort(sort) if orders_by_computed(&sort)? => {
            Ok(Transformed::yes(of_sort(sort)?))
        }
        plan => Ok(Transformed::no(plan)),
    }
}

fn has_computed(window: &Window) -> Result<bool> {
    let mut found = false;
    for expr in &window.window_expr {
        expr.apply(|expr| {
            if let Expr::WindowFunction(function) = expr {
                let params = &function.params;
                for key in &params.partition_by {
                    found |= is_computed_beside(key, params.partition_by.len())?;
                }
                for item in &params.order_by {
                    found |= is_computed(&item.expr)?;
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(found)
}

fn orders_by_computed(sort: &Sort) -> Result<bool> {
    let mut found = false;
    for item in &sort.expr {
        found |= is_computed(&item.expr)?;
    }
    Ok(found)
}

/// Whether a key has an operator whose operands may have bounds without a type, a function that asks for bounds, one that is
/// volatile, or a subquery.
fn is_computed(key: &Expr) -> Result<bool> {
    key.exists(|expr| {
        Ok(match expr {
            expr if expr.is_volatile_node() => true,
            Expr::BinaryExpr(binary) => !is_bounded(&binary.left) || !is_bounded(&binary.right),
            Expr::Between(_) | Expr::ScalarSubquery(_) => true,
            Expr::ScalarFunction(call) => asks_for_bounds(call),
            _ => false,
        })
    })
}

/// Whether a key of partitions, of which there are `n_keys`, is made of columns where others stand beside it, or computed in any
/// case.
fn is_computed_beside(key: &Expr, n_keys: usize) -> Result<bool> {
    let is_made = !matches!(key, Expr::Column(_)) && key.any_column_refs();
    Ok(n_keys > 1 && is_made || is_computed(key)?)
}

/// Whether a function fails to tell the order or the bounds of its values where those of its arguments are unknown.
fn asks_for_bounds(call: &ScalarFunction) -> bool {
    let unknown = vec![ExprProperties::new_unknown(); call.args.len()];
    let bounds: Vec<&Interval> = unknown.iter().map(|argument| &argument.range).collect();
    call.func.output_ordering(&unknown).is_err() || call.func.evaluate_bounds(&bounds).is_err()
}

fn is_bounded(operand: &Expr) -> bool {
    match operand {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Cast(cast) => is_bounded(&cast.expr),
        // Bounds of sums and products of numerics are of other types than their values.
        Expr::BinaryExpr(binary) if binary.op.is_numerical_operators() => false,
        Expr::BinaryExpr(binary) => is_bounded(&binary.left) && is_bounded(&binary.right),
        _ => false,
    }
}

/// The window over columns that hold the keys, without these.
fn of_window(window: Window) -> Result<LogicalPlan> {
    let shown = window.schema.columns().into_iter().map(Expr::Column);
    let mut keys = Keys::over(&window.input);
    let mut exprs = Vec::with_capacity(window.window_expr.len());
    for expr in window.window_expr {
        let name = NamePreserver::new_for_projection().save(&expr);
        let keyed = expr.transform_up(|expr| match expr {
            Expr::WindowFunction(mut function) => {
                let params = &mut function.params;
                let n_keys = params.partition_by.len();
                for key in &mut params.partition_by {
                    if is_computed_beside(key, n_keys)? {
                        keys.lift(key);
                    }
                }
                for item in &mut params.order_by {
                    if is_computed(&item.expr)? {
                        keys.lift(&mut item.expr);
                    }
                }
                Ok(Transformed::yes(Expr::WindowFunction(function)))
            }
            expr => Ok(Transformed::no(expr)),
        })?;
        exprs.push(name.restore(keyed.data));
    }
    let input = keys.beside(&window.input)?;
    let window = LogicalPlan::Window(Window::try_new(exprs, input)?);
    let shown = Projection::try_new(shown.collect(), Arc::new(window))?;
    Ok(LogicalPlan::Projection(shown))
}

/// The same of rows that are sorted.
fn of_sort(mut sort: Sort) -> Result<LogicalPlan> {
    let shown = sort.input.schema().columns().into_iter().map(Expr::Column);
    let mut keys = Keys::over(&sort.input);
    for item in &mut sort.expr {
        if is_computed(&item.expr)? {
            keys.lift(&mut item.expr);
        }
    }
    sort.input = keys.beside(&sort.input)?;
    let sorted = Arc::new(LogicalPlan::Sort(sort));
    let shown = Projection::try_new(shown.collect(), sorted)?;
    Ok(LogicalPlan::Projection(shown))
}

/// The keys that become columns.
struct Keys {
    /// The number of the first of them: that of the columns before it, among which may be keys of an earlier pass.
    first: usize,
    known: Vec<Expr>,
}

impl Keys {
    /// Of rows to which no key was added yet.
    fn over(input: &LogicalPlan) -> Keys {
        Keys {
            first: input.schema().fields().len(),
            known: Vec::new(),
        }
    }

    fn name(&self, place: usize) -> String {
        format!("{PREFIX}{}", self.first + place)
    }

    /// Puts a column in the place of a key.
    fn lift(&mut self, key: &mut Expr) {
        let place = self.known.iter().position(|known| known == key);
        let place = place.unwrap_or(self.known.len());
        let column = Expr::Column(Column::from_name(self.name(place)));
        let computed = std::mem::replace(key, column);
        if place == self.known.len() {
            self.known.push(computed);
        }
    }

    /// Rows with these columns behind their own.
    fn beside(&self, input: &Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
        let own = input.schema().columns().into_iter().map(Expr::Column);
        let keys = self.known.iter().enumerate();
        let keys = keys.map(|(place, key)| key.clone().alias(self.name(place)));
        let rows = Projection::try_new(own.chain(keys).collect(), Arc::clone(input))?;
        Ok(Arc::new(LogicalPlan::Projection(rows)))
    }
}
