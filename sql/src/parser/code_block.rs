//! `DO $$ BEGIN CREATE TYPE …; EXCEPTION WHEN duplicate_object THEN null; END $$`, as migrations write it.
//!
//! In: the statement's tokens; out: the one definition that the block holds, and the errors that it passes over. There is no
//! PL/pgSQL: all other code is refused by name.

use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

use crate::dialect::Dialect;
use crate::do_statement::{DoBlock, ErrorCondition};
use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{Piece, are_words, bare_word, is_word, span_of, split, string_value};
use crate::parser;
use crate::parser::cursor::Cursor;
use crate::statement::{ParsedStatement, Statement};

/// What definitions begin with. Roles are left out: their passwords would stand in a text that nobody looks into.
const DEFINITIONS: [&str; 4] = ["CREATE", "ALTER", "DROP", "COMMENT"];
const NOT_DEFINED: [&str; 5] = ["ROLE", "USER", "GROUP", "CREDENTIAL", "CATALOG"];

/// PostgreSQL's names of errors that definitions fail with.
const CONDITIONS: [(&str, &str); 14] = [
    ("duplicate_object", "42710"),
    ("duplicate_table", "42P07"),
    ("duplicate_schema", "42P06"),
    ("duplicate_column", "42701"),
    ("duplicate_function", "42723"),
    ("duplicate_alias", "42712"),
    ("unique_violation", "23505"),
    ("undefined_object", "42704"),
    ("undefined_table", "42P01"),
    ("undefined_column", "42703"),
    ("invalid_table_definition", "42P16"),
    ("insufficient_privilege", "42501"),
    ("dependent_objects_still_exist", "2BP01"),
    ("feature_not_supported", "0A000"),
];

/// Whether the tokens are such a statement.
pub(super) fn opens(tokens: &[TokenWithSpan]) -> bool {
    let is_language = is_word(tokens.get(1), "LANGUAGE");
    is_word(tokens.first(), "DO")
        && tokens.len() > 1
        && (is_language || bare_word(tokens.get(1)).is_none())
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Statement, ParseError> {
    let tokens = cursor.rest();
    let refused = || {
        let hint = "A block may hold one statement that defines something, with EXCEPTION WHEN condition THEN NULL. \
                    Send others one by one: there is no PL/pgSQL.";
        cursor.unsupported("DO").with_hint(hint)
    };
    let body = body(tokens).ok_or_else(refused)?;
    let offset = cursor.text.find(body).unwrap_or(0);
    let pieces = split(body, Dialect::Postgres).map_err(|error| error.shifted(offset))?;
    let block = match pieces.as_slice() {
        [first, rest @ ..] => {
            let statement = definition(body, first).ok_or_else(refused)?;
            let passed_over = conditions(rest).ok_or_else(refused)??;
            let statement = statement.map_err(|error| error.shifted(offset))?;
            DoBlock {
                statement,
                passed_over,
            }
        }
        [] => return Err(refused()),
    };
    cursor.advance(tokens.len());
    Ok(Statement::Do(Box::new(block)))
}

/// The code of a block in PL/pgSQL, which the word LANGUAGE may follow or precede.
fn body(tokens: &[TokenWithSpan]) -> Option<&str> {
    let code = |at: usize| string_value(&tokens.get(at)?.token);
    let is_known = |at: usize| {
        let named = tokens.get(at + 1);
        let quoted = named.and_then(|token| string_value(&token.token));
        is_word(tokens.get(at), "LANGUAGE")
            && (is_word(named, "plpgsql") || quoted == Some("plpgsql"))
    };
    match tokens.len() {
        2 => code(1),
        4 if is_known(2) => code(1),
        4 if is_known(1) => code(3),
        _ => None,
    }
}

/// The statement behind the word BEGIN; `None`: there is none, or it defines nothing.
fn definition(body: &str, piece: &Piece) -> Option<Result<ParsedStatement, ParseError>> {
    let [begin, tokens @ ..] = piece.tokens.as_slice() else {
        return None;
    };
    let is_any = |token: Option<&TokenWithSpan>, words: &[&str]| {
        words.iter().any(|word| is_word(token, word))
    };
    let replaces = are_words(tokens, 1, &["OR", "REPLACE"]);
    let kind = tokens.get(if replaces { 3 } else { 1 });
    let makes_roles = is_any(kind, &NOT_DEFINED);
    if !is_word(Some(begin), "BEGIN") || !is_any(tokens.first(), &DEFINITIONS) || makes_roles {
        return None;
    }
    let start = span_of(tokens.first()?.span).start;
    let end = span_of(tokens.last()?.span).end;
    let text = body.get(start..end)?;
    let parsed = parser::parse(text, Dialect::Postgres);
    let only = |mut parsed: Vec<ParsedStatement>| {
        let nothing = || ParseError::at_end(text.len(), "a statement");
        parsed.pop().ok_or_else(nothing)
    };
    let parsed = parsed.and_then(only);
    Some(parsed.map_err(|error| error.shifted(start)))
}

/// The conditions of `EXCEPTION WHEN … THEN NULL; END`; `None`: something else stands there.
fn conditions(pieces: &[Piece]) -> Option<Result<Vec<ErrorCondition>, ParseError>> {
    let (last, handlers) = pieces.split_last()?;
    if last.tokens.len() != 1 || !is_word(last.tokens.first(), "END") {
        return None;
    }
    let mut found = Vec::new();
    for (idx, piece) in handlers.iter().enumerate() {
        let mut tokens = piece.tokens.as_slice();
        if idx == 0 {
            tokens = after(tokens, "EXCEPTION")?;
        }
        tokens = after(tokens, "WHEN")?;
        loop {
            let (condition, rest) = condition(tokens)?;
            match condition {
                Ok(condition) => found.push(condition),
                Err(error) => return Some(Err(error)),
            }
            tokens = rest;
            match after(tokens, "OR") {
                Some(rest) => tokens = rest,
                None => break,
            }
        }
        tokens = after(after(tokens, "THEN")?, "NULL")?;
        if !tokens.is_empty() {
            return None;
        }
    }
    Some(Ok(found))
}

/// The tokens behind a word that must come first.
fn after<'a>(tokens: &'a [TokenWithSpan], word: &str) -> Option<&'a [TokenWithSpan]> {
    let (first, rest) = tokens.split_first()?;
    is_word(Some(first), word).then_some(rest)
}

type Read<'a> = (Result<ErrorCondition, ParseError>, &'a [TokenWithSpan]);

/// One condition: a name, or `SQLSTATE '42710'`.
fn condition(tokens: &[TokenWithSpan]) -> Option<Read<'_>> {
    if let Some(rest) = after(tokens, "SQLSTATE") {
        let (state, rest) = rest.split_first()?;
        let state = string_value(&state.token)?.to_owned();
        return Some((Ok(ErrorCondition::State(state)), rest));
    }
    let (name, rest) = tokens.split_first()?;
    let name = bare_word(Some(name))?.value.to_lowercase();
    let known = CONDITIONS.iter().find(|(known, _)| *known == name);
    let condition = match (name.as_str(), known) {
        ("others", _) => Ok(ErrorCondition::Others),
        (_, Some((_, state))) => Ok(ErrorCondition::State((*state).to_owned())),
        (name, None) => {
            let message = format!("unrecognized exception condition \"{name}\"");
            Err(ParseError::new(ParseErrorKind::Malformed(message), None))
        }
    };
    Some((condition, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Result<DoBlock, ParseError> {
        let parsed = parser::parse(text, Dialect::Auto)?;
        match parsed.into_iter().next().map(|parsed| parsed.statement) {
            Some(Statement::Do(block)) => Ok(*block),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_definition_may_pass_over_errors() {
        let text = "DO $$ BEGIN CREATE TYPE t AS ENUM ('a;b');\nEXCEPTION WHEN duplicate_object OR SQLSTATE '42P07' THEN null; END $$";
        let block = block(text).unwrap();
        assert_eq!(block.statement.text, "CREATE TYPE t AS ENUM ('a;b')");
        let known = ["42710", "42P07", "42601"].map(|state| block.passes_over(state));
        assert_eq!(known, [true, true, false]);
    }

    #[test]
    fn others_are_all_but_what_was_not_run() {
        let text =
            "DO LANGUAGE plpgsql $x$ BEGIN DROP TABLE t; EXCEPTION WHEN OTHERS THEN NULL; END; $x$";
        let block = block(text).unwrap();
        let known = ["42P01", "57014", "25001"].map(|state| block.passes_over(state));
        assert_eq!(known, [true, false, false]);
        assert!(
            !self::block("DO $$ BEGIN DROP TABLE t; END $$")
                .unwrap()
                .passes_over("42P01")
        );
    }

    #[test]
    fn other_code_is_refused() {
        for text in [
            "DO $$ BEGIN IF a THEN DROP TABLE t; END IF; END $$",
            "DO $$ DECLARE x INT; BEGIN DROP TABLE t; END $$",
            "DO $$ BEGIN DROP TABLE t; DROP TABLE u; END $$",
            "DO $$ BEGIN DROP TABLE t; EXCEPTION WHEN others THEN RAISE; END $$",
            "DO $$ BEGIN CREATE ROLE r PASSWORD 'x'; END $$",
            "DO $$ BEGIN INSERT INTO t VALUES (1); END $$",
            "DO $$ BEGIN END $$",
            "DO $$ $$",
            "DO LANGUAGE plpython $$ BEGIN DROP TABLE t; END $$",
        ] {
            let error = block(text).unwrap_err();
            assert_eq!(error.sqlstate(), "0A000", "{text}: {error}");
        }
        let text = "DO $$ BEGIN DROP TABLE t; EXCEPTION WHEN what THEN NULL; END $$";
        assert_eq!(block(text).unwrap_err().sqlstate(), "42601");
    }
}
