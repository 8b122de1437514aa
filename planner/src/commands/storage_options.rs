//! What PostgreSQL's definitions say about how rows are stored: `WITH (fillfactor = 70)`, `TABLESPACE pg_default`, `COLLATE "C"`.
//!
//! In: options of a statement; out: nothing, since none of them changes what a table holds. Options that PostgreSQL does not have
//! are the errors that it gives.

use datafusion::sql::sqlparser::ast::{CreateTableOptions, Expr, ObjectName, SqlOption};

use super::{folded, name_parts};
use crate::error::{Error, Result};

/// Storage parameters of tables and indexes, and beginnings of those that come in families.
const PARAMETERS: [&str; 14] = [
    "autosummarize",
    "autovacuum_",
    "buffering",
    "deduplicate_items",
    "fastupdate",
    "fillfactor",
    "gin_pending_list_limit",
    "log_autovacuum_min_duration",
    "oids",
    "pages_per_range",
    "parallel_workers",
    "toast_tuple_target",
    "user_catalog_table",
    "vacuum_",
];
/// Collations whose order is that of the bytes, or of the database.
const COLLATIONS: [&str; 5] = ["default", "C", "POSIX", "ucs_basic", "C.utf8"];
const TABLESPACES: [&str; 1] = ["pg_default"];

/// Fails for options of CREATE TABLE that PostgreSQL does not know. Errors: 22023, 42704.
pub(super) fn check_options(options: &CreateTableOptions) -> Result<()> {
    let options = match options {
        CreateTableOptions::With(options) | CreateTableOptions::Plain(options) => options,
        // Others fail where the statement is planned.
        _ => return Ok(()),
    };
    options.iter().try_for_each(check_option)
}

fn check_option(option: &SqlOption) -> Result<()> {
    match option {
        SqlOption::KeyValue { key, value } => {
            let name = folded(key);
            if name == "oids" && !value.to_string().eq_ignore_ascii_case("false") {
                return Err(Error::unsupported("a table WITH OIDS"));
            }
            check_parameter(&name)
        }
        SqlOption::Ident(key) => check_parameter(&folded(key)),
        SqlOption::TableSpace(space) if TABLESPACES.contains(&space.name.as_str()) => Ok(()),
        SqlOption::TableSpace(space) => {
            let message = format!("tablespace \"{}\" does not exist", space.name);
            Err(Error::invalid("42704", message, None))
        }
        other => Err(Error::unsupported(format!("CREATE TABLE ... {other}"))),
    }
}

/// Fails for what is no parameter of an index.
pub(super) fn check_index_options(options: &[Expr]) -> Result<()> {
    options.iter().try_for_each(|option| match option {
        Expr::BinaryOp { left, .. } => check_parameter(&left.to_string().to_lowercase()),
        other => check_parameter(&other.to_string().to_lowercase()),
    })
}

fn check_parameter(name: &str) -> Result<()> {
    let is_known = |known: &&str| match known.strip_suffix('_') {
        Some(_) => name.starts_with(*known),
        None => name == *known,
    };
    if PARAMETERS.iter().any(is_known) {
        return Ok(());
    }
    let message = format!("unrecognized parameter \"{name}\"");
    let hint = "Properties of a table are TBLPROPERTIES ('name' = 'value').";
    Err(Error::invalid("22023", message, Some(hint)))
}

/// Fails for a collation other than that of all texts.
pub(crate) fn check_collation(name: &ObjectName) -> Result<()> {
    let parts = name_parts(name);
    let last = parts.last().map_or("", String::as_str);
    if COLLATIONS.contains(&last) {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: format!("COLLATE \"{last}\""),
        hint: Some("Texts are compared by their bytes, as COLLATE \"C\" has it.".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_postgresql_are_known() {
        for name in [
            "fillfactor",
            "autovacuum_enabled",
            "vacuum_truncate",
            "parallel_workers",
        ] {
            assert!(check_parameter(name).is_ok(), "{name}");
        }
        for name in ["nonsense", "fillfactors", "autovacuum"] {
            assert!(check_parameter(name).is_err(), "{name}");
        }
    }
}
