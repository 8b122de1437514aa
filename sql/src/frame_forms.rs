//! Frames of windows in forms that sqlparser lacks: `RANGE '1 day'::interval * 2 PRECEDING`, `EXCLUDE NO OTHERS`.
//!
//! In: tokens of one statement; out: the same with brackets around sizes that begin with a text, which sqlparser takes for the
//! whole of an interval, and without the clause that excludes nothing. One that excludes rows is an error.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{ParseError, ParseErrorKind};
use crate::lexer::{are_words, is_word, span_of};

const UNITS: [&str; 3] = ["RANGE", "ROWS", "GROUPS"];
const ENDS: [&str; 2] = ["PRECEDING", "FOLLOWING"];
const EXCLUDED: [&[&str]; 3] = [&["CURRENT", "ROW"], &["GROUP"], &["TIES"]];

/// Settles the forms.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, ParseError> {
    let mut at = 1;
    while at < tokens.len() {
        if is_word(tokens.get(at), "EXCLUDE") && ends_bound(&tokens, at) {
            if are_words(&tokens, at + 1, &["NO", "OTHERS"]) {
                tokens.drain(at..at + 3);
                continue;
            }
            if let Some(words) = EXCLUDED
                .iter()
                .find(|words| are_words(&tokens, at + 1, words))
            {
                return Err(excludes(&tokens[at], words));
            }
        }
        if begins_bound(&tokens, at)
            && matches!(tokens[at].token, Token::SingleQuotedString(_))
            && let Some(end) = size_end(&tokens, at)
        {
            let [open, close] =
                [(Token::LParen, at), (Token::RParen, end - 1)].map(|(token, place)| {
                    TokenWithSpan {
                        token,
                        span: tokens[place].span,
                    }
                });
            tokens.insert(end, close);
            tokens.insert(at, open);
            at = end + 1;
        }
        at += 1;
    }
    Ok(tokens)
}

/// Whether the token at `at` stands where a bound of a frame may begin.
fn begins_bound(tokens: &[TokenWithSpan], at: usize) -> bool {
    let before = tokens.get(at - 1);
    ["BETWEEN", "AND"]
        .iter()
        .chain(&UNITS)
        .any(|word| is_word(before, word))
}

/// Whether a bound of a frame ends before the token at `at`.
fn ends_bound(tokens: &[TokenWithSpan], at: usize) -> bool {
    let is_row = at > 1 && are_words(tokens, at - 2, &["CURRENT", "ROW"]);
    is_row || ENDS.iter().any(|word| is_word(tokens.get(at - 1), word))
}

/// Where the size ends that begins at `from`; `None` if no size does.
fn size_end(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        let is_one = |words: &[&str]| words.iter().any(|word| is_word(Some(token), word));
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.checked_sub(1)?,
            Token::Comma | Token::SemiColon if depth == 0 => return None,
            _ if depth > 0 => {}
            _ if is_one(&ENDS) => return Some(at),
            _ if is_one(&UNITS) || is_one(&["AND", "BETWEEN"]) => return None,
            _ => {}
        }
    }
    None
}

fn excludes(token: &TokenWithSpan, words: &[&str]) -> ParseError {
    let what = format!("EXCLUDE {} in the frame of a window", words.join(" "));
    let kind = ParseErrorKind::Unsupported(what);
    let error = ParseError::new(kind, Some(span_of(token.span).start));
    error.with_hint("Take the row away from what the frame gives with it, as in sum(x) OVER w - x.")
}
