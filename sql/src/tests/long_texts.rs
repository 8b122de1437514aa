//! Long texts are read as short ones are, in chunks, and whoever asks is told what that takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{all, ast, fails, one};
use crate::{Dialect, ParseError, ParsedStatement, SHORT_TEXT_BYTES, Stop, parse, parse_long};

/// A comment of so many bytes; one makes any text a long one.
fn comment(n_bytes: usize) -> String {
    format!("/*{}*/", "x".repeat(n_bytes - 4))
}

/// The statements of a text, or its error, and the most and the last bytes that were asked for.
fn asked(text: &str, limit: usize) -> (Result<Vec<ParsedStatement>, ParseError>, usize, usize) {
    let (mut most, mut last) = (0, 0);
    let parsed = parse_long(text, Dialect::Auto, &Stop::default(), &mut |n_bytes| {
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
    assert!((n_tokens * 200..n_tokens * 300).contains(&most), "{most}");
    assert!((n_tokens * 100..most).contains(&last), "{last}");
    let (parsed, most, _) = asked(&insert, 8 << 20);
    assert_eq!(parsed.unwrap_err().sqlstate(), "57014");
    assert!(most < 16 << 20, "{most}");
    // The tokens of other lists are there until all of them are read.
    let list = format!("SELECT 1 IN ({})", vec!["1"; 40_000].join(","));
    let (parsed, most, last) = asked(&list, usize::MAX);
    assert_eq!(parsed.unwrap().len(), 1);
    assert!(most >= 2 * 40_000 * 400, "{most}");
    assert!((2 * 40_000 * 100..most / 2).contains(&last), "{last}");
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

/// An INSERT of so many rows, as sqlparser writes it; `end` stands behind them.
fn insert(n_rows: usize, end: &str) -> String {
    let rows =
        (0..n_rows).map(|n| format!("({n}, -{n}, 'it''s {n}', CAST($1 AS DATE), (SELECT {n}))"));
    let rows: Vec<String> = rows.collect();
    format!("INSERT INTO t (a, b) VALUES {}{end}", rows.join(", "))
}

#[test]
fn rows_that_are_read_in_pieces_are_those_of_the_statement() {
    for end in ["", " ON CONFLICT DO NOTHING RETURNING a"] {
        let text = insert(3_000, end);
        assert_eq!(ast(&one(&text)).to_string(), text);
    }
    let rows = vec!["($1, 0)"; 10_000].join(", ");
    for text in [
        format!("INSERT INTO t SELECT p FROM (VALUES {rows}) AS v (p, n) ORDER BY n"),
        format!("INSERT INTO t WITH w AS (SELECT 1) VALUES {rows}"),
        format!("SELECT * FROM (VALUES {rows}) AS v"),
    ] {
        assert_eq!(ast(&one(&text)).to_string(), text);
    }
    // The names of types in them are those that the planner knows.
    let rows = vec!["(CAST(1 AS FLOAT64))"; 10_000].join(", ");
    let text = format!("INSERT INTO t VALUES {rows}");
    assert!(!ast(&one(&text)).to_string().contains("FLOAT64"));
}

#[test]
fn of_errors_in_rows_and_behind_them_the_first_is_told() {
    let bad = |text: &str| text.replace("-2500, ", "-2500 2500, ");
    let text = insert(3_000, "");
    assert_eq!(
        fails(&bad(&text)).position,
        bad(&text).find("2500 2500").map(|at| at + 5)
    );
    let text = insert(3_000, " RETURNING");
    assert_eq!(fails(&text).position, Some(text.len()));
    assert_eq!(
        fails(&bad(&text)).position,
        bad(&text).find("2500 2500").map(|at| at + 5)
    );
    let text = bad(&text).replace("INTO t", "INTO t t t");
    assert_eq!(fails(&text).position, text.find("t t t").map(|at| at + 4));
    let text = format!("{}, 5", insert(3_000, ""));
    assert_eq!(fails(&text).position, text.rfind('5'));
}

#[test]
fn a_text_that_nobody_wants_is_read_no_further() {
    let list = vec!["1"; 100_000].join(", ");
    for text in [
        format!("SELECT 1 IN ({list})"),
        format!("SELECT ARRAY[{list}]"),
        insert(20_000, ""),
        "SELECT 1;".repeat(50_000),
    ] {
        let n_asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_asked);
        let stop = Stop::when(move || counted.fetch_add(1, Ordering::Relaxed) > 100);
        let parsed = parse_long(&text, Dialect::Auto, &stop, &mut |_| true);
        assert_eq!(parsed.unwrap_err().sqlstate(), "57014");
        let n_asked = n_asked.load(Ordering::Relaxed);
        assert!((100..120).contains(&n_asked), "{n_asked}");
    }
}
