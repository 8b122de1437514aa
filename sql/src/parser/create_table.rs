//! `CREATE TABLE … PARTITIONED BY (a, b) TBLPROPERTIES ('k' = 'v') [AS …]`: the clauses that PostgreSQL lacks.
//!
//! In: the statement's tokens; out: the statement without those clauses as DataFusion's parser reads it, and the
//! clauses beside it.

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{are_words, closing, is_token, is_word};
use crate::parser::cursor::Cursor;
use crate::parser::sql;
use crate::statement::{CreateTable, Statement, Word};

/// Whether the tokens are a `CREATE TABLE` with one of the clauses.
pub(super) fn opens(tokens: &[TokenWithSpan]) -> bool {
    let at = if are_words(tokens, 1, &["OR", "REPLACE"]) {
        3
    } else {
        1
    };
    is_word(tokens.first(), "CREATE")
        && is_word(tokens.get(at), "TABLE")
        && clauses(tokens).next().is_some()
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let tokens = cursor.rest();
    let mut rest: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut create = (None, Vec::new());
    let mut from = 0;
    for (start, open, close) in clauses(tokens) {
        rest.extend_from_slice(&tokens[from..start]);
        from = close + 1;
        let mut place = cursor.clone();
        place.advance(open);
        let mut group = place.group("a list")?;
        if is_word(tokens.get(start), "PARTITIONED") {
            if create.0.is_some() {
                let kind = ParseErrorKind::RepeatedClause("PARTITIONED BY".into());
                return Err(ParseError::new(kind, Some(place.start())));
            }
            create.0 = Some(group.words("a column's name")?);
        } else {
            create.1.extend(properties(&mut group)?);
        }
        group.finish()?;
    }
    rest.extend_from_slice(&tokens[from..]);
    let plain =
        Cursor::new(cursor.text, &rest, cursor.grammar, cursor.last_of_rest()).until(&cursor.stop);
    let statement = sql::parse(&plain)?;
    cursor.advance(tokens.len());
    match statement {
        SqlStatement::Statement(statement) => match *statement {
            ast::Statement::CreateTable(table) => {
                Ok(Statement::CreateTable(Box::new(CreateTable {
                    table,
                    partition_columns: create.0.unwrap_or_default(),
                    properties: create.1,
                })))
            }
            _ => Err(plain.unexpected("CREATE TABLE")),
        },
        _ => Err(plain.unexpected("CREATE TABLE")),
    }
}

/// `'k' = 'v', k.l = 3`: names and values as texts.
fn properties(cursor: &mut Cursor<'_>) -> Result<Vec<(Word, String)>, ParseError> {
    let mut properties = Vec::new();
    loop {
        let start = cursor.start();
        let name = match cursor.peek(0).map(|token| &token.token) {
            Some(Token::SingleQuotedString(_)) => cursor.string("a property's name")?,
            _ => cursor.name("a property's name")?.parts.join("."),
        };
        let end = cursor.last_end();
        cursor.expect_token(&Token::Eq, "=")?;
        let value = match cursor.peek(0).map(|token| &token.token) {
            Some(Token::Number(digits, _)) => {
                let digits = digits.clone();
                cursor.advance(1);
                digits
            }
            Some(Token::Word(word))
                if ["true", "false"].contains(&word.value.to_lowercase().as_str()) =>
            {
                cursor.advance(1);
                word.value.to_lowercase()
            }
            _ => cursor.string("a value")?,
        };
        let span = crate::statement::Span { start, end };
        properties.push((Word { value: name, span }, value));
        if !cursor.eat_token(&Token::Comma) {
            return Ok(properties);
        }
    }
}

/// The clauses outside of all brackets: where each starts, and its brackets.
fn clauses(tokens: &[TokenWithSpan]) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < tokens.len() {
            let start = at;
            // A query behind AS has clauses of its own.
            if is_word(tokens.get(at), "AS") {
                return None;
            }
            let open = if are_words(tokens, at, &["PARTITIONED", "BY"]) {
                Some(at + 2)
            } else if is_word(tokens.get(at), "TBLPROPERTIES") {
                Some(at + 1)
            } else {
                None
            };
            let open = open.filter(|open| is_token(tokens, *open, &Token::LParen));
            if let Some(open) = open
                && let Some(close) = closing(tokens, open)
            {
                at = close + 1;
                return Some((start, open, close));
            }
            at = match is_token(tokens, at, &Token::LParen) {
                true => closing(tokens, at).map_or(tokens.len(), |close| close + 1),
                false => at + 1,
            };
        }
        None
    })
}
