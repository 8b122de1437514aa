//! Texts without the strings that stand behind names of secrets, as in `secret => 'x'` and `'aws.secret_access_key' 'x'`.
//!
//! In: a text whose quotes can be told; out: the same with `'***'` in the place of such strings. Knows no statement: each system
//! has options of its own, and a client may send those of any.

use crate::redact::{HIDDEN, quoted_end};

/// What names of secrets hold, without what joins words: `AccountKey` is `account_key`.
const NAMES: [&str; 12] = [
    "ACCESSKEY",
    "ACCOUNTKEY",
    "APIKEY",
    "CONNECTIONSTRING",
    "CREDENTIAL",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PRIVATEKEY",
    "SECRET",
    "SERVICEACCOUNT",
    "TOKEN",
];
/// A name's part that holds one only as a whole word.
const SHORT_NAME: &str = "SAS";
/// Names that are about words of a language.
const NAMES_OF_WORDS: [&str; 4] = ["TOKENS", "N_TOKENS", "NUM_TOKENS", "MAX_TOKENS"];
/// What names of what makes words of a text hold.
const MAKING_WORDS: &str = "TOKENIZ";

/// Whether a text in capitals holds the name of a secret.
pub(crate) fn names_secret(upper: &str) -> bool {
    let squeezed = upper.replace(['_', '-'], "");
    NAMES.iter().any(|name| squeezed.contains(name)) || upper.contains(SHORT_NAME)
}

/// What the last name says of what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A secret, if it is a string.
    Name,
    /// A secret, also if it is a bare word.
    Assigned,
    /// A secret's next piece: a doubled quote ends one piece and begins the next, and strings may follow one another.
    Piece,
    /// Anything.
    Other,
}

/// The text without such strings; `hides_bare` is for statements in which a bare word may be a value.
pub(crate) fn without_named_secrets(text: &str, hides_bare: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut before = Before::Other;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_quote = matches!(c, '\'' | '"' | '$' | '`');
        let quoted = is_quote.then(|| quoted_end(rest)).flatten();
        let end = match quoted {
            Some(end) => end.min(rest.len()),
            None if is_of_word(c) => rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len()),
            None => c.len_utf8(),
        };
        let (part, behind) = rest.split_at(end);
        rest = behind;
        if quoted.is_some() {
            let is_name = is_secret(part);
            // A text that holds such a name and more, as JSON does, holds the secret as well.
            let holds_more = is_name && part.contains([':', '=']);
            let is_hidden = before != Before::Other || holds_more;
            shown.push_str(if is_hidden { HIDDEN } else { part });
            before = match (is_hidden, is_name) {
                (true, _) => Before::Piece,
                (false, true) => Before::Name,
                (false, false) => Before::Other,
            };
            continue;
        }
        // `upper('x')`, `ARRAY['x']`.
        let opens_call = is_of_word(c) && rest.starts_with(['(', '[']);
        let is_hidden = before == Before::Assigned && hides_bare && is_of_word(c) && !opens_call;
        // `E'x'`, `U&'x'`.
        let opens_string = end <= 2 && (rest.starts_with('\'') || rest.starts_with("&'"));
        before = match before {
            Before::Name | Before::Assigned if opens_string => before,
            Before::Assigned if opens_call => before,
            Before::Piece if c.is_whitespace() => before,
            Before::Name if c == '=' || c == ':' || part.eq_ignore_ascii_case("TO") => {
                Before::Assigned
            }
            Before::Name | Before::Assigned if is_between(c) => before,
            _ if is_of_word(c) && !is_hidden && is_secret(part) => Before::Name,
            _ => Before::Other,
        };
        shown.push_str(if is_hidden && !opens_string {
            HIDDEN
        } else {
            part
        });
    }
    shown
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// What may stand between a name and its value.
fn is_between(c: char) -> bool {
    c.is_whitespace() || matches!(c, '=' | '>' | ':' | ',' | '(' | '[' | '&')
}

/// Whether a name is that of a secret.
fn is_secret(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let bare = upper.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if NAMES_OF_WORDS.contains(&bare) {
        return false;
    }
    let upper = upper.replace(MAKING_WORDS, "");
    let squeezed = upper.replace(['_', '-'], "");
    let is_end = |c: char| !c.is_ascii_alphanumeric();
    NAMES.iter().any(|secret| squeezed.contains(secret))
        || upper.split(is_end).any(|part| part == SHORT_NAME)
}
