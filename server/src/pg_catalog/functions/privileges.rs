//! `has_table_privilege` and its siblings: what a role may do, as it is enforced.
//!
//! In: a role (the current one if none is named), an object by name or number, and privileges; out: whether the role has one
//! of them. About what there is none of, or nothing to protect, the answer is yes, as it is of a superuser. Privileges that
//! no such object has are errors.

use std::sync::Arc;

use auspex_planner::{Engine, Error, SessionFacts, Subject};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::super::objects::Objects;
use super::super::roles;
use super::scalar::{Call, function};

/// The functions of a session.
pub(super) fn functions(session: &SessionFacts, objects: &Objects) -> Vec<ScalarUDF> {
    let mut functions = vec![
        about(session, objects, "has_table_privilege", Kind::Relation),
        about(session, objects, "has_any_column_privilege", Kind::Relation),
        about(session, objects, "has_schema_privilege", Kind::Schema),
        about(session, objects, "has_database_privilege", Kind::Database),
        has_role(session),
    ];
    let always: [(&'static str, &'static [&'static str]); 8] = [
        ("has_foreign_data_wrapper_privilege", &["USAGE"]),
        ("has_function_privilege", &["EXECUTE"]),
        ("has_language_privilege", &["USAGE"]),
        ("has_parameter_privilege", &["SET", "ALTER SYSTEM"]),
        ("has_sequence_privilege", &["USAGE", "SELECT", "UPDATE"]),
        ("has_server_privilege", &["USAGE"]),
        ("has_tablespace_privilege", &["CREATE"]),
        ("has_type_privilege", &["USAGE"]),
    ];
    functions.extend(always.map(|(name, known)| granted(name, known)));
    functions.push(has_column(session, objects));
    functions
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Relation,
    Schema,
    Database,
}

impl Kind {
    /// The privileges that such an object has, those of models among relations.
    fn privileges(self) -> &'static [&'static str] {
        match self {
            Kind::Relation => &[
                "SELECT",
                "INSERT",
                "UPDATE",
                "DELETE",
                "TRUNCATE",
                "REFERENCES",
                "TRIGGER",
                "RULE",
                "EXECUTE",
            ],
            Kind::Schema => &["CREATE", "USAGE", "CREATE MODEL"],
            Kind::Database => &["CREATE", "TEMPORARY", "TEMP", "CONNECT"],
        }
    }
}

/// Fails for a privilege that is none of those known. Errors: 22023.
fn check_privileges(privileges: &str, known: &[&str]) -> Result<()> {
    for word in privileges.split(',').map(str::trim) {
        let upper = word.to_uppercase();
        let name = upper.strip_suffix(" WITH GRANT OPTION").unwrap_or(&upper);
        if !known.contains(&name.trim_end()) {
            return Err(Error::Invalid {
                sqlstate: "22023",
                message: format!("unrecognized privilege type: \"{word}\""),
                hint: None,
                position: None,
            }
            .into());
        }
    }
    Ok(())
}

/// A function of `([role,] object, privileges)` about what everybody may use.
fn granted(name: &'static str, known: &'static [&'static str]) -> ScalarUDF {
    function(name, &[2, 3], DataType::Boolean, move |call| {
        let privileges = call.texts(call.args.len() - 1)?;
        for privileges in privileges.iter().flatten() {
            check_privileges(privileges, known)?;
        }
        Ok(Arc::new(BooleanArray::from(vec![true; call.n_rows])) as ArrayRef)
    })
}

/// A function of `([role,] object, privileges)`.
fn about(session: &SessionFacts, objects: &Objects, name: &'static str, kind: Kind) -> ScalarUDF {
    let (session, objects) = (session.clone(), objects.clone());
    function(name, &[2, 3], DataType::Boolean, move |call| {
        let at = call.args.len() - 2;
        answers(&session, &objects, call, kind, [at, at + 1])
    })
}

/// `has_column_privilege([role,] table, column, privileges)`: as of the whole table.
fn has_column(session: &SessionFacts, objects: &Objects) -> ScalarUDF {
    let (session, objects) = (session.clone(), objects.clone());
    function(
        "has_column_privilege",
        &[3, 4],
        DataType::Boolean,
        move |call| {
            let at = call.args.len() - 3;
            answers(&session, &objects, call, Kind::Relation, [at, at + 2])
        },
    )
}

fn answers(
    session: &SessionFacts,
    objects: &Objects,
    call: &Call,
    kind: Kind,
    [object, privileges]: [usize; 2],
) -> Result<ArrayRef> {
    let Some(engine) = session.engine.upgrade() else {
        return Ok(Arc::new(BooleanArray::from(vec![None; call.n_rows])));
    };
    let roles = match object {
        0 => None,
        _ => Some(role_names(session, call, 0)?),
    };
    let names = call.texts(object)?;
    let privileges = call.texts(privileges)?;
    for privileges in privileges.iter().flatten() {
        check_privileges(privileges, kind.privileges())?;
    }
    let answer = |row: usize| {
        if names.is_null(row) || privileges.is_null(row) {
            return None;
        }
        let role = match &roles {
            None => session.identity.current_user(),
            Some(roles) => roles.get(row).cloned().flatten()?,
        };
        let named = (names.value(row), privileges.value(row));
        has(&engine, objects, kind, &role, named)
    };
    let answers: BooleanArray = (0..call.n_rows).map(answer).collect();
    Ok(Arc::new(answers))
}

/// Whether a role has one of the privileges; `None`: there is no such object.
fn has(
    engine: &Engine,
    objects: &Objects,
    kind: Kind,
    role: &str,
    (name, privileges): (&str, &str),
) -> Option<bool> {
    let asked = |subject: &Subject<'_>| {
        let found = objects.facts().has_privilege(role, subject, privileges);
        found.ok().flatten()
    };
    if kind == Kind::Database {
        return asked(&Subject::Database);
    }
    let (schema, short) = match name.parse::<i32>() {
        Ok(oid) => objects.name(oid)?,
        Err(_) => {
            let parts: Vec<String> = name.split('.').map(unquoted).collect();
            match parts.as_slice() {
                [.., schema, name] => (schema.clone(), name.clone()),
                [name] if kind == Kind::Schema => (name.clone(), String::new()),
                [name] => (objects.schema_of(name).ok()?, name.clone()),
                [] => return None,
            }
        }
    };
    match kind {
        Kind::Schema => {
            let name = if schema.is_empty() { &short } else { &schema };
            asked(&Subject::Schema(name))
        }
        _ if roles::is_secret(&schema, &short) => Some(engine.is_superuser(role)),
        _ => asked(&Subject::Relation(&schema, &short)),
    }
}

/// A part of a name as PostgreSQL reads it.
fn unquoted(part: &str) -> String {
    match part
        .strip_prefix('"')
        .and_then(|part| part.strip_suffix('"'))
    {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => part.to_lowercase(),
    }
}

/// An argument that names roles, or gives their numbers.
fn role_names(session: &SessionFacts, call: &Call, idx: usize) -> Result<Vec<Option<String>>> {
    let known = roles::roles(session);
    let name = |text: &str| match text.parse::<i32>() {
        Ok(number) => known
            .iter()
            .find(|(oid, _)| *oid == number)
            .map(|(_, name)| name.clone()),
        Err(_) => Some(text.to_owned()),
    };
    let texts = call.texts(idx)?;
    Ok(texts.iter().map(|text| name(text?)).collect())
}

/// `pg_has_role([member,] role, privilege)`.
fn has_role(session: &SessionFacts) -> ScalarUDF {
    let session = session.clone();
    function("pg_has_role", &[2, 3], DataType::Boolean, move |call| {
        let at = call.args.len() - 2;
        let groups = role_names(&session, call, at)?;
        let members = match at {
            0 => vec![Some(session.identity.current_user()); call.n_rows],
            _ => role_names(&session, call, 0)?,
        };
        let engine = session.engine.upgrade();
        let answer = |(member, group): (&Option<String>, &Option<String>)| {
            let engine = engine.as_ref()?;
            Some(engine.is_member(member.as_ref()?, group.as_ref()?))
        };
        let answers: BooleanArray = members.iter().zip(&groups).map(answer).collect();
        Ok(Arc::new(answers) as ArrayRef)
    })
}
