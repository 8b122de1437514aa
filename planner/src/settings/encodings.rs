//! The encodings that clients may have, by the names that PostgreSQL has for them.
//!
//! In: a name as a client writes it; out: the one that `SHOW client_encoding` tells. The server converts texts; here are the names,
//! and in `tables` the characters.

mod tables;

use crate::error::{Error, Result};

pub use tables::{NO_CHARACTER, SINGLE_BYTE_ENCODINGS, SingleByteEncoding};

/// The encoding in which the server has all texts.
pub const SERVER_ENCODING: &str = "UTF8";
/// The encoding of which nobody knows what it means, so that nothing is converted, as in PostgreSQL.
const UNKNOWN: &str = "SQL_ASCII";
/// What helps who asks for another.
const HINT: &str = "Use UTF8, in which all texts are stored, or SQL_ASCII to get them as they are.";

/// Those that PostgreSQL knows beside them, whose characters have several bytes, each with its other names.
const OTHERS: [(&str, &[&str]); 13] = [
    ("BIG5", &["win950", "windows950"]),
    ("EUC_CN", &[]),
    ("EUC_JIS_2004", &[]),
    ("EUC_JP", &[]),
    ("EUC_KR", &[]),
    ("EUC_TW", &[]),
    ("GB18030", &[]),
    ("GBK", &["win936", "windows936"]),
    ("JOHAB", &[]),
    ("MULE_INTERNAL", &[]),
    ("SHIFT_JIS_2004", &[]),
    ("SJIS", &["mskanji", "shiftjis", "win932", "windows932"]),
    ("UHC", &["win949", "windows949"]),
];

/// What a name means.
enum Named {
    /// Texts are converted to and from it.
    Converted(&'static str),
    /// Only PostgreSQL does that.
    Refused(&'static str),
}

fn named(written: &str) -> Option<Named> {
    let folded = fold(written);
    let is_it =
        |name: &str, others: &[&str]| fold(name) == folded || others.contains(&folded.as_str());
    if is_it(SERVER_ENCODING, &["unicode"]) {
        return Some(Named::Converted(SERVER_ENCODING));
    }
    if is_it(UNKNOWN, &[]) {
        return Some(Named::Converted(UNKNOWN));
    }
    let mut known = SINGLE_BYTE_ENCODINGS.iter();
    if let Some(known) = known.find(|known| is_it(known.name, known.others)) {
        return Some(Named::Converted(known.name));
    }
    let other = OTHERS
        .into_iter()
        .find(|(name, others)| is_it(name, others));
    other.map(|(name, _)| Named::Refused(name))
}

/// An encoding by one of its names. Errors: 22023 where there is none, 0A000 where texts are not converted.
pub(super) fn client_encoding(written: &str) -> Result<String> {
    let invalid = || format!("invalid value for parameter \"client_encoding\": \"{written}\"");
    checked(written, "client encoding", invalid).map(str::to_owned)
}

/// The same for the option of a COPY.
pub(crate) fn copied_encoding(written: &str) -> Result<&'static str> {
    let invalid = || "argument to option \"encoding\" must be a valid encoding name".to_owned();
    checked(written, "COPY in encoding", invalid)
}

fn checked(written: &str, what: &str, invalid: impl FnOnce() -> String) -> Result<&'static str> {
    let (sqlstate, message) = match named(written) {
        Some(Named::Converted(name)) => return Ok(name),
        Some(Named::Refused(name)) => ("0A000", format!("{what} \"{name}\" is not supported")),
        None => ("22023", invalid()),
    };
    Err(Error::invalid(sqlstate, message, Some(HINT)))
}

/// As PostgreSQL compares names: signs between letters and digits mean nothing.
fn fold(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_have_several_names() {
        for (written, name) in [
            ("utf-8", "UTF8"),
            ("Unicode", "UTF8"),
            ("sql_ascii", "SQL_ASCII"),
            ("iso-8859-1", "LATIN1"),
            ("ISO_8859_15", "LATIN9"),
            ("windows-1252", "WIN1252"),
            ("koi8", "KOI8R"),
        ] {
            assert_eq!(client_encoding(written).unwrap(), name);
            assert_eq!(copied_encoding(written).unwrap(), name);
        }
    }

    #[test]
    fn others_are_refused_by_name() {
        let told = |error: Error| {
            let report = error.report();
            (report.sqlstate, report.message, report.hint.unwrap())
        };
        for (written, name) in [("euc-jp", "EUC_JP"), ("Shift_JIS", "SJIS")] {
            let message = format!("client encoding \"{name}\" is not supported");
            let wanted = ("0A000", message, HINT.to_owned());
            assert_eq!(told(client_encoding(written).unwrap_err()), wanted);
            let message = format!("COPY in encoding \"{name}\" is not supported");
            let wanted = ("0A000", message, HINT.to_owned());
            assert_eq!(told(copied_encoding(written).unwrap_err()), wanted);
        }
        let (sqlstate, message, _) = told(client_encoding("cp437").unwrap_err());
        assert_eq!(sqlstate, "22023");
        let invalid = "invalid value for parameter \"client_encoding\": \"cp437\"";
        assert_eq!(message, invalid);
        assert_eq!(told(copied_encoding("cp437").unwrap_err()).0, "22023");
    }
}
