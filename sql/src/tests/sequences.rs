//! Statements about sequences.

use crate::{Dialect, SequenceAction, SequenceStatement, Statement, parse};

fn read(text: &str) -> SequenceStatement {
    let mut parsed = parse(text, Dialect::Postgres).unwrap();
    match parsed.remove(0).statement {
        Statement::Sequence(statement) => *statement,
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_come_in_any_order() {
    let text = "CREATE SEQUENCE public.s AS integer START WITH 5 INCREMENT BY -2 NO MINVALUE \
                MAXVALUE 100 CACHE 1 CYCLE OWNED BY public.t.id";
    let SequenceStatement::Create { name, options, .. } = read(text) else {
        panic!("no CREATE");
    };
    assert_eq!(name.parts, ["public", "s"]);
    assert_eq!(options.data_type.as_deref(), Some("integer"));
    assert_eq!((options.start, options.increment), (Some(5), Some(-2)));
    assert_eq!((options.min, options.max), (Some(None), Some(Some(100))));
    assert_eq!(options.cycle, Some(true));
    let owner = options.owned_by.flatten().unwrap();
    assert_eq!(owner.parts, ["public", "t", "id"]);
}

#[test]
fn restart_takes_a_number_or_none() {
    for (text, expected) in [
        ("ALTER SEQUENCE s RESTART", None),
        ("ALTER SEQUENCE s RESTART 7", Some(7)),
        ("ALTER SEQUENCE s RESTART WITH -7", Some(-7)),
    ] {
        match read(text) {
            SequenceStatement::Alter {
                action: SequenceAction::Set(options),
                ..
            } => assert_eq!(options.restart, Some(expected), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_wrong_is_told() {
    for text in [
        "CREATE SEQUENCE s START 1 START 2",
        "CREATE SEQUENCE s RESTART",
        "CREATE SEQUENCE s MAXVALUE 9223372036854775808",
        "ALTER SEQUENCE s",
        "CREATE SEQUENCE s SPEED 4",
    ] {
        assert!(parse(text, Dialect::Postgres).is_err(), "{text}");
    }
}
