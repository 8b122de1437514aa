//! Comments right behind operators, as in `a=--x` and `a||/*x*/b`, which sqlparser takes for the operator's own characters.
//!
//! In: a text in PostgreSQL's quoting; out: the same with such comments blank, every character in its place.

use std::borrow::Cow;

/// What operators are made of.
const OPERATOR: &[u8] = b"+-*/<>=~!@#%^&|?";

/// Blanks the comments that follow an operator's character.
pub(crate) fn blanked(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let opens = |triple: &[u8]| {
        let (before, mark) = triple.split_at(1);
        OPERATOR.contains(&before[0]) && (mark == b"--" || mark == b"/*")
    };
    if !bytes.windows(3).any(opens) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    let mut at = 0;
    while at < bytes.len() {
        let Some((end, is_comment)) = passed(bytes, at, false) else {
            // It never ends, which the tokenizer tells.
            break;
        };
        let is_behind = at
            .checked_sub(1)
            .is_some_and(|before| OPERATOR.contains(&bytes[before]));
        if is_comment && is_behind {
            kept.push_str(&text[from..at]);
            let blank = |c: char| if c == '\n' { c } else { ' ' };
            kept.extend(text[at..end].chars().map(blank));
            from = end;
        }
        at = end;
    }
    kept.push_str(&text[from..]);
    Cow::Owned(kept)
}

/// The end of what begins at a byte, and whether it is a comment: a quoted piece, or one byte. `None`: it never ends.
/// In GoogleSQL, a backslash keeps any string open.
pub(crate) fn passed(bytes: &[u8], at: usize, googlesql: bool) -> Option<(usize, bool)> {
    let rest = &bytes[at..];
    Some(match rest {
        [b'-', b'-', ..] | [b'#', ..] if googlesql || bytes[at] == b'-' => {
            let ends_line = |byte: &u8| *byte == b'\n' || (*byte == b'\r' && !googlesql);
            let length = rest.iter().position(ends_line);
            (at + length.unwrap_or(rest.len()), true)
        }
        [b'/', b'*', ..] => (at + comment_length(rest)?, true),
        [quote @ (b'\'' | b'"' | b'`'), ..] => {
            let escapes = match googlesql {
                true => *quote != b'`',
                false => *quote == b'\'' && has_escapes(bytes, at),
            };
            (at + quoted_length(rest, *quote, escapes)?, false)
        }
        [b'$', ..] if !is_in_word(bytes, at) => (at + dollar_length(rest)?, false),
        _ => (at + 1, false),
    })
}

/// A comment in brackets, which may hold others.
fn comment_length(rest: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match rest.get(at..at + 2)? {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// A doubled quote is the end of one piece and the begin of the next.
pub(crate) fn quoted_length(rest: &[u8], quote: u8, escapes: bool) -> Option<usize> {
    let mut at = 1;
    loop {
        match *rest.get(at)? {
            b'\\' if escapes => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Whether the quote at a byte is that of `E'…'`.
pub(crate) fn has_escapes(bytes: &[u8], at: usize) -> bool {
    let before = at
        .checked_sub(1)
        .filter(|before| matches!(bytes[*before], b'e' | b'E'));
    before.is_some_and(|before| !is_in_word(bytes, before))
}

/// Whether a byte goes on with a word.
fn is_in_word(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| bytes[before]);
    before.is_some_and(|byte| byte == b'$' || is_of_word(byte))
}

fn is_of_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// `$tag$ … $tag$`; a `$` that opens none is passed alone.
fn dollar_length(rest: &[u8]) -> Option<usize> {
    let tag_length = rest[1..].iter().position(|byte| !is_of_word(*byte));
    let is_tag = |length: &usize| rest[1 + length] == b'$' && !rest[1].is_ascii_digit();
    let Some(length) = tag_length.filter(is_tag) else {
        return Some(1);
    };
    let (tag, body) = rest.split_at(length + 2);
    let end = body.windows(tag.len()).position(|window| window == tag)?;
    Some(2 * tag.len() + end)
}

#[cfg(test)]
mod tests {
    use super::blanked;

    #[test]
    fn comments_behind_operators_become_blanks() {
        for (text, expected) in [
            ("a=--x\n1", "a=   \n1"),
            ("a=--x\r1", "a=   \r1"),
            ("a||/*x*/b", "a||     b"),
            ("a>/* é /* */ ' */-1", "a>               -1"),
            ("a*/*c*/b --d", "a*     b --d"),
            (
                "'=--' || $t$=--$t$ || E'\\'=--' =--y",
                "'=--' || $t$=--$t$ || E'\\'=--' =   ",
            ),
            ("\"=--\" = $1 + a$b =--", "\"=--\" = $1 + a$b =  "),
        ] {
            assert_eq!(blanked(text), expected, "{text}");
        }
    }

    #[test]
    fn other_texts_stay() {
        for text in [
            "a = --x\n1",
            "SELECT '=--'",
            "a =/* x",
            "'=--",
            "$$=--",
            "a - -1",
        ] {
            assert_eq!(blanked(text), text, "{text}");
        }
    }
}
