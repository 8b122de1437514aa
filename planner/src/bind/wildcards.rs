//! Tables by the start of their names: `` FROM `ga_sessions_*` ``.
//!
//! In: a syntax tree; out: the tree with all tables that the name means in its place, one behind the other, and what
//! the star stands for in the column `_TABLE_SUFFIX`, where the statement asks for it.

use std::ops::ControlFlow;

use auspex_storage::Definition;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Statement, TableAlias, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use crate::commands::name_parts;
use crate::error::{Error, Result};
use crate::search_path::is_relation;
use crate::session::Session;

/// More tables than this would be a plan of that many scans.
const MAX_TABLES: usize = 10_000;

/// Writes the tables in the place of their common name.
pub(super) fn expand(session: &Session, statement: &mut Statement) -> Result<()> {
    let mut wildcards = Wildcards {
        session,
        wants_suffix: Visit::visit(statement, &mut SuffixFinder).is_break(),
    };
    match VisitMut::visit(statement, &mut wildcards) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Stops where the column is named.
struct SuffixFinder;

impl Visitor for SuffixFinder {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let name = match expr {
            Expr::Identifier(name) => Some(name),
            Expr::CompoundIdentifier(names) => names.last(),
            _ => None,
        };
        match name.is_some_and(|name| name.value.eq_ignore_ascii_case("_table_suffix")) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

struct Wildcards<'a> {
    session: &'a Session,
    wants_suffix: bool,
}

impl VisitorMut for Wildcards<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match self.tables(factor) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(tables)) => {
                *factor = tables;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Wildcards<'_> {
    fn tables(&self, factor: &TableFactor) -> Result<Option<TableFactor>> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            version: None,
            ..
        } = factor
        else {
            return Ok(None);
        };
        let mut parts = name_parts(name);
        let is_word = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
        let Some(start) = parts.pop().and_then(|last| {
            let start = last.strip_suffix('*')?;
            (!start.is_empty() && is_word(start)).then(|| start.to_owned())
        }) else {
            return Ok(None);
        };
        parts.push(start);
        let (schema, start) = self.session.object_parts(&parts)?;
        let suffixes = self.suffixes(&schema, &start);
        if suffixes.is_empty() {
            return Ok(None);
        }
        if suffixes.len() > MAX_TABLES {
            let message = format!("\"{start}*\" means more than {MAX_TABLES} tables");
            return Err(Error::invalid("54001", message, None));
        }
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let of_table = |suffix: &String| {
            let column = match self.wants_suffix {
                true => format!(", '{suffix}' AS _table_suffix"),
                false => String::new(),
            };
            let name = quoted(&format!("{start}{suffix}"));
            format!("SELECT *{column} FROM {}.{name}", quoted(&schema))
        };
        let queries: Vec<String> = suffixes.iter().map(of_table).collect();
        let text = queries.join(" UNION ALL BY NAME ");
        let subquery = auspex_sql::parse_query(&text, auspex_sql::Dialect::Postgres)?;
        let own_name = || TableAlias {
            explicit: true,
            name: Ident::with_quote('"', format!("{start}*")),
            columns: Vec::new(),
            at: None,
        };
        Ok(Some(TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(alias.clone().unwrap_or_else(own_name)),
            sample: None,
        }))
    }

    /// What follows the start in the names of a schema's relations, in order.
    fn suffixes(&self, schema: &str, start: &str) -> Vec<String> {
        let catalog = self.session.seen_catalog();
        let access = self.session.access();
        let entries = catalog.entries(schema);
        let relations = entries.filter(|entry| {
            let is_sequence = matches!(entry.definition, Definition::Sequence(_));
            is_relation(entry) && !is_sequence && access.sees(entry)
        });
        let mut suffixes: Vec<String> = relations
            .filter_map(|entry| entry.name.strip_prefix(start).map(ToOwned::to_owned))
            // A quote in a name would end the text of the query.
            .filter(|suffix| !suffix.contains('\''))
            .collect();
        suffixes.sort();
        suffixes
    }
}
