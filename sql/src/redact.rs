//! A text of statements as logs, audit records and activity views may show it.
//!
//! In: a text; out: the same without what may be a secret. Needs no statement to be well formed: a text that nobody can
//! read may hold a password all the same.

use std::borrow::Cow;

use crate::redact_named::{names_secret, without_named_secrets};
use crate::redact_urls::without_url_secrets;

/// Words of the statements that carry secrets.
const SECRET_WORDS: [&str; 3] = ["CREDENTIAL", "CATALOG", "PASSWORD"];
/// The first words of statements that carry none, in a string or otherwise.
const PLAIN_WORDS: [&str; 18] = [
    "BEGIN",
    "CLOSE",
    "COMMIT",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DROP",
    "EXECUTE",
    "FETCH",
    "INSERT",
    "MERGE",
    "MOVE",
    "ROLLBACK",
    "SELECT",
    "TABLE",
    "UPDATE",
    "VALUES",
    "WITH",
];
/// Words of which nobody makes a password, so that they tell what a text of nobody's grammar was meant to be.
const SHOWN_WORDS: [&str; 12] = [
    "ALTER",
    "CATALOG",
    "COPY",
    "CREATE",
    "CREDENTIAL",
    "EXTERNAL",
    "GRANT",
    "MODEL",
    "ROLE",
    "SCHEMA",
    "TABLE",
    "USER",
];
/// What stands for a string.
pub(crate) const HIDDEN: &str = "'***'";

/// The text with `'***'` for every string, if one of its statements is about secrets, and for words in a string's place;
/// strings behind names of secrets, and the secrets of URLs, are hidden in any statement.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let upper = text.to_ascii_uppercase();
    let is_about_secrets = SECRET_WORDS.iter().any(|word| upper.contains(word));
    let has_names = names_secret(&upper);
    if !is_about_secrets && !has_names {
        return without_url_secrets(text);
    }
    let shown = match is_about_secrets || creates_secret(&upper) {
        true => without_strings(text, !upper.contains("PG_CATALOG")),
        false if hides_quotes(text) => without_strings(text, !are_plain(&upper)),
        false => without_named_secrets(text, !are_plain(&upper)),
    };
    Cow::Owned(without_url_secrets(&shown).into_owned())
}

/// Whether a statement may be `CREATE SECRET`, which other systems have: what it is given is secret by whatever name.
fn creates_secret(upper: &str) -> bool {
    let is_there = |wanted: &str| {
        let mut words = upper.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == wanted)
    };
    is_there("SECRET") && is_there("CREATE")
}

/// The first bytes of a text, about `n_bytes` of them, without secrets.
pub fn redacted_start(text: &str, n_bytes: usize) -> Cow<'_, str> {
    redacted(start_of(text, n_bytes))
}

/// The same of a text that is no statement: a word may be misspelt that tells of a secret, and the secret may stand without
/// quotes. Strings are hidden in any case; of what does not begin as a statement without secrets, all is but its first words.
pub fn redacted_unparsed(text: &str, n_bytes: usize) -> String {
    let start = start_of(text, n_bytes);
    let upper = start.to_ascii_uppercase();
    let may_hold_secrets = SECRET_WORDS.iter().any(|word| upper.contains(word));
    if !may_hold_secrets && are_plain(&upper) {
        return without_url_secrets(&without_strings(start, true)).into_owned();
    }
    let known: Vec<&str> = start
        .split_whitespace()
        .take_while(|word| SHOWN_WORDS.contains(&word.to_ascii_uppercase().as_str()))
        .collect();
    match known.is_empty() {
        true => HIDDEN.to_owned(),
        false => format!("{} {HIDDEN}", known.join(" ")),
    }
}

/// Whether all statements of a text in capitals begin as those that carry no secrets.
fn are_plain(upper: &str) -> bool {
    // A semicolon in a string makes one part more, which hides too much rather than too little.
    let is_plain = |part: &str| part.trim().is_empty() || PLAIN_WORDS.contains(&first_word(part));
    upper.split(';').all(is_plain)
}

/// What a text begins with; empty where that is no word.
fn first_word(text: &str) -> &str {
    let is_end = |c: char| !c.is_alphanumeric() && c != '_';
    text.trim_start().split(is_end).next().unwrap_or_default()
}

fn start_of(text: &str, n_bytes: usize) -> &str {
    let mut start = &text[..text.floor_char_boundary(n_bytes)];
    // Of a URL that is cut off nobody can tell what is a password.
    if start.len() < text.len()
        && let Some(at) = start.rfind("://")
        && !start[at..].contains(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`'))
    {
        start = &start[..at + 3];
    }
    start
}

/// Replaces what stands in quotes of any kind; a quote without an end takes the rest with it.
fn without_strings(text: &str, hides_bare: bool) -> String {
    if hides_quotes(text) {
        let may_begin = |c: char| matches!(c, '\'' | '"' | '$' | '`') || (hides_bare && c == '=');
        let end = text.find(may_begin).unwrap_or(text.len());
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

/// Whether nobody can tell here what stands inside quotes: a backslash before a quote keeps a string open in one dialect and
/// not in the other, and a quote in a comment opens none. A comment may also stand before a word behind `=`.
fn hides_quotes(text: &str) -> bool {
    ["\\", "--", "/*", "#"]
        .iter()
        .any(|mark| text.contains(mark))
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
pub(crate) fn quoted_end(text: &str) -> Option<usize> {
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
    fn a_text_that_is_no_statement_shows_no_secret_however_it_is_misspelt() {
        for (text, shown) in [
            ("SELECT * FORM t WHERE a > 3", "SELECT * FORM t WHERE a > 3"),
            (
                "select x from t wher b = 'hush' and c = 1",
                "select x from t wher b = '***' and c = '***'",
            ),
            ("SELECT 'hush", "SELECT '***'"),
            ("selec 1", "'***'"),
            ("", ""),
            (" ; ", " ; "),
            ("ALTER ROLE ada PASSWORD hush", "ALTER ROLE '***'"),
            ("alter role ada passwrd hush", "alter role '***'"),
            ("SELECT 1; ALTR ROLE ada PASWORD hush", "'***'"),
            (
                "create credential c with (secret = hush",
                "create credential '***'",
            ),
            ("/* SELECT */ ALTR USER ada hush", "'***'"),
            ("SELECT password hush", "'***'"),
            (
                "SELECT * FORM t WHERE u = x OR https://ada:hush@host/",
                "SELECT * FORM t WHERE u = '***' OR https://***@host/",
            ),
        ] {
            assert_eq!(redacted_unparsed(text, 100), shown, "{text}");
        }
        assert_eq!(
            redacted_unparsed("SELECT 'hush' 'hush'", 10),
            "SELECT '***'"
        );
    }

    #[test]
    fn strings_behind_names_of_secrets_are_hidden() {
        for (text, shown) in [
            (
                "COPY t TO 'az://b/x' OPTIONS ('AccountKey' 'hush', format 'csv')",
                "COPY t TO 'az://b/x' OPTIONS ('AccountKey' '***', format 'csv')",
            ),
            (
                "SELECT * FROM read_csv('x', secret => ARRAY['hush'], access_tokens => 'hush', max_tokens => 'many')",
                "SELECT * FROM read_csv('x', secret => ARRAY['***'], access_tokens => '***', max_tokens => 'many')",
            ),
            (
                "COPY t TO 's3://b/x' OPTIONS ('aws.access_key_id' 'AK', 'aws.secret_access_key' 'hush', format 'csv')",
                "COPY t TO 's3://b/x' OPTIONS ('aws.access_key_id' '***', 'aws.secret_access_key' '***', format 'csv')",
            ),
            (
                "select * from read_csv('s3://b/x', secret => 'hush', delim => ';')",
                "select * from read_csv('s3://b/x', secret => '***', delim => ';')",
            ),
            (
                "OPTIONS (aws_session_token 'hu''sh', private_key = $$hush$$, x 'y')",
                "OPTIONS (aws_session_token '***''***', private_key = '***', x 'y')",
            ),
            (
                "SET s3_secret_access_key = 'hush'",
                "SET s3_secret_access_key = '***'",
            ),
            (
                "SELECT 1; SET s3_secret_access_key = hush",
                "SELECT 1; SET s3_secret_access_key = '***'",
            ),
            (
                "SET s3_secret_access_key TO hush",
                "SET s3_secret_access_key TO '***'",
            ),
            (
                "select set_config('azure.sas', 'hush', false), 'x'",
                "select set_config('azure.sas', '***', false), 'x'",
            ),
            (
                "SELECT '{\"service_account\": \"hush\"}' AS x",
                "SELECT '***' AS x",
            ),
            (
                "create or replace secret s (type s3, key_id 'x', region = y)",
                "create or replace secret s (type s3, key_id '***', region = '***')",
            ),
            (
                "SET s3_secret_access_key = E'hu\\'sh'",
                "SET s3_secret_access_key '***'",
            ),
            ("/* don't */ SELECT f(secret => 'hush')", "/* don'***'"),
            (
                "SELECT a.token FROM a JOIN b ON a.token = b.token WHERE tokens = 'x' AND x = 'y'",
                "SELECT a.token FROM a JOIN b ON a.token = b.token WHERE tokens = 'x' AND x = 'y'",
            ),
            (
                "SELECT tokenizer('x'), 'sassy' 'y' FROM t ORDER BY token",
                "SELECT tokenizer('x'), 'sassy' 'y' FROM t ORDER BY token",
            ),
        ] {
            assert_eq!(redacted(text), shown, "{text}");
        }
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
                "CREATE CREDENTIAL c WITH (secret = /* the key */ hush)",
                "CREATE CREDENTIAL c WITH (secret '***'",
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
