//! Regular expressions of PostgreSQL: its escapes `\y`, `\Y`, `\m`, `\M` and `\Z`, its classes of characters, `regexp_replace`
//! and `regexp_match`.
//!
//! In: a pattern, and what stands in the place of its matches; out: the pattern as the engine of patterns reads it, texts and
//! groups. In a replacement `\1` is a group, `\&` the match and `\\` a backslash; nothing else means anything but itself.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use datafusion::error::Result;
use regex::{Captures, Regex};

use super::call::{Call, failure};
use super::strings::{Patterns, groups, matched, pieces};

/// `[:space:]` and `\s`: blanks that no line breaks at are none.
const SPACE: &str = r"[\t-\r\p{Z}--[\x{a0}\x{2007}\x{202f}]]";

/// What classes of characters are beyond those of ASCII: the engine's own hold no others.
const CLASSES: [(&str, &str); 13] = [
    ("alnum", r"[\p{Alphabetic}\p{Nd}]"),
    // A digit of another script is a letter.
    ("alpha", r"[\p{Alphabetic}[\p{Nd}--[0-9]]]"),
    ("blank", r"[\t\x{20}]"),
    ("cntrl", r"[\p{Cc}\p{Zl}\p{Zp}]"),
    ("digit", "[0-9]"),
    ("graph", r"[[^\p{Cc}\p{Cn}\p{Z}]\x{a0}\x{2007}\x{202f}]"),
    ("lower", r"\p{Lowercase}"),
    ("print", r"[^\p{Cc}\p{Cn}\p{Zl}\p{Zp}]"),
    (
        "punct",
        r"[[[^\p{Cc}\p{Cn}\p{Z}]\x{a0}\x{2007}\x{202f}]--[\p{Alphabetic}\p{Nd}]]",
    ),
    ("space", SPACE),
    ("upper", r"\p{Uppercase}"),
    ("word", r"\w"),
    ("xdigit", "[0-9A-Fa-f]"),
];

/// The class that is named behind a `[` within brackets, and the rest behind its name.
pub(super) fn class(behind: &str) -> Option<(&'static str, &str)> {
    let (name, rest) = behind.strip_prefix(':')?.split_once(":]")?;
    let (_, class) = CLASSES.iter().find(|(known, _)| *known == name)?;
    Some((class, rest))
}

/// A pattern whose escapes and classes the engine knows.
pub(super) fn translated(pattern: &str) -> Cow<'_, str> {
    let is_ours = |pair: &[u8]| match pair[0] {
        b'\\' => b"yYmMZdDsS".contains(&pair[1]),
        first => first == b'[' && pair[1] == b':',
    };
    if !pattern.as_bytes().windows(2).any(is_ours) {
        return Cow::Borrowed(pattern);
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '[' if in_class => {
                if let Some((class, rest)) = class(chars.as_str()) {
                    out.push_str(class);
                    chars = rest.chars();
                    continue;
                }
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '\\' => {
                if let Some(escaped) = chars.next() {
                    escape(&mut out, escaped, in_class);
                    continue;
                }
            }
            _ => {}
        }
        out.push(c);
    }
    Cow::Owned(out)
}

/// Adds what stands behind a backslash.
fn escape(out: &mut String, escaped: char, in_class: bool) {
    match escaped {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        's' => out.push_str(SPACE),
        'S' => {
            out.push_str("[^");
            out.push_str(&SPACE[1..]);
        }
        'y' if !in_class => out.push_str(r"\b"),
        'Y' if !in_class => out.push_str(r"\B"),
        'm' if !in_class => out.push_str(r"\b{start}"),
        'M' if !in_class => out.push_str(r"\b{end}"),
        'Z' if !in_class => out.push_str(r"\z"),
        other => out.extend(['\\', other]),
    }
}

/// Whether a pattern has a dot that stands for any character.
pub(super) fn has_dot(pattern: &str) -> bool {
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '.' if !in_class => return true,
            _ => {}
        }
    }
    false
}

/// `regexp_match(text, pattern [, flags])`: the groups of the first match.
pub(super) fn regexp_match(call: &Call<'_>) -> Result<ArrayRef> {
    let rows = matched(call, 2, |_, text, regex, flags| {
        if flags.contains('g') {
            let message = "regexp_match() does not support the \"global\" option";
            return Err(failure("22023", message));
        }
        Ok(regex.captures(text).map(|captures| groups(&captures)))
    })?;
    Ok(pieces(rows.into_iter().map(Option::flatten)))
}

/// `regexp_replace(text, pattern, replacement [, flags])`, `(text, pattern, replacement, start [, n [, flags]])`.
pub(super) fn regexp_replace(call: &Call<'_>) -> Result<ArrayRef> {
    let (texts, patterns, replacements) = (call.texts(0)?, call.texts(1)?, call.texts(2)?);
    let n_args = call.args.len();
    let has_flags = n_args == 4 && call.arg(3)?.data_type().is_string();
    let number = |idx: usize| match n_args > idx && !has_flags {
        true => call.integers(idx).map(Some),
        false => Ok(None),
    };
    let (starts, nths) = (number(3)?, number(4)?);
    let flags = match (has_flags, n_args) {
        (true, _) => Some(call.texts(3)?),
        (false, 6) => Some(call.texts(5)?),
        _ => None,
    };
    let mut known = Patterns::default();
    let mut of_row = |row: usize| -> Result<Option<String>> {
        let inputs = [&texts, &patterns, &replacements].into_iter();
        let mut numbers = starts.iter().chain(&nths);
        if inputs.chain(&flags).any(|input| input.is_null(row))
            || numbers.any(|number| number.is_null(row))
        {
            return Ok(None);
        }
        let flags = flags.as_ref().map_or("", |flags| flags.value(row));
        let wanted = Wanted {
            start: at_least(&starts, row, ("start", 1))?.unwrap_or(1),
            nth: match at_least(&nths, row, ("n", 0))? {
                Some(nth) => nth,
                None if flags.contains('g') => 0,
                None => 1,
            },
        };
        let regex = known.get(patterns.value(row), flags)?;
        let (text, by) = (texts.value(row), replacements.value(row));
        Ok(Some(wanted.replaced(text, regex, by)))
    };
    let rows = (0..call.n_rows).map(&mut of_row);
    Ok(Arc::new(rows.collect::<Result<StringArray>>()?))
}

/// A number of a row that is not less than another.
fn at_least(
    numbers: &Option<Int64Array>,
    row: usize,
    (name, least): (&str, i64),
) -> Result<Option<usize>> {
    let Some(number) = numbers.as_ref().map(|numbers| numbers.value(row)) else {
        return Ok(None);
    };
    match usize::try_from(number).ok().filter(|_| number >= least) {
        Some(number) => Ok(Some(number)),
        None => {
            let message = format!("invalid value for parameter \"{name}\": {number}");
            Err(failure("22023", message))
        }
    }
}

/// Which matches are replaced.
struct Wanted {
    /// From which character on, counted from 1.
    start: usize,
    /// The number of the match, from 1; all, if it is 0.
    nth: usize,
}

impl Wanted {
    fn replaced(&self, text: &str, regex: &Regex, by: &str) -> String {
        let ends = text.char_indices().map(|(at, _)| at);
        let mut search = ends.chain([text.len()]).nth(self.start - 1);
        let (mut out, mut kept, mut n_found) = (String::new(), 0, 0);
        while let Some(from) = search {
            let Some(captures) = regex.captures_at(text, from) else {
                break;
            };
            let Some(found) = captures.get(0) else {
                break;
            };
            n_found += 1;
            if self.nth == 0 || self.nth == n_found {
                out.push_str(&text[kept..found.start()]);
                insert(&mut out, by, &captures);
                kept = found.end();
            }
            if self.nth == n_found {
                break;
            }
            // Behind an empty match the search goes on with the next character.
            search = match found.is_empty() {
                false => Some(found.end()),
                true => {
                    let next = text[found.end()..].chars().next();
                    next.map(|next| found.end() + next.len_utf8())
                }
            };
        }
        out.push_str(&text[kept..]);
        out
    }
}

/// Adds a replacement with the groups that it names.
fn insert(out: &mut String, by: &str, captures: &Captures<'_>) {
    let mut rest = by;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let group = match after.as_bytes().first() {
            Some(b'&') => Some(0),
            Some(digit @ b'1'..=b'9') => Some(usize::from(digit - b'0')),
            Some(b'\\') => None,
            _ => {
                out.push('\\');
                rest = after;
                continue;
            }
        };
        match group {
            Some(group) => {
                let found = captures.get(group);
                out.push_str(found.map_or("", |found| found.as_str()));
            }
            None => out.push('\\'),
        }
        rest = &after[1..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str, pattern: &str, by: &str, nth: usize) -> String {
        let regex = Regex::new(&translated(pattern)).unwrap();
        Wanted { start: 1, nth }.replaced(text, &regex, by)
    }

    #[test]
    fn a_replacement_means_itself_but_for_backslashes() {
        assert_eq!(replaced("price X", "X", "$5", 1), "price $5");
        assert_eq!(replaced("abc", "(b)", r"[\1\&\\\x]", 1), r"a[bb\\x]c");
        assert_eq!(replaced("abc", "(x)?b", r"[\1\2]", 1), "a[]c");
    }

    #[test]
    fn empty_matches_are_replaced_as_well() {
        assert_eq!(replaced("abc", "b*", "X", 0), "XaXXcX");
        assert_eq!(replaced("héllo", "", "-", 0), "-h-é-l-l-o-");
        assert_eq!(replaced("aba", "a", "x", 2), "abx");
    }

    #[test]
    fn words_begin_and_end() {
        assert_eq!(
            replaced("a cat concat", r"\mcat\M", "dog", 0),
            "a dog concat"
        );
        assert_eq!(replaced("foo bar", r"\y", "|", 0), "|foo| |bar|");
        assert_eq!(translated(r"\\m[\y]"), r"\\m[\y]");
    }

    #[test]
    fn classes_are_those_of_all_scripts() {
        let is_match = |pattern: &str, text: &str| {
            let regex = Regex::new(&translated(pattern)).unwrap();
            regex.is_match(text)
        };
        for (pattern, text) in [
            ("^[[:alpha:]]+$", "ÄÖé日٣"),
            ("^[^[:alnum:]]$", "-"),
            ("^[[:alnum:]_]+$", "ä_1"),
            ("^[[:upper:]][[:lower:]]$", "Éß"),
            ("^[[:punct:]]+$", "«€$+-²½"),
            ("^[[:graph:]]+$", "é\u{a0}\u{ad}"),
            ("^[[:print:]]+$", "é \u{2003}"),
            ("^[[:space:]]+$", " \t\u{1680}\u{2028}"),
            (r"^\s\S\d\D$", "\u{2003}\u{a0}1٣"),
            (r"^[\s\d]+$", "1 2"),
            ("^[[:cntrl:]]$", "\u{85}"),
        ] {
            assert!(is_match(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("[[:alpha:]]", "1²½"),
            ("[[:digit:]]", "٣"),
            ("[[:space:]]", "\u{a0}\u{2007}\u{202f}\u{85}"),
            ("[[:punct:]]", "é1 "),
            ("[[:graph:]]", " \u{2003}"),
            ("[^[:alpha:]]", "É"),
        ] {
            assert!(!is_match(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn dots_stand_outside_of_classes() {
        for pattern in ["a.c", ".*", r"[.]\\."] {
            assert!(has_dot(pattern), "{pattern}");
        }
        for pattern in ["abc", r"a\.c", "[.]c", ""] {
            assert!(!has_dot(pattern), "{pattern}");
        }
    }
}
