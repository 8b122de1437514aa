//! Statements about materialized views.

use datafusion::sql::sqlparser::ast::{ObjectType, Statement as AstStatement};

use super::{ast, fails, one};
use crate::Statement;

#[test]
fn a_materialized_view_says_whether_it_has_rows() {
    for (text, has_rows) in [
        ("CREATE MATERIALIZED VIEW v AS SELECT 1 AS a", true),
        (
            "CREATE MATERIALIZED VIEW IF NOT EXISTS s.v (a, b) AS TABLE t WITH DATA",
            true,
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT a FROM t LIMIT 3 WITH NO DATA",
            false,
        ),
    ] {
        let Statement::CreateMaterializedView(create) = one(text) else {
            panic!("{text}");
        };
        assert!(create.view.materialized, "{text}");
        assert_eq!(create.with_data, has_rows, "{text}");
        assert!(!create.view.query.to_string().contains("DATA"), "{text}");
    }
}

#[test]
fn a_refresh_names_a_view() {
    let Statement::RefreshMaterializedView(refresh) =
        one("REFRESH MATERIALIZED VIEW CONCURRENTLY s.v WITH NO DATA")
    else {
        panic!("no refresh");
    };
    assert_eq!(refresh.name.parts, ["s", "v"]);
    assert!(refresh.concurrently && !refresh.with_data);
    assert_eq!(fails("REFRESH MATERIALIZED VIEW").sqlstate(), "42601");
}

#[test]
fn it_is_renamed_and_dropped_as_a_view_is() {
    let renamed = one("ALTER MATERIALIZED VIEW v RENAME TO w");
    assert_eq!(ast(&renamed).to_string(), "ALTER TABLE v RENAME TO w");
    let dropped = one("DROP MATERIALIZED VIEW IF EXISTS v");
    let AstStatement::Drop { object_type, .. } = ast(&dropped) else {
        panic!("{dropped:?}");
    };
    assert_eq!(*object_type, ObjectType::MaterializedView);
    for text in ["SHOW CREATE MODEL m", "SHOW CREATE TABLE m"] {
        assert_eq!(ast(&one(text)).to_string(), "SHOW CREATE TABLE m");
    }
}
