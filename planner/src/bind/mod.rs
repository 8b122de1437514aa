//! Names, models and options become values: every user error ends here, before anything runs.
//!
//! In: a statement's syntax tree; out: a logical plan in which each model is an `Arc` and each name is
//! resolved. Runs nothing.

mod address_operands;
mod arguments;
mod assigned_parts;
mod assigned_rows;
mod assignments;
mod bags;
mod branch_types;
mod cast_arguments;
mod cast_parameters;
mod change;
mod change_reads;
mod change_through_view;
mod change_usage;
mod changed_keys;
mod choose_estimator;
mod column_aliases;
mod column_rules;
mod compared_queries;
mod compared_values;
mod create_model;
mod declared_types;
mod dependent;
mod derived_names;
mod distinct_keys;
mod domains;
mod enum_names;
mod evaluated;
mod excluded_numbers;
mod excluded_rows;
mod file_functions;
mod filled_columns;
mod findings;
mod folder_names;
mod frame_keys;
mod frame_sizes;
mod functions;
mod given_tables;
mod group_by_all;
mod grouped_keys;
mod grouping_keys;
mod hidden_columns;
mod implied_keys;
mod implied_names;
mod inner_names;
mod inner_with;
mod insert;
mod key_forms;
mod late_names;
mod letter_case;
mod literals_beside;
mod merge;
mod merged_columns;
mod merged_within;
mod missing_orders;
mod mixed_types;
mod model_plans;
mod model_scope;
mod names;
mod nullable_values;
mod number_kinds;
mod numbered_values;
mod one_relation;
mod ordered_names;
mod ordered_positions;
mod origins;
mod outer_aggregates;
mod outer_relations;
mod output_column;
mod output_names;
mod own_casts;
mod own_names;
mod plain_cells;
mod plain_literals;
mod plain_rows;
mod plan_limits;
mod predict_udf;
mod qualified_stars;
mod record_calls;
mod recursive_types;
mod refused_casts;
mod relation_columns;
mod renumbered;
mod repeat_version;
mod resume;
mod returned;
mod returned_queries;
mod returning;
mod returning_relations;
mod rounded_numbers;
mod row_order;
mod sequences;
mod simple_view;
mod single_rows;
mod size_parameters;
mod stray_parameters;
mod table_functions;
mod training_query;
mod type_names;
mod typed_values;
mod uncompared;
mod unqualified_names;
mod unread_queries;
mod untyped_texts;
mod upsert;
mod upsert_through_view;
mod using_columns;
mod value_groups;
mod value_lookups;
mod value_order;
mod values;
mod view_columns;
mod view_target;
mod waiting_values;
mod whole_rows;
mod wildcards;
mod written_names;
mod written_relations;
mod written_rows;
mod wrong_relations;

use std::collections::BTreeSet;
use std::sync::Arc;

use auspex_sql::Dialect;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast;

use crate::catalog::table_relations::{self, TableLogs};
use crate::change_in_with::refuse_changes_in_with;
use crate::error::{Error, Result};
use crate::optimize::{DivideScans, with_partitions};
use crate::query_meaning;
use crate::session::Session;

pub(crate) use arguments::Arguments;
pub(crate) use assignments::check_definition;
pub(crate) use change::{Change, bind_change, changed_table};
pub(crate) use change_through_view::change_checks;
pub(crate) use column_aliases::ColumnAliases;
pub(crate) use column_rules::{
    as_table_rows, cast_as_column, cast_ast, column_place, default_of, defined_expr, defined_value,
    names_column, parse_expr, renamed, row_checks, undefined_column,
};
pub(crate) use create_model::{FitPlan, bind_create_model, bind_train};
pub(crate) use declared_types::declared_columns;
pub use declared_types::{declared_columns_of_view, declared_of_result};
pub(crate) use domains::{VALUE as DOMAIN_VALUE, condition_of, settle_domain};
pub(crate) use enum_names::{check_usage, note_enums, settle_type};
use file_functions::FileScope;
pub(crate) use findings::Findings;
pub use functions::ml_functions;
pub(crate) use given_tables::{GivenTables, time_of_text};
pub(crate) use insert::{BoundInsert, bind_insert, bind_insert_with};
pub(crate) use key_forms::key_forms;
pub(crate) use late_names::{LateNames, cast_values, late_names, with_values};
pub(crate) use model_plans::{evaluate_plan, explain_plan, predict_plan};
use model_scope::ModelScope;
pub(crate) use model_scope::{BoundModel, string_literal};
use names::OutputNames;
pub use names::column_name_of;
pub(crate) use numbered_values::{Numbers, values_of_numbers};
pub use origins::ORIGIN_KEY;
pub(crate) use origins::{Origin, origins};
pub(crate) use output_column::output_function;
pub(crate) use output_names::check_output_names;
pub(crate) use own_names::without_own_name;
pub(crate) use plain_literals::plain_value;
pub(crate) use plan_limits::too_complex;
pub(crate) use predict_udf::{PredictShape, PredictUdf};
pub(crate) use returned::Returned;
pub(crate) use returning::{ReturnedTable, Returning, bind_returning};
pub(crate) use returning_relations::returned_items;
pub(crate) use sequences::{
    SERIAL, default_of_sequences, known_sequence_of_column, sequence_of_column,
};
pub(crate) use stray_parameters::refuse_parameters;
pub(crate) use typed_values::{sql_type, stored_parameters, typed_values};
pub(crate) use unread_queries::{WithParameters, with_parameters};
pub(crate) use upsert_through_view::refuse_hidden;
pub(crate) use values::json_options;
pub(crate) use view_target::ViewTarget;
pub(crate) use written_relations::as_written;

/// A query that is ready to run.
pub(crate) struct BoundQuery {
    pub(crate) plan: LogicalPlan,
    pub(crate) state: Arc<SessionState>,
    pub(crate) findings: Findings,
    /// PostgreSQL's names of the output columns, where they differ.
    pub(crate) names: Vec<Option<String>>,
    /// Where the output columns come from, if a client is told.
    pub(crate) origins: Vec<Option<Origin>>,
}

/// Binds and plans one SQL statement with its models.
pub(crate) async fn bind_sql(
    session: &Arc<Session>,
    statement: ast::Statement,
    state: SessionState,
) -> Result<BoundQuery> {
    bind_sql_with(session, statement, state, GivenTables::default()).await
}

/// The same with relations under private names. On the heap, since what binds is large and stands on itself in views.
pub(crate) async fn bind_sql_with(
    session: &Arc<Session>,
    statement: ast::Statement,
    state: SessionState,
    given: GivenTables,
) -> Result<BoundQuery> {
    Box::pin(bind(session, statement, state, given)).await
}

async fn bind(
    session: &Arc<Session>,
    statement: ast::Statement,
    state: SessionState,
    given: GivenTables,
) -> Result<BoundQuery> {
    let unsettled = Box::pin(bind_unsettled(session, statement, state, given)).await?;
    unsettled.settled(session).await
}

/// A statement that is planned, whose values mean yet what they mean to the planner.
struct Unsettled {
    plan: LogicalPlan,
    names: OutputNames,
    is_query: bool,
    state: SessionState,
    findings: Findings,
    logs: TableLogs,
}

impl Unsettled {
    /// The plan with the meaning that PostgreSQL gives it.
    async fn settled(self, session: &Arc<Session>) -> Result<BoundQuery> {
        let plan = settled(self.plan, self.is_query, &self.state)?;
        Box::pin(table_relations::read_for(session, &plan, self.logs)).await;
        let names = self.names.among(plan.schema().fields().len());
        Ok(BoundQuery {
            plan,
            state: Arc::new(self.state),
            findings: self.findings,
            names,
            origins: Vec::new(),
        })
    }
}

/// Names become values, and nothing else yet: for whoever has the plan read something else.
async fn bind_unsettled(
    session: &Arc<Session>,
    mut statement: ast::Statement,
    state: SessionState,
    mut given: GivenTables,
) -> Result<Unsettled> {
    plan_limits::check_text(&statement)?;
    refuse_changes_in_with(&statement)?;
    sequences::settle(session, &mut statement).await?;
    // What looks for columns below plans parts of the statement.
    frame_sizes::settle(session, &mut statement).await?;
    let logs = Box::pin(table_relations::read(session, &statement)).await;
    let names = Box::pin(spell(session, &mut statement, &state)).await?;
    let scope = ModelScope::bind(session, &mut statement).await?;
    given.open(session, &mut statement).await?;
    let files = FileScope::bind(session, &statement).await?;
    let state = scope.install(state, given, files)?;
    let findings = scope.findings;
    let plan = Box::pin(planned(session, &mut statement, &state, &findings)).await?;
    if query_meaning::dialect(session) != Dialect::GoogleSql {
        outer_aggregates::refuse(&plan)?;
    }
    Ok(Unsettled {
        plan,
        names,
        is_query: matches!(statement, ast::Statement::Query(_)),
        state,
        findings,
        logs,
    })
}

/// Spells a statement as the planner reads what PostgreSQL means by it; the names that its columns have in PostgreSQL.
async fn spell(
    session: &Arc<Session>,
    statement: &mut ast::Statement,
    state: &SessionState,
) -> Result<OutputNames> {
    let searching = session.searching(state);
    let looking = searching.as_ref().unwrap_or(state);
    // Fields of records are calls afterwards.
    Box::pin(record_calls::spell(statement, looking)).await?;
    if let Some(extension) = &session.engine.extension {
        extension.rewrite(statement)?;
    }
    let names = match &*statement {
        ast::Statement::Query(query) => OutputNames::of(query),
        _ => OutputNames::default(),
    };
    inner_with::spell(statement)?;
    inner_names::spell(statement);
    wildcards::expand(session, statement)?;
    using_columns::spell(statement, looking).await;
    let dialect = query_meaning::dialect(session);
    // In GoogleSQL columns without AS have no name, and those of the result come first.
    if dialect != Dialect::GoogleSql {
        implied_names::spell(statement)?;
        Box::pin(ordered_names::spell(statement, looking)).await;
    }
    qualified_stars::spell(statement);
    outer_relations::spell(dialect, statement);
    given_tables::settle_times(session, statement).await?;
    enum_names::settle(session, statement)?;
    let zone = state.config().options().execution.time_zone.as_deref();
    crate::functions::rewrite(statement, zone)?;
    Ok(names)
}

/// The plan of a spelt statement, once what the planner does not find is spelt as it asks for.
async fn planned(
    session: &Arc<Session>,
    statement: &mut ast::Statement,
    state: &SessionState,
    findings: &Findings,
) -> Result<LogicalPlan> {
    let searching = session.searching(state);
    let planner = searching.as_ref().unwrap_or(state);
    Box::pin(group_by_all::spell(statement, planner)).await;
    let plan = loop {
        let mut typed = statement.clone();
        mark_types(&mut typed);
        let typed = SqlStatement::Statement(Box::new(typed));
        let planning = Box::pin(missing_orders::planned(statement, typed, planner));
        match findings.scope(planning).await {
            Ok(plan) => break plan,
            // Each turn spells one more name right, so that the turns end.
            Err(error) if letter_case::adopt(statement, &error) => {}
            Err(error) if letter_case::adopt_field(statement, &error) => {}
            Err(error) if folder_names::adopt(statement, &error) => {}
            Err(error) if table_functions::adopt_alias(statement, &error) => {}
            Err(error) if table_functions::adopt_scalar(statement, &error, state) => {}
            Err(error) if whole_rows::adopt(session, statement, &error, planner).await => {}
            Err(error) if ordered_positions::adopt(statement, &error, REPEATED) => {}
            Err(error) if implied_names::adopt(statement, &error) => {}
            Err(error) if grouped_keys::adopt(session, statement, &error).await => {}
            Err(error) if cast_arguments::adopt(statement, &error, state) => {}
            Err(error) if derived_names::adopt(statement, &error, REPEATED) => {}
            Err(error) if names::adopt_numbers(statement, &error, REPEATED) => {}
            Err(error) if column_aliases::adopt(statement, &error) => {}
            Err(error) if compared_queries::adopt(statement, &error) => {}
            Err(error) => return Err(names::explained(session, statement, error)),
        }
    };
    let checking = Box::pin(recursive_types::check(&plan, statement, planner));
    findings.scope(checking).await?;
    Ok(plan)
}

/// Marks what the planner would type otherwise in a statement in its last form.
fn mark_types(statement: &mut ast::Statement) {
    crate::functions::mark_cast_keys(statement);
    crate::functions::type_numbers(statement);
    crate::functions::mark_array_comparisons(statement);
    implied_keys::mark(statement);
}

/// A plan with the meaning that PostgreSQL gives its values, their types and their order.
fn settled(plan: LogicalPlan, is_query: bool, state: &SessionState) -> Result<LogicalPlan> {
    plan_limits::check(&plan)?;
    let plan = grouping_keys::projected(implied_keys::dropped(plan)?)?;
    let plan = waiting_values::lifted(plan)?;
    let plan = rounded_numbers::settled(plan)?;
    let plan = literals_beside::read(plan)?;
    let plan = branch_types::settled(plan)?;
    let plan = single_rows::looked_up(bags::counted(plan)?, state)?;
    uncompared::refuse(&plan)?;
    untyped_texts::refuse(&plan)?;
    frame_sizes::refuse(&plan)?;
    if is_query {
        refused_casts::refuse(&plan)?;
    }
    let plan = value_lookups::keyed(plan)?;
    let plan = frame_keys::keyed(dependent::joined(plan, state)?)?;
    Ok(value_groups::grouped(value_order::ordered(plan)?)?)
}

/// Binds and plans a query of a model statement.
pub(crate) async fn bind_query(
    session: &Arc<Session>,
    query: ast::Query,
    state: SessionState,
) -> Result<BoundQuery> {
    bind_sql(session, ast::Statement::Query(Box::new(query)), state).await
}

/// What stands between a repeated column name and its number: the session's extension numbers
/// repeated names, which a result may have but a table, a view and a model may not.
pub(crate) const REPEATED: char = '\u{1f}';

/// Fails when two columns have one name. `names` are those that columns are given instead.
pub(crate) fn distinct_names(
    plan: &LogicalPlan,
    names: &[Option<String>],
    of: &'static str,
) -> Result<()> {
    let mut seen = BTreeSet::new();
    let fields = plan.schema().fields().iter().enumerate();
    let mut told = fields.map(|(idx, field)| match names.get(idx) {
        Some(Some(name)) => name,
        _ => field.name(),
    });
    let repeated = told.find_map(|name| match name.split_once(REPEATED) {
        Some((name, _)) => Some(name),
        None => (!seen.insert(name)).then_some(name.as_str()),
    });
    match repeated {
        None => Ok(()),
        Some(name) => Err(Error::invalid(
            "42701",
            format!("column name \"{name}\" appears more than once in the {of}"),
            Some("Give one of them another name with AS."),
        )),
    }
}

/// How many partitions a training query has, whatever the machine: more than any one machine's cores
/// are likely to be, few enough that empty ones cost nothing.
const CANONICAL_PARTITIONS: usize = 64;

/// A state that plans the same partitions with the same rows in the same order on every machine and
/// with any number of threads, so that a model depends on its rows alone.
pub(crate) fn canonical_state(state: SessionState) -> SessionState {
    let mut config = state.config().clone();
    let options = config.options_mut();
    with_partitions(options, CANONICAL_PARTITIONS);
    options.execution.enable_file_stream_work_stealing = false;
    options.optimizer.enable_round_robin_repartition = false;
    // A join that waits until all its partitions are asked for would wait for ever: a training asks for a few at a time.
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.repartition_file_scans = true;
    options.optimizer.repartition_file_min_size = 1 << 20;
    let divide_scans = DivideScans::new(Arc::clone(state.runtime_env()));
    SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_physical_optimizer_rule(Arc::new(divide_scans))
        .build()
}
