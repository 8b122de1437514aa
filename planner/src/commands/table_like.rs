//! `CREATE TABLE x (LIKE t INCLUDING …)`: the columns of another table, and what else of it is asked for.
//!
//! In: the name of a table and the parts to take; out: a `TableShape`. Columns with their types and NOT NULL always come along; keys get names
//! of their own. Partitions, properties, references and comments stay where they are, as references do in PostgreSQL.

use std::sync::Arc;

use auspex_sql::LIKE_PARTS;
use auspex_storage::{Definition, IdentityKind, Key, TableShape, clock_digits};
use datafusion::sql::sqlparser::ast::{
    CreateTableLikeKind, NullsDistinctOption, SelectItem, SetExpr,
};

use super::alter_table::default_name;
use super::name_parts;
use super::table_keys::{DeclaredKey, add_key};
use super::table_shape::{checked_default, set_identity};
use crate::bind::sequence_of_column;
use crate::error::{Error, Result};
use crate::session::Session;

/// The definition that `LIKE` copies.
pub(super) async fn copied_shape(
    session: &Arc<Session>,
    like: &CreateTableLikeKind,
    relation: &str,
) -> Result<TableShape> {
    let (CreateTableLikeKind::Parenthesized(like) | CreateTableLikeKind::Plain(like)) = like;
    let mut parts = name_parts(&like.name);
    let is_list = |part: &String| part.starts_with(LIKE_PARTS);
    let included = parts.pop_if(|part| is_list(part)).unwrap_or_default();
    let takes = |part: &str| included.split(' ').any(|word| word == part);
    let (schema, name) = session.relation_parts(&parts)?;
    let entry = session.entry(&schema, &name);
    let entry = entry.ok_or_else(|| session.undefined_relation(&schema, &name))?;
    session.access().check(&entry, "SELECT")?;
    if !matches!(entry.definition, Definition::Table(_)) {
        return Err(Error::Unsupported {
            what: "LIKE of what is no managed table".to_owned(),
            hint: Some(
                "CREATE TABLE x AS SELECT * FROM t WITH NO DATA has its columns.".to_owned(),
            ),
        });
    }
    let source = session.tables().shape(&entry.id).await?;
    let mut shape = TableShape::new(source.schema().as_ref());
    for (idx, field) in source.columns().iter().enumerate() {
        shape.set_text_limit(idx, source.text_limit_of(field));
        shape.set_clock_digits(idx, clock_digits(field));
        if takes("defaults") {
            shape.set_default(idx, source.default_of(field).as_deref());
        }
        if takes("generated") {
            shape.set_generated(idx, source.generated_of(field).as_deref());
        }
        let Some(identity) = source.identity_of(field) else {
            continue;
        };
        // The column of a SERIAL is one with a default; both have the numbers of one sequence.
        if identity.kind == IdentityKind::Serial {
            shape.set_nullable(idx, false);
            if takes("defaults") {
                share_numbers(session, &mut shape, idx, (&entry.schema, &entry.name)).await?;
            }
        } else if takes("identity") {
            let steps = (identity.start, identity.increment);
            set_identity(&mut shape, idx, steps, identity.kind, relation)?;
        } else {
            shape.set_nullable(idx, false);
        }
    }
    if takes("constraints") {
        copy_checks(&source, &mut shape);
    }
    if takes("indexes") {
        for key in source.keys() {
            let nulls = match key.nulls_are_equal {
                true => NullsDistinctOption::NotDistinct,
                false => NullsDistinctOption::None,
            };
            if key.index.is_some() {
                let name = default_name(&shape, &key, relation)?;
                shape.add_key(&Key { name, ..key });
                continue;
            }
            let declared = DeclaredKey {
                name: None,
                is_primary: key.is_primary,
                columns: key.columns,
                characteristics: None,
                nulls,
            };
            add_key(&mut shape, &declared, relation)?;
        }
    }
    Ok(shape)
}

/// The checks, but for those that an identity column brings along.
fn copy_checks(source: &TableShape, shape: &mut TableShape) {
    let numbered = |text: &String| {
        source.columns().iter().any(|field| {
            source.identity_of(field).is_some()
                && *text == format!("\"{}\" IS NOT NULL", field.name().replace('"', "\"\""))
        })
    };
    for (name, text) in source.checks() {
        if !numbered(&text) {
            shape.add_check(&name, &text);
        }
    }
}

/// Makes `nextval` of a column's sequence the default of its copy.
async fn share_numbers(
    session: &Arc<Session>,
    shape: &mut TableShape,
    idx: usize,
    (schema, table): (&str, &str),
) -> Result<()> {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let column = shape.columns()[idx].name().clone();
    let table = format!("{}.{}", quoted(schema), quoted(table));
    let Some(sequence) = sequence_of_column(session, &table, &column).await? else {
        return Ok(());
    };
    let text = format!("SELECT nextval('{}')", sequence.replace('\'', "''"));
    let query = auspex_sql::parse_query(&text, auspex_sql::Dialect::Postgres)?;
    if let SetExpr::Select(select) = *query.body
        && let Some(SelectItem::UnnamedExpr(call)) = select.projection.first()
    {
        let default = checked_default(session, shape, idx, call)?;
        shape.set_default(idx, default.as_deref());
    }
    Ok(())
}
