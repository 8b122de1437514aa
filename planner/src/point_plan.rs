//! Plans whose only inputs are parameters, as of `SELECT PREDICT(m USING $1, $2)`: evaluated on one record batch.
//!
//! In: a bound query; out: physical expressions over the parameters, or nothing if the query reads anything else. What
//! runs then has no operators and no planning. Never holds a function whose value may differ from one execution
//! to the next.

mod direct;

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;

use crate::bind::{BoundQuery, PredictUdf};
use crate::functions::{READ_INET, READ_UUID, is_chain};
use crate::streams::told;
use direct::Direct;

/// Rows of VALUES that are computed on the thread of a connection, which no clock watches.
const MAX_ROWS: usize = 256;

/// Functions besides predictions that depend on nothing but their arguments.
const FUNCTIONS: &[&str] = &[
    "abs",
    "ceil",
    "coalesce",
    "concat",
    "floor",
    "lower",
    "nullif",
    "round",
    "round_half_even",
    "trunc",
    "upper",
    READ_INET,
    READ_UUID,
];

/// A query that is evaluated on its parameters.
#[derive(Debug)]
pub(crate) struct PointPlan {
    node: Node,
    /// The parameters as columns `$1`, `$2`, …
    parameters: SchemaRef,
    /// Of the rows, under PostgreSQL's names.
    schema: SchemaRef,
}

#[derive(Debug)]
enum Node {
    /// One row without columns.
    One,
    /// `VALUES`: the expressions of each row.
    Values {
        rows: Vec<Vec<Arc<dyn PhysicalExpr>>>,
        schema: SchemaRef,
    },
    /// Expressions over the rows of another node and the parameters.
    Project {
        input: Box<Node>,
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        /// Of the columns that the expressions see: those of the input, then the parameters if one is read.
        seen: SchemaRef,
        schema: SchemaRef,
        /// The same expressions, where all are predictions of parameters.
        direct: Option<Vec<Direct>>,
    },
}

/// The columns of some rows, and their number.
type Rows = (Vec<ArrayRef>, usize);

impl PointPlan {
    /// The plan of a query, if its only inputs are parameters of these types.
    pub(crate) fn of(query: &BoundQuery, types: &[DataType]) -> Option<PointPlan> {
        if !depends_on_parameters_alone(&query.plan).unwrap_or(false) {
            return None;
        }
        // What cannot be planned here is planned as any other query, which then tells what is wrong.
        Self::try_of(query, types).ok().flatten()
    }

    fn try_of(query: &BoundQuery, types: &[DataType]) -> Result<Option<PointPlan>> {
        let typed = with_types(query.plan.clone(), types)?;
        let optimized = query.state.optimize(&typed);
        // The optimizer evaluates predictions of constants; what they met is told when the statement runs.
        drop(query.findings.take_counted());
        let optimized = optimized?;
        // Such a prediction would be evaluated no more, and its warnings not told again.
        let is_folded = n_predictions(&optimized)? != n_predictions(&query.plan)?;
        if is_folded || !depends_on_parameters_alone(&optimized)? {
            return Ok(None);
        }
        let fields = types
            .iter()
            .enumerate()
            .map(|(idx, data_type)| Field::new(parameter_name(idx), data_type.clone(), true));
        let parameters = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
        let builder = Builder {
            state: &query.state,
            parameters: DFSchema::try_from(parameters.as_ref().clone())?,
        };
        let Some(node) = builder.node(&optimized)? else {
            return Ok(None);
        };
        Ok(Some(PointPlan {
            node,
            parameters,
            schema: told(optimized.schema().inner(), query),
        }))
    }

    /// The columns of the rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows for these values of the parameters.
    pub(crate) fn run(&self, parameters: &[ScalarValue]) -> Result<RecordBatch> {
        let fits = parameters.len() == self.parameters.fields().len()
            && parameters
                .iter()
                .zip(self.parameters.fields())
                .all(|(value, field)| value.data_type() == *field.data_type());
        if !fits {
            let message = "the parameters are not of the types that the plan was made for";
            return Err(DataFusionError::Internal(message.to_owned()));
        }
        let (columns, n_rows) = match self.node.direct_rows(parameters)? {
            Some(rows) => rows,
            None => {
                let given = parameters.iter().map(ScalarValue::to_array);
                let given = given.collect::<Result<Vec<ArrayRef>>>()?;
                self.node.rows(&given, parameters, &self.parameters)?
            }
        };
        batch(&self.schema, columns, n_rows)
    }
}

impl Node {
    /// The rows of predictions of parameters; `None` if they are something else.
    fn direct_rows(&self, parameters: &[ScalarValue]) -> Result<Option<Rows>> {
        let Node::Project {
            direct: Some(direct),
            input,
            ..
        } = self
        else {
            return Ok(None);
        };
        let columns = direct.iter().map(|direct| direct.run(parameters));
        let columns: Option<Vec<ArrayRef>> = columns.collect::<Result<_>>()?;
        Ok(columns.map(|columns| (columns, input.n_rows())))
    }

    fn n_rows(&self) -> usize {
        match self {
            Node::One => 1,
            Node::Values { rows, .. } => rows.len(),
            Node::Project { input, .. } => input.n_rows(),
        }
    }

    fn rows(
        &self,
        given: &[ArrayRef],
        parameters: &[ScalarValue],
        parameter_schema: &SchemaRef,
    ) -> Result<Rows> {
        match self {
            Node::One => Ok((Vec::new(), 1)),
            Node::Values { rows, schema } => {
                let seen = batch(parameter_schema, given.to_vec(), 1)?;
                let mut columns = Vec::with_capacity(schema.fields().len());
                for idx in 0..schema.fields().len() {
                    let mut cells = Vec::with_capacity(rows.len());
                    for row in rows {
                        cells.push(row[idx].evaluate(&seen)?.into_array(1)?);
                    }
                    let cells: Vec<_> = cells.iter().map(AsRef::as_ref).collect();
                    columns.push(concat(&cells)?);
                }
                Ok((columns, rows.len()))
            }
            Node::Project {
                input, exprs, seen, ..
            } => {
                let (mut columns, n_rows) = input.rows(given, parameters, parameter_schema)?;
                match n_rows {
                    _ if columns.len() == seen.fields().len() => {}
                    1 => columns.extend_from_slice(given),
                    n_rows => {
                        for value in parameters {
                            columns.push(value.to_array_of_size(n_rows)?);
                        }
                    }
                }
                let seen = batch(seen, columns, n_rows)?;
                let column =
                    |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(&seen)?.into_array(n_rows);
                let columns: Result<Vec<ArrayRef>> = exprs.iter().map(column).collect();
                Ok((columns?, n_rows))
            }
        }
    }

    fn schema(&self) -> SchemaRef {
        match self {
            Node::One => Arc::new(Schema::empty()),
            Node::Values { schema, .. } | Node::Project { schema, .. } => Arc::clone(schema),
        }
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, n_rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    let batch = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
    Ok(batch)
}

fn parameter_name(idx: usize) -> String {
    format!("${}", idx + 1)
}

/// The plan with the types of its parameters.
pub(crate) fn with_types(plan: LogicalPlan, types: &[DataType]) -> Result<LogicalPlan> {
    let typed = plan.transform_up_with_subqueries(|node| {
        let node = node.map_expressions(|expr| {
            expr.transform_up(|expr| {
                let Expr::Placeholder(placeholder) = expr else {
                    return Ok(Transformed::no(expr));
                };
                let data_type = place(&placeholder.id).and_then(|idx| types.get(idx));
                let field = data_type.map(|data_type| {
                    Arc::new(Field::new(&placeholder.id, data_type.clone(), true))
                });
                let typed = Placeholder::new_with_field(placeholder.id, field);
                Ok(Transformed::yes(Expr::Placeholder(typed)))
            })
        })?;
        match node.transformed {
            true => Ok(Transformed::yes(node.data.recompute_schema()?)),
            false => Ok(node),
        }
    })?;
    Ok(typed.data)
}

/// The index of a parameter by its name.
pub(crate) fn place(id: &str) -> Option<usize> {
    id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

/// Whether a plan reads nothing but parameters, and gives the same for the same ones.
fn depends_on_parameters_alone(plan: &LogicalPlan) -> Result<bool> {
    let mut alone = true;
    plan.apply(|node| {
        alone &= match node {
            LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Values(_) => {
                true
            }
            _ => false,
        };
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                alone &= is_constant(expr);
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(match alone {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    })?;
    Ok(alone)
}

/// How many calls of predictions a plan has.
pub(crate) fn n_predictions(plan: &LogicalPlan) -> Result<usize> {
    let mut n = 0;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(function) = expr {
                    let implementation: &dyn Any = function.func.inner().as_ref();
                    n += usize::from(implementation.is::<PredictUdf>());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(n)
}

/// Whether an expression itself, whatever its operands, gives the same for the same operands.
pub(crate) fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(function) => {
            let implementation: &dyn Any = function.func.inner().as_ref();
            let known = implementation.is::<PredictUdf>()
                || is_chain(&function.func)
                || FUNCTIONS.contains(&function.func.name());
            known && function.func.signature().volatility == Volatility::Immutable
        }
        Expr::Alias(_)
        | Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Placeholder(_)
        | Expr::BinaryExpr(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::InList(_) => true,
        // The text of a time depends on the session's zone.
        Expr::Cast(cast) => !matches!(cast.field.data_type(), DataType::Timestamp(_, Some(_))),
        _ => false,
    }
}

struct Builder<'a> {
    state: &'a SessionState,
    parameters: DFSchema,
}

impl Builder<'_> {
    fn node(&self, plan: &LogicalPlan) -> Result<Option<Node>> {
        match plan {
            LogicalPlan::EmptyRelation(_) => Ok(Some(Node::One)),
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::Values(values) if values.values.len() > MAX_ROWS => Ok(None),
            LogicalPlan::Values(values) => {
                let schema = Arc::clone(values.schema.inner());
                let mut rows = Vec::with_capacity(values.values.len());
                for row in &values.values {
                    let Some(exprs) = self.exprs(row, &self.parameters, &schema)? else {
                        return Ok(None);
                    };
                    rows.push(exprs);
                }
                Ok(Some(Node::Values { rows, schema }))
            }
            LogicalPlan::Projection(projection) => {
                let Some(input) = self.node(&projection.input)? else {
                    return Ok(None);
                };
                let seen = projection.input.schema().join(&self.parameters)?;
                let schema = Arc::clone(projection.schema.inner());
                let Some(exprs) = self.exprs(&projection.expr, &seen, &schema)? else {
                    return Ok(None);
                };
                let mut fields = input.schema().fields().to_vec();
                let n_own = fields.len();
                let reads_parameters = |expr: &Arc<dyn PhysicalExpr>| {
                    let columns = collect_columns(expr);
                    columns.iter().any(|column| column.index() >= n_own)
                };
                if exprs.iter().any(reads_parameters) {
                    fields.extend(self.parameters.inner().fields().iter().cloned());
                }
                Ok(Some(Node::Project {
                    direct: Direct::all(&exprs, &input),
                    input: Box::new(input),
                    exprs,
                    seen: Arc::new(Schema::new(fields)),
                    schema,
                }))
            }
            _ => Ok(None),
        }
    }

    /// Physical expressions; `None` if one is not of the type that the plan says.
    fn exprs(
        &self,
        exprs: &[Expr],
        seen: &DFSchema,
        schema: &Schema,
    ) -> Result<Option<Vec<Arc<dyn PhysicalExpr>>>> {
        let mut physical = Vec::with_capacity(exprs.len());
        for (expr, field) in exprs.iter().zip(schema.fields()) {
            let expr = expr.clone().transform_up(|expr| match expr {
                Expr::Placeholder(placeholder) => {
                    let column = Column::new_unqualified(placeholder.id);
                    Ok(Transformed::yes(Expr::Column(column)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            let expr = self.state.create_physical_expr(expr.data, seen)?;
            if expr.data_type(seen.as_arrow())? != *field.data_type() {
                return Ok(None);
            }
            physical.push(expr);
        }
        Ok(Some(physical))
    }
}
