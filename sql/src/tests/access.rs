//! Statements about roles and privileges: what each form is read as, and that no error shows a password.

use super::{fails, one};
use crate::{PrivilegeKind, PrivilegeObjects, RoleName, RoleStatement, Statement};

fn role(text: &str) -> RoleStatement {
    match one(text) {
        Statement::Role(statement) => *statement,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn roles_are_created_with_their_rights() {
    let text = "CREATE USER \"Ada\" WITH NOSUPERUSER CREATEROLE PASSWORD 'hush' CONNECTION LIMIT 3 \
                VALID UNTIL '2030-01-01' IN ROLE a, b ROLE c ADMIN d";
    let RoleStatement::Create { name, options, .. } = role(text) else {
        panic!("{text}");
    };
    assert_eq!(name.value, "Ada");
    assert_eq!(
        (options.login, options.superuser),
        (Some(true), Some(false))
    );
    assert_eq!((options.create_role, options.create_db), (Some(true), None));
    assert_eq!(options.connection_limit, Some(3));
    assert_eq!(options.valid_until.as_deref(), Some("2030-01-01"));
    assert_eq!(
        options.in_roles.len() + options.members.len() + options.admins.len(),
        4
    );
    let password = options.password.flatten().unwrap();
    assert_eq!(
        (password.0.as_str(), format!("{password:?}").as_str()),
        ("hush", "***")
    );
    let RoleStatement::Create { options, .. } = role("CREATE ROLE r NOREPLICATION NOBYPASSRLS")
    else {
        panic!("no role");
    };
    assert_eq!(options.login, None);
    assert!(matches!(
        role("ALTER ROLE r CONNECTION LIMIT -1 PASSWORD NULL"),
        RoleStatement::Alter { options, .. }
            if options.connection_limit == Some(-1) && options.password == Some(None)
    ));
}

#[test]
fn settings_of_roles() {
    for (text, setting, value) in [
        (
            "ALTER ROLE r SET statement_timeout TO '5s'",
            Some("statement_timeout"),
            Some("5s"),
        ),
        (
            "ALTER USER r SET search_path = a, \"B\"",
            Some("search_path"),
            Some("a, B"),
        ),
        (
            "ALTER ROLE CURRENT_USER SET ml.dialect = postgres",
            Some("ml.dialect"),
            Some("postgres"),
        ),
        (
            "ALTER ROLE r IN DATABASE postgres SET seed = 7",
            Some("seed"),
            Some("7"),
        ),
        ("ALTER ROLE r SET seed TO DEFAULT", Some("seed"), None),
        ("ALTER ROLE r RESET seed", Some("seed"), None),
        ("ALTER ROLE r RESET ALL", None, None),
    ] {
        match role(text) {
            RoleStatement::Configure {
                setting: found,
                value: text_of,
                ..
            } => {
                assert_eq!(
                    (found.as_deref(), text_of.as_deref()),
                    (setting, value),
                    "{text}"
                );
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_session_changes_its_role() {
    let named = |text: &str| match role(text) {
        RoleStatement::SetRole { role, is_local } => (false, role.map(|role| role.value), is_local),
        RoleStatement::SetSession { role, is_local } => {
            (true, role.map(|role| role.value), is_local)
        }
        other => panic!("{text}: {other:?}"),
    };
    for (text, session, name) in [
        ("SET LOCAL SESSION AUTHORIZATION bob", true, Some("bob")),
        ("SET ROLE bob", false, Some("bob")),
        ("SET LOCAL ROLE 'Bob'", false, Some("Bob")),
        ("SET ROLE NONE", false, None),
        ("RESET ROLE", false, None),
        ("SET SESSION AUTHORIZATION bob", true, Some("bob")),
        ("SET SESSION AUTHORIZATION DEFAULT", true, None),
        ("RESET SESSION AUTHORIZATION", true, None),
    ] {
        assert_eq!(
            named(text),
            (session, name.map(ToOwned::to_owned), text.contains("LOCAL")),
            "{text}"
        );
    }
    assert!(matches!(one("SET role_of_mine = 'x'"), Statement::Sql(_)));
}

#[test]
fn memberships_have_no_object() {
    assert!(matches!(
        role("GRANT a, b TO c, CURRENT_USER WITH ADMIN OPTION"),
        RoleStatement::Membership { grant: true, admin_option: true, roles, members, .. }
            if roles.len() == 2 && members[1] == RoleName::Current
    ));
    assert!(matches!(
        role("REVOKE ADMIN OPTION FOR a FROM b CASCADE"),
        RoleStatement::Membership {
            grant: false,
            admin_option: true,
            ..
        }
    ));
}

fn grant(text: &str) -> crate::Grant {
    match one(text) {
        Statement::Grant(grant) => *grant,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn privileges_on_objects() {
    use PrivilegeKind::{Credential, Database, Location, Model, Schema, Table};
    for (text, kind, privileges, object) in [
        ("GRANT EXECUTE ON MODEL s.m TO bob", Model, "EXECUTE", "s.m"),
        (
            "GRANT ALL PRIVILEGES ON MODEL m TO public",
            Model,
            "ALL",
            "m",
        ),
        (
            "GRANT SELECT, REFERENCES, INSERT ON t TO bob",
            Table,
            "SELECT INSERT",
            "t",
        ),
        ("GRANT SELECT ON model TO bob", Table, "SELECT", "model"),
        (
            "GRANT CREATE MODEL ON SCHEMA s TO bob",
            Schema,
            "CREATE MODEL",
            "s",
        ),
        (
            "GRANT USAGE, CREATE ON SCHEMA s TO bob",
            Schema,
            "USAGE CREATE",
            "s",
        ),
        (
            "REVOKE READ ON LOCATION raw FROM bob",
            Location,
            "READ",
            "raw",
        ),
        (
            "GRANT WRITE ON EXTERNAL LOCATION raw TO bob",
            Location,
            "WRITE",
            "raw",
        ),
        (
            "GRANT USAGE ON CREDENTIAL c TO bob",
            Credential,
            "USAGE",
            "c",
        ),
        (
            "GRANT CREATE, TEMP ON DATABASE postgres TO bob",
            Database,
            "CREATE TEMPORARY",
            "postgres",
        ),
    ] {
        let found = grant(text);
        assert_eq!(
            (found.kind, found.privileges.join(" ").as_str()),
            (kind, privileges),
            "{text}"
        );
        match &found.objects {
            PrivilegeObjects::Named(names) => assert_eq!(names[0].to_string(), object, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn grant_options_defaults_and_owners() {
    assert!(grant("GRANT SELECT ON t TO bob WITH GRANT OPTION").grant_option);
    assert!(grant("REVOKE GRANT OPTION FOR SELECT ON t FROM bob").grant_option);
    assert!(matches!(
        grant("GRANT SELECT ON ALL TABLES IN SCHEMA a, b TO bob").objects,
        PrivilegeObjects::AllIn(schemas) if schemas.len() == 2
    ));
    assert!(matches!(
        one("ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT ON TABLES TO b"),
        Statement::DefaultPrivileges(found) if found.grant.kind == PrivilegeKind::Table
    ));
    assert!(matches!(
        one("ALTER TABLE IF EXISTS s.t OWNER TO bob"),
        Statement::AlterOwner(found) if found.if_exists && found.words == "TABLE"
    ));
    assert!(matches!(
        one("ALTER TABLE t ADD COLUMN owner INT"),
        Statement::Sql(_)
    ));
}

#[test]
fn errors_show_no_password() {
    for text in [
        "CREATE ROLE a PASSWORD 'hush' 'hush'",
        "CREATE ROLE a 'hush'",
        "ALTER ROLE a PASSWORD 'hush",
        "CREATE ROLE a PASSWORD $x$hush$x$ \"hush\"",
    ] {
        let error = fails(text);
        let shown = format!("{error} {:?} {:?}", error.hint, error.kind);
        assert!(!shown.contains("hush"), "{text}: {shown}");
    }
}
