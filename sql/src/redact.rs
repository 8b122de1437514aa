//! A text of statements as logs, audit records and activity views may show it.
//!
//! In: a text; out: the same without what may be a secret. Needs no statement to be well formed: a text that nobody can
//! read may hold a password all the same.

use std::borrow::Cow;

use crate::redact_urls::without_url_secrets;

/// Words of the statements that carry secrets.
const SECRET_WORDS: [&str; 3] = ["CREDENTIAL", "CATALOG", "PASSWORD"];
/// What stands for a string.
const HIDDEN: &str = "'***'";

/// The text with `'***'` for every string, if one of its statements may hold a secret, and for words in a string's place;
/// URLs lose theirs in any statement.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let upper = text.to_ascii_uppercase();
    match SECRET_WORDS.iter().any(|word| upper.contains(word)) {
        true => {
            let shown = without_strings(text, !upper.contains("PG_CATALOG"));
            Cow::Owned(without_url_secrets(&shown).into_owned())
        }
        false => without_url_secrets(text),
    }
}

/// The first bytes of a text, about `n_bytes` of them, without secrets.
pub fn redacted_start(text: &str, n_bytes: usize) -> Cow<'_, str> {
    let mut start = &text[..text.floor_char_boundary(n_bytes)];
    // Of a URL that is cut off nobody can tell what is a password.
    if start.len() < text.len()
        && let Some(at) = start.rfind("://")
        && !start[at..].contains(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`'))
    {
        start = &start[..at + 3];
    }
    redacted(start)
}

/// Replaces what stands in quotes of any kind; a quote without an end takes the rest with it.
fn without_strings(text: &str, hides_bare: bool) -> String {
    // A backslash before a quote keeps a string open in one dialect and not in the other, and a quote in a comment opens
    // none, so that nobody can tell here what stands inside one.
    if ["\\", "--", "/*", "#"]
        .iter()
        .any(|mark| text.contains(mark))
    {
        let end = text.find(['\'', '"', '$', '`']).unwrap_or(text.len());
        return format!("{}{HIDDEN}", &text[..end]);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\'', '"', '$', '`']) {
        let (before, quoted) = rest.split_at(at);
        shown.push_str(&outside_quotes(before, hides_bare));
        let Some(end) = quoted_end(quoted) else {
            // A lone dollar, as in `$1`.
            shown.push('$');
            rest = &quoted[1..];
            continue;
        };
        // A name in double quotes may be a string in GoogleSQL, so that it goes, too.
        shown.push_str(HIDDEN);
        rest = quoted.get(end..).unwrap_or_default();
    }
    shown.push_str(&outside_quotes(rest, hides_bare));
    shown
}

/// Replaces words behind `=`, as of `secret = hush`, which a statement refuses but a log would keep.
fn outside_quotes(text: &str, hides_bare: bool) -> Cow<'_, str> {
    if !hides_bare {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split('=');
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let value = part.trim_start_matches(['>', ' ', '\n', '\t', '\r']);
        let ends = |c: char| c.is_whitespace() || matches!(c, ',' | ')' | ';');
        let end = value.find(ends).unwrap_or(value.len());
        shown.push('=');
        shown.push_str(&part[..part.len() - value.len()]);
        if end > 0 {
            shown.push_str(HIDDEN);
        }
        shown.push_str(&value[end..]);
    }
    Cow::Owned(shown)
}

/// The length of what stands in quotes at the start; `None` for a dollar that opens nothing.
fn quoted_end(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    if quote == '$' {
        let tag = text[1..].find('$')? + 2;
        let is_tag = text[1..tag - 1]
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_');
        let starts_as_name = !text[1..].starts_with(|c: char| c.is_ascii_digit());
        if !is_tag || !starts_as_name {
            return None;
        }
        let close = text[tag..].find(&text[..tag]);
        return Some(close.map_or(text.len(), |close| close + 2 * tag));
    }
    let close = text[1..].find(quote);
    Some(close.map_or(text.len(), |close| close + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_cut_off_shows_nothing() {
        let text = "COPY t FROM 'https://user:1234@host/x.csv'";
        assert_eq!(redacted_start(text, 30), "COPY t FROM 'https://");
        assert_eq!(redacted_start(text, 8), "COPY t F");
        assert_eq!(
            redacted_start(text, 99),
            "COPY t FROM 'https://***@host/x.csv'"
        );
        assert_eq!(
            redacted("CREATE CATALOG c TYPE iceberg WITH (uri = https://u:hush@h)"),
            "CREATE CATALOG c TYPE iceberg WITH (uri = '***')"
        );
    }

    #[test]
    fn strings_of_statements_with_secrets_are_hidden() {
        for (text, shown) in [
            ("SELECT 'x'", "SELECT 'x'"),
            (
                "CREATE ROLE a PASSWORD 'hush'",
                "CREATE ROLE a PASSWORD '***'",
            ),
            (
                "ALTER USER a password\n'it''s' LOGIN",
                "ALTER USER a password\n'***''***' LOGIN",
            ),
            (
                "CREATE ROLE a PASSWORD $$hush$$ LOGIN",
                "CREATE ROLE a PASSWORD '***' LOGIN",
            ),
            (
                "CREATE ROLE a PASSWORD $x$hush$x$;SELECT $1",
                "CREATE ROLE a PASSWORD '***';SELECT $1",
            ),
            (
                "CREATE ROLE a PASSWORD 'hush",
                "CREATE ROLE a PASSWORD '***'",
            ),
            (
                "CREATE ROLE a PASSWORD E'h\\'ush' LOGIN",
                "CREATE ROLE a PASSWORD E'***'",
            ),
            ("/* don't */ CREATE ROLE a PASSWORD 'hush'", "/* don'***'"),
            (
                "CREATE ROLE a -- it's\nPASSWORD 'hush'",
                "CREATE ROLE a -- it'***'",
            ),
            (
                "CREATE CREDENTIAL c WITH (secret = \"hush\")",
                "CREATE CREDENTIAL c WITH (secret = '***')",
            ),
            (
                "CREATE CREDENTIAL c WITH (type='s3', secret=hush,key => hush)",
                "CREATE CREDENTIAL c WITH (type='***', secret='***',key => '***')",
            ),
            (
                "SELECT 'x' FROM pg_catalog.pg_class a WHERE a.oid = 3",
                "SELECT '***' FROM pg_catalog.pg_class a WHERE a.oid = 3",
            ),
            (
                "CREATE ROLE a PASSWORD 'ü' x",
                "CREATE ROLE a PASSWORD '***' x",
            ),
        ] {
            assert_eq!(redacted(text), shown, "{text}");
        }
    }
}
