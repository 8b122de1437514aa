//! `EXPLAIN [ANALYZE]` of queries, of model statements and of those that change rows.
//!
//! In: a statement; out: the lines of the plan that it would run, and at their end its models, the device,
//! and about how many rows and bytes are read. Trains, stores and changes nothing without ANALYZE.

use std::sync::Arc;

use auspex_sql::{PRIVATE, ParsedStatement, Statement};
use auspex_storage::{CatalogEntry, JsonKind};
use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::stats::Precision;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::common::collect;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, StatisticsArgs, StatisticsContext,
};
use datafusion::sql::parser::{ExplainStatement, Statement as SqlStatement};
use datafusion::sql::sqlparser::ast;

use crate::bind::{
    BoundQuery, Change, Findings, bind_change, bind_create_model, bind_insert, bind_sql, bind_train,
};
use crate::commands::fit_task;
use crate::distributed::{HERE, describe};
use crate::error::{Error, Result};
use crate::execute::{self, Work, plan, rows_of};
use crate::explained_change::ExplainedChange;
use crate::logical::FitTask;
use crate::measured::Measured;
use crate::model_calls::{device_figures, with_own_figures};
use crate::session::{Prepared, Session};
use crate::statement_run::{Notice, Outcome, StatementControl};
use crate::streams::stream;
use crate::table_writes::describe_insert;

/// A plan that is to be told.
pub(crate) struct Explained {
    /// The planner's own EXPLAIN.
    pub(crate) query: BoundQuery,
    form: Form,
    /// What follows the plan: names and texts.
    told: Vec<(&'static str, String)>,
    /// What workers did is told of it, once it has run.
    training: Option<Arc<FitTask>>,
    /// The plan, whose calls of models tell what devices did for each operator, once it has run.
    calls: Option<Arc<dyn ExecutionPlan>>,
    /// What is run and measured in its place, if it changes rows.
    change: Option<Box<ExplainedChange>>,
    notices: Vec<Notice>,
}

/// What is told of a plan, and how.
#[derive(Debug, Clone, Copy, Default)]
struct Form {
    /// Whether all steps of planning are told.
    verbose: bool,
    /// Whether it is run and measured.
    analyze: bool,
    format: Format,
}

/// As what a plan is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Format {
    /// Lines.
    #[default]
    Text,
    /// One json value.
    Json,
    /// One text of YAML.
    Yaml,
}

/// About how many rows and bytes something gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub(crate) n_rows: Option<usize>,
    pub(crate) n_bytes: Option<usize>,
}

impl Estimate {
    /// That of an operator's output.
    pub(crate) fn of(plan: &dyn ExecutionPlan) -> Estimate {
        let found = StatisticsContext::new().compute(plan, &StatisticsArgs::new());
        let known = |value: Precision<usize>| value.get_value().copied();
        let n_rows = found.as_ref().ok().and_then(|found| known(found.num_rows));
        let by_types = || Some(n_rows?.saturating_mul(row_bytes(&plan.schema())));
        Estimate {
            n_rows,
            n_bytes: found
                .ok()
                .and_then(|found| known(found.total_byte_size))
                .or_else(by_types),
        }
    }

    /// That of all that a plan reads.
    fn of_sources(plan: &dyn ExecutionPlan) -> Estimate {
        let children = plan.children();
        if children.is_empty() {
            return Estimate::of(plan);
        }
        let none = Estimate {
            n_rows: Some(0),
            n_bytes: Some(0),
        };
        let sum = |a: Option<usize>, b: Option<usize>| Some(a?.saturating_add(b?));
        children.into_iter().fold(none, |total, child| {
            let more = Estimate::of_sources(child.as_ref());
            Estimate {
                n_rows: sum(total.n_rows, more.n_rows),
                n_bytes: sum(total.n_bytes, more.n_bytes),
            }
        })
    }
}

/// About how large a row is in memory; of text nothing is known, and a short word is assumed.
fn row_bytes(schema: &Schema) -> usize {
    const SHORT_WORD: usize = 16;
    let widths = schema.fields().iter().map(|field| {
        let width = field.data_type().primitive_width();
        width.unwrap_or(SHORT_WORD)
    });
    widths.sum()
}

/// A number that is only about right; a question mark where nothing is known.
pub(crate) fn about(number: Option<usize>) -> String {
    number.map_or("?".to_owned(), |number| format!("~{number}"))
}

/// Binds `EXPLAIN` of a model statement.
pub(crate) async fn plan_explain(
    session: &Arc<Session>,
    explain: &auspex_sql::Explain,
    parsed: &ParsedStatement,
) -> Result<Work> {
    let mut form = Form {
        analyze: explain.analyze,
        ..Form::default()
    };
    for option in explain
        .options
        .iter()
        .filter(|option| option.name.value == "format")
    {
        if let auspex_sql::OptionValue::Name(format) | auspex_sql::OptionValue::String(format) =
            &option.value
        {
            form.format = format_named(format)?;
        }
    }
    let inner = ParsedStatement {
        statement: explain.statement.clone(),
        ..parsed.clone()
    };
    let fit = match &explain.statement {
        Statement::CreateModel(create) => {
            let state = session.state(None);
            let fit = bind_create_model(session, create, &parsed.text, state).await?;
            Some(fit.ok_or_else(|| Error::Duplicate {
                kind: "model",
                name: create.name.parts.join("."),
            })?)
        }
        Statement::Train(train) => {
            Some(bind_train(session, train, &parsed.text, session.state(None)).await?)
        }
        _ => None,
    };
    if let Some(fit) = fit {
        let training = fit_task(&fit.plan);
        // The operator names device, passes and bytes itself.
        let query = BoundQuery {
            plan: explained(fit.plan, false, explain.analyze)?,
            state: Arc::new(fit.state),
            findings: Findings::default(),
            names: Vec::new(),
            origins: Vec::new(),
        };
        return Ok(Work::Explain(Box::new(Explained {
            query,
            form,
            told: Vec::new(),
            training,
            calls: None,
            change: None,
            notices: fit.notices,
        })));
    }
    match Box::pin(plan(session, &inner)).await? {
        Work::Query { query, .. } => explain_query(session, *query, form, vec![]).await,
        _ => Err(Error::unsupported("EXPLAIN of this statement")),
    }
}

/// Binds `EXPLAIN` of a query, or of a statement that changes rows: its plan makes the rows or changes that are written.
pub(crate) async fn plan_sql_explain(
    session: &Arc<Session>,
    explain: &ExplainStatement,
    parsed: &ParsedStatement,
) -> Result<Work> {
    let mut form = Form {
        verbose: explain.options.verbose,
        analyze: explain.options.analyze,
        format: Format::Text,
    };
    if let Some(format) = &explain.options.format {
        form.format = format_named(&format.to_string())?;
    }
    let (query, target, place) = match bound_change(session, explain, form).await? {
        Bound::Query(query) => return explain_query(session, query, form, vec![]).await,
        Bound::Change {
            query,
            target,
            place,
        } => (query, target, place),
    };
    let mut told = vec![("target", target)];
    // What is measured tells where it ran.
    if session.engine.cluster().is_some() && !form.analyze {
        let here = || "on this machine: workers copy only what stays of large files".to_owned();
        told.push(("place", place.unwrap_or_else(here)));
    }
    let mut work = explain_query(session, query, form, told).await?;
    if let (Work::Explain(explained), true) = (&mut work, form.analyze) {
        let change = ExplainedChange::bind(session, explain, parsed).await?;
        explained.change = Some(Box::new(change));
    }
    Ok(work)
}

/// What is explained.
enum Bound {
    Query(BoundQuery),
    /// The query makes the rows or changes.
    Change {
        query: BoundQuery,
        target: String,
        place: Option<String>,
    },
}

async fn bound_change(
    session: &Arc<Session>,
    explain: &ExplainStatement,
    form: Form,
) -> Result<Bound> {
    let SqlStatement::Statement(statement) = explain.statement.as_ref() else {
        return Err(Error::unsupported("EXPLAIN of this statement"));
    };
    let mut place = None;
    let of_table = |table: &CatalogEntry| format!("{}.{}", table.schema, table.name);
    let (query, verb, table) = match statement.as_ref() {
        ast::Statement::Query(_) => {
            let query = bind_sql(session, statement.as_ref().clone(), session.state(None)).await?;
            return Ok(Bound::Query(query));
        }
        ast::Statement::Insert(insert) if insert.on.is_none() => {
            let insert = Box::pin(bind_insert(session, insert)).await?;
            if !form.analyze {
                place = Box::pin(describe_insert(session, &insert)).await?;
            }
            (insert.query, "INSERT", of_table(&insert.table))
        }
        ast::Statement::CreateTable(ast::CreateTable {
            name,
            query: Some(query),
            ..
        }) => {
            let query = ast::Statement::Query(query.clone());
            let query = bind_sql(session, query, session.state(None)).await?;
            if !form.analyze {
                place = Box::pin(place_of(session, &query)).await?;
            }
            (query, "CREATE TABLE", name.to_string())
        }
        other => {
            let change = Change::of(other);
            let change = change.ok_or_else(|| Error::unsupported("EXPLAIN of this statement"))?;
            let (table, view) = Box::pin(change.table(session)).await?;
            let rewrite = session.tables().inspect(&table.id).await?;
            let query = Box::pin(bind_change(
                session,
                &change,
                (&rewrite, view.as_ref()),
                None,
            ))
            .await?;
            (query, change.verb(), of_table(&table))
        }
    };
    Ok(Bound::Change {
        query,
        target: format!("{verb}: table={table}"),
        place,
    })
}

/// The format of a name; there are no others.
fn format_named(name: &str) -> Result<Format> {
    match name.to_lowercase().as_str() {
        "text" | "indent" => Ok(Format::Text),
        // The planner has its own word for PostgreSQL's JSON, and reads no YAML, which comes under a word of no use here.
        "json" | "pgjson" => Ok(Format::Json),
        "yaml" | "graphviz" => Ok(Format::Yaml),
        other => {
            let format = other.to_uppercase();
            Err(Error::unsupported(format!("EXPLAIN (FORMAT {format})")))
        }
    }
}

/// Where a query runs; `None` without a cluster.
async fn place_of(session: &Arc<Session>, query: &BoundQuery) -> Result<Option<String>> {
    let Some(cluster) = session.engine.cluster() else {
        return Ok(None);
    };
    let physical = query.state.create_physical_plan(&query.plan).await?;
    let bytes = session.settings().min_distributed_bytes();
    let place = describe(&cluster, &session.engine, &query.state, &physical, bytes);
    Ok(Some(Box::pin(place).await?))
}

/// `told` are further rows.
async fn explain_query(
    session: &Arc<Session>,
    query: BoundQuery,
    form: Form,
    mut told: Vec<(&'static str, String)>,
) -> Result<Work> {
    let models = query.findings.models();
    // Of a change it was told before.
    if told.is_empty()
        && (!form.analyze || query.plan.get_parameter_names()?.is_empty())
        && let Some(place) = Box::pin(place_of(session, &query)).await?
    {
        // What workers have run tells where itself.
        if !form.analyze || place.starts_with(HERE) {
            told.push(("place", place));
        }
    }
    if !models.is_empty() {
        let physical = query.state.create_physical_plan(&query.plan).await?;
        let devices = query.findings.devices();
        told.push(("models", models_text(&models, &devices, physical.as_ref())));
    }
    let mut query = query;
    let mut calls = None;
    if form.analyze && query.findings.asks_devices() {
        query.plan = with_own_figures(query.plan)?;
        let physical = query.state.create_physical_plan(&query.plan);
        calls = Some(Box::pin(physical).await?);
    }
    let query = BoundQuery {
        plan: explained(query.plan, form.verbose, form.analyze)?,
        names: Vec::new(),
        origins: Vec::new(),
        ..query
    };
    Ok(Work::Explain(Box::new(Explained {
        query,
        form,
        told,
        training: None,
        calls,
        change: None,
        notices: Vec::new(),
    })))
}

fn explained(plan: LogicalPlan, verbose: bool, analyze: bool) -> Result<LogicalPlan> {
    let plan = LogicalPlanBuilder::from(plan).explain(verbose, analyze)?;
    Ok(plan.build()?)
}

impl Explained {
    /// The rows that the planner gives of what it has measured, of a plan that ran without it.
    async fn measured(&self, measured: &Measured) -> Result<SendableRecordBatchStream> {
        let plan = measured.text(self.form.verbose).await?;
        let columns = ["plan_type", "plan"].map(|name| Field::new(name, DataType::Utf8, false));
        let schema = Arc::new(Schema::new(columns.to_vec()));
        let step: ArrayRef = Arc::new(StringArray::from(vec!["Plan with Metrics"]));
        let plan: ArrayRef = Arc::new(StringArray::from(vec![plan]));
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![step, plan]);
        let rows = rows.map_err(DataFusionError::from)?;
        let rows = futures::stream::iter([Ok(rows)]);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// The one column that PostgreSQL's clients look for.
    pub(crate) fn schema(&self) -> SchemaRef {
        let column = Field::new("QUERY PLAN", DataType::Utf8, false);
        let column = match self.form.format {
            Format::Json => column.with_metadata(JsonKind::Json.marks()),
            Format::Text | Format::Yaml => column,
        };
        Arc::new(Schema::new(vec![column]))
    }
}

/// Runs `EXPLAIN`, and with ANALYZE what it names.
pub(crate) async fn run(
    session: &Arc<Session>,
    (prepared, explained): (&Prepared, &Explained),
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<Outcome> {
    let notices = explained.notices.iter().cloned();
    notices.for_each(|notice| control.notify(notice));
    let mut stays = None;
    let rows = match &explained.change {
        None => stream(session, &explained.query, parameters, control).await?,
        Some(change) => {
            let measured = Measured::default();
            let running = change.run(session, parameters.clone(), control);
            if !measured.scope(Box::pin(running)).await? {
                let again = session.replan(prepared).await?;
                let again = execute::run(session, prepared, &again, parameters, control);
                return Box::pin(again).await;
            }
            stays = measured.reason_to_stay();
            explained.measured(&measured).await?
        }
    };
    Ok(rows_of(lines(rows, explained, stays).await?, "EXPLAIN"))
}

/// The planner's rows, which are the plans of its steps, as lines: of the last step, or of all under their names. `stays` is
/// why a change that has run stayed on the coordinator.
async fn lines(
    stream: SendableRecordBatchStream,
    explained: &Explained,
    stays: Option<String>,
) -> Result<SendableRecordBatchStream> {
    const LAST: [&str; 2] = ["physical_plan", "Plan with Metrics"];
    const WITH_STATISTICS: &str = "_with_stats";
    let mut lines: Vec<String> = Vec::new();
    let mut last = String::new();
    let mut tell = |step: &str, plan: &str| {
        // Statistics hold values of rows that the role may not see.
        if step.ends_with(WITH_STATISTICS) {
            return;
        }
        let plan = &plan.replace(PRIVATE, "");
        let is_last = LAST.contains(&step);
        if is_last {
            plan.clone_into(&mut last);
        }
        if is_last && !explained.form.verbose {
            lines.extend(plan.lines().map(ToOwned::to_owned));
        } else if explained.form.verbose || !step.starts_with("logical_plan") {
            lines.push(format!("{step}:"));
            lines.extend(plan.lines().map(|line| format!("  {line}")));
        }
    };
    for batch in &collect(stream).await? {
        let (steps, plans) = (batch.column(0), batch.column(1));
        let steps = cast(steps, &DataType::Utf8).map_err(DataFusionError::from)?;
        let plans = cast(plans, &DataType::Utf8).map_err(DataFusionError::from)?;
        let plans = plans.as_string::<i32>();
        for (step, plan) in steps.as_string::<i32>().iter().zip(plans) {
            tell(step.unwrap_or_default(), plan.unwrap_or_default());
        }
    }
    let mut told = explained.told.clone();
    told.extend(stays.map(|reason| ("place", format!("{HERE}: {reason}"))));
    if explained.form.analyze {
        // The plan has run by now; a change was planned anew, with other functions.
        let calls = explained.calls.as_ref();
        if let Some(calls) = calls.filter(|_| explained.change.is_none()) {
            let figures = device_figures(calls, &explained.query.findings)?;
            if !figures.is_empty() {
                told.push(("devices", figures.join("\n")));
            }
        }
        let training = explained.training.as_ref();
        if let Some(workers) = training.and_then(|training| training.figures.text()) {
            told.push(("workers", workers));
        }
    }
    for (what, text) in &told {
        tell(what, text);
    }
    let tree = || crate::explain_json::tree(&last, &told);
    match explained.form.format {
        Format::Text => {}
        Format::Json => lines = vec![format!("{:#}", tree())],
        Format::Yaml => lines = vec![crate::explain_yaml::text(&tree())],
    }
    let schema = explained.schema();
    let rows: ArrayRef = Arc::new(StringArray::from(lines));
    let batch =
        RecordBatch::try_new(Arc::clone(&schema), vec![rows]).map_err(DataFusionError::from)?;
    let rows = futures::stream::iter([Ok(batch)]);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// What the models do; rows are passed over once, whatever is asked of them.
fn models_text(models: &[String], device: &str, plan: &dyn ExecutionPlan) -> String {
    let read = Estimate::of_sources(plan);
    format!(
        "{}\ndevice={device}, partitions={}, passes=1, rows={}, bytes={}",
        models.join("\n"),
        widest(plan),
        about(read.n_rows),
        about(read.n_bytes),
    )
}

/// The greatest number of partitions that any operator has.
fn widest(plan: &dyn ExecutionPlan) -> usize {
    let own = plan.output_partitioning().partition_count();
    let children = plan.children().into_iter();
    children
        .map(|child| widest(child.as_ref()))
        .fold(own, usize::max)
}
