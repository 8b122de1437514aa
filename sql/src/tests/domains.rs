//! Statements about domains.

use crate::{Dialect, DomainAction, DomainRule, DomainStatement, Statement, parse};

fn read(text: &str) -> DomainStatement {
    let mut parsed = parse(text, Dialect::Postgres).unwrap();
    match parsed.remove(0).statement {
        Statement::Domain(statement) => *statement,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rules_come_in_any_order() {
    let text = "CREATE DOMAIN app.Percent AS numeric(5,2) DEFAULT 5 NOT NULL \
                CONSTRAINT low CHECK (VALUE >= 0) CHECK (value <= 100)";
    let DomainStatement::Create { name, rules, .. } = read(text) else {
        panic!("no CREATE");
    };
    assert_eq!(name.parts, ["app", "percent"]);
    let [default, not_null, low, high] = rules.as_slice() else {
        panic!("{rules:?}");
    };
    assert!(matches!(default, DomainRule::Default(expr) if expr.to_string() == "5"));
    assert_eq!(*not_null, DomainRule::NotNull);
    assert!(
        matches!(low, DomainRule::Check { name: Some(name), condition }
            if name == "low" && condition.to_string() == "VALUE >= 0"),
        "{low:?}"
    );
    assert!(matches!(high, DomainRule::Check { name: None, .. }));
    let DomainStatement::Create { rules, .. } = read("CREATE DOMAIN d text") else {
        panic!("no CREATE");
    };
    assert!(rules.is_empty());
}

#[test]
fn texts_are_those_of_postgresql() {
    let mut parsed = parse(
        r"CREATE DOMAIN d AS text CHECK (VALUE ~ '^\d+$')",
        Dialect::Auto,
    )
    .unwrap();
    let Statement::Domain(statement) = parsed.remove(0).statement else {
        panic!("no domain");
    };
    let DomainStatement::Create { rules, .. } = *statement else {
        panic!("no CREATE");
    };
    assert!(
        matches!(rules.as_slice(), [DomainRule::Check { condition, .. }]
            if condition.to_string() == r"VALUE ~ '^\d+$'"),
        "{rules:?}"
    );
}

#[test]
fn each_change_is_read() {
    let action = |text: &str| match read(&format!("ALTER DOMAIN d {text}")) {
        DomainStatement::Alter { action, .. } => *action,
        other => panic!("{other:?}"),
    };
    assert_eq!(action("DROP DEFAULT"), DomainAction::SetDefault(None));
    assert!(matches!(
        action("SET DEFAULT 1 + 2"),
        DomainAction::SetDefault(Some(_))
    ));
    assert_eq!(action("SET NOT NULL"), DomainAction::SetNotNull(true));
    assert_eq!(action("DROP NOT NULL"), DomainAction::SetNotNull(false));
    assert!(matches!(
        action("ADD CONSTRAINT c CHECK (VALUE ~ '^a') NOT VALID"),
        DomainAction::Add {
            rule: DomainRule::Check { .. },
            not_valid: true
        }
    ));
    assert!(matches!(
        action("DROP CONSTRAINT IF EXISTS c CASCADE"),
        DomainAction::DropConstraint {
            if_exists: true,
            ..
        }
    ));
    assert!(matches!(
        action("RENAME CONSTRAINT a TO b"),
        DomainAction::RenameConstraint { .. }
    ));
    assert!(matches!(action("RENAME TO e"), DomainAction::Rename(_)));
    assert!(matches!(
        action("SET SCHEMA app"),
        DomainAction::SetSchema(_)
    ));
    let DomainStatement::Drop { names, cascade, .. } = read("DROP DOMAIN a, s.b CASCADE") else {
        panic!("no DROP");
    };
    assert_eq!((names.len(), cascade), (2, true));
}

#[test]
fn comments_on_constraints_tell_whose_they_are() {
    for (text, is_of_domain, comment) in [
        (
            "COMMENT ON CONSTRAINT c ON public.t IS 'x'",
            false,
            Some("x"),
        ),
        ("COMMENT ON CONSTRAINT c ON DOMAIN t IS NULL", true, None),
        ("COMMENT ON CONSTRAINT c ON domain IS NULL", false, None),
    ] {
        let mut parsed = parse(text, Dialect::Postgres).unwrap();
        match parsed.remove(0).statement {
            Statement::ConstraintComment(found) => {
                assert_eq!(found.constraint.value, "c");
                assert_eq!(found.is_of_domain, is_of_domain, "{text}");
                assert_eq!(found.comment.as_deref(), comment, "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_no_rule_is_told() {
    for text in [
        "CREATE DOMAIN d int PRIMARY KEY",
        "CREATE DOMAIN d int nonsense",
        "CREATE DOMAIN d",
        "ALTER DOMAIN d",
    ] {
        assert!(parse(text, Dialect::Postgres).is_err(), "{text}");
    }
}
