//! Where a statement's text has what an error is about: PostgreSQL points there, and the planner's errors mostly do not tell.
//!
//! In: an error without a position and the statement as it was sent; out: the error with one, or as it was. Nothing is
//! guessed: where the text has more than one place that the error may be about, there is none.

mod clauses;
mod groups;
mod names;
mod operators;

use auspex_sql::{ParsedStatement, Statement};
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{self, CastKind, Expr, Ident, ObjectName};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::error::Error;
use crate::session::Session;

/// Looks for the place of what a message is about: a byte of the statement's text.
type Rule = fn(&Sought<'_>) -> Option<usize>;

/// What is looked for, by the SQLSTATE.
const RULES: [(&str, Rule); 14] = [
    ("42P01", names::relation),
    ("42P01", names::star_of_relation),
    ("42883", names::function),
    ("42883", operators::operator),
    ("42703", names::set_column),
    ("42704", names::type_name),
    ("42803", groups::column),
    ("42803", groups::nested_aggregate),
    ("42803", groups::aggregate_in_where),
    ("42804", clauses::condition),
    ("42804", clauses::negated),
    ("42804", clauses::filling),
    ("42P10", clauses::number_of_column),
    ("42P10", clauses::distinct_order),
];

/// What an error says, and the statement that it says it of.
struct Sought<'a> {
    session: &'a Session,
    statement: &'a ast::Statement,
    text: &'a str,
    message: &'a str,
}

/// The error with the place that it is about.
pub(crate) fn placed(error: Error, session: &Session, parsed: &ParsedStatement) -> Error {
    let report = error.report();
    if report.position.is_some() || error.is_of_other_text() {
        return error;
    }
    let Some(statement) = syntax_of(&parsed.statement) else {
        return error;
    };
    let sought = Sought {
        session,
        statement,
        text: &parsed.text,
        message: &report.message,
    };
    let mut rules = RULES
        .iter()
        .filter(|(sqlstate, _)| *sqlstate == report.sqlstate);
    match rules.find_map(|(_, rule)| rule(&sought)) {
        Some(position) => Error::At {
            error: Box::new(error),
            position,
        },
        None => error,
    }
}

/// The parser's tree of a statement, or of the one that it explains.
fn syntax_of(statement: &Statement) -> Option<&ast::Statement> {
    fn of_sql(statement: &SqlStatement) -> Option<&ast::Statement> {
        match statement {
            SqlStatement::Statement(statement) => Some(statement),
            SqlStatement::Explain(explain) => of_sql(&explain.statement),
            _ => None,
        }
    }
    match statement {
        Statement::Sql(statement) => of_sql(statement),
        Statement::Explain(explain) => syntax_of(&explain.statement),
        _ => None,
    }
}

impl<'a> Sought<'a> {
    /// What the message has between two texts.
    fn told(&self, before: &str, behind: &str) -> Option<&'a str> {
        let (_, rest) = self.message.split_once(before)?;
        let (told, _) = rest.split_once(behind)?;
        Some(told)
    }

    /// Where a name begins that stands in the text to the letter.
    fn place(&self, ident: &Ident) -> Option<usize> {
        let start = start_of(ident.span)?;
        let rest = self.text.get(start..)?;
        let written = rest.strip_prefix('"').unwrap_or(rest);
        let found = written.get(..ident.value.len())?;
        found.eq_ignore_ascii_case(&ident.value).then_some(start)
    }

    fn place_of_name(&self, name: &ObjectName) -> Option<usize> {
        self.place(name.0.first()?.as_ident()?)
    }

    /// Where an expression begins, as PostgreSQL counts it: brackets do not belong to it. `None`: of another kind.
    fn start(&self, expr: &Expr) -> Option<usize> {
        match expr {
            Expr::Identifier(name) => self.place(name),
            Expr::CompoundIdentifier(names) => self.place(names.first()?),
            Expr::Value(value) => start_of(value.span).filter(|start| *start < self.text.len()),
            Expr::Function(function) => self.place_of_name(&function.name),
            Expr::BinaryOp { left: expr, .. }
            | Expr::Nested(expr)
            | Expr::Cast {
                kind: CastKind::DoubleColon,
                expr,
                ..
            } => self.start(expr),
            _ => None,
        }
    }
}

/// The byte at which a token begins; `None`: it stands nowhere in the text.
fn start_of(span: Span) -> Option<usize> {
    usize::try_from(span.start.column).ok()?.checked_sub(1)
}

/// The only one of some places.
fn only<T>(mut places: Vec<T>) -> Option<T> {
    places.pop().filter(|_| places.is_empty())
}
