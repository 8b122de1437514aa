//! `SELECT 'emp'::regclass`: names of objects as columns of a result, which have a type of their own.
//!
//! In: a client's query; out: the same, where such a column has both the number, which clients read in binary, and the
//! name, which they read as text. Within a query a number is a number, and a name a text.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::Column;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder};

use crate::protocol::types::TYPE_KEY;

/// The types of such names.
const SHOWN: [&str; 4] = ["regclass", "regnamespace", "regrole", "regtype"];
/// The type of arrays of such names that a column has.
const SHOWN_ARRAY: &str = "_regtype";

/// The type that a column is marked with.
fn shown_type(field: &Field) -> Option<&'static str> {
    let marked = field.metadata().get(TYPE_KEY)?;
    let is_plain = |data_type: &DataType| data_type.is_integer() || data_type.is_string();
    match field.data_type() {
        DataType::List(item) => {
            (marked == SHOWN_ARRAY && is_plain(item.data_type())).then_some(SHOWN_ARRAY)
        }
        data_type => SHOWN
            .into_iter()
            .find(|name| is_plain(data_type) && name == marked),
    }
}

/// The type that a plan's column is marked with. Where the marks of a union's queries differ, the library may keep that of
/// the last; PostgreSQL shows plain numbers there.
fn shown_column(plan: &LogicalPlan, idx: usize) -> Option<&'static str> {
    match plan {
        LogicalPlan::Union(union) => {
            // NULL is of any type.
            let is_null = |plan: &LogicalPlan| plan.schema().field(idx).data_type().is_null();
            let queries = union.inputs.iter().filter(|input| !is_null(input));
            let mut marks = queries.map(|input| shown_column(input, idx));
            let first = marks.next().flatten();
            first.filter(|_| marks.all(|mark| mark == first))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => shown_column(input, idx),
        LogicalPlan::Sort(sort) => shown_column(&sort.input, idx),
        LogicalPlan::Limit(limit) => shown_column(&limit.input, idx),
        plan => shown_type(plan.schema().field(idx)),
    }
}

/// The plan with such columns in the form in which they travel.
pub(super) fn present(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let fields = plan.schema().fields();
    if !fields.iter().any(|field| shown_type(field).is_some()) {
        return Ok(plan);
    }
    let mut columns = Vec::with_capacity(fields.len());
    for (idx, field) in fields.iter().enumerate() {
        let column = Expr::Column(Column::from(plan.schema().qualified_field(idx)));
        let function = shown_column(&plan, idx).map(|name| format!("{name}show"));
        let function = function.and_then(|name| state.scalar_functions().get(&name));
        columns.push(match function {
            Some(function) => function.call(vec![column]).alias(field.name()),
            None => column,
        });
    }
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}
