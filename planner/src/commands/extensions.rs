//! `CREATE EXTENSION` of what PostgreSQL adds by an extension and Auspex has built in.
//!
//! In: the statement, which object mappers send before anything else; out: a word that it is not needed, or an error.

use datafusion::sql::sqlparser::ast;

use super::folded;
use crate::error::{Error, Result};
use crate::statement_run::{Notice, StatementControl};

/// Extensions, and which of their functions there are.
const BUILT_IN: [(&str, &str); 2] = [
    ("pgcrypto", "gen_random_uuid"),
    ("uuid-ossp", "uuid_generate_v4"),
];

/// What `pg_extension` calls that which every warehouse has beyond PostgreSQL.
const OWN: &str = "auspex";

/// `CREATE EXTENSION`.
pub(super) fn create(
    extension: &ast::CreateExtension,
    control: &StatementControl,
) -> Result<String> {
    const TAG: &str = "CREATE EXTENSION";
    let name = folded(&extension.name);
    if name == OWN {
        let message = format!("extension \"{name}\" already exists");
        if !extension.if_not_exists {
            return Err(Error::invalid("42710", message, None));
        }
        control.notify(Notice {
            sqlstate: "42710",
            ..Notice::plain(format!("{message}, skipping"))
        });
        return Ok(TAG.to_owned());
    }
    let Some((_, function)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
        let names = BUILT_IN.map(|(known, _)| known);
        return Err(Error::Unsupported {
            what: format!("extension \"{name}\""),
            hint: Some(format!("Taken are {}.", names.join(" and "))),
        });
    };
    control.notify(Notice {
        sqlstate: "42710",
        hint: Some(format!("Of its functions there is {function}.")),
        ..Notice::plain(format!("extension \"{name}\" is not needed, skipping"))
    });
    Ok(TAG.to_owned())
}
