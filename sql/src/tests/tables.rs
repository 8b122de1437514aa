//! Statements about tables: clauses that PostgreSQL lacks, versions, maintenance.

use datafusion::sql::sqlparser::ast::{Statement as AstStatement, TableFactor, TableVersion};

use super::{ast, fails, find, one};
use crate::*;

fn parts(name: &Name) -> String {
    name.parts.join(".")
}

#[test]
fn partitions_and_properties_are_read_beside_the_table() {
    for text in [
        "CREATE TABLE s.t (a INT, b TEXT DEFAULT 'x') PARTITIONED BY (b, c) TBLPROPERTIES ('k.l' = 'v', n = 3, o = true)",
        "create or replace table s.t tblproperties ('k.l' = 'v', n = 3, o = TRUE) partitioned by (b, c) as select 1 as a",
    ] {
        let Statement::CreateTable(create) = one(text) else {
            panic!("{text}");
        };
        assert_eq!(create.table.name.to_string(), "s.t");
        let columns: Vec<&str> = create
            .partition_columns
            .iter()
            .map(|column| column.value.as_str())
            .collect();
        assert_eq!(columns, ["b", "c"]);
        let start = create.partition_columns[0].span.start;
        assert_eq!(&text[start..start + 4], "b, c");
        let properties: Vec<(&str, &str)> = create
            .properties
            .iter()
            .map(|(name, value)| (name.value.as_str(), value.as_str()))
            .collect();
        assert_eq!(properties, [("k.l", "v"), ("n", "3"), ("o", "true")]);
    }
    // The words are names elsewhere, also in the query of a table.
    for text in [
        "CREATE TABLE partitioned (tblproperties INT)",
        "CREATE TABLE t AS SELECT partitioned FROM tblproperties (1)",
    ] {
        assert!(matches!(one(text), Statement::Sql(_)), "{text}");
    }
}

#[test]
fn what_is_wrong_with_the_clauses_has_a_place() {
    for (text, near) in [
        ("CREATE TABLE t (a INT) PARTITIONED BY ()", ")"),
        ("CREATE TABLE t (a INT) PARTITIONED BY (a b)", "b)"),
        ("CREATE TABLE t (a INT) TBLPROPERTIES ('k')", ")"),
        ("CREATE TABLE t (a INT) TBLPROPERTIES ('k' = )", ")"),
    ] {
        let error = fails(text);
        assert_eq!(error.sqlstate(), "42601", "{text}");
        let position = error.position.unwrap();
        assert!(
            text[position..].starts_with(near),
            "{text}: {error} at {position}"
        );
    }
    let twice = fails("CREATE TABLE t (a INT, b INT) PARTITIONED BY (a) PARTITIONED BY (b)");
    assert!(twice.to_string().contains("more than once"), "{twice}");
}

#[test]
fn versions_follow_a_table() {
    let versions = |text: &str| -> Vec<String> {
        let found = find(ast(&one(text)));
        let version = |factor: &TableFactor| match factor {
            TableFactor::Table { version, .. } => version.as_ref().map(ToString::to_string),
            _ => None,
        };
        found.relations.iter().filter_map(version).collect()
    };
    assert_eq!(
        versions(
            "SELECT * FROM t VERSION AS OF 3 AS a JOIN u TIMESTAMP AS OF '2026-01-01' b ON true"
        ),
        ["VERSION AS OF 3", "TIMESTAMP AS OF '2026-01-01'"]
    );
    let text = "SELECT * FROM t FOR SYSTEM_TIME AS OF now() - INTERVAL '1 day'";
    assert_eq!(versions(text).len(), 1);
    assert!(matches!(ast(&one(text)), AstStatement::Query(_)));
    assert!(matches!(
        find(ast(&one("SELECT 1 FROM t VERSION AS OF 3"))).relations[0],
        TableFactor::Table {
            version: Some(TableVersion::VersionAsOf(_)),
            ..
        }
    ));
    for text in [
        "SELECT * FROM t VERSION AS OF 3 x(a, b)",
        "SELECT * FROM t AS x (a, b) VERSION AS OF 3 WHERE a = 1",
        "SELECT * FROM t x(a, b) VERSION AS OF 3, u",
    ] {
        assert_eq!(versions(text), ["VERSION AS OF 3"], "{text}");
        // As it is printed, it is read again.
        let printed = ast(&one(text)).to_string();
        assert_eq!(ast(&one(&printed)).to_string(), printed);
    }
    // Without AS OF the words are names.
    for text in [
        "SELECT version FROM t version",
        "SELECT * FROM t at, u before, v changes",
        "SELECT timestamp AS of FROM t timestamp",
    ] {
        assert_eq!(versions(text).len(), 0, "{text}");
    }
}

#[test]
fn history_detail_and_restore() {
    let Statement::TableHistory(name) = one("DESCRIBE HISTORY s.t") else {
        panic!();
    };
    assert_eq!(parts(&name), "s.t");
    assert!(matches!(one("desc detail t"), Statement::TableDetail(_)));
    assert!(matches!(one("DESCRIBE history"), Statement::Sql(_)));
    let Statement::Restore(restore) = one("RESTORE TABLE t TO VERSION AS OF 3") else {
        panic!();
    };
    assert_eq!(restore.to, RestorePoint::Version(3));
    let Statement::Restore(restore) = one("RESTORE t TO TIMESTAMP AS OF '2026-01-01'") else {
        panic!();
    };
    assert_eq!(restore.to, RestorePoint::Time("2026-01-01".into()));
    for (text, expected) in [
        ("RESTORE TABLE t", "VERSION AS OF or TIMESTAMP AS OF"),
        ("RESTORE TABLE t TO VERSION AS OF x", "a version's number"),
        ("RESTORE TABLE", "a table's name"),
        ("DESCRIBE HISTORY s.t x", "end of statement"),
    ] {
        let error = fails(text);
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
}

#[test]
fn vacuum_takes_postgresqls_forms_too() {
    let vacuum = |text: &str| match one(text) {
        Statement::Vacuum(vacuum) => vacuum,
        other => panic!("{text}: {other:?}"),
    };
    for text in [
        "VACUUM",
        "VACUUM FULL",
        "VACUUM (VERBOSE, ANALYZE)",
        "VACUUM ANALYZE",
    ] {
        assert_eq!(vacuum(text), Vacuum::default(), "{text}");
    }
    let all = vacuum("VACUUM FULL VERBOSE s.t, u (a, b) RETAIN 12 HOURS DRY RUN");
    let names: Vec<String> = all.tables.iter().map(parts).collect();
    assert_eq!(names, ["s.t", "u"]);
    assert_eq!((all.retain_hours, all.dry_run), (Some(12), true));
    assert_eq!(vacuum("VACUUM t RETAIN 1 HOUR").retain_hours, Some(1));
    for text in [
        "VACUUM RETAIN 1 HOURS",
        "VACUUM t RETAIN",
        "VACUUM t RETAIN 1 DAYS",
        "VACUUM t x",
    ] {
        assert_eq!(fails(text).sqlstate(), "42601", "{text}");
    }
}
