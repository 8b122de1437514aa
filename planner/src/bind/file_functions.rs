//! `read_parquet('…')` and its siblings in `FROM`: files, and tables of others, without a name in the catalog.
//!
//! In: a syntax tree; out: the rows of each call, opened before the statement is planned, and the planner that puts them
//! where the call stands.

use std::collections::BTreeMap;
use std::fmt::{Debug, Formatter};
use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_sql::{OptionValue, literal_option};
use auspex_storage::{ExternalFormat, ExternalTableDefinition};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, ObjectName, TableFactor, Visit, Visitor,
};

use crate::access::FileUse;
use crate::catalog::pins;
use crate::error::{Error, Result};
use crate::session::Session;

/// The functions, and the format that each reads.
const FUNCTIONS: &[(&str, ExternalFormat)] = &[
    ("read_arrow", ExternalFormat::Arrow),
    ("read_avro", ExternalFormat::Avro),
    ("read_csv", ExternalFormat::Csv),
    ("read_delta", ExternalFormat::Delta),
    ("read_iceberg", ExternalFormat::Iceberg),
    ("read_json", ExternalFormat::NdJson),
    ("read_parquet", ExternalFormat::Parquet),
];

/// The rows of the calls of one statement, by the text of the call.
#[derive(Default, Clone)]
pub(crate) struct FileScope {
    tables: BTreeMap<String, (&'static str, Arc<dyn TableProvider>)>,
}

impl Debug for FileScope {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.tables.keys()).finish()
    }
}

impl FileScope {
    /// Opens what the calls of a statement name.
    pub(crate) async fn bind(session: &Arc<Session>, statement: &ast::Statement) -> Result<Self> {
        let mut collector = Collector::default();
        if let ControlFlow::Break(error) = statement.visit(&mut collector) {
            return Err(error);
        }
        let mut scope = FileScope::default();
        for (text, call) in collector.calls {
            let definition = call.definition(session)?;
            let state = session.context().state();
            let provider = pins::function(session, &text, &definition, &state).await?;
            scope.tables.insert(text, (call.name, provider));
        }
        Ok(scope)
    }
}

impl RelationPlanner for FileScope {
    fn plan_relation(
        &self,
        relation: TableFactor,
        _context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let text = call_of(&relation).map(|(name, args)| key(name, args));
        let found = text.and_then(|text| self.tables.get_key_value(&text));
        let Some((text, (name, provider))) = found else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        // The name of a scan tells its arguments: DataFusion takes two scans of one name for the same.
        let source = provider_as_source(Arc::clone(provider));
        let scan = LogicalPlanBuilder::scan(TableReference::bare(text.as_str()), source, None)?;
        let plan = scan.alias(*name)?.build()?;
        let alias = match relation {
            TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } => alias,
            _ => None,
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, alias,
        ))))
    }
}

/// The name and the arguments of a call in `FROM`.
pub(super) fn call_of(factor: &TableFactor) -> Option<(&ObjectName, &[FunctionArg])> {
    match factor {
        TableFactor::Table {
            name,
            args: Some(list),
            ..
        } => Some((name, &list.args)),
        TableFactor::Function { name, args, .. } => Some((name, args)),
        _ => None,
    }
}

fn key(name: &ObjectName, args: &[FunctionArg]) -> String {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    format!("{}({})", name.to_string().to_lowercase(), args.join(", "))
}

#[derive(Default)]
struct Collector {
    calls: BTreeMap<String, Call>,
}

impl Visitor for Collector {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
        let Some((name, args)) = call_of(factor) else {
            return ControlFlow::Continue(());
        };
        let written = name.to_string().to_lowercase();
        let known = FUNCTIONS.iter().find(|(function, _)| *function == written);
        let Some((function, format)) = known else {
            return ControlFlow::Continue(());
        };
        match Call::read(function, *format, args) {
            Ok(call) => {
                self.calls.insert(key(name, args), call);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// A call taken apart.
struct Call {
    name: &'static str,
    format: ExternalFormat,
    paths: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Call {
    fn read(name: &'static str, format: ExternalFormat, args: &[FunctionArg]) -> Result<Call> {
        let mut call = Call {
            name,
            format,
            paths: Vec::new(),
            options: BTreeMap::new(),
        };
        for (idx, arg) in args.iter().enumerate() {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if idx == 0 => {
                    call.paths = paths(expr).ok_or_else(|| needs_path(name))?;
                }
                FunctionArg::Named {
                    name: option,
                    arg: FunctionArgExpr::Expr(expr),
                    ..
                } => call.take(&option.value.to_lowercase(), expr)?,
                FunctionArg::ExprNamed {
                    name: Expr::Identifier(option),
                    arg: FunctionArgExpr::Expr(expr),
                    ..
                } => call.take(&option.value.to_lowercase(), expr)?,
                other => {
                    let message = format!("unexpected argument {other} of {name}");
                    let hint = "Options are written name => value.";
                    return Err(Error::invalid("42883", message, Some(hint)));
                }
            }
        }
        match call.paths.is_empty() {
            true => Err(needs_path(name)),
            false => Ok(call),
        }
    }

    fn take(&mut self, option: &str, expr: &Expr) -> Result<()> {
        let text = match literal_option(expr) {
            Some(OptionValue::String(text) | OptionValue::Name(text)) => text,
            Some(OptionValue::Bool(value)) => value.to_string(),
            Some(OptionValue::Integer(value)) => value.to_string(),
            Some(OptionValue::Float(value)) => value.to_string(),
            _ => {
                let message = format!("option \"{option}\" of {} must be a literal", self.name);
                return Err(Error::invalid("42601", message, None));
            }
        };
        if self.options.insert(option.to_owned(), text).is_some() {
            let message = format!("option \"{option}\" is given more than once");
            return Err(Error::invalid("42601", message, None));
        }
        Ok(())
    }

    fn definition(&self, session: &Session) -> Result<ExternalTableDefinition> {
        let mut urls = Vec::new();
        for path in &self.paths {
            urls.push(session.file_url(path, FileUse::Read)?.to_string());
        }
        let location = urls.remove(0);
        Ok(ExternalTableDefinition {
            location,
            further_locations: urls,
            format: self.format,
            options: self.options.clone(),
            schema: None,
            partition_columns: Vec::new(),
        })
    }
}

/// `'path'`, or an array of these.
fn paths(expr: &Expr) -> Option<Vec<String>> {
    let text = |value| match value {
        OptionValue::String(text) => Some(text),
        _ => None,
    };
    match literal_option(expr)? {
        OptionValue::Array(values) => values.into_iter().map(text).collect(),
        value => text(value).map(|path| vec![path]),
    }
}

fn needs_path(function: &str) -> Error {
    let message = format!("the first argument of {function} must be a path or URL");
    let hint = format!("Write {function}('folder/*.file'), or an array of paths.");
    Error::invalid("42883", message, Some(&hint))
}
