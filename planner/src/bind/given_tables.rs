//! Tables that a statement means in another way than by their newest version: a version of old, its changes, or the
//! target of a change.
//!
//! In: a syntax tree; out: the tree with a private name in each such place, and the relations that stand for them. A
//! table is opened once for a statement and place, before it is planned.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_sql::PRIVATE;
use auspex_storage::{VersionSpec, shown_time};
use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMillisecondType};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, ObjectName, TableFactor, TableVersion, Value, VisitMut, VisitorMut,
};
use futures::TryStreamExt as _;

use super::late_names::is_of_versions;
use crate::catalog::pins::refuse_unpinned;
use crate::commands::{name_parts, table_detail, table_history};
use crate::error::{Error, Result};
use crate::named::Named;
use crate::sequences::parts_of;
use crate::session::Session;

/// The relations of one statement by private name, each with the name that its columns are qualified with.
#[derive(Debug, Clone, Default)]
pub(crate) struct GivenTables {
    tables: BTreeMap<String, (TableReference, Arc<dyn TableProvider>)>,
}

/// A place in a statement where a table is meant in a special way.
#[derive(Debug, Clone)]
struct Place {
    private: String,
    parts: Vec<String>,
    meant: Meant,
}

#[derive(Debug, Clone)]
enum Meant {
    Version(Box<TableVersion>),
    Changes { from: u64, to: Option<u64> },
    History,
    Detail,
}

impl Place {
    /// Whether it means the same rows whenever the statement runs.
    fn is_fixed(&self) -> bool {
        matches!(&self.meant, Meant::Version(version)
            if matches!(version.as_ref(), TableVersion::VersionAsOf(_)))
    }
}

impl GivenTables {
    /// Adds a relation; returns the private name to write in its place.
    pub(crate) fn give(&mut self, name: &str, table: Arc<dyn TableProvider>) -> ObjectName {
        let private = format!("{PRIVATE}{}", self.tables.len());
        let reference = TableReference::bare(name);
        self.tables.insert(private.clone(), (reference, table));
        private_name(&private)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Opens the versions and changes that a statement names.
    pub(crate) async fn open(
        &mut self,
        session: &Arc<Session>,
        statement: &mut ast::Statement,
    ) -> Result<()> {
        let mut finder = Finder {
            first: self.tables.len(),
            places: Vec::new(),
        };
        if let ControlFlow::Break(error) = statement.visit(&mut finder) {
            return Err(error);
        }
        for place in finder.places {
            let name = place.parts.last().cloned().unwrap_or_default();
            if !matches!(place.meant, Meant::Version(_)) {
                refuse_unpinned(&place.parts.join("."))?;
            }
            if !place.is_fixed() {
                Named::note_files();
            }
            let table = match &place.meant {
                Meant::Version(version) => {
                    let version = version_spec(session, version).await?;
                    session.table_version(&place.parts, version).await?
                }
                Meant::Changes { from, to } => {
                    session.table_changes(&place.parts, *from, *to).await?
                }
                Meant::History => in_memory(table_history(session, &place.parts).await?)?,
                Meant::Detail => in_memory(table_detail(session, &place.parts).await?)?,
            };
            let reference = TableReference::bare(name);
            self.tables.insert(place.private, (reference, table));
        }
        Ok(())
    }
}

fn private_name(private: &str) -> ObjectName {
    ObjectName::from(vec![Ident::with_quote('"', private)])
}

impl RelationPlanner for GivenTables {
    fn plan_relation(
        &self,
        relation: TableFactor,
        _context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let TableFactor::Table { name, alias, .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let given = match name_parts(name).as_slice() {
            [only] => self.tables.get(only),
            _ => None,
        };
        let Some((reference, table)) = given else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let source = provider_as_source(Arc::clone(table));
        let plan = LogicalPlanBuilder::scan(reference.clone(), source, None)?.build()?;
        let planned = PlannedRelation::new(plan, alias.clone());
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

/// Finds the places and writes private names there.
struct Finder {
    first: usize,
    places: Vec<Place>,
}

impl Finder {
    fn factor(&mut self, factor: &mut TableFactor) -> Result<()> {
        let TableFactor::Table {
            name,
            version,
            args,
            ..
        } = factor
        else {
            return Ok(());
        };
        let (parts, meant) = if let Some(args) = args {
            if !is_of_versions(name) {
                return Ok(());
            }
            for arg in &args.args {
                if let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) = arg {
                    refuse_parameter(expr)?;
                }
            }
            match name_parts(name).last().map(String::as_str) {
                Some("table_history") => (named(&args.args)?, Meant::History),
                Some("table_detail") => (named(&args.args)?, Meant::Detail),
                _ => changes(&args.args)?,
            }
        } else if let Some(version) = version.take() {
            (name_parts(name), Meant::Version(Box::new(version)))
        } else {
            return Ok(());
        };
        *args = None;
        let private = format!("{PRIVATE}{}", self.first + self.places.len());
        *name = private_name(&private);
        self.places.push(Place {
            private,
            parts,
            meant,
        });
        Ok(())
    }
}

/// Writes the times that expressions of `AS OF` mean in their place, before anything else reads these.
pub(crate) async fn settle_times(
    session: &Arc<Session>,
    statement: &mut ast::Statement,
) -> Result<()> {
    let mut times = Times::default();
    let _: ControlFlow<()> = statement.visit(&mut times);
    if times.found.is_empty() {
        return Ok(());
    }
    for expr in std::mem::take(&mut times.found) {
        let shown = shown_time(time_ms(session, &expr).await?);
        let literal = Value::SingleQuotedString(shown);
        times.settled.push_back(Expr::value(literal));
    }
    let _: ControlFlow<()> = statement.visit(&mut times);
    Ok(())
}

/// Finds the expressions, then puts others in their place.
#[derive(Default)]
struct Times {
    found: Vec<Expr>,
    settled: VecDeque<Expr>,
}

impl VisitorMut for Times {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            version: Some(TableVersion::TimestampAsOf(expr) | TableVersion::ForSystemTimeAsOf(expr)),
            ..
        } = factor
            && !matches!(expr, Expr::Value(_))
        {
            match self.settled.pop_front() {
                Some(settled) => *expr = settled,
                // What stands within it is its own query's, and is not looked at here.
                None => {
                    let mark = Expr::Identifier(Ident::new(PRIVATE));
                    self.found.push(std::mem::replace(expr, mark));
                }
            }
        }
        ControlFlow::Continue(())
    }
}

impl VisitorMut for Finder {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match self.factor(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn in_memory(rows: RecordBatch) -> Result<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(
        rows.schema(),
        vec![vec![rows]],
    )?))
}

/// The argument of `table_history('t')`.
fn named(args: &[ast::FunctionArg]) -> Result<Vec<String>> {
    if let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(Expr::Value(value)))] = args
        && let Value::SingleQuotedString(name) = &value.value
    {
        return Ok(parts_of(name));
    }
    let message = "this function needs a table's name in quotes";
    Err(Error::invalid(
        "42883",
        message,
        Some("Write table_history('t')."),
    ))
}

/// The arguments of `table_changes('t', from [, to])`.
fn changes(args: &[ast::FunctionArg]) -> Result<(Vec<String>, Meant)> {
    let wrong = || {
        Error::invalid(
            "42883",
            "table_changes needs a table's name in quotes and one or two version numbers",
            Some("Write table_changes('t', 1) or table_changes('t', 1, 3)."),
        )
    };
    let values = args.iter().map(|arg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(Expr::Value(value))) => {
            Some(&value.value)
        }
        _ => None,
    });
    let values: Vec<&Value> = values.collect::<Option<_>>().ok_or_else(wrong)?;
    let number = |value: &Value| match value {
        Value::Number(digits, _) => digits.parse::<u64>().ok(),
        _ => None,
    };
    let (Some(Value::SingleQuotedString(name)), Some(from)) = (
        values.first(),
        values.get(1).and_then(|value| number(value)),
    ) else {
        return Err(wrong());
    };
    let to = match values.get(2) {
        Some(value) => Some(number(value).ok_or_else(wrong)?),
        None => None,
    };
    if values.len() > 3 {
        return Err(wrong());
    }
    Ok((parts_of(name), Meant::Changes { from, to }))
}

/// The version that a clause means.
async fn version_spec(session: &Arc<Session>, version: &TableVersion) -> Result<VersionSpec> {
    match version {
        TableVersion::VersionAsOf(expr) => {
            refuse_parameter(expr)?;
            let number = match expr {
                Expr::Value(value) => value.value.to_string().parse().ok(),
                _ => None,
            };
            number.map(VersionSpec::Number).ok_or_else(|| {
                Error::invalid("22023", format!("invalid version number {expr}"), None)
            })
        }
        TableVersion::TimestampAsOf(expr) | TableVersion::ForSystemTimeAsOf(expr) => {
            Ok(VersionSpec::AtMs(time_ms(session, expr).await?))
        }
        other => Err(Error::unsupported(other.to_string())),
    }
}

/// The time that a text means, in milliseconds since 1970.
pub(crate) async fn time_of_text(session: &Arc<Session>, text: &str) -> Result<i64> {
    let text = Value::SingleQuotedString(text.to_owned());
    time_ms(session, &Expr::value(text)).await
}

/// Fails for a version that is a parameter: its value, which queries wait for, is not known here.
fn refuse_parameter(expr: &Expr) -> Result<()> {
    let is_parameter = |expr: &Expr| match expr {
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    };
    match ast::visit_expressions(expr, is_parameter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Unsupported {
            what: "a parameter as the version of a table outside SELECT".to_owned(),
            hint: Some("Write the version into the statement.".to_owned()),
        }),
    }
}

/// The time that a constant expression means, in milliseconds since 1970.
async fn time_ms(session: &Arc<Session>, expr: &Expr) -> Result<i64> {
    refuse_parameter(expr)?;
    let invalid = || {
        let message = format!("{expr} is not a time");
        Error::invalid("22007", message, Some("Write '2026-01-31 12:00:00'."))
    };
    // The expression itself, not its text, which need not mean the same.
    let text = "SELECT CAST(NULL AS TIMESTAMP) AS local, NULL AS given";
    let mut query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres)?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        let meant = Expr::Nested(Box::new(expr.clone()));
        for item in &mut select.projection {
            match item {
                ast::SelectItem::ExprWithAlias {
                    expr: Expr::Cast { expr, .. },
                    ..
                } => **expr = meant.clone(),
                ast::SelectItem::ExprWithAlias { expr, .. } => *expr = meant.clone(),
                _ => {}
            }
        }
    }
    let state = session.state(None);
    let bound = Box::pin(super::bind_query(session, *query, state)).await?;
    let plan = bound.state.create_physical_plan(&bound.plan).await?;
    let task = Arc::new(datafusion::execution::TaskContext::from(
        bound.state.as_ref(),
    ));
    let stream = datafusion::physical_plan::execute_stream(plan, task)?;
    let rows: Vec<_> = stream.try_collect().await?;
    let rows = rows.first().ok_or_else(invalid)?;
    // An instant is one in every time zone.
    let column = match rows.column(1).data_type() {
        DataType::Timestamp(_, Some(_)) => rows.column(1),
        _ => rows.column(0),
    };
    let milliseconds = DataType::Timestamp(TimeUnit::Millisecond, None);
    let number = match column.data_type() {
        DataType::Timestamp(unit, _) => cast(column, &DataType::Timestamp(*unit, None)),
        _ => Err(ArrowError::CastError(String::new())),
    };
    let column = number.and_then(|number| cast(&number, &milliseconds));
    let column = column.map_err(|_| invalid())?;
    let times = column.as_primitive::<TimestampMillisecondType>();
    times.iter().next().flatten().ok_or_else(invalid)
}
