//! `SET a[1] = x` and `SET j['key'] = x`: a part of a column that is assigned. sqlparser reads names of columns alone there.
//!
//! In: tokens of one statement; out: the same with `SET a = part(a[1], x)`, a call of a name that no client's text can bring
//! into a statement.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::lexer::{is_token, is_word};
use crate::postgres_forms::{elements, made};
use crate::reference::read_name;

/// The function of the part, and of the value that it is assigned.
pub const ASSIGNED_PART: &str = "\u{1e}assigned part";

/// How many tokens `UPDATE`, a table's name and its alias have at most; texts of many words are looked at once.
const MAX_NAME_TOKENS: usize = 32;

/// Puts the function in the place of such assignments.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut added = Vec::new();
    for at in 1..tokens.len() {
        if is_word(tokens.get(at), "SET") && updates(&tokens[..at]) {
            let end = end_of_list(&tokens, at + 1);
            for (first, end) in elements(&tokens, at + 1, end) {
                added.extend(settle_one(&mut tokens, first, end).into_iter().flatten());
            }
        }
    }
    with_added(tokens, added)
}

/// Tokens that stand before the one at a place.
struct Added {
    place: usize,
    tokens: Vec<TokenWithSpan>,
}

/// The tokens with those that are added, in one pass whatever their number.
fn with_added(tokens: Vec<TokenWithSpan>, mut added: Vec<Added>) -> Vec<TokenWithSpan> {
    if added.is_empty() {
        return tokens;
    }
    added.sort_by_key(|added| added.place);
    let mut added = added.into_iter().peekable();
    let mut whole = Vec::with_capacity(tokens.len());
    for (at, token) in tokens.into_iter().enumerate() {
        while let Some(before) = added.next_if(|added| added.place <= at) {
            whole.extend(before.tokens);
        }
        whole.push(token);
    }
    whole.extend(added.flat_map(|added| added.tokens));
    whole
}

/// Whether tokens end with `UPDATE`, or with it and the name of a table.
fn updates(before: &[TokenWithSpan]) -> bool {
    let is_named =
        |token: &&TokenWithSpan| matches!(token.token, Token::Word(_) | Token::Period | Token::Mul);
    let names = before.iter().rev().take(MAX_NAME_TOKENS);
    let mut names = names.take_while(is_named);
    names.any(|token| is_word(Some(token), "UPDATE"))
}

/// Where the assignments end that begin at a token.
fn end_of_list(tokens: &[TokenWithSpan], from: usize) -> usize {
    const BEHIND: [&str; 4] = ["FROM", "WHERE", "RETURNING", "WHEN"];
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        let is_any = |words: &[&str]| words.iter().any(|word| is_word(Some(token), word));
        match token.token {
            Token::SemiColon | Token::EOF => return at,
            Token::RParen if depth == 0 => return at,
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            _ if is_any(&["CASE"]) => depth += 1,
            _ if is_any(&["END"]) => depth = depth.saturating_sub(1),
            // Of `IS DISTINCT FROM`.
            _ if is_word(tokens.get(at - 1), "DISTINCT") => {}
            _ if depth == 0 && is_any(&BEHIND) => return at,
            _ => {}
        }
    }
    tokens.len()
}

/// What settles an assignment that begins at a token, if it is to a part of a column; its sign becomes a comma.
fn settle_one(tokens: &mut [TokenWithSpan], first: usize, end: usize) -> Option<[Added; 2]> {
    let (_, behind) = read_name(tokens, first)?;
    let mut at = behind;
    while let Some(close) = closing_bracket(tokens, at) {
        at = close + 1;
    }
    if at == behind || at >= end || !is_token(tokens, at, &Token::Eq) {
        return None;
    }
    tokens[at].token = Token::Comma;
    let mut call = tokens[first..behind].to_vec();
    let begins = [
        Token::Eq,
        Token::make_word(ASSIGNED_PART, Some('"')),
        Token::LParen,
    ];
    call.extend(begins.map(|token| made(token, &tokens[first])));
    let close = made(Token::RParen, &tokens[end - 1]);
    Some([
        Added {
            place: first,
            tokens: call,
        },
        Added {
            place: end,
            tokens: vec![close],
        },
    ])
}

/// The bracket that closes the one at a token.
fn closing_bracket(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    if !is_token(tokens, open, &Token::LBracket) {
        return None;
    }
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LBracket => depth += 1,
            Token::RBracket => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::ASSIGNED_PART;
    use crate::tests::{ast, one};

    #[test]
    fn parts_are_arguments() {
        for (text, expected) in [
            (
                "UPDATE t SET b = 1, a[1] = 2, j['x'][k + 1] = f(3, 4) WHERE a[1] = 5",
                "UPDATE t SET b = 1, a = PART(a[1], 2), j = PART(j['x'][k + 1], f(3, 4)) WHERE a[1] = 5",
            ),
            (
                "UPDATE s.t AS u SET a[1:2] = b IS DISTINCT FROM c, d[2] = CASE WHEN x THEN y END FROM v",
                "UPDATE s.t AS u SET a = PART(a[1:2], b IS DISTINCT FROM c), d = PART(d[2], CASE WHEN x THEN y END) FROM v",
            ),
            (
                "INSERT INTO t VALUES (1) ON CONFLICT (k) DO UPDATE SET a[1] = excluded.k RETURNING a[1] = 2",
                "INSERT INTO t VALUES (1) ON CONFLICT(k) DO UPDATE SET a = PART(a[1], excluded.k) RETURNING a[1] = 2",
            ),
            (
                "MERGE INTO t USING s ON t.k = s.k WHEN MATCHED THEN UPDATE SET a[1] = s.x WHEN NOT MATCHED THEN DO NOTHING",
                "UPDATE SET a = PART(a[1], s.x) WHEN NOT MATCHED",
            ),
        ] {
            let part = format!("\"{ASSIGNED_PART}\"");
            let written = ast(&one(text)).to_string();
            let expected = expected.replace("PART", &part);
            assert!(written.contains(&expected), "{written}");
        }
        let parts: Vec<String> = (1..3000).map(|n| format!("a[{n}] = {n}")).collect();
        let written = ast(&one(&format!("UPDATE t SET {}", parts.join(", ")))).to_string();
        assert_eq!(written.matches(ASSIGNED_PART).count(), 2999);
        let text = "SELECT set, a[1] = 2 FROM t";
        assert_eq!(ast(&one(text)).to_string(), text);
    }
}
