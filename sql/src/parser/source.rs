//! Rows: a query, `TABLE t` or a bare name, with the text to store.
//!
//! In: the tokens of a source; out: a `SourceQuery` whose text reads back as the same query, alone and under `Auto`.

use datafusion::sql::sqlparser::ast::{Query, SelectItem};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::dialect::Dialect;
use crate::error::ParseError;
use crate::googlesql::{normalize_select_item, settle};
use crate::lexer::{Grammar, string_value};
use crate::parser::cursor::Cursor;
use crate::parser::{parse_query, with_types};
use crate::reference::read_name;
use crate::statement::SourceQuery;
use crate::written::written;

/// Reads all that is left as a query.
pub(crate) fn read_query(cursor: &Cursor<'_>) -> Result<Box<Query>, ParseError> {
    if cursor.is_empty() {
        return Err(cursor.unexpected("a query"));
    }
    let query = cursor.parse_rest(|parser| parser.parse_query());
    let mut query = query.map_err(|error| cursor.refine(error))?;
    if cursor.grammar == Grammar::GoogleSql {
        settle(query.as_mut());
    }
    Ok(with_types(query))
}

/// Reads all that is left as a query and keeps its text.
pub(super) fn query(cursor: &Cursor<'_>) -> Result<SourceQuery, ParseError> {
    let query = read_query(cursor)?;
    let span = cursor.rest_span();
    Ok(SourceQuery {
        text: stored_text(cursor, &query, span.of(cursor.text).to_owned()),
        query,
        span,
    })
}

/// `(query)`, `[TABLE] name`, `'file'` or a bare query, up to the end.
pub(super) fn source(mut cursor: Cursor<'_>) -> Result<SourceQuery, ParseError> {
    if cursor.is_one_group() {
        return query(&cursor.group("a query")?);
    }
    if starts_query(&cursor) {
        return query(&cursor);
    }
    cursor.eat_word("TABLE");
    table(cursor, "a query or a table's name")
}

/// `name` or `'file'`, up to the end: the query `SELECT * FROM name`.
pub(super) fn table(mut cursor: Cursor<'_>, what: &str) -> Result<SourceQuery, ParseError> {
    let is_file = cursor
        .peek(0)
        .is_some_and(|token| string_value(&token.token).is_some());
    let length = match read_name(cursor.rest(), 0) {
        Some((_, length)) => length,
        None if is_file => 1,
        None => return Err(cursor.unexpected(what)),
    };
    let name = cursor.take(length);
    cursor.finish()?;
    let span = name.rest_span();
    let text = format!("SELECT * FROM {}", span.of(name.text));
    let place = name.rest()[0].span;
    let mut tokens: Vec<TokenWithSpan> = [
        Token::make_word("SELECT", None),
        Token::Mul,
        Token::make_word("FROM", None),
    ]
    .map(|token| TokenWithSpan { token, span: place })
    .into();
    tokens.extend_from_slice(name.rest());
    let select = Cursor::new(name.text, &tokens, name.grammar, span.end);
    let query = read_query(&select)?;
    Ok(SourceQuery {
        text: stored_text(&select, &query, text),
        query,
        span,
    })
}

/// The text as written if it means the same on its own, else the query printed.
///
/// A statement with backticks reads `"x"` as a string; a part of it without backticks would not. A statement inside
/// brackets that stands for a query always reads back.
fn stored_text(cursor: &Cursor<'_>, query: &Query, text: String) -> String {
    if cursor.grammar != Grammar::GoogleSql {
        return text;
    }
    match parse_query(&text, Dialect::Auto) {
        Ok(again) if *again == *query => text,
        _ => written(query),
    }
}

/// Reads all that is left as a select list.
pub(super) fn select_list(cursor: &Cursor<'_>) -> Result<Vec<SelectItem>, ParseError> {
    if cursor.is_empty() {
        return Err(cursor.unexpected("a select list"));
    }
    let mut items = cursor.parse_rest(|parser| parser.parse_projection())?;
    if cursor.grammar == Grammar::GoogleSql {
        items.iter_mut().for_each(settle);
    }
    items.iter_mut().for_each(normalize_select_item);
    Ok(items)
}

/// Whether a query can start here.
pub(super) fn starts_query(cursor: &Cursor<'_>) -> bool {
    cursor.at_token(0, &Token::LParen)
        || ["SELECT", "WITH", "VALUES"]
            .iter()
            .any(|word| cursor.at_words(&[word]))
}
