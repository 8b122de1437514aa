//! Long texts are read as short ones are, in chunks, and whoever asks is told what that takes.

use super::{all, fails};
use crate::{Dialect, ParseError, ParsedStatement, SHORT_TEXT_BYTES, parse, parse_long};

/// A comment of so many bytes; one makes any text a long one.
fn comment(n_bytes: usize) -> String {
    format!("/*{}*/", "x".repeat(n_bytes - 4))
}

/// The statements of a text, or its error, and the most and the last bytes that were asked for.
fn asked(text: &str, limit: usize) -> (Result<Vec<ParsedStatement>, ParseError>, usize, usize) {
    let (mut most, mut last) = (0, 0);
    let parsed = parse_long(text, Dialect::Auto, &mut |n_bytes| {
        most = most.max(n_bytes);
        last = n_bytes;
        n_bytes <= limit
    });
    (parsed, most, last)
}

#[test]
fn a_long_text_has_the_statements_of_a_short_one() {
    for text in [
        "SELECT 'it''s' || $x$a ( $y$ $x$ || E'a\\'b', \"a b\".c [1], b >= -1 -- (it's\nFROM t",
        "SELECT a=--x's\n1, b/*(' /* */ */ FROM t; SELECT X'1f', 1.5e+3, U&'\\00e9'",
        "SELECT 'é' AS ü, $1::text -- last",
        "SELECT `a` FROM t WHERE b = 'it\\'s'; SELECT \"x\"",
    ] {
        let short = all(text);
        // Each place of it is the end of a chunk for some number of blanks.
        for n in 0..text.len() + 2 {
            let before = format!("SELECT 1;{}", comment((16 << 10) - 9 - n));
            let long = format!("{before}{text}\n{};SELECT 2", comment(SHORT_TEXT_BYTES));
            let read = all(&long);
            assert_eq!(read.len(), short.len() + 2, "{text} {n}");
            for (read, short) in read[1..].iter().zip(&short) {
                assert_eq!(read.text, short.text, "{n}");
                assert_eq!(
                    format!("{:?}", read.statement),
                    format!("{:?}", short.statement),
                    "{n}"
                );
                assert_eq!(read.span.start, short.span.start + before.len(), "{n}");
            }
        }
    }
}

#[test]
fn errors_of_long_texts_have_their_place() {
    let comment = comment(2 * SHORT_TEXT_BYTES);
    let text = format!("SELECT 1,{comment}'it''s");
    let error = fails(&text);
    assert_eq!(error.position, text.find("'it"));
    assert_eq!(
        error.to_string(),
        "unterminated quoted string at or near \"'it''s\""
    );
    let text = format!("SELECT 1{comment}/* x");
    assert_eq!(fails(&text).position, text.rfind("/*"));
    let text = format!("SELECT{comment}1 2");
    assert_eq!(fails(&text).position, text.rfind('2'));
}

#[test]
fn blanks_and_brackets_take_no_more_the_more_there_are() {
    let mib = 1 << 20;
    let (parsed, most, _) = asked(&format!("SELECT{}1", " ".repeat(mib)), 8 * mib);
    assert_eq!(parsed.unwrap().len(), 1);
    assert!(most < 4 * mib, "{most}");
    let comments = "-- it's a comment\n/* another */ ".repeat(mib / 32);
    let (parsed, most, _) = asked(&format!("SELECT {comments} 1"), 8 * mib);
    assert_eq!(parsed.unwrap().len(), 1);
    assert!(most < 4 * mib, "{most}");
    let (parsed, most, _) = asked(&"(".repeat(10 * mib), 8 * mib);
    let error = parsed.unwrap_err();
    assert_eq!((error.sqlstate(), error.position), ("54001", Some(250)));
    assert_eq!(most, 0);
    let string = format!("SELECT '{}'", "( x".repeat(mib));
    let (parsed, most, _) = asked(&string, 8 * mib);
    assert_eq!(parsed.unwrap().len(), 1);
    assert!(most < 4 * mib, "{most}");
}

#[test]
fn tokens_are_asked_for_before_they_are_made() {
    let rows = vec!["(1, 2)"; 10_000].join(",");
    let insert = format!("INSERT INTO t VALUES {rows}");
    let (parsed, most, last) = asked(&insert, usize::MAX);
    assert_eq!(parsed.unwrap().len(), 1);
    let n_tokens = 10_000 * 6 + 3;
    assert!(most >= n_tokens * 400, "{most}");
    assert!((n_tokens * 100..most / 2).contains(&last), "{last}");
    let (parsed, most, _) = asked(&insert, 8 << 20);
    assert_eq!(parsed.unwrap_err().sqlstate(), "57014");
    assert!(most < 16 << 20, "{most}");
    // Without a place for a cut, all that may be is asked for at once.
    let sum = format!("SELECT 1{}", "+1".repeat(SHORT_TEXT_BYTES));
    let (parsed, _, _) = asked(&sum, 8 << 20);
    assert_eq!(parsed.unwrap_err().sqlstate(), "57014");
    // What is a string is read as statements here.
    let block = format!("DO $$BEGIN {} END$$", ";".repeat(2 * SHORT_TEXT_BYTES));
    let (parsed, _, _) = asked(&block, 8 << 20);
    assert_eq!(parsed.unwrap_err().sqlstate(), "57014");
}

#[test]
fn case_that_is_nested_too_deeply_says_so() {
    let nested = |n: usize| {
        let (open, close) = ("CASE WHEN a THEN ".repeat(n), " END".repeat(n));
        parse(&format!("SELECT {open}1{close} FROM t"), Dialect::Auto)
    };
    assert!(nested(240).is_ok());
    for n in [248, 250, 251, 300] {
        assert_eq!(nested(n).unwrap_err().sqlstate(), "54001", "{n}");
    }
}
