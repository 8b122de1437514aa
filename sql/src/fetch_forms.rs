//! `FETCH FIRST (expression) ROWS ONLY`, of which sqlparser reads values alone, and OFFSET behind such a clause.
//!
//! In: tokens of one statement; out: `LIMIT (expression)`, which means the same, behind the OFFSET. One with ties is `LIMIT (expression) FETCH
//! FIRST ROW WITH TIES`, whose number the planner takes from the limit: no client may write both clauses.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::ParseError;
use crate::lexer::{are_words, closing, is_token, is_word};

/// What ends the number of an OFFSET: clauses of the query, and those that a statement has behind its query. Another FETCH is
/// among them, so that no token is looked at for more than one of those in the same brackets.
const BEHIND_OFFSET: [&str; 10] = [
    "FOR",
    "RETURNING",
    "ON",
    "WITH",
    "FETCH",
    "LIMIT",
    "OFFSET",
    "UNION",
    "INTERSECT",
    "EXCEPT",
];

/// Settles the clauses.
///
/// Errors: 42601 at one behind a LIMIT.
pub(crate) fn settle(
    text: &str,
    tokens: Vec<TokenWithSpan>,
) -> Result<Vec<TokenWithSpan>, ParseError> {
    if let Some(second) = behind_limit(&tokens) {
        return Err(ParseError::at_token(text, second, ""));
    }
    let tokens = offsets_first(tokens);
    // What stands in the place of a token; clauses may stand within the brackets of others.
    let mut made: BTreeMap<usize, Vec<TokenWithSpan>> = BTreeMap::new();
    for at in 1..tokens.len() {
        let Some((open, close)) = quantity(&tokens, at) else {
            continue;
        };
        let word = |word: &str, place: usize| TokenWithSpan {
            token: Token::make_keyword(word),
            span: tokens[place].span,
        };
        made.insert(at, vec![word("LIMIT", at)]);
        made.insert(open - 1, vec![]);
        if are_words(&tokens, close + 2, &["ONLY"]) {
            made.extend([(close + 1, vec![]), (close + 2, vec![])]);
        } else {
            let fetch = [("FETCH", at), ("FIRST", open - 1), ("ROW", close + 1)];
            let fetch = fetch.map(|(keyword, place)| word(keyword, place));
            made.insert(close + 1, fetch.to_vec());
        }
    }
    if made.is_empty() {
        return Ok(tokens);
    }
    let mut settled = Vec::with_capacity(tokens.len() + made.len());
    for (at, token) in tokens.into_iter().enumerate() {
        match made.remove(&at) {
            Some(instead) => settled.extend(instead),
            None => settled.push(token),
        }
    }
    Ok(settled)
}

/// The first clause of a query that has a LIMIT before it.
fn behind_limit(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    let has_fetch = (0..tokens.len()).any(|at| opens_clause(tokens, at));
    if !has_fetch {
        return None;
    }
    // For the query and each bracket that is open, whether there was one.
    let mut is_limited = vec![false];
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => is_limited.push(false),
            // What closes nothing is an error of its own.
            Token::RParen if is_limited.len() > 1 => {
                is_limited.pop();
            }
            _ => {
                let is_limit = is_word(Some(token), "LIMIT") && !is_name(tokens, at);
                let begins = is_word(Some(token), "SELECT");
                if let Some(last) = is_limited.last_mut() {
                    if *last && opens_clause(tokens, at) {
                        return Some(token);
                    }
                    *last = is_limit || *last && !begins;
                }
            }
        }
    }
    None
}

/// Whether the word at a place is a label or a column, which may have the name of a clause.
fn is_name(tokens: &[TokenWithSpan], at: usize) -> bool {
    let before = at.checked_sub(1);
    before.is_some_and(|at| is_token(tokens, at, &Token::Period) || is_word(tokens.get(at), "AS"))
}

/// Puts each OFFSET before the clause that it stands behind.
fn offsets_first(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    for at in 0..tokens.len() {
        let end = clause_end(&tokens, at);
        let Some(offset) = end.filter(|end| is_word(tokens.get(*end), "OFFSET")) else {
            continue;
        };
        let mut depth = 0_usize;
        let behind = tokens[offset + 1..]
            .iter()
            .position(|token| match token.token {
                Token::LParen => {
                    depth += 1;
                    false
                }
                Token::RParen if depth > 0 => {
                    depth -= 1;
                    false
                }
                Token::RParen | Token::SemiColon | Token::EOF => true,
                _ => depth == 0 && BEHIND_OFFSET.iter().any(|word| is_word(Some(token), word)),
            });
        let behind = behind.map_or(tokens.len(), |length| offset + 1 + length);
        tokens[at..behind].rotate_left(offset - at);
    }
    tokens
}

/// The place behind a clause that begins at one.
fn clause_end(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let counts_rows = |at: usize| {
        ["ROW", "ROWS"]
            .iter()
            .any(|word| is_word(tokens.get(at), word))
    };
    let quantity = opens_clause(tokens, at).then_some(at + 2)?;
    let rows = match closing(tokens, quantity) {
        Some(close) => close + 1,
        None if counts_rows(quantity) => quantity,
        None => quantity + 1,
    };
    let last = rows + 1;
    match counts_rows(rows) {
        true if are_words(tokens, last, &["ONLY"]) => Some(last + 1),
        true if are_words(tokens, last, &["WITH", "TIES"]) => Some(last + 2),
        _ => None,
    }
}

fn opens_clause(tokens: &[TokenWithSpan], at: usize) -> bool {
    are_words(tokens, at, &["FETCH", "FIRST"]) || are_words(tokens, at, &["FETCH", "NEXT"])
}

/// The brackets around the number of rows of a clause that begins at a place.
fn quantity(tokens: &[TokenWithSpan], at: usize) -> Option<(usize, usize)> {
    let open = at + 2;
    let opens = opens_clause(tokens, at);
    let close = opens.then(|| closing(tokens, open)).flatten()?;
    let mut rows = ["ROW", "ROWS"].iter();
    let counts_rows = rows.any(|word| is_word(tokens.get(close + 1), word));
    let mut ends = [&["ONLY"][..], &["WITH", "TIES"]].into_iter();
    let is_whole = counts_rows && ends.any(|words| are_words(tokens, close + 2, words));
    is_whole.then_some((open, close))
}

#[cfg(test)]
mod tests {
    use crate::tests::{ast, fails, one};

    #[test]
    fn a_limit_and_a_fetch_clause_are_an_error_at_the_second() {
        for text in [
            "SELECT a FROM t ORDER BY a LIMIT (1) FETCH FIRST ROW WITH TIES",
            "SELECT a FROM t LIMIT 1 OFFSET (2) FETCH FIRST (1) ROWS ONLY",
            "SELECT * FROM (SELECT a FROM t LIMIT (SELECT 1) FETCH NEXT 1 ROW ONLY) AS q",
        ] {
            let error = fails(text);
            let found = (error.sqlstate(), error.position);
            assert_eq!(found, ("42601", text.find("FETCH")), "{text}");
        }
    }

    #[test]
    fn labels_and_columns_may_be_called_limit() {
        for text in [
            "SELECT t.limit FROM t ORDER BY 1 FETCH FIRST 1 ROW ONLY",
            "SELECT a AS limit FROM t FETCH FIRST (1) ROW ONLY",
            "SELECT 'a'::text AS limit, 1 FETCH NEXT 1 ROWS ONLY",
        ] {
            one(text);
        }
        let text = "SELECT a AS limit FROM t LIMIT 1 FETCH FIRST 1 ROW ONLY";
        assert_eq!(fails(text).position, text.find("FETCH"));
    }

    #[test]
    fn clauses_of_other_queries_are_read() {
        for (text, expected) in [
            (
                "SELECT a FROM (SELECT b FROM t LIMIT 2) AS q FETCH FIRST (1) ROWS ONLY",
                "SELECT a FROM (SELECT b FROM t LIMIT 2) AS q LIMIT (1)",
            ),
            (
                "SELECT a FROM t OFFSET (SELECT 1) ROWS FETCH NEXT (SELECT 2) ROWS ONLY",
                "SELECT a FROM t LIMIT (SELECT 2) OFFSET (SELECT 1) ROWS",
            ),
            (
                "SELECT a FROM (SELECT a FROM t FETCH FIRST 2 ROWS ONLY OFFSET (1 + 1) ROWS) AS q",
                "SELECT a FROM (SELECT a FROM t OFFSET (1 + 1) ROWS FETCH FIRST 2 ROWS ONLY) AS q",
            ),
            (
                "SELECT a FROM t FETCH FIRST (2) ROWS ONLY OFFSET 1 FOR UPDATE",
                "SELECT a FROM t LIMIT (2) OFFSET 1 FOR UPDATE",
            ),
        ] {
            assert_eq!(ast(&one(text)).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_a_statement_has_behind_its_query_stays_behind() {
        for (clause, settled) in [
            (
                "FETCH FIRST 2 ROWS ONLY OFFSET 1",
                "OFFSET 1 FETCH FIRST 2 ROWS ONLY",
            ),
            (
                "FETCH FIRST (2) ROWS ONLY OFFSET (1)",
                "LIMIT (2) OFFSET (1)",
            ),
        ] {
            for (before, behind) in [
                ("INSERT INTO u SELECT a FROM t ", " RETURNING a"),
                ("INSERT INTO u SELECT a FROM t ", " ON CONFLICT DO NOTHING"),
            ] {
                let text = format!("{before}{clause}{behind}");
                let expected = format!("{before}{settled}{behind}");
                assert_eq!(ast(&one(&text)).to_string(), expected, "{text}");
            }
            one(&format!(
                "CREATE TABLE x AS SELECT a FROM t {clause} WITH NO DATA"
            ));
        }
    }

    #[test]
    fn many_clauses_are_read_at_once() {
        let text = format!("SELECT 1 {}", "FETCH FIRST ROW ONLY OFFSET ".repeat(20_000));
        assert_eq!(fails(&text).sqlstate(), "42601");
    }
}
