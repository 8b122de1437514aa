//! Values of expressions that stand alone: the arguments of `EXECUTE`, the types of `PREPARE`, and sizes of frames.
//!
//! In: syntax trees; out: scalar values, and fields, which tell of texts that they are uuids, json or labels of enums.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::EnumType;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::sqlparser::ast::{self, Expr, Query, SelectItem, SetExpr, Visit, Visitor};
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};

use crate::bind::{BoundQuery, bind_query, cast_as_column, cast_values, plain_value};
use crate::error::{Error, Result};
use crate::functions::{holds_numerics, number_text, type_in_full};
use crate::session::Session;

/// How many arguments are planned at a time, since the time of planning grows with the square of their number.
const PLANNED_TOGETHER: usize = 64;

impl Session {
    /// The values of expressions, converted to the types of parameters.
    pub fn evaluate<'a>(
        self: &'a Arc<Session>,
        exprs: &'a [Expr],
        parameters: &'a [FieldRef],
    ) -> BoxFuture<'a, Result<Vec<ScalarValue>>> {
        let room = self.room();
        async move { room.scope(self.values_of(exprs, parameters)).await }.boxed()
    }

    async fn values_of(
        self: &Arc<Session>,
        exprs: &[Expr],
        parameters: &[FieldRef],
    ) -> Result<Vec<ScalarValue>> {
        if exprs.is_empty() {
            return Ok(Vec::new());
        }
        // It would run here, where no clock and no limit watches it.
        let is_query = exprs
            .iter()
            .any(|expr| expr.visit(&mut QueryFinder).is_break());
        if is_query {
            let message = "cannot use a subquery in an argument of EXECUTE";
            return Err(Error::invalid("0A000", message, None));
        }
        let read = |(idx, expr): (usize, &Expr)| match parameters.get(idx) {
            Some(parameter) => self.read(expr, parameter),
            None => expr.clone(),
        };
        let plain = |(idx, expr): (usize, &Expr)| plain_argument(expr, parameters.get(idx)?);
        let mut values: Vec<Option<ScalarValue>> = exprs.iter().enumerate().map(plain).collect();
        let others = (0..exprs.len()).filter(|idx| values[*idx].is_none());
        let others: Vec<usize> = others.collect();
        for places in others.chunks(PLANNED_TOGETHER) {
            let planned = places.iter().map(|idx| read((*idx, &exprs[*idx])));
            let Some(found) = self.constants(planned.collect()).await? else {
                let message = "an argument of EXECUTE must be one value";
                return Err(Error::invalid("42601", message, None));
            };
            for (idx, value) in places.iter().zip(found) {
                values[*idx] = Some(value);
            }
        }
        let values: Vec<ScalarValue> = values.into_iter().flatten().collect();
        let types = parameters.iter().map(|field| field.data_type().clone());
        let types: Vec<DataType> = types.collect();
        cast_values(&values, &types)
    }

    /// The values of expressions, each of its own type; `None`: they are several rows, or none.
    pub(crate) fn constants(
        self: &Arc<Session>,
        exprs: Vec<Expr>,
    ) -> BoxFuture<'_, Result<Option<Vec<ScalarValue>>>> {
        self.one_row(exprs).boxed()
    }

    async fn one_row(self: &Arc<Session>, exprs: Vec<Expr>) -> Result<Option<Vec<ScalarValue>>> {
        let bound = self.bind_alone(exprs).await?;
        let plan = bound.state.create_physical_plan(&bound.plan).await?;
        let task = Arc::new(TaskContext::from(bound.state.as_ref()));
        let rows: Vec<_> = execute_stream(plan, task)?.try_collect().await?;
        let Some(row) = rows.iter().find(|batch| batch.num_rows() == 1) else {
            return Ok(None);
        };
        let values = row.columns().iter();
        let values = values.map(|array| Ok(ScalarValue::try_from_array(array, 0)?));
        values.collect::<Result<Vec<_>>>().map(Some)
    }

    /// An argument for a parameter: what is written between quotes is read as a value of the parameter's type, numerics with
    /// all digits that are written, and whole numbers are cast by the planner, which knows how halves are rounded.
    fn read(&self, argument: &Expr, parameter: &FieldRef) -> Expr {
        match numerics_of(argument, parameter.data_type()) {
            Some(written) => {
                let own = type_in_full(&written, parameter.data_type());
                let written = ast::Value::SingleQuotedString(written).with_empty_span();
                cast_as_column(Expr::Value(written), &Field::new("value", own, true))
            }
            None if text_of(argument).is_some() || parameter.data_type().is_integer() => {
                cast_as_column(argument.clone(), &self.of_now(parameter))
            }
            None => argument.clone(),
        }
    }

    /// A parameter with its enum as the catalog has it now: it may have another name than when the statement was planned.
    fn of_now(&self, parameter: &FieldRef) -> FieldRef {
        let state = self.seen_catalog();
        let then = EnumType::of_elements(parameter);
        match then.and_then(|then| EnumType::of_entry(state.by_id(&then.id)?)) {
            Some(now) => Arc::new(parameter.as_ref().clone().with_metadata(now.marks())),
            None => Arc::clone(parameter),
        }
    }

    /// Fields of the types that SQL names.
    pub fn fields_of<'a>(
        self: &'a Arc<Session>,
        types: &'a [ast::DataType],
    ) -> BoxFuture<'a, Result<Vec<FieldRef>>> {
        self.typed_fields(types).boxed()
    }

    async fn typed_fields(self: &Arc<Session>, types: &[ast::DataType]) -> Result<Vec<FieldRef>> {
        if types.is_empty() {
            return Ok(Vec::new());
        }
        let null = |data_type: &ast::DataType| Expr::Cast {
            kind: ast::CastKind::Cast,
            expr: Box::new(Expr::Value(ast::Value::Null.with_empty_span())),
            data_type: data_type.clone(),
            array: false,
            format: None,
        };
        let bound = self.bind_alone(types.iter().map(null).collect()).await?;
        Ok(bound.plan.schema().fields().iter().cloned().collect())
    }

    /// Forgets what belongs to the session alone, as a new one would have it.
    pub fn discard(&self) -> BoxFuture<'_, ()> {
        self.settings().reset_all();
        self.advisory_locks.release_all();
        self.listening.commit();
        self.listening.leave();
        self.identity().set_session(None);
        self.show_identity();
        self.drop_all_temporary().boxed()
    }

    async fn bind_alone(self: &Arc<Session>, exprs: Vec<Expr>) -> Result<BoundQuery> {
        let mut query = auspex_sql::parse_query("SELECT 1", auspex_sql::Dialect::Postgres)?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            // Names of their own, since two equal expressions may not have one.
            let items = exprs.into_iter().enumerate();
            let item = |(idx, expr)| SelectItem::ExprWithAlias {
                expr,
                alias: ast::Ident::with_quote('"', format!("{idx}")),
            };
            select.projection = items.map(item).collect();
        }
        bind_query(self, *query, self.state(None)).await
    }
}

/// The value of an argument that needs no plan; numerics keep digits that their type does not hold.
fn plain_argument(argument: &Expr, parameter: &FieldRef) -> Option<ScalarValue> {
    match holds_numerics(parameter.data_type()) {
        true => None,
        false => plain_value(argument, parameter),
    }
}

/// What is written for a parameter of numerics, with or without quotes.
fn numerics_of(argument: &Expr, wanted: &DataType) -> Option<String> {
    if !holds_numerics(wanted) {
        return None;
    }
    let number = || number_text(argument).filter(|_| !wanted.is_nested());
    text_of(argument).map(str::to_owned).or_else(number)
}

/// What stands between the quotes of a literal.
pub(crate) fn text_of(expr: &Expr) -> Option<&str> {
    use ast::Value::{EscapedStringLiteral, SingleQuotedString};
    match expr {
        Expr::Value(value) => match &value.value {
            SingleQuotedString(text) | EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a query stands within an expression.
pub(crate) fn holds_query(expr: &Expr) -> bool {
    expr.visit(&mut QueryFinder).is_break()
}

/// Stops at the first query.
struct QueryFinder;

impl Visitor for QueryFinder {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}
