//! The types that the columns of a result were declared with, where their values do not tell it: `VARCHAR(n)`, `CHAR(n)`,
//! `TIMESTAMP(p)`. Drivers tell applications the size of a column by it, and some take texts without one for documents.
//!
//! In: a plan as it was bound; out: the type of each column that PostgreSQL tells: that of a table's column wherever it is
//! shown as it stands, that of a cast, and what the branches of one expression or of united queries have in common.

use std::collections::HashMap;
use std::sync::Arc;

use auspex_storage::{DeclaredType, TableShape, TextLimit, noted_columns};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{DFSchema, JoinType, ScalarValue};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{ViewTable, source_as_provider};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, RecursiveQuery, TableScan};

use crate::functions::{AS_BPCHAR, AS_VARCHAR, CLOCKS_OF_DIGITS, MAYBE_VALUE};
use crate::logical::BarrierNode;

/// The key of the field metadata that holds the type that a column of a result was declared with. It is no note of a table's
/// column, since expressions keep the metadata of what they are made of.
const DECLARED_KEY: &str = "pg.declared";
/// What a mark of seconds begins with; other marks are those of texts, as their tables have them.
const CLOCK: &str = "clock:";

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It takes the type of what stands beside it.
    Open,
    /// Its values tell its type.
    Plain,
    Declared(DeclaredType),
}

impl Found {
    fn declared(self) -> Option<DeclaredType> {
        match self {
            Found::Declared(declared) => Some(declared),
            _ => None,
        }
    }
}

/// The types of the columns of a plan; columns behind the last one that is told have none. `shape` is the table in whose
/// place a plan reads a relation without rows.
pub(crate) fn declared_columns(
    plan: &LogicalPlan,
    shape: Option<&TableShape>,
) -> Vec<Option<DeclaredType>> {
    let tracing = Tracing {
        shape,
        going_on: None,
    };
    let columns = tracing.columns(plan);
    columns.into_iter().map(Found::declared).collect()
}

/// The types of the columns of a view, by their places; none of other relations.
pub fn declared_columns_of_view(view: &dyn TableProvider) -> Vec<Option<DeclaredType>> {
    match view.downcast_ref::<ViewTable>() {
        Some(view) => declared_columns(view.logical_plan(), None),
        None => Vec::new(),
    }
}

/// Whether values of a type may be those of a column that was declared so.
fn fits(declared: DeclaredType, data_type: &DataType) -> bool {
    match declared {
        DeclaredType::Text(_) => data_type.is_string(),
        DeclaredType::Clock(_) => matches!(
            data_type,
            DataType::Timestamp(..) | DataType::Time64(_) | DataType::Interval(_)
        ),
    }
}

/// The columns of a result with the types that they were declared with.
pub(super) fn marked_schema(schema: &Schema, declared: &[Option<DeclaredType>]) -> SchemaRef {
    let field = |(idx, field): (usize, &FieldRef)| match declared.get(idx) {
        Some(Some(declared)) => Arc::new(marked(field.as_ref().clone(), *declared)),
        _ => Arc::clone(field),
    };
    let fields: Vec<FieldRef> = schema.fields().iter().enumerate().map(field).collect();
    Arc::new(Schema::new(fields))
}

/// A field of a result that was declared with a type.
pub(super) fn marked(field: Field, declared: DeclaredType) -> Field {
    let mut notes: HashMap<String, String> = field.metadata().clone();
    let mark = match declared {
        DeclaredType::Text(limit) => limit.note(),
        DeclaredType::Clock(digits) => format!("{CLOCK}{digits}"),
    };
    notes.insert(DECLARED_KEY.to_owned(), mark);
    field.with_metadata(notes)
}

/// The type that a field of a result is marked with.
pub fn declared_of_result(field: &Field) -> Option<DeclaredType> {
    let mark = field.metadata().get(DECLARED_KEY)?;
    let declared = match mark.strip_prefix(CLOCK) {
        Some(digits) => DeclaredType::Clock(digits.parse().ok()?),
        None => DeclaredType::Text(TextLimit::of_note(mark)?),
    };
    // A cast keeps the marks of what it is made of.
    fits(declared, field.data_type()).then_some(declared)
}

/// What several values are that make one column. The first of a type of its own tells it, as PostgreSQL's texts give way to
/// each other; the length is told where it is that of all.
fn common(values: &[Found]) -> Found {
    let Some(first) = values.iter().find(|value| **value != Found::Open) else {
        return Found::Open;
    };
    match first {
        first if values.iter().all(|value| value == first) => *first,
        Found::Declared(DeclaredType::Text(limit)) => {
            let any_length = TextLimit {
                length: None,
                ..*limit
            };
            Found::Declared(DeclaredType::Text(any_length))
        }
        _ => Found::Plain,
    }
}

/// The walk through a plan, from its tables up: each node is looked at once.
struct Tracing<'a> {
    shape: Option<&'a TableShape>,
    /// What the recursive term that is looked at goes on from.
    going_on: Option<GoingOn<'a>>,
}

/// The rows that a recursive term reads under the name of its query, which have the types of the first term.
struct GoingOn<'a> {
    query: &'a str,
    columns: &'a [Found],
    around: Option<&'a GoingOn<'a>>,
}

impl GoingOn<'_> {
    fn columns_of(&self, query: &str) -> Option<&[Found]> {
        match self.query == query {
            true => Some(self.columns),
            false => self.around?.columns_of(query),
        }
    }
}

impl Tracing<'_> {
    fn columns(&self, plan: &LogicalPlan) -> Vec<Found> {
        match plan {
            LogicalPlan::Projection(node) => self.values(&node.expr, &node.input),
            LogicalPlan::Aggregate(node) => match grouping_set_to_exprlist(&node.group_expr) {
                Ok(keys) => self.values(keys, &node.input),
                Err(_) => Vec::new(),
            },
            LogicalPlan::Distinct(Distinct::On(node)) => {
                self.values(&node.select_expr, &node.input)
            }
            LogicalPlan::Distinct(Distinct::All(input)) => self.columns(input),
            LogicalPlan::Filter(node) => self.columns(&node.input),
            LogicalPlan::Sort(node) => self.columns(&node.input),
            LogicalPlan::Limit(node) => self.columns(&node.input),
            LogicalPlan::SubqueryAlias(node) => self.columns(&node.input),
            LogicalPlan::Window(node) => self.columns(&node.input),
            LogicalPlan::RecursiveQuery(node) => self.recursive(node),
            LogicalPlan::Join(node) => self.joined(node),
            LogicalPlan::Union(node) => {
                let queries = node.inputs.iter().map(|input| self.columns(input));
                in_one(&queries.collect::<Vec<_>>(), node.schema.fields().len())
            }
            LogicalPlan::Values(node) => {
                let row = |row: &Vec<Expr>| self.values(row, plan);
                let rows: Vec<Vec<Found>> = node.values.iter().map(row).collect();
                in_one(&rows, node.schema.fields().len())
            }
            LogicalPlan::TableScan(scan) => self.scanned(scan),
            LogicalPlan::Extension(node) => match node.node.as_any().is::<BarrierNode>() {
                true => node
                    .node
                    .inputs()
                    .first()
                    .map_or_else(Vec::new, |input| self.columns(input)),
                false => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Of expressions over the columns of a plan.
    fn values<'e>(
        &self,
        exprs: impl IntoIterator<Item = &'e Expr>,
        input: &LogicalPlan,
    ) -> Vec<Found> {
        let seen = match input {
            // The expressions of VALUES see no columns.
            LogicalPlan::Values(_) => Vec::new(),
            input => self.columns(input),
        };
        let exprs = exprs.into_iter();
        exprs
            .map(|expr| self.value(expr, &seen, input.schema()))
            .collect()
    }

    fn value(&self, expr: &Expr, seen: &[Found], schema: &DFSchema) -> Found {
        match expr {
            Expr::Alias(alias) => self.value(&alias.expr, seen, schema),
            Expr::Column(column) => {
                let idx = schema.maybe_index_of_column(column);
                let known = idx.and_then(|idx| seen.get(idx)).copied();
                known.unwrap_or(Found::Plain)
            }
            Expr::Literal(..) | Expr::Placeholder(_) => Found::Open,
            Expr::ScalarSubquery(query) => {
                let columns = self.columns(&query.subquery);
                columns.first().copied().unwrap_or(Found::Plain)
            }
            // PostgreSQL looks at what ELSE gives first; without it, that is NULL.
            Expr::Case(case) => {
                let otherwise = case.else_expr.as_deref();
                let null = Expr::Literal(ScalarValue::Null, None);
                let branches = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                let branches = std::iter::once(otherwise.unwrap_or(&null)).chain(branches);
                self.several(branches, seen, schema)
            }
            Expr::ScalarFunction(call) => match call.name() {
                "coalesce" | "greatest" | "least" | MAYBE_VALUE => {
                    self.several(call.args.iter(), seen, schema)
                }
                _ => of_cast(call),
            },
            _ => Found::Plain,
        }
    }

    /// Of expressions that make one column.
    fn several<'e>(
        &self,
        exprs: impl Iterator<Item = &'e Expr>,
        seen: &[Found],
        schema: &DFSchema,
    ) -> Found {
        let values = exprs.map(|expr| self.value(expr, seen, schema));
        common(&values.collect::<Vec<_>>())
    }

    fn recursive(&self, query: &RecursiveQuery) -> Vec<Found> {
        let first = self.columns(&query.static_term);
        let inner = Tracing {
            shape: self.shape,
            going_on: Some(GoingOn {
                query: &query.name,
                columns: &first,
                around: self.going_on.as_ref(),
            }),
        };
        let further = inner.columns(&query.recursive_term);
        in_one(&[first, further], query.schema.fields().len())
    }

    fn joined(&self, join: &Join) -> Vec<Found> {
        match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                let mut columns = self.columns(&join.left);
                columns.resize(join.left.schema().fields().len(), Found::Plain);
                columns.extend(self.columns(&join.right));
                columns
            }
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                self.columns(&join.left)
            }
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                self.columns(&join.right)
            }
        }
    }

    fn scanned(&self, scan: &TableScan) -> Vec<Found> {
        let table = source_as_provider(&scan.source).ok();
        let noted = table
            .as_ref()
            .and_then(|table| noted_columns(table.as_ref()));
        let schema = scan.source.schema();
        let columns: &[FieldRef] = match (&noted, self.shape) {
            (Some(noted), _) => noted.fields(),
            (None, Some(shape)) if table.as_ref().is_some_and(|table| stands_for(table, shape)) => {
                shape.columns()
            }
            _ => schema.fields(),
        };
        let found = |field: &FieldRef| match DeclaredType::of(field) {
            Some(declared) => Found::Declared(declared),
            None => Found::Plain,
        };
        let work = table.as_ref().and_then(|table| {
            let name = table.downcast_ref::<CteWorkTable>()?.name();
            self.going_on.as_ref()?.columns_of(name)
        });
        let columns = match work {
            Some(columns) => columns.to_vec(),
            None => columns.iter().map(found).collect(),
        };
        match &scan.projection {
            None => columns,
            Some(places) => {
                let columns = places.iter().map(|place| columns.get(*place).copied());
                columns
                    .map(|column| column.unwrap_or(Found::Plain))
                    .collect()
            }
        }
    }
}

/// Whether a relation without rows stands in the place of a table.
fn stands_for(table: &Arc<dyn TableProvider>, shape: &TableShape) -> bool {
    table.is::<EmptyTable>() && table.schema() == shape.schema()
}

/// The columns of several rows of values, or of united queries.
fn in_one(rows: &[Vec<Found>], n_columns: usize) -> Vec<Found> {
    let column = |idx: usize| {
        let values = rows.iter().map(|row| row.get(idx).copied());
        let values = values.map(|value| value.unwrap_or(Found::Plain));
        common(&values.collect::<Vec<_>>())
    };
    (0..n_columns).map(column).collect()
}

/// What a call gives that stands for a cast to a type with a length or with digits.
fn of_cast(call: &ScalarFunction) -> Found {
    let name = call.name();
    let number = call.args.get(1).and_then(whole);
    let text = |is_fixed| {
        let length = number.and_then(|length| usize::try_from(length).ok());
        length.map(|length| {
            DeclaredType::Text(TextLimit {
                is_fixed,
                length: Some(length),
            })
        })
    };
    let declared = match name {
        AS_VARCHAR => text(false),
        AS_BPCHAR => text(true),
        _ if CLOCKS_OF_DIGITS.contains(&name) => {
            let digits = number.and_then(|digits| u8::try_from(digits).ok());
            digits.map(DeclaredType::Clock)
        }
        _ => None,
    };
    declared.map_or(Found::Plain, Found::Declared)
}

/// A number that is written out.
fn whole(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(value, _) => match value.cast_to(&DataType::Int64).ok()? {
            ScalarValue::Int64(number) => number,
            _ => None,
        },
        Expr::Cast(cast) => whole(&cast.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varchar(length: Option<usize>) -> Found {
        let limit = TextLimit {
            is_fixed: false,
            length,
        };
        Found::Declared(DeclaredType::Text(limit))
    }

    #[test]
    fn branches_have_in_common_what_all_have() {
        let (ten, five) = (varchar(Some(10)), varchar(Some(5)));
        let any = varchar(None);
        let (open, plain) = (Found::Open, Found::Plain);
        let second = Found::Declared(DeclaredType::Clock(0));
        for (values, expected) in [
            (vec![ten, ten], ten),
            (vec![ten, five], any),
            (vec![ten, open], any),
            (vec![open, ten], any),
            (vec![ten, plain], any),
            (vec![plain, ten], plain),
            (vec![open, open], open),
            (vec![second, second], second),
            (vec![second, open], plain),
            (vec![], open),
        ] {
            assert_eq!(common(&values), expected, "{values:?}");
        }
    }

    #[test]
    fn marks_are_read_as_they_were_written() {
        let text = Field::new("s", DataType::Utf8, true);
        for found in [varchar(Some(10)), varchar(None)] {
            let declared = found.declared().unwrap();
            let field = marked(text.clone(), declared);
            assert_eq!(declared_of_result(&field), Some(declared));
        }
        assert_eq!(declared_of_result(&text), None);
        // What the planner has made of a column may be of another type.
        let number = Field::new("n", DataType::Int32, true);
        let field = marked(number, DeclaredType::Clock(3));
        assert_eq!(declared_of_result(&field), None);
    }
}
