//! Text → statements: the entry points, and the choice of the parser for each statement.
//!
//! In: a text and the session's dialect; out: `ParsedStatement`s. A statement of ours is read by the module named
//! after it; everything else goes to DataFusion's parser. Never resolves a name.

mod alter_model;
mod apply;
mod code_block;
mod constraint_comments;
mod constraints;
mod create_model;
mod create_table;
mod cursor;
mod cursors;
mod domains;
mod explain;
mod explain_options;
mod identity_changes;
mod into_table;
mod lake;
mod manage;
mod materialized;
mod options;
mod privileges;
mod roles;
mod row_pieces;
mod scripts;
mod sequences;
mod silent_clauses;
mod source;
mod sql;
mod tables;
mod train;
mod with_changes;

use datafusion::sql::sqlparser::ast::{Query, With};
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

use crate::adjacent_literals;
use crate::assigned_parts;
use crate::between_symmetric;
use crate::conflict_targets;
use crate::copied_tables;
use crate::copy_forms;
use crate::dialect::Dialect;
use crate::error::{ParseError, ParseErrorKind};
use crate::fetch_forms;
use crate::frame_forms;
use crate::free_names;
use crate::googlesql::{self, normalize_types};
use crate::lexer::{
    Grammar, Piece, are_words, counted_from, is_word, n_tokens, split, split_within,
};
use crate::limits;
use crate::long_texts::{Asked, Room, Stop};
use crate::model_forms;
use crate::named_columns;
use crate::nested_joins;
use crate::postgres_forms;
use crate::private_names::{Origin, with_clean_names};
use crate::record_columns;
use crate::reference::read_word;
use crate::rows_from;
use crate::statement::{ParsedStatement, Statement};
use crate::variadic;
use cursor::Cursor;
pub(crate) use identity_changes::settle as identity_changes_as_defaults;
pub use identity_changes::{IdentityChanges, identity_changes};
pub use options::literal_option;

/// Reads every statement of a client's text. Empty statements are left out.
///
/// Positions in errors are byte offsets of the whole text; spans within a statement are those of its own text.
/// Errors: 42602 at a name that only the engine may write ([`PRIVATE`](crate::PRIVATE)).
pub fn parse(text: &str, dialect: Dialect) -> Result<Vec<ParsedStatement>, ParseError> {
    let how = (dialect, Origin::Client);
    statements(text, how, &Stop::default(), &mut |_| true)
}

/// The same of a text that may be long (see [`SHORT_TEXT_BYTES`](crate::SHORT_TEXT_BYTES)): `asked` is told, before they are
/// taken, of all bytes that its tokens and its statements take at that moment, at last of those that its statements keep.
///
/// Errors: [`ParseErrorKind::Stopped`], if `asked` says `false`, and soon after `stop` says that nobody wants the text.
pub fn parse_long(
    text: &str,
    dialect: Dialect,
    stop: &Stop,
    asked: &mut dyn FnMut(usize) -> bool,
) -> Result<Vec<ParsedStatement>, ParseError> {
    statements(text, (dialect, Origin::Client), stop, asked)
}

/// Reads every statement of a text that the engine made, in PostgreSQL's dialect; its names may be the engine's own.
pub fn parse_own(text: &str) -> Result<Vec<ParsedStatement>, ParseError> {
    let how = (Dialect::Postgres, Origin::Engine);
    statements(text, how, &Stop::default(), &mut |_| true)
}

fn statements(
    text: &str,
    (dialect, origin): (Dialect, Origin),
    stop: &Stop,
    asked: Asked<'_>,
) -> Result<Vec<ParsedStatement>, ParseError> {
    let mut room = Room::new(asked);
    let pieces = split_within(text, dialect, &mut room);
    let pieces = pieces.map_err(|error| match names_secrets(text) {
        true => lake::without_secret(error),
        false => error,
    })?;
    let deep = needs_large_stack(&pieces)?;
    let n_tokens = n_tokens(&pieces);
    // Each byte of a block of code may be a token of its own.
    let is_code = |piece: &&Piece| code_block::opens(&piece.tokens);
    let blocks = pieces.iter().filter(is_code);
    let code_bytes: usize = blocks.map(|piece| piece.span.of(text).len()).sum();
    let rows = pieces
        .iter()
        .map(|piece| row_pieces::n_tokens(&piece.tokens));
    let n_of_rows: usize = rows.sum();
    room.parse((n_tokens - n_of_rows).saturating_add(code_bytes), n_of_rows)?;
    let statements = within(deep, || {
        let pieces = pieces.into_iter();
        pieces
            .map(|piece| parse_piece(text, piece, origin, stop))
            .collect()
    })?;
    room.keep(n_tokens)?;
    Ok(statements)
}

/// Reads one query that was cut from a statement, is stored in the catalog or was made by the engine; its names may be
/// the engine's own.
///
/// Under `Auto` the union grammar applies, as it did to the statement that the query was cut from.
pub fn parse_query(text: &str, dialect: Dialect) -> Result<Box<Query>, ParseError> {
    let pieces = split(text, dialect)?;
    let deep = needs_large_stack(&pieces)?;
    let mut pieces = pieces.into_iter();
    match (pieces.next(), pieces.next()) {
        (None, _) => Err(ParseError::at_end(text.len(), "a query")),
        (Some(piece), None) => within(deep, || query_piece(text, piece, dialect)),
        (_, Some(second)) => Err(ParseError::at_token(
            text,
            &second.tokens[0],
            "one query only",
        )),
    }
}

/// Whether a text that no parser has seen yet may hold secrets.
fn names_secrets(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    ["CREDENTIAL", "CATALOG", "PASSWORD"]
        .iter()
        .any(|word| upper.contains(word))
}

fn needs_large_stack(pieces: &[Piece]) -> Result<bool, ParseError> {
    pieces.iter().try_fold(false, |deep, piece| {
        Ok(limits::check(&piece.tokens)? || deep)
    })
}

/// Reads on the caller's stack or on a large one.
fn within<T: Send>(
    deep: bool,
    read: impl FnOnce() -> Result<T, ParseError> + Send,
) -> Result<T, ParseError> {
    if !deep {
        return read();
    }
    limits::on_large_stack(read).unwrap_or_else(|error| {
        let message = format!("no thread could be started to read the statement: {error}");
        Err(ParseError::new(ParseErrorKind::Malformed(message), None))
    })
}

fn query_piece(text: &str, piece: Piece, dialect: Dialect) -> Result<Box<Query>, ParseError> {
    let grammar = match (dialect, piece.grammar) {
        (Dialect::Auto, Grammar::Postgres) => Grammar::Lenient,
        (_, grammar) => grammar,
    };
    let mut tokens = prepare(text, piece.tokens, grammar, &Stop::default())?;
    if let Some(query) = model_forms::statement_as_query(text, &tokens) {
        tokens = model_forms::rewrite(text, query?)?;
    }
    source::read_query(&Cursor::new(text, &tokens, grammar, piece.span.end))
}

/// Settles quotes, names and model forms before a parser sees the tokens.
fn prepare(
    text: &str,
    tokens: Vec<TokenWithSpan>,
    grammar: Grammar,
    stop: &Stop,
) -> Result<Vec<TokenWithSpan>, ParseError> {
    let tokens = adjacent_literals::settle(text, tokens, grammar)?;
    let tokens = copied_tables::settle(silent_clauses::leave_out(tokens));
    let tokens = fetch_forms::settle(text, named_columns::settle(tokens))?;
    stop.check()?;
    let tokens = conflict_targets::settle(text, copy_forms::settle(text, tokens));
    let tokens = postgres_forms::settle(tokens);
    stop.check()?;
    let tokens = variadic::settle(frame_forms::settle(tokens)?);
    let tokens = record_columns::settle(between_symmetric::settle(tokens));
    stop.check()?;
    let tokens = nested_joins::settle(rows_from::settle(assigned_parts::settle(tokens)));
    let tokens = free_names::settle(googlesql::rewrite(text, tokens, grammar)?);
    model_forms::rewrite(text, tokens)
}

fn parse_piece(
    text: &str,
    piece: Piece,
    origin: Origin,
    stop: &Stop,
) -> Result<ParsedStatement, ParseError> {
    stop.check()?;
    let Piece {
        tokens,
        grammar,
        span,
    } = piece;
    let text = span.of(text);
    let tokens = counted_from(span.start, tokens);
    let deferrable = silent_clauses::deferrable(&tokens);
    let tokens = match origin {
        Origin::Client => with_clean_names(tokens, grammar),
        Origin::Engine => Ok(tokens),
    };
    // The parsers of what is about secrets come behind.
    let hidden = |error| match names_secrets(text) {
        true => lake::without_secret(error),
        false => error,
    };
    let statement = tokens
        .and_then(|tokens| prepare(text, tokens, grammar, stop).map_err(hidden))
        .and_then(|tokens| read(text, tokens, grammar, stop));
    let (statement, with) = statement.map_err(|error| error.shifted(span.start))?;
    Ok(ParsedStatement {
        statement,
        text: text.to_owned(),
        span,
        deferrable,
        with,
    })
}

/// Reads the tokens of one statement, many rows of VALUES apart from the others.
fn read(
    text: &str,
    tokens: Vec<TokenWithSpan>,
    grammar: Grammar,
    stop: &Stop,
) -> Result<(Statement, Option<Box<With>>), ParseError> {
    let (tokens, rows) = row_pieces::taken_out(tokens);
    let cursor = Cursor::new(text, &tokens, grammar, text.len()).until(stop);
    let parsed = parse_statement(cursor.clone());
    let Some(rows) = rows else {
        return parsed;
    };
    let (mut statement, with) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Err(rows.first_error(error, &cursor)),
    };
    if !rows.belong_in(&statement) {
        let tokens = rows.put_back(&tokens);
        return parse_statement(Cursor::new(text, &tokens, grammar, text.len()).until(stop));
    }
    rows.put_into(&mut statement, &cursor)?;
    Ok((statement, with))
}

/// Reads one statement to its end, and the WITH before a change of rows.
fn parse_statement(mut cursor: Cursor<'_>) -> Result<(Statement, Option<Box<With>>), ParseError> {
    let Some(parse) = model_statement(cursor.rest()) else {
        let (statement, with) = sql::parse_with(&cursor)?;
        return Ok((Statement::Sql(Box::new(statement)), with));
    };
    let statement = parse(&mut cursor)?;
    cursor.finish()?;
    Ok((statement, None))
}

type ParseModelStatement = fn(&mut Cursor<'_>) -> Result<Statement, ParseError>;

/// The parser of the model statement that these tokens open, if they open one.
///
/// Keywords are not reserved: `DESCRIBE model` is about a table unless a name follows.
fn model_statement(tokens: &[TokenWithSpan]) -> Option<ParseModelStatement> {
    let starts = |words: &[&str]| are_words(tokens, 0, words);
    let shows = |what: &str| starts(&["SHOW", what]) && tokens.len() == 2;
    let describes = starts(&["DESCRIBE", "MODEL"]) || starts(&["DESC", "MODEL"]);
    let describes_table = ["DESCRIBE", "DESC"]
        .iter()
        .any(|verb| starts(&[verb, "HISTORY"]) || starts(&[verb, "DETAIL"]));
    Some(if opens_create_model(tokens) {
        create_model::parse
    } else if starts(&["TRAIN"]) {
        train::parse
    } else if starts(&["EVALUATE"]) {
        apply::parse_evaluate
    } else if starts(&["PREDICT"]) {
        apply::parse_predict
    } else if starts(&["EXPLAIN_PREDICT"]) {
        apply::parse_explain_predict
    } else if starts(&["FORECAST"]) {
        apply::parse_forecast
    } else if starts(&["ALTER", "MODEL"]) {
        alter_model::parse
    } else if starts(&["COMMENT", "ON", "MODEL"]) {
        alter_model::parse_comment
    } else if starts(&["DROP", "MODEL"]) {
        manage::parse_drop
    } else if starts(&["EXPORT", "MODEL"]) {
        manage::parse_export
    } else if starts(&["SHOW", "MODEL"]) || ["MODELS", "DEVICES", "WORKERS"].into_iter().any(shows)
    {
        manage::parse_show
    } else if create_table::opens(tokens) {
        create_table::parse
    } else if starts(&["FETCH"]) || starts(&["MOVE"]) {
        cursors::parse
    } else if starts(&["SET", "CONSTRAINTS"]) {
        constraints::parse
    } else if starts(&["VACUUM"]) {
        tables::parse_vacuum
    } else if starts(&["RESTORE"]) {
        tables::parse_restore
    } else if describes_table && read_word(tokens.get(2)).is_some() {
        tables::parse_describe
    } else if describes && read_word(tokens.get(2)).is_some() {
        manage::parse_describe
    } else {
        return definition_statement(tokens);
    })
}

/// The same of statements that define what is no model, and of those around others.
fn definition_statement(tokens: &[TokenWithSpan]) -> Option<ParseModelStatement> {
    Some(if lake::is_create(tokens) {
        lake::parse_create
    } else if lake::is_drop(tokens) {
        lake::parse_drop
    } else if lake::is_show(tokens) {
        lake::parse_show
    } else if privileges::is_grant(tokens) {
        privileges::parse_grant
    } else if privileges::is_default(tokens) {
        privileges::parse_default
    } else if privileges::is_owner(tokens) {
        privileges::parse_owner
    } else if roles::opens(tokens) {
        roles::parse
    } else if sequences::opens(tokens) {
        sequences::parse
    } else if constraint_comments::opens(tokens) {
        constraint_comments::parse
    } else if domains::opens(tokens) {
        domains::parse
    } else if materialized::opens(tokens) {
        materialized::parse
    } else if code_block::opens(tokens) {
        code_block::parse
    } else if scripts::opens(tokens) {
        scripts::parse
    } else if explain::subject(tokens).is_some() {
        explain::parse
    } else {
        return None;
    })
}

/// Whether the tokens are a statement of ours, which no PostgreSQL statement starts like.
pub(crate) fn opens_model_statement(tokens: &[TokenWithSpan]) -> bool {
    let is_postgres =
        materialized::opens(tokens) || domains::opens(tokens) || constraint_comments::opens(tokens);
    !is_postgres && model_statement(tokens).is_some()
}

fn opens_create_model(tokens: &[TokenWithSpan]) -> bool {
    let at = if are_words(tokens, 0, &["CREATE", "OR", "REPLACE"]) {
        3
    } else {
        1
    };
    is_word(tokens.first(), "CREATE") && is_word(tokens.get(at), "MODEL")
}

/// Renames the types in a query and gives it back.
fn with_types(mut query: Box<Query>) -> Box<Query> {
    normalize_types(query.as_mut());
    query
}
