//! Texts without the secrets that URLs in them carry: users, passwords and the values of parameters.
//!
//! In: a statement, a message or a line of a log; out: the same with `***` in their place. Reads no SQL and asks of no URL
//! that it be well formed: one that nobody can open may hold a password all the same.

use std::borrow::Cow;

/// What stands for a secret.
const HIDDEN: &str = "***";
/// Schemes whose user is the name of a container.
const CONTAINER_SCHEMES: [&str; 4] = ["abfs", "abfss", "wasb", "wasbs"];
/// How far a password may reach that holds what ends a URL.
const LONGEST_PASSWORD: usize = 256;

/// The text with `***` for users, passwords and values of parameters of its URLs.
pub fn without_url_secrets(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        shown.push_str(before);
        let is_container = CONTAINER_SCHEMES.contains(&scheme_of(&shown));
        let end = url_end(url);
        let authority = &url[..authority_end(&url[..end])];
        let hidden = user_end(url, end, authority.len(), is_container);
        if hidden > 0 {
            shown.push_str(HIDDEN);
        }
        let end = match hidden > end {
            true => hidden + url_end(&url[hidden..]),
            false => end,
        };
        let tail = &url[hidden..end];
        let (path, parameters) = tail.split_at(tail.find(['?', '#']).unwrap_or(tail.len()));
        push_path(&mut shown, path);
        push_parameters(&mut shown, parameters);
        rest = &url[end..];
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// The scheme that the text ends with, before `://`.
fn scheme_of(text: &str) -> &str {
    let text = text.strip_suffix("://").unwrap_or(text);
    let start = text.rfind(|c: char| !c.is_ascii_alphanumeric());
    &text[start.map_or(0, |start| start + 1)..]
}

/// Where a URL ends: at a blank, or at a quote that is neither doubled nor escaped.
fn url_end(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let is_quote = |c: char| matches!(c, '\'' | '"' | '`');
        if c.is_whitespace() {
            return at;
        }
        if c == '\\' && next.is_some_and(is_quote) || is_quote(c) && next == Some(c) {
            chars.next();
        } else if is_quote(c) {
            return at;
        }
    }
    text.len()
}

fn authority_end(url: &str) -> usize {
    url.find(['/', '?', '#']).unwrap_or(url.len())
}

/// The length of what must not be shown of user and password, up to the `@` behind them; 0: there are none.
fn user_end(url: &str, end: usize, authority_end: usize, is_container: bool) -> usize {
    let authority = &url[..authority_end];
    if let Some(at) = authority.rfind('@') {
        return match is_container && !authority[..at].contains(':') {
            true => 0,
            false => at,
        };
    }
    let Some((_, port)) = authority.rsplit_once(':') else {
        return 0;
    };
    let ends_address = authority.starts_with('[') && port.ends_with(']');
    let is_port = ends_address || port.bytes().all(|byte| byte.is_ascii_digit());
    let has_path = url[authority_end..end].starts_with('/');
    if is_port && (has_path || authority_end == end) {
        return 0;
    }
    // No port, so that it is a password with a slash, a blank or the like in it: the URL goes up to its last `@`.
    let reach = url.floor_char_boundary(LONGEST_PASSWORD.max(end));
    let reach = &url[..reach];
    let quoted = &reach[..reach.find(['\'', '"', '`']).unwrap_or(reach.len())];
    let last = url[..end].rfind('@').or_else(|| quoted.rfind('@'));
    match (last, is_port) {
        (Some(at), _) => at,
        (None, true) => 0,
        (None, false) => authority_end,
    }
}

/// Copies a path; a URL may begin within it, as in `jar:file:///x!http://y`.
fn push_path(shown: &mut String, path: &str) {
    let inner = path.find("://").map(|at| at + 3);
    match inner.zip(path.rfind('@')) {
        Some((start, end)) if start < end => {
            shown.push_str(&path[..start]);
            shown.push_str(HIDDEN);
            shown.push_str(&path[end..]);
        }
        _ => shown.push_str(path),
    }
}

/// Copies what follows a `?` or `#`, without the values of names.
fn push_parameters(shown: &mut String, text: &str) {
    let is_separator = |c: char| matches!(c, '?' | '#' | '&');
    let mut rest = text;
    while let Some(separator) = rest.chars().next() {
        let (mark, behind) = rest.split_at(separator.len_utf8());
        shown.push_str(mark);
        let (part, next) = behind.split_at(behind.find(is_separator).unwrap_or(behind.len()));
        match part.split_once('=').filter(|(name, _)| is_name(name)) {
            Some((name, value)) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(if value.is_empty() { "" } else { HIDDEN });
            }
            None => shown.push_str(part),
        }
        rest = next;
    }
}

/// Whether a parameter may have this name; what stands behind the `?` of a pattern of files has slashes.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '%' | '+');
    !text.is_empty()
        && text
            .chars()
            .all(|c| is_plain(c) || matches!(c, '[' | ']' | '$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_their_places_and_lose_their_secrets() {
        for (text, shown) in [
            ("SELECT 'a@b' || '?x=1'", "SELECT 'a@b' || '?x=1'"),
            ("'s3://b/a/*.csv'", "'s3://b/a/*.csv'"),
            ("'http://h:80/a@b'", "'http://h:80/a@b'"),
            (
                "'http://[::1]:80/a' 'http://[::1]/a'",
                "'http://[::1]:80/a' 'http://[::1]/a'",
            ),
            (
                "'http://[::1]' 'file:///a/b@c'",
                "'http://[::1]' 'file:///a/b@c'",
            ),
            ("'s3://b/y=202?/m=1/*.csv'", "'s3://b/y=202?/m=1/*.csv'"),
            ("'abfss://c@acc.example/x'", "'abfss://c@acc.example/x'"),
            (
                "'abfss://c:hush@acc.example/x'",
                "'abfss://***@acc.example/x'",
            ),
            (
                "FROM 'https://u:hush@h/x.csv';",
                "FROM 'https://***@h/x.csv';",
            ),
            ("FROM 'https://hush@h/x.csv'", "FROM 'https://***@h/x.csv'"),
            ("'https://u:hu@sh@h/x'", "'https://***@h/x'"),
            ("'https://u:hu/sh@h/x'", "'https://***@h/x'"),
            ("'https://u:hu sh@h/x'", "'https://***@h/x'"),
            ("'https://u:12#34@h/x'", "'https://***@h/x'"),
            ("'https://u:hu''sh@h/x' 'y'", "'https://***@h/x' 'y'"),
            ("E'https://u:hu\\'sh@h/x' 'y'", "E'https://***@h/x' 'y'"),
            ("'https://u:hush", "'https://***"),
            ("'https://u:häsh@h/ü'", "'https://***@h/ü'"),
            (
                "COPY t FROM 'https://h/x.csv?sv=1&sig=hush%2F=&flag' (HEADER)",
                "COPY t FROM 'https://h/x.csv?sv=***&sig=***&flag' (HEADER)",
            ),
            (
                "\"https://h/x?X-Amz-Signature=hush\" is not valid",
                "\"https://h/x?X-Amz-Signature=***\" is not valid",
            ),
            ("https://h/cb#token=hush&x=", "https://h/cb#token=***&x="),
            (
                "uri = 'postgresql://u:hush@h:5432/db?sslmode=require'",
                "uri = 'postgresql://***@h:5432/db?sslmode=***'",
            ),
            (
                "jar:file:///x!http://u:hush@h/y, s3://a:hush@b",
                "jar:file:///x!http://***@h/y, s3://***@b",
            ),
            ("://", "://"),
            ("x://?=a&b", "x://?=a&b"),
        ] {
            assert_eq!(without_url_secrets(text), shown, "{text}");
        }
    }

    #[test]
    fn no_text_takes_long() {
        let many = "a://b:c ".repeat(20_000);
        assert_eq!(without_url_secrets(&many).matches("***").count(), 20_000);
        let deep = "a://".repeat(20_000);
        assert_eq!(without_url_secrets(&deep), deep);
    }
}
