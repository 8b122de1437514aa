//! From a statement to what runs: queries become plans, the rest stays a command until it is run.
//!
//! In: a parsed statement; out: [`Work`], then an [`Outcome`]. Rows are streamed; nothing is collected
//! that a client reads.

use std::collections::HashMap;
use std::sync::Arc;

use auspex_sql::{ParsedStatement, Statement};
use auspex_storage::CatalogEntry;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, WriteOp};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;

use crate::bind::{
    Arguments, BoundQuery, Findings, bind_query, bind_sql, evaluate_plan, explain_plan,
    json_options, predict_plan,
};
use crate::commands;
use crate::engine::StatementWarning;
use crate::error::{Error, Result};
use crate::explain;
use crate::physical::{self, warning_notice};
use crate::session::{Limits, Prepared, Session};
use crate::statement_run::{Notice, Outcome, StatementControl};

/// What a prepared statement will do.
pub(crate) enum Work {
    /// Streams the rows of a plan.
    Query {
        query: Box<BoundQuery>,
        tag: &'static str,
        notices: Vec<Notice>,
        /// Rows that follow those of the plan.
        tail: Option<RecordBatch>,
    },
    /// Appends the rows of a plan to a managed table.
    Insert {
        table: Arc<CatalogEntry>,
        query: Box<BoundQuery>,
    },
    /// Shows settings.
    Show { setting: Option<String> },
    /// `SELECT ml.train('m')`: for tools that send only `SELECT`.
    TrainCall(Box<auspex_sql::Train>),
    /// Everything else, run from the syntax tree.
    Command,
    /// A text with nothing in it, or one that needs no work: the tag.
    Nothing(&'static str),
}

impl Work {
    fn query(query: BoundQuery, tag: &'static str) -> Work {
        Work::Query {
            query: Box::new(query),
            tag,
            notices: Vec::new(),
            tail: None,
        }
    }

    /// The columns of the rows, once the parameters have these types; `None` for no rows.
    pub(crate) fn schema(
        &self,
        statement: &Statement,
        parameter_types: &[DataType],
    ) -> Result<Option<SchemaRef>> {
        Ok(match self {
            Work::Query { query, .. } if parameter_types.is_empty() => {
                Some(renamed(query.plan.schema().inner(), &query.names))
            }
            Work::Query { query, .. } => {
                // The type of `SELECT $1` is that of its parameter, so any value shows it.
                let nulls: std::result::Result<Vec<ScalarValue>, DataFusionError> =
                    parameter_types.iter().map(ScalarValue::try_from).collect();
                let values = nulls?
                    .into_iter()
                    .map(|value| ScalarAndMetadata::new(value, None));
                let values = ParamValues::List(values.collect());
                let plan = query.plan.clone().replace_params_with_values(&values)?;
                Some(renamed(plan.schema().inner(), &query.names))
            }
            Work::Show { setting } => Some(commands::show_schema(setting.as_deref())),
            Work::TrainCall(_) => Some(commands::train_call_schema()),
            Work::Insert { .. } | Work::Nothing(_) => None,
            Work::Command => commands::schema(statement),
        })
    }

    pub(crate) fn parameter_types(&self, given: &[Option<DataType>]) -> Result<Vec<DataType>> {
        let plan = match self {
            Work::Query { query, .. } | Work::Insert { query, .. } => &query.plan,
            _ => return Ok(Vec::new()),
        };
        let mut inferred = plan.get_parameter_types()?;
        inferred.extend(cast_parameters(plan)?);
        let places = inferred
            .keys()
            .filter_map(|name| name.strip_prefix('$')?.parse().ok());
        let n_parameters: usize = places.max().unwrap_or(0);
        let type_of = |idx: usize| {
            let given = given.get(idx).cloned().flatten();
            let inferred = || inferred.get(&format!("${}", idx + 1)).cloned().flatten();
            given.or_else(inferred).unwrap_or(DataType::Utf8)
        };
        Ok((0..n_parameters.max(given.len())).map(type_of).collect())
    }
}

/// The types that `$1::type` and `CAST($1 AS type)` give parameters, which the planner leaves open.
fn cast_parameters(plan: &LogicalPlan) -> Result<HashMap<String, Option<DataType>>> {
    let mut types = HashMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr
                    && let Expr::Placeholder(placeholder) = cast.expr.as_ref()
                {
                    let data_type = cast.field.data_type().clone();
                    types.insert(placeholder.id.clone(), Some(data_type));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}

/// Binds a statement.
pub(crate) async fn plan(session: &Arc<Session>, parsed: &ParsedStatement) -> Result<Work> {
    let state = session.state(None);
    match &parsed.statement {
        Statement::Sql(statement) => plan_sql(session, statement.as_ref()).await,
        Statement::Predict(apply) | Statement::ExplainPredict(apply) => {
            let bound = session.load_model(&apply.model).await?;
            let mut rows = bind_query(session, apply.rows.query.as_ref().clone(), state).await?;
            let arguments = Arguments(json_options(&apply.options)?);
            rows.plan = match &parsed.statement {
                Statement::Predict(_) => {
                    predict_plan(&bound, rows.plan, &arguments, false, &rows.findings)?
                }
                _ => explain_plan(&bound, rows.plan, &arguments, &rows.findings)?,
            };
            rows.names.clear();
            rows.findings.use_model(&bound);
            Ok(Work::query(rows, "SELECT"))
        }
        Statement::Evaluate(evaluate) => plan_evaluate(session, evaluate).await,
        Statement::ShowModels => select(session, commands::SHOW_MODELS).await,
        Statement::ShowDevices => select(session, "SELECT * FROM ml.devices").await,
        Statement::ShowWorkers => Err(Error::unsupported("SHOW WORKERS")),
        Statement::DescribeModel(model) => {
            let batch = commands::describe_model(session, model).await?;
            table(session, batch).await
        }
        Statement::Explain(explain) => {
            Box::pin(explain::plan_explain(session, explain, parsed)).await
        }
        Statement::Forecast(_) => Err(Error::unsupported("FORECAST")),
        Statement::ExportModel(_) => Err(Error::unsupported("EXPORT MODEL")),
        Statement::ModelPrivilege(privilege) => {
            let verb = if privilege.grant { "GRANT" } else { "REVOKE" };
            Err(Error::unsupported(format!("{verb} on models")))
        }
        Statement::CreateModel(_)
        | Statement::Train(_)
        | Statement::AlterModel(_)
        | Statement::DropModel(_) => Ok(Work::Command),
    }
}

async fn plan_evaluate(session: &Arc<Session>, evaluate: &auspex_sql::Evaluate) -> Result<Work> {
    let bound = session.load_model(&evaluate.model).await?;
    let arguments = Arguments(json_options(&evaluate.options)?);
    let Some(rows) = &evaluate.rows else {
        let findings = Findings::default();
        findings.use_model(&bound);
        let plan = evaluate_plan(&bound, "evaluate", None, &arguments, None, &findings)?;
        let query = BoundQuery {
            plan,
            state: session.state(None),
            findings,
            names: Vec::new(),
        };
        return Ok(Work::query(query, "SELECT"));
    };
    let mut query = bind_query(session, rows.query.as_ref().clone(), session.state(None)).await?;
    let (rows, findings) = (Some(query.plan), &query.findings);
    query.plan = evaluate_plan(&bound, "evaluate", rows, &arguments, None, findings)?;
    query.names.clear();
    query.findings.use_model(&bound);
    Ok(Work::query(query, "SELECT"))
}

/// The rows of a query of our own.
pub(crate) async fn select(session: &Arc<Session>, text: &str) -> Result<Work> {
    let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres)?;
    Ok(Work::query(
        bind_query(session, *query, session.state(None)).await?,
        "SHOW",
    ))
}

/// The rows of a table that is already here.
async fn table(session: &Arc<Session>, batch: RecordBatch) -> Result<Work> {
    let state = session.state(None);
    let provider = datafusion::catalog::MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    let source = datafusion::datasource::provider_as_source(Arc::new(provider));
    let plan = LogicalPlanBuilder::scan("description", source, None)?.build()?;
    let query = BoundQuery {
        plan,
        state,
        findings: Findings::default(),
        names: Vec::new(),
    };
    Ok(Work::query(query, "SHOW"))
}

async fn plan_sql(session: &Arc<Session>, statement: &SqlStatement) -> Result<Work> {
    let statement = match statement {
        SqlStatement::Statement(statement) => statement.as_ref(),
        SqlStatement::Explain(statement) => {
            return explain::plan_sql_explain(session, statement).await;
        }
        SqlStatement::CreateExternalTable(_) | SqlStatement::Reset(_) => return Ok(Work::Command),
        SqlStatement::CopyTo(_) => return Err(Error::unsupported("COPY ... TO")),
    };
    match statement {
        ast::Statement::Query(query) => {
            if let Some(train) = commands::train_call(query)? {
                return Ok(Work::TrainCall(Box::new(train)));
            }
            let query = bind_sql(session, statement.clone(), session.state(None)).await?;
            Ok(Work::query(query, "SELECT"))
        }
        ast::Statement::ShowVariable { variable } => {
            let words: Vec<String> = variable
                .iter()
                .map(|word| word.value.to_lowercase())
                .collect();
            let name = words.join(" ");
            let name = name.trim_end_matches(" verbose").to_owned();
            Ok(Work::Show {
                setting: (name != "all").then_some(name),
            })
        }
        ast::Statement::ShowTables { .. }
        | ast::Statement::ShowColumns { .. }
        | ast::Statement::ShowFunctions { .. } => {
            let query = bind_sql(session, statement.clone(), session.state(None)).await?;
            Ok(Work::query(query, "SHOW"))
        }
        ast::Statement::ExplainTable { table_name, .. } => {
            let batch = commands::describe_table(session, table_name).await?;
            table(session, batch).await
        }
        ast::Statement::Insert(insert) => plan_insert(session, statement, insert).await,
        _ => commands::check(statement),
    }
}

async fn plan_insert(
    session: &Arc<Session>,
    statement: &ast::Statement,
    insert: &ast::Insert,
) -> Result<Work> {
    if insert.returning.is_some() {
        return Err(Error::unsupported("INSERT ... RETURNING"));
    }
    if insert.on.is_some() {
        return Err(Error::unsupported("INSERT ... ON CONFLICT"));
    }
    let mut query = bind_sql(session, statement.clone(), session.state(None)).await?;
    let LogicalPlan::Dml(DmlStatement {
        table_name,
        op,
        input,
        ..
    }) = query.plan
    else {
        return Err(Error::unsupported("this form of INSERT"));
    };
    if !matches!(op, WriteOp::Insert(_)) {
        return Err(Error::unsupported("this form of INSERT"));
    }
    let default = session.object_parts(&[table_name.table().to_owned()])?;
    let schema = table_name.schema().unwrap_or(&default.0).to_owned();
    let table = session.managed_table(&schema, table_name.table())?;
    query.plan = input.as_ref().clone();
    query.names.clear();
    Ok(Work::Insert {
        table,
        query: Box::new(query),
    })
}

/// Runs a prepared statement.
pub(crate) async fn run(
    session: &Arc<Session>,
    prepared: &Prepared,
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<Outcome> {
    match &prepared.work {
        Work::Query {
            query,
            tag,
            notices,
            tail,
        } => {
            notices
                .iter()
                .cloned()
                .for_each(|notice| control.notify(notice));
            let stream = stream(session, query, parameters, control).await?;
            let schema = stream.schema();
            let tail = futures::stream::iter(tail.clone().map(Ok));
            let rows = RecordBatchStreamAdapter::new(Arc::clone(&schema), stream.chain(tail));
            Ok(Outcome::Rows {
                schema,
                stream: Box::pin(rows),
                tag,
            })
        }
        Work::Insert { table, query } => {
            let stream = stream(session, query, parameters, control).await?;
            let n_rows = session.engine.tables.append(&table.id, stream).await?;
            Ok(Outcome::Command(format!("INSERT 0 {n_rows}")))
        }
        Work::Show { setting } => commands::show(session, setting.as_deref()),
        Work::TrainCall(train) => {
            let text = prepared.statement.text.as_str();
            Box::pin(commands::run_train_call(session, train, text, control)).await
        }
        Work::Command => Box::pin(commands::run(session, &prepared.statement, control)).await,
        Work::Nothing(tag) => Ok(Outcome::Command((*tag).to_owned())),
    }
}

/// The rows of a plan under PostgreSQL's column names; warns at its end of what predictions met.
pub(crate) async fn stream(
    session: &Arc<Session>,
    query: &BoundQuery,
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<SendableRecordBatchStream> {
    let mut plan = query.plan.clone();
    if !parameters.is_empty() {
        let values = parameters
            .into_iter()
            .map(|value| ScalarAndMetadata::new(value, None));
        plan = plan.replace_params_with_values(&ParamValues::List(values.collect()))?;
    }
    let config = query
        .state
        .config()
        .clone()
        .with_extension(Arc::new(control.clone()));
    let state = SessionStateBuilder::new_from_existing(query.state.clone())
        .with_config(config)
        .build();
    let stream = physical::open(&state, &plan).await?;
    let schema = renamed(&stream.schema(), &query.names);
    let output = Arc::clone(&schema);
    let batches = stream.map(move |batch| {
        let (_, columns, n_rows) = batch?.into_parts();
        let options =
            datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(n_rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&output), columns, &options)?;
        Ok::<_, DataFusionError>(batch)
    });
    tell(session, query.findings.known(), control);
    let (session, findings) = (Arc::clone(session), query.findings.clone());
    let control = control.clone();
    let at_end = async move {
        tell(&session, findings.take_counted(), &control);
        None
    };
    let batches = batches.chain(futures::stream::once(at_end).filter_map(futures::future::ready));
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
}

/// Sends warnings, and remembers them for `ml.warnings`.
fn tell(session: &Session, warnings: Vec<StatementWarning>, control: &StatementControl) {
    for warning in warnings {
        control.notify(warning_notice(&warning.warning));
        session.engine.remember_warning(warning);
    }
}

/// A schema under other column names.
fn renamed(schema: &Schema, names: &[Option<String>]) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(idx, field)| match names.get(idx) {
            Some(Some(name)) => field.as_ref().clone().with_name(name),
            _ => field.as_ref().clone(),
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// A stream that ends when its statement is cancelled or its time is over.
pub(crate) fn guarded(
    stream: SendableRecordBatchStream,
    limits: Limits,
) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let batches = futures::stream::unfold(Some((stream, limits)), |state| async move {
        let (mut stream, limits) = state?;
        let next = tokio::select! {
            biased;
            () = limits.token.cancelled() => Some(Err(limits.error().into())),
            next = stream.next() => next,
        };
        match next? {
            Ok(batch) => Some((Ok(batch), Some((stream, limits)))),
            Err(_) if limits.timed_out() => Some((Err(Error::TimedOut.into()), None)),
            Err(error) => Some((Err(error), None)),
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}
