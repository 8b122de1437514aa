//! From a statement to what runs: queries become plans, the rest stays a command until it is run.
//!
//! In: a parsed statement; out: [`Work`], then an [`Outcome`]. Rows are streamed; nothing is collected
//! that a client reads.

mod work;

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_sql::{ParsedStatement, Statement};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast;
use futures::FutureExt as _;

use crate::bind::{
    Arguments, BoundInsert, BoundQuery, Change, Findings, LateNames, Returned, ReturnedTable,
    as_written, bind_change, bind_insert, bind_query, bind_returning, bind_sql, cast_values,
    check_output_names, evaluate_plan, explain_plan, json_options, late_names, origins,
    predict_plan, refuse_parameters, returned_items, with_values,
};
use crate::change_in_with::ChangeInWith;
use crate::commands;
use crate::error::{Error, Result};
use crate::explain;
use crate::session::{Planned, Prepared, Session};
use crate::settings::canonical;
use crate::statement_run::{Outcome, StatementControl};
use crate::streams::stream;

pub(crate) use work::Work;

/// Whether a statement ends a block by committing it.
pub(crate) fn is_commit(parsed: &ParsedStatement) -> bool {
    matches!(parsed.sql(), Some(ast::Statement::Commit { .. }))
}

/// Whether a statement may read tables; those that do not leave the snapshot of their block to the next one.
fn reads(parsed: &ParsedStatement) -> bool {
    use ast::Statement as S;
    let Statement::Sql(statement) = &parsed.statement else {
        return !commands::changes_role(&parsed.statement);
    };
    match statement.as_ref() {
        SqlStatement::Reset(_) => false,
        SqlStatement::Statement(statement) => !matches!(
            statement.as_ref(),
            S::StartTransaction { .. }
                | S::Commit { .. }
                | S::Rollback { .. }
                | S::Savepoint { .. }
                | S::ReleaseSavepoint { .. }
                | S::Lock(_)
                | S::LISTEN { .. }
                | S::UNLISTEN { .. }
                | S::NOTIFY { .. }
                | S::Set(_)
                | S::Reset(_)
                | S::ShowVariable { .. }
        ),
        _ => true,
    }
}

/// Whether a statement is done with what is known, while the store of the catalog does not answer: it reads no table and
/// changes nothing there.
pub(crate) fn needs_no_catalog(parsed: &ParsedStatement) -> bool {
    use ast::Statement as S;
    let Statement::Sql(statement) = &parsed.statement else {
        return false;
    };
    match statement.as_ref() {
        SqlStatement::Reset(_) => true,
        SqlStatement::Statement(statement) => match statement.as_ref() {
            S::StartTransaction { .. }
            | S::Rollback { .. }
            | S::Savepoint { .. }
            | S::ReleaseSavepoint { .. }
            | S::Set(_)
            | S::Reset(_)
            | S::ShowVariable { .. }
            | S::Deallocate { .. }
            | S::LISTEN { .. }
            | S::UNLISTEN { .. }
            | S::NOTIFY { .. }
            | S::Discard { .. } => true,
            S::Query(query) => {
                ast::visit_relations(query, |_| ControlFlow::Break(())).is_continue()
            }
            _ => false,
        },
        _ => false,
    }
}

/// Binds a statement.
pub(crate) async fn plan(session: &Arc<Session>, parsed: &ParsedStatement) -> Result<Work> {
    if reads(parsed) {
        session.take_snapshot();
    }
    match &parsed.statement {
        Statement::Sql(sql) => {
            let planned = plan_sql(session, sql, parsed).await;
            planned.map_err(|error| match sql.as_ref() {
                SqlStatement::Statement(statement) => as_written(error, statement),
                _ => error,
            })
        }
        Statement::Predict(apply) => plan_predict(session, apply, "predict").await,
        Statement::ExplainPredict(apply) => plan_predict(session, apply, "explain_predict").await,
        Statement::Evaluate(evaluate) => plan_evaluate(session, evaluate).await,
        Statement::ShowModels => select(session, commands::SHOW_MODELS).await,
        Statement::ShowDevices => select(session, "SELECT * FROM ml.devices").await,
        Statement::ShowWorkers => select(session, "SELECT * FROM ml.workers").await,
        Statement::DescribeModel(model) => {
            let batch = commands::describe_model(session, model).await?;
            table(session, batch).await
        }
        Statement::Explain(explain) => {
            Box::pin(explain::plan_explain(session, explain, parsed)).await
        }
        Statement::Forecast(_) => Err(Error::unsupported("FORECAST")),
        Statement::ExportModel(_) => Err(Error::unsupported("EXPORT MODEL")),
        Statement::ShowLakeObjects(object) => select(session, commands::show_query(*object)).await,
        Statement::CreateLakeObject(_)
        | Statement::DropLakeObject(_)
        | Statement::Grant(_)
        | Statement::DefaultPrivileges(_)
        | Statement::AlterOwner(_)
        | Statement::Sequence(_)
        | Statement::ConstraintComment(_)
        | Statement::Domain(_)
        | Statement::CreateMaterializedView(_)
        | Statement::RefreshMaterializedView(_)
        | Statement::Role(_) => Ok(Work::Command),
        Statement::CreateModel(_)
        | Statement::Train(_)
        | Statement::AlterModel(_)
        | Statement::DropModel(_)
        | Statement::CreateTable(_)
        | Statement::Restore(_)
        | Statement::Vacuum(_) => Ok(Work::Command),
        Statement::SetConstraints => Ok(Work::Nothing("SET CONSTRAINTS")),
        Statement::Do(block) => commands::check_block(block),
        // The server, which keeps the cursors, runs it itself.
        Statement::Fetch(_) => Err(Error::unsupported("FETCH outside a connection")),
        Statement::TableHistory(name) => {
            let rows = commands::table_history(session, &name.parts).await?;
            table(session, rows).await
        }
        Statement::TableDetail(name) => {
            let rows = commands::table_detail(session, &name.parts).await?;
            table(session, rows).await
        }
    }
}

async fn plan_predict(
    session: &Arc<Session>,
    apply: &auspex_sql::Apply,
    function: &'static str,
) -> Result<Work> {
    let bound = session.load_model(&apply.model, "EXECUTE").await?;
    let query = apply.rows.query.as_ref().clone();
    let mut rows = bind_query(session, query, session.state(None)).await?;
    let arguments = Arguments(json_options(&apply.options)?);
    check_output_names(&bound, (function, false), &rows.plan, &arguments)?;
    rows.plan = match function {
        "predict" => predict_plan(&bound, rows.plan, &arguments, false, &rows.findings)?,
        _ => explain_plan(&bound, rows.plan, &arguments, &rows.findings)?,
    };
    rows.names.clear();
    rows.findings.use_model(&bound);
    Ok(Work::query(rows, "SELECT"))
}

async fn plan_evaluate(session: &Arc<Session>, evaluate: &auspex_sql::Evaluate) -> Result<Work> {
    let bound = session.load_model(&evaluate.model, "EXECUTE").await?;
    let arguments = Arguments(json_options(&evaluate.options)?);
    let Some(rows) = &evaluate.rows else {
        let findings = Findings::default();
        findings.use_model(&bound);
        let plan = evaluate_plan(&bound, "evaluate", None, &arguments, None, &findings)?;
        let query = BoundQuery {
            plan,
            state: Arc::new(session.state(None)),
            findings,
            names: Vec::new(),
            origins: Vec::new(),
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
        state: Arc::new(state),
        findings: Findings::default(),
        names: Vec::new(),
        origins: Vec::new(),
    };
    Ok(Work::query(query, "SHOW"))
}

async fn plan_sql(
    session: &Arc<Session>,
    statement: &SqlStatement,
    parsed: &ParsedStatement,
) -> Result<Work> {
    if let Some((names, alike)) = late_names(statement) {
        return plan_late(session, names, alike, parsed).await;
    }
    let statement = match statement {
        SqlStatement::Statement(statement) => statement.as_ref(),
        SqlStatement::Explain(statement) => {
            return Box::pin(explain::plan_sql_explain(session, statement, parsed)).await;
        }
        SqlStatement::CreateExternalTable(_) | SqlStatement::Reset(_) | SqlStatement::CopyTo(_) => {
            return Ok(Work::Command);
        }
    };
    match statement {
        ast::Statement::Query(query) => {
            if let Some(train) = commands::train_call(query)? {
                return Ok(Work::TrainCall(Box::new(train)));
            }
            let change = ChangeInWith::bind(session, query, parsed);
            if let Some(change) = Box::pin(change).await? {
                return Ok(Work::ChangeInWith(Box::new(change)));
            }
            let query = rows_of_query(session, statement.clone()).await?;
            Ok(Work::query(query, "SELECT"))
        }
        ast::Statement::ShowVariable { variable } => {
            let name = shown_setting(variable);
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
        ast::Statement::ShowCreate { obj_type, obj_name } => {
            let batch = commands::show_create(session, *obj_type, obj_name).await?;
            table(session, batch).await
        }
        ast::Statement::Insert(insert) if insert.on.is_none() => {
            let insert = Box::pin(bind_insert(session, insert)).await?;
            Ok(Work::Insert(Box::new(insert)))
        }
        ast::Statement::CreateTable(ast::CreateTable {
            query: Some(query), ..
        }) if refuse_parameters(parsed).is_err() => {
            let query = ast::Statement::Query(query.clone());
            let query = bind_sql(session, query, session.state(None)).await?;
            Ok(Work::CreateAs(Box::new(query)))
        }
        ast::Statement::Copy { .. } => {
            let client = Box::pin(commands::plan_client_copy(session, statement)).await?;
            Ok(client.unwrap_or(Work::Command))
        }
        _ => match Change::of(statement) {
            Some(change) => plan_change(session, change).await,
            None => refuse_parameters(parsed).and_then(|()| commands::check(statement)),
        },
    }
}

/// A statement that is bound anew with its values: `alike` tells its columns and the types of its parameters.
async fn plan_late(
    session: &Arc<Session>,
    names: LateNames,
    alike: Option<SqlStatement>,
    parsed: &ParsedStatement,
) -> Result<Work> {
    let alike = match alike {
        Some(alike) => {
            let parsed = ParsedStatement {
                statement: Statement::Sql(Box::new(alike.clone())),
                ..parsed.clone()
            };
            let planning = plan_sql(session, &alike, &parsed);
            Some(Box::new(Box::pin(planning).await?))
        }
        None => None,
    };
    Ok(Work::Late {
        names,
        alike,
        given: Vec::new(),
    })
}

/// A query as its client is shown it.
async fn rows_of_query(session: &Arc<Session>, statement: ast::Statement) -> Result<BoundQuery> {
    let mut query = bind_sql(session, statement, session.state(None)).await?;
    query.origins = origins(session, &query.plan);
    if let Some(extension) = &session.engine.extension {
        query.plan = extension.present(query.plan, &query.state)?;
    }
    Ok(query)
}

/// The setting that `SHOW` names.
fn shown_setting(words: &[ast::Ident]) -> String {
    let words: Vec<String> = words.iter().map(|word| word.value.to_lowercase()).collect();
    let name = words.join(" ");
    let name = name.trim_end_matches(" verbose");
    // Of words, only those of PostgreSQL make one name; all others are the parts of a name with dots.
    match canonical(name) == name {
        true => name.replace(' ', "."),
        false => name.to_owned(),
    }
}

async fn plan_change(session: &Arc<Session>, change: Change) -> Result<Work> {
    let (table, view) = Box::pin(change.table(session)).await?;
    let rewrite = session.tables().inspect(&table.id).await?;
    let returning = match returned_items(&change)? {
        Some((items, others)) => {
            let alias = change.alias()?;
            let table = ReturnedTable {
                shape: rewrite.shape(),
                alias: &alias,
                view: view.as_ref(),
            };
            Some(Box::pin(bind_returning(session, &items, table, others)).await?)
        }
        None => None,
    };
    let target = (&rewrite, view.as_ref());
    let bound = bind_change(session, &change, target, returning.as_deref());
    let query = Box::pin(bound).await?;
    Ok(Work::Change {
        change,
        query: Box::new(query),
        returning,
    })
}

/// Whether a query reads a managed table that has rows since, or no more, that its plan does not know of.
pub(crate) async fn is_outdated(
    session: &Session,
    prepared: &Prepared,
    planned: &Planned,
) -> Result<bool> {
    // The statement may have been prepared before the block in which it is run.
    if reads(&prepared.statement) {
        session.take_snapshot();
    }
    let (plan, returning) = match &planned.work {
        Work::Query { query, .. } | Work::CopyOut(query, _) => (Some(&query.plan), None),
        Work::Explain(explained) => (Some(&explained.query.plan), None),
        Work::Insert(insert) => (Some(&insert.query.plan), insert.returning.as_ref()),
        // It is bound anew each time, what it returns is not.
        Work::Change { returning, .. } => (None, returning.as_ref()),
        _ => return Ok(false),
    };
    let returned = returning.map(|returning| returning.rows());
    let mut read = Vec::new();
    for plan in plan.into_iter().chain(returned) {
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Ok(table) = source_as_provider(&scan.source)
            {
                read.push(table);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    for table in read {
        if session.tables().is_outdated(table.as_ref()).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs a prepared statement.
pub(crate) async fn run(
    session: &Arc<Session>,
    prepared: &Prepared,
    planned: &Planned,
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<Outcome> {
    match &planned.work {
        Work::Query {
            query,
            look_up,
            tag,
            notices,
        } => {
            let notices = notices.iter().cloned();
            notices.for_each(|notice| control.notify(notice));
            if let Some(rows) = session.point_rows(planned, &parameters, control) {
                let rows = rows?;
                let (schema, rows) = (rows.schema(), futures::stream::iter([Ok(rows)]));
                let stream = RecordBatchStreamAdapter::new(schema, rows);
                return Ok(rows_of(Box::pin(stream), tag));
            }
            let rows = look_up.stream(session, (prepared, query), parameters, control);
            Ok(rows_of(rows.await?, tag))
        }
        Work::Explain(explained) => {
            let lines = explain::run(session, (prepared, explained), parameters, control);
            Box::pin(lines).await
        }
        Work::Insert(insert) => {
            Box::pin(run_insert(session, prepared, insert, parameters, control)).await
        }
        Work::Change {
            change, returning, ..
        } => {
            let returning = returning.as_ref();
            let change_rows = commands::change(session, change, returning, parameters, control);
            match Box::pin(change_rows).await? {
                (_, Some(returned)) => returned_rows(&returned, change.tag()),
                (tag, None) => Ok(Outcome::Command(tag)),
            }
        }
        // Without its type, whose depth is beyond what the compiler looks into.
        Work::ChangeInWith(both) => both.run(session, parameters, control).boxed().await,
        Work::CopyOut(query, options) => {
            let stream = stream(session, query, parameters, control).await?;
            Ok(Outcome::CopyOut {
                schema: stream.schema(),
                stream,
                options: options.clone(),
            })
        }
        Work::CopyIn(copy) => {
            let copy = Box::pin(commands::copy_in(session, copy, control)).await?;
            Ok(Outcome::CopyIn(copy))
        }
        Work::Show { setting } => commands::show(session, setting.as_deref()),
        Work::Late { given, .. } => {
            Box::pin(run_late(session, prepared, given, parameters, control)).await
        }
        Work::TrainCall(train) => {
            session.refuse_in_block("ml.train")?;
            let text = prepared.statement.text.as_str();
            Box::pin(commands::run_train_call(session, train, text, control)).await
        }
        Work::CreateAs(_) | Work::Command => {
            let statement = prepared.typed_statement();
            let command = (statement.as_ref(), parameters.as_slice());
            Box::pin(commands::run(session, command, control)).await
        }
        Work::Nothing(tag) => {
            commands::tell_not_analyzed(session, &prepared.statement, control)?;
            Ok(Outcome::Command((*tag).to_owned()))
        }
    }
}

async fn run_insert(
    session: &Arc<Session>,
    prepared: &Prepared,
    insert: &BoundInsert,
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<Outcome> {
    let returned = Returned::of(session, insert.returning.as_ref(), &parameters, control)?;
    let values = parameters.clone();
    let inserting = commands::insert(session, insert, values, returned.as_ref(), control);
    let n_rows = Box::pin(inserting).await?;
    match (n_rows, returned) {
        (Some(_), Some(returned)) => returned_rows(&returned, "INSERT 0"),
        (Some(n_rows), None) => Ok(Outcome::Command(format!("INSERT 0 {n_rows}"))),
        (None, _) => {
            // The table is another one now.
            let again = session.replan(prepared).await?;
            Box::pin(run(session, prepared, &again, parameters, control)).await
        }
    }
}

pub(crate) fn rows_of(stream: SendableRecordBatchStream, tag: &'static str) -> Outcome {
    Outcome::Rows {
        schema: stream.schema(),
        stream,
        tag,
    }
}

/// Binds a query with the names that its parameters give, and runs it.
async fn run_late(
    session: &Arc<Session>,
    prepared: &Prepared,
    given: &[Option<FieldRef>],
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<Outcome> {
    let statement = with_values(&prepared.statement, &parameters)?;
    let bound = session.prepare(&statement, given).await?;
    let parameters = cast_values(&parameters, bound.parameter_types())?;
    let (own, parameters) = session.in_full(&bound, parameters).await?;
    let bound = own.as_deref().unwrap_or(&bound);
    let planned = bound.planned();
    run(session, bound, &planned, parameters, control).await
}

fn returned_rows(returned: &Returned, tag: &'static str) -> Result<Outcome> {
    let stream = returned.stream()?;
    Ok(Outcome::Rows {
        schema: stream.schema(),
        stream,
        tag,
    })
}
