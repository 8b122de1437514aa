//! Words that PostgreSQL lets name columns, tables and results, where sqlparser reads a clause or an operator: `SELECT top
//! FROM t`, `GROUP BY rollup`, `SELECT a regexp FROM t`, `SELECT exists FROM t`.
//!
//! In: tokens of one statement whose strings are settled; out: the same with such words in double quotes. What stands beside a
//! word decides, so that the clauses of GoogleSQL go on to be read. Aliases of tables are the dialect's.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{are_words, bare_word, is_token, is_word};

/// Words that sqlparser takes for operators or for the end of a result's columns; where a column ends behind them they are its
/// name.
const NAMES_OF_RESULTS: [&str; 8] = [
    "ANALYZE", "DIV", "EXCLUDE", "EXPLAIN", "MINUS", "REGEXP", "RLIKE", "VALUES",
];

/// Words before an expression.
const BEFORE_VALUES: [&str; 15] = [
    "ALL",
    "AND",
    "BY",
    "CASE",
    "DISTINCT",
    "ELSE",
    "HAVING",
    "LIKE",
    "NOT",
    "ON",
    "OR",
    "RETURNING",
    "SELECT",
    "THEN",
    "WHERE",
];

/// Words behind an expression.
const BEHIND_VALUES: [&str; 21] = [
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "DESC",
    "ELSE",
    "END",
    "EXCEPT",
    "FROM",
    "GROUP",
    "HAVING",
    "IN",
    "INTERSECT",
    "INTO",
    "IS",
    "LIKE",
    "LIMIT",
    "OR",
    "ORDER",
    "UNION",
    "WHERE",
];

/// Quotes the words.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut is_query = false;
    for at in 0..tokens.len() {
        is_query |= is_word(tokens.get(at), "SELECT");
        // Other words begin nothing.
        let keyword = bare_word(tokens.get(at)).filter(|word| word.keyword != Keyword::NoKeyword);
        let Some(word) = keyword.map(|word| word.value.to_ascii_uppercase()) else {
            continue;
        };
        if names_value(&tokens, at, &word) || (is_query && names_result(&tokens, at, &word)) {
            tokens[at].token = Token::make_word(&word.to_ascii_lowercase(), Some('"'));
        }
    }
    tokens
}

/// Whether a word that begins a form of its own is a name where it stands.
fn names_value(tokens: &[TokenWithSpan], at: usize, word: &str) -> bool {
    let opens = is_token(tokens, at + 1, &Token::LParen);
    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
    match word {
        "TOP" => {
            let next = tokens.get(at + 1).map(|next| &next.token);
            !opens && !matches!(next, Some(Token::Number(..)))
        }
        "CUBE" | "ROLLUP" | "TRIM" => !opens,
        "EXISTS" => {
            let is_told = at > 1 && are_words(tokens, at - 2, &["IF", "NOT"]);
            !opens && !is_told && !is_word(before, "IF")
        }
        "STRUCT" => {
            let is_type = is_token(tokens, at + 1, &Token::Lt);
            !opens && !is_type && !is_word(before, "AS")
        }
        "INTERVAL" => {
            let next = tokens.get(at + 1);
            let ends = BEHIND_VALUES.iter().any(|word| is_word(next, word));
            ends && before.is_some_and(begins_value)
        }
        _ => false,
    }
}

/// Whether a value may begin behind a token. Types do not.
fn begins_value(before: &TokenWithSpan) -> bool {
    let is_keyword = BEFORE_VALUES.iter().any(|word| is_word(Some(before), word));
    is_keyword
        || matches!(
            before.token,
            Token::Comma
                | Token::LParen
                | Token::Eq
                | Token::Neq
                | Token::Lt
                | Token::LtEq
                | Token::Gt
                | Token::GtEq
                | Token::Plus
                | Token::Minus
                | Token::Mul
                | Token::Div
        )
}

/// Whether a word is the name of a column of a result, which ends behind it.
fn names_result(tokens: &[TokenWithSpan], at: usize, word: &str) -> bool {
    let next = tokens.get(at + 1);
    let ends = match next.map(|next| &next.token) {
        None | Some(Token::Comma | Token::RParen | Token::SemiColon | Token::EOF) => true,
        Some(_) => is_word(next, "FROM"),
    };
    let is_default = at > 0 && is_word(tokens.get(at - 1), "DEFAULT");
    ends && !is_default && NAMES_OF_RESULTS.contains(&word)
}
