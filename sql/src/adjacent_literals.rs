//! Literals that go on behind the end of a line: `'a'` and, on a line below, `'b'` are `'ab'`, also behind `E'…'`, `U&'…'`
//! and the other quotes. sqlparser takes the second one for a name.
//!
//! In: a text in PostgreSQL's quoting, and the tokens of one of its statements; out: tokens that have such literals as one,
//! which stands where both do. Literals on one line, or with a comment in brackets between them, are an error, as in
//! PostgreSQL. GoogleSQL's text stays as it is, and so do the pairs `'name' 'value'` of `OPTIONS`.

use std::borrow::Cow;
use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::dialect::AuspexDialect;
use crate::error::ParseError;
use crate::lexer::{Grammar, closing, is_word, span_of, string_value};
use crate::operator_comments::{has_escapes, passed, quoted_length};

/// The text with `E` before the quotes that go on `E'…'`, in which a backslash escapes a quote, too: in the place of the
/// blank before them, with those before it and comments among them blank. Every byte keeps its place.
pub(crate) fn with_escapes(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    if !text.contains("\\'") {
        return Cow::Borrowed(text);
    }
    let mut between: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let is_escaped = bytes[at] == b'\'' && has_escapes(bytes, at);
        let end = match is_escaped {
            true => escaped_end(bytes, at, &mut between),
            false => passed(bytes, at, false).map(|(end, _)| end),
        };
        // What never ends is for the tokenizer to tell.
        let Some(end) = end else {
            break;
        };
        at = end;
    }
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    for Range { start, end } in between {
        kept.push_str(&text[from..start]);
        kept.push_str(&" ".repeat(end - start - 1));
        kept.push('E');
        from = end;
    }
    match from {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(kept + &text[from..]),
    }
}

/// Where a literal ends whose first quote is that of `E'…'`, with all that go on it, and what stands between them.
pub(crate) fn escaped_end(
    bytes: &[u8],
    quote: usize,
    between: &mut Vec<Range<usize>>,
) -> Option<usize> {
    let mut end = quote + quoted_length(&bytes[quote..], b'\'', true)?;
    loop {
        // A doubled quote is the end of one piece and the begin of the next.
        let is_doubled = bytes.get(end) == Some(&b'\'');
        let next = if is_doubled {
            Some(end)
        } else {
            next_part(bytes, end)
        };
        let Some(next) = next else {
            return Some(end);
        };
        let next_end = next + quoted_length(&bytes[next..], b'\'', true)?;
        if !is_doubled {
            between.push(end..next);
        }
        end = next_end;
    }
}

/// The quote of the literal that goes on one that ends before a byte: behind the end of a line, and nothing but blanks and
/// comments up to the ends of theirs.
fn next_part(bytes: &[u8], from: usize) -> Option<usize> {
    let ends_line = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let mut at = from;
    let mut is_below = false;
    loop {
        match bytes.get(at..)? {
            [b' ' | b'\t' | b'\x0c', ..] => at += 1,
            [b'\n' | b'\r', ..] => {
                is_below = true;
                at += 1;
            }
            [b'-', b'-', rest @ ..] => {
                let length = rest.iter().position(ends_line);
                at += 2 + length.unwrap_or(rest.len());
            }
            [b'\'', ..] => return is_below.then_some(at),
            _ => return None,
        }
    }
}

/// Joins the literals of a statement.
///
/// Errors: 42601 at a literal behind another one that it does not go on.
pub(crate) fn settle(
    text: &str,
    tokens: Vec<TokenWithSpan>,
    grammar: Grammar,
) -> Result<Vec<TokenWithSpan>, ParseError> {
    let are_literals = |pair: &[TokenWithSpan]| pair.iter().all(is_literal);
    if grammar == Grammar::GoogleSql || !tokens.windows(2).any(are_literals) {
        return Ok(tokens);
    }
    let mut settled: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut options_end = 0;
    for (at, token) in tokens.iter().enumerate() {
        if is_word(Some(token), "OPTIONS")
            && let Some(close) = closing(&tokens, at + 1)
        {
            options_end = options_end.max(close);
        }
        let is_value = at < options_end && is_name_of_option(&tokens[..at]);
        match settled.last_mut() {
            Some(before) if !is_value && is_literal(before) && is_literal(token) => {
                join(text, before, token)?;
            }
            _ => settled.push(token.clone()),
        }
    }
    Ok(settled)
}

/// Whether the last token stands where a list of options names one.
fn is_name_of_option(tokens: &[TokenWithSpan]) -> bool {
    match tokens {
        [.., before, _] => matches!(before.token, Token::LParen | Token::Comma),
        _ => false,
    }
}

fn is_literal(token: &TokenWithSpan) -> bool {
    let is_of_bits = matches!(
        token.token,
        Token::SingleQuotedByteStringLiteral(_) | Token::HexStringLiteral(_)
    );
    is_of_bits || string_value(&token.token).is_some()
}

fn is_dollar_quoted(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::DollarQuotedString(_))
}

/// What stands between the quotes of a literal that others may go on.
fn content(token: &mut Token) -> Option<&mut String> {
    match token {
        Token::SingleQuotedString(content)
        | Token::EscapedStringLiteral(content)
        | Token::UnicodeStringLiteral(content)
        | Token::NationalStringLiteral(content)
        | Token::SingleQuotedByteStringLiteral(content)
        | Token::HexStringLiteral(content) => Some(content),
        _ => None,
    }
}

/// Puts a literal at the end of the one before it.
fn join(text: &str, before: &mut TokenWithSpan, token: &TokenWithSpan) -> Result<(), ParseError> {
    let unexpected = || ParseError::at_token(text, token, "");
    let (first, second) = (span_of(before.span), span_of(token.span));
    let quote = next_part(text.as_bytes(), first.end).ok_or_else(unexpected)?;
    // Where `E` stands in the place of a blank, the token begins with that.
    let goes_on = quote == second.start || quote == second.start + 1;
    if !goes_on || is_dollar_quoted(before) {
        return Err(unexpected());
    }
    let written = text.get(quote..second.end).unwrap_or_default();
    let mut last = token.token.clone();
    let marks = match (&before.token, &last) {
        (Token::EscapedStringLiteral(_), Token::SingleQuotedString(_)) => "E",
        (Token::UnicodeStringLiteral(_), _) => "U&",
        _ => "",
    };
    if !marks.is_empty() && written.contains('\\') {
        last = literal(&format!("{marks}{written}")).ok_or_else(unexpected)?;
    }
    let more = content(&mut last).map(std::mem::take).unwrap_or_default();
    // What may not be read as a name is told by its kind.
    let is_no_name = matches!(last, Token::EscapedStringLiteral(_));
    if let Token::SingleQuotedString(content) = &mut before.token
        && is_no_name
    {
        before.token = Token::EscapedStringLiteral(std::mem::take(content));
    }
    if let Some(content) = content(&mut before.token) {
        content.push_str(&more);
    }
    before.span.end = token.span.end;
    Ok(())
}

/// The literal that a text is.
fn literal(text: &str) -> Option<Token> {
    let tokens = Tokenizer::new(&AuspexDialect::new(false, &[]), text).tokenize();
    let [token] = <[Token; 1]>::try_from(tokens.ok()?).ok()?;
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::with_escapes;
    use crate::tests::{ast, fails, one};
    use crate::{Dialect, parse};

    #[test]
    fn literals_on_lines_below_go_on() {
        for (text, expected) in [
            ("SELECT 'a'\n'b'", "SELECT 'ab'"),
            ("SELECT 'a' \r\n\t 'b'\n\n'c' AS x", "SELECT 'abc' AS x"),
            ("SELECT 'a' -- one\n -- two\n 'b', 1", "SELECT 'ab', 1"),
            ("SELECT 'it''s'\n''\n' x'''", "SELECT 'it''s x'''"),
            ("SELECT date '2020-'\n'01-31'", "SELECT DATE '2020-01-31'"),
            ("SELECT E'a\\n'\n'\\tb'", "SELECT E'a\\n\\tb'"),
            ("SELECT E'a\\''\n'b\\'c', 'x'", "SELECT E'a\\'b\\'c', 'x'"),
            ("SELECT e'a' --'\n 'b\\'' -- \\'\n", "SELECT E'ab\\''"),
            (
                "SELECT E'a''\\''\n'b\\\\', 'c'",
                "SELECT E'a\\'\\'b\\\\', 'c'",
            ),
            ("SELECT U&'\\0061'\n'\\0062\\\\'", "SELECT U&'ab\\\\'"),
            ("SELECT 'a\\'\n'b\\n'", "SELECT 'a\\b\\n'"),
            ("SELECT B'10'\n'01', X'1f'\n'2'", "SELECT B'1001', X'1f2'"),
            ("SELECT N'a'\n'b'", "SELECT N'ab'"),
            (
                "COMMENT ON TABLE t IS 'a'\n'b'",
                "COMMENT ON TABLE t IS 'ab'",
            ),
            ("SELECT $$a$$, 'b'\n'c' x", "SELECT 'a', 'bc' AS x"),
        ] {
            assert_eq!(ast(&one(text)).to_string(), expected, "{text}");
        }
        let text = "SELECT 'a'\n'b';\n'c'\n;";
        assert_eq!(fails(text).position, text.find("'c'"));
    }

    #[test]
    fn other_neighbours_are_errors_at_the_second() {
        for (text, found) in [
            ("SELECT 'a' 'b'", "'b'"),
            ("SELECT E'a' 'b'", "'b'"),
            ("SELECT 'a' /* \n */ 'b'", "'b'"),
            ("SELECT 'a'\n/* x */\n'b'", "'b'"),
            ("SELECT 'é'\n'b' 'c'", "'c'"),
            ("SELECT 'a'\nE'b'", "E'b'"),
            ("SELECT 'a'\n$$b$$", "$$b$$"),
            ("SELECT $$a$$\n'b'", "'b'"),
            ("SELECT 1; SELECT 'a' 'b\\'", "'b\\'"),
            ("SELECT ML.PREDICT('a' 'b')", "'b'"),
        ] {
            let error = fails(text);
            assert_eq!(error.sqlstate(), "42601", "{text}");
            assert_eq!(error.position, text.rfind(found), "{text}");
            let expected = format!("syntax error at or near \"{found}\"");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn errors_behind_have_their_places() {
        let text = "SELECT 'a' -- é\n'b', E'\\''\n'\\'' , )";
        assert_eq!(fails(text).position, text.rfind(')'));
        let text = "SELECT 'a'\n'b";
        assert_eq!(fails(text).position, text.rfind('\''));
    }

    #[test]
    fn long_texts_are_not_cut_between_literals() {
        let literal = "E'a'\n'b\\'c'";
        let n_padded = 16 << 10;
        for n_blanks in n_padded - 40..n_padded + 4 {
            let (before, behind) = (" ".repeat(n_blanks), " ".repeat(70 << 10));
            let text = format!("SELECT {before}{literal}{behind}, 'x'");
            assert_eq!(ast(&one(&text)).to_string(), "SELECT E'ab\\'c', 'x'");
        }
    }

    #[test]
    fn many_pieces_are_no_nesting() {
        for begin in ["E'\\''", "'a'"] {
            let text = format!("SELECT {begin}{}", "\n'b'".repeat(6_000));
            one(&text);
        }
    }

    #[test]
    fn errors_at_the_second_tell_no_secrets() {
        for text in [
            "ALTER ROLE ada PASSWORD 'it' 's hush'",
            "ALTER ROLE ada PASSWORD 'it'\nE'hush'",
            "CREATE CREDENTIAL c TYPE s3 WITH (secret = 'a' 'hush')",
        ] {
            let error = fails(text);
            assert_eq!(error.sqlstate(), "42601", "{text}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }

    #[test]
    fn googlesql_and_options_keep_their_texts() {
        let text = "SELECT 'a'\n'b' FROM `t`";
        let written = ast(&one(text)).to_string();
        assert!(written.contains("'a' AS"), "{written}");
        assert!(parse("SELECT \"a\"\n\"b\"", Dialect::GoogleSql).is_ok());
        let text = "COPY t TO 'x.csv' STORED AS CSV OPTIONS ('format.delimiter' ';', 'format.has_header'\n'true')";
        assert!(parse(text, Dialect::Auto).is_ok());
    }

    #[test]
    fn texts_without_such_literals_stay() {
        for text in [
            "SELECT E'\\'', 'b'",
            "SELECT 'e'\n'\\'",
            "SELECT $$E'a'\n'\\''$$",
            "-- E'a'\n'\\'",
            "SELECT E'\\'' AS x\n, 'b'",
            "SELECT E'\\''\n'",
        ] {
            assert_eq!(with_escapes(text), text);
        }
        let text = "SELECT E'\\'' --é\n\n 'x\\''";
        let shown = "SELECT E'\\''       E'x\\''";
        assert_eq!(with_escapes(text), shown);
        assert_eq!(text.len(), shown.len());
    }
}
