//! Everything that is not ours: DataFusion's parser over our tokens.
//!
//! In: a statement's tokens; out: DataFusion's statement, with the type names that it plans.

use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement as SqlStatement};
use datafusion::sql::sqlparser::ast::With;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::dialect::AuspexDialect;
use crate::error::ParseError;
use crate::googlesql::{normalize_statement, settle_statement};
use crate::lexer::{Grammar, are_words, bare_word, closing, is_word, string_value};
use crate::limits::RECURSION_LIMIT;
use crate::parser::cursor::Cursor;
use crate::parser::silent_clauses::Data;
use crate::parser::{explain_options, into_table, with_changes};
use crate::view_options;

/// Reads all that is left as one statement.
pub(super) fn parse(cursor: &Cursor<'_>) -> Result<SqlStatement, ParseError> {
    Ok(parse_with(cursor)?.0)
}

/// The same, and the WITH that stands before a change of rows.
pub(super) fn parse_with(
    cursor: &Cursor<'_>,
) -> Result<(SqlStatement, Option<Box<With>>), ParseError> {
    let lenient = cursor.grammar != Grammar::Postgres;
    let dialect = AuspexDialect::new(lenient, cursor.rest()).until(&cursor.stop);
    if let Some(again) = explained_twice(cursor.rest()) {
        return Err(ParseError::at_token(
            cursor.text,
            again,
            "the statement to explain",
        ));
    }
    let data = Data::of(cursor.rest());
    let explained = explain_options::settle(cursor.rest().to_vec())?;
    let mut tokens = view_options::settle(shown_object(renamed_view(explained)));
    tokens.truncate(tokens.len() - data.n_tokens());
    let refined = |error: DataFusionError| {
        let error = cursor.refine(cursor.reword(parser_error(error)));
        with_suggestion(cursor, error)
    };
    let mut parser = DFParserBuilder::new(tokens)
        .with_dialect(&dialect)
        .with_recursion_limit(RECURSION_LIMIT)
        .build()
        .map_err(refined)?;
    let outcome = if is_client_copy(cursor.rest()) {
        let statement = parser
            .parser
            .parse_statement()
            .map_err(DataFusionError::from);
        statement.map(|statement| SqlStatement::Statement(Box::new(statement)))
    } else {
        parser.parse_statement()
    };
    cursor.stop.check()?;
    let mut statement = outcome.map_err(refined)?;
    let next = parser.parser.peek_token_ref();
    if next.token != Token::EOF {
        return Err(with_suggestion(
            cursor,
            ParseError::at_token(cursor.text, next, ""),
        ));
    }
    if cursor.grammar == Grammar::GoogleSql {
        settle_statement(&mut statement);
    }
    normalize_statement(&mut statement);
    into_table::settle(&mut statement, data);
    let with = with_changes::settle(&mut statement);
    Ok((statement, with))
}

/// The second word of `EXPLAIN [ANALYZE] [VERBOSE] EXPLAIN`, on which DataFusion's parser would recurse.
fn explained_twice(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    if !is_word(tokens.first(), "EXPLAIN") {
        return None;
    }
    let mut at = 1;
    while ["ANALYZE", "VERBOSE"]
        .iter()
        .any(|word| is_word(tokens.get(at), word))
    {
        at += 1;
    }
    if is_word(tokens.get(at), "FORMAT") {
        at += 2;
    }
    at = closing(tokens, at).map_or(at, |close| close + 1);
    tokens
        .get(at)
        .filter(|token| is_word(Some(token), "EXPLAIN"))
}

/// `ALTER [MATERIALIZED] VIEW name RENAME TO name` is what `ALTER TABLE` does to a view, which the parser knows.
fn renamed_view(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let kinds: [&[&str]; 2] = [&["VIEW"], &["MATERIALIZED", "VIEW"]];
    let kind = kinds.iter().find(|kind| are_words(&tokens, 1, kind));
    let mut ends = (2..tokens.len()).rev();
    if let Some(kind) = kind
        && is_word(tokens.first(), "ALTER")
        && ends.any(|at| are_words(&tokens, at, &["RENAME", "TO"]))
    {
        tokens.drain(1..kind.len());
        tokens[1].token = Token::make_keyword("TABLE");
    }
    tokens
}

/// `SHOW CREATE MODEL m` and `SHOW CREATE MATERIALIZED VIEW v`, as of the kinds of relations that the parser knows.
fn shown_object(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if are_words(&tokens, 0, &["SHOW", "CREATE", "MODEL"]) && tokens.len() > 3 {
        tokens[2].token = Token::make_keyword("TABLE");
    } else if are_words(&tokens, 0, &["SHOW", "CREATE", "MATERIALIZED", "VIEW"]) {
        tokens.remove(2);
    }
    tokens
}

/// The parser's own error inside DataFusion's.
fn parser_error(error: DataFusionError) -> ParserError {
    match error {
        DataFusionError::SQL(error, _) => *error,
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => {
            parser_error(*inner)
        }
        other => ParserError::ParserError(other.strip_backtrace()),
    }
}

/// PostgreSQL's COPY, which moves rows over the connection or takes its options in brackets; DataFusion's own COPY
/// writes files.
fn is_client_copy(tokens: &[TokenWithSpan]) -> bool {
    if !is_word(tokens.first(), "COPY") {
        return false;
    }
    let mut at = 1;
    while at < tokens.len() {
        match &tokens[at].token {
            Token::LParen => match closing(tokens, at) {
                Some(close) => at = close,
                None => return false,
            },
            Token::Word(_) if is_word(tokens.get(at), "FROM") => return true,
            Token::Word(_) if is_word(tokens.get(at), "TO") => {
                let client = ["STDOUT", "STDIN", "PROGRAM"]
                    .iter()
                    .any(|target| is_word(tokens.get(at + 1), target));
                let file = tokens
                    .get(at + 1)
                    .is_some_and(|t| string_value(&t.token).is_some());
                let options = is_word(tokens.get(at + 2), "WITH")
                    || tokens
                        .get(at + 2)
                        .is_some_and(|token| token.token == Token::LParen);
                return client || (file && options);
            }
            _ => {}
        }
        at += 1;
    }
    false
}

/// The statements that somebody may have misspelt.
const STATEMENTS: [&str; 30] = [
    "ALTER", "ANALYZE", "BEGIN", "COMMIT", "COPY", "CREATE", "DELETE", "DESCRIBE", "DROP",
    "EVALUATE", "EXPLAIN", "EXPORT", "FORECAST", "GRANT", "INSERT", "MERGE", "OPTIMIZE", "PREDICT",
    "REFRESH", "RESTORE", "REVOKE", "ROLLBACK", "SELECT", "SET", "SHOW", "TRAIN", "TRUNCATE",
    "UPDATE", "VACUUM", "WITH",
];

/// A hint with the nearest keyword, if the statement's first word was not understood.
fn with_suggestion(cursor: &Cursor<'_>, error: ParseError) -> ParseError {
    let Some(word) = bare_word(cursor.peek(0)) else {
        return error;
    };
    let written = word.value.to_ascii_uppercase();
    if error.hint.is_some() || STATEMENTS.contains(&written.as_str()) {
        return error;
    }
    match nearest(&written, &STATEMENTS) {
        Some(keyword) => error.with_hint(format!("Perhaps you mean {keyword}.")),
        None => error,
    }
}

/// The word that `written` is most likely meant to be.
pub(super) fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(written, word), *word))
        .filter(|(distance, word)| *distance <= 2 && *distance * 2 < word.len())
        .min()
        .map(|(_, word)| word)
}
