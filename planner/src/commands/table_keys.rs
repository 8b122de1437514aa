//! PRIMARY KEY and UNIQUE as definitions write them.
//!
//! In: syntax trees; out: keys of a `TableShape`, which statements that write rows keep to.

use auspex_storage::{Key, TableShape};
use datafusion::sql::sqlparser::ast::{
    self, ConstraintCharacteristics, Expr, Ident, IndexColumn, NullsDistinctOption,
};

use super::folded;
use crate::bind::column_place;
use crate::error::{Error, Result};

/// A key as a statement declares it.
#[derive(Debug)]
pub(super) struct DeclaredKey<'a> {
    pub(super) name: Option<&'a Ident>,
    pub(super) is_primary: bool,
    pub(super) columns: Vec<String>,
    pub(super) characteristics: Option<&'a ConstraintCharacteristics>,
    pub(super) nulls: NullsDistinctOption,
}

impl<'a> DeclaredKey<'a> {
    /// `PRIMARY KEY`, of the table or behind a column.
    pub(super) fn primary(
        name: Option<&'a Ident>,
        key: &'a ast::PrimaryKeyConstraint,
        column: Option<&str>,
    ) -> Result<Self> {
        Ok(Self {
            name: name.or(key.name.as_ref()),
            is_primary: true,
            columns: named_columns(&key.columns, column)?,
            characteristics: key.characteristics.as_ref(),
            nulls: NullsDistinctOption::None,
        })
    }

    /// `UNIQUE`, of the table or behind a column.
    pub(super) fn unique(
        name: Option<&'a Ident>,
        key: &'a ast::UniqueConstraint,
        column: Option<&str>,
    ) -> Result<Self> {
        Ok(Self {
            name: name.or(key.name.as_ref()),
            is_primary: false,
            columns: named_columns(&key.columns, column)?,
            characteristics: key.characteristics.as_ref(),
            nulls: key.nulls_distinct,
        })
    }
}

/// The names of a key's columns; `column` is that which the constraint stands behind.
pub(super) fn named_columns(columns: &[IndexColumn], column: Option<&str>) -> Result<Vec<String>> {
    if let (Some(column), true) = (column, columns.is_empty()) {
        return Ok(vec![column.to_owned()]);
    }
    let name = |column: &IndexColumn| match &column.column.expr {
        Expr::Identifier(name) => Ok(folded(name)),
        _ => Err(Error::unsupported("a key of expressions")),
    };
    columns.iter().map(name).collect()
}

/// Adds a key; returns it.
pub(super) fn add_key(
    shape: &mut TableShape,
    declared: &DeclaredKey<'_>,
    relation: &str,
) -> Result<Key> {
    refuse(declared)?;
    if declared.is_primary && shape.keys().iter().any(|key| key.is_primary) {
        let message = format!("multiple primary keys for table \"{relation}\" are not allowed");
        return Err(Error::invalid("42P16", message, None));
    }
    let mut columns: Vec<String> = Vec::new();
    for name in &declared.columns {
        let missing = |_| {
            let message = format!("column \"{name}\" named in key does not exist");
            Error::invalid("42703", message, None)
        };
        let idx = column_place(shape, name, relation).map_err(missing)?;
        let field = &shape.columns()[idx];
        let name = field.name().clone();
        if columns.contains(&name) {
            let kind = if declared.is_primary {
                "primary key"
            } else {
                "unique"
            };
            let message = format!("column \"{name}\" appears twice in {kind} constraint");
            return Err(Error::invalid("42701", message, None));
        }
        if field.data_type().is_nested() {
            let message = format!("column \"{name}\" of a nested type cannot be part of a key");
            return Err(Error::invalid("42704", message, None));
        }
        // NULL in an identity column is what a number takes the place of; a check of its own forbids what is left.
        if declared.is_primary && shape.identity_of(field).is_none() {
            shape.set_nullable(idx, false);
        }
        columns.push(name);
    }
    let key = Key {
        name: name_of(shape, declared, &columns, relation)?,
        is_primary: declared.is_primary,
        columns,
        nulls_are_equal: declared.nulls == NullsDistinctOption::NotDistinct,
        index: None,
    };
    shape.add_key(&key);
    Ok(key)
}

fn refuse(declared: &DeclaredKey<'_>) -> Result<()> {
    let characteristics = declared.characteristics;
    let missing = [
        (
            characteristics.is_some_and(|c| c.deferrable == Some(true) || c.initially.is_some()),
            "a DEFERRABLE key",
        ),
        (
            characteristics.is_some_and(|c| c.enforced == Some(false)),
            "a key that is NOT ENFORCED",
        ),
    ];
    match missing.iter().find(|(is_written, _)| *is_written) {
        Some((_, what)) => Err(Error::unsupported(*what)),
        None => Ok(()),
    }
}

fn name_of(
    shape: &TableShape,
    declared: &DeclaredKey<'_>,
    columns: &[String],
    relation: &str,
) -> Result<String> {
    let wish = match declared.is_primary {
        true => format!("{relation}_pkey"),
        false => format!("{relation}_{}_key", columns.join("_")),
    };
    let Some(name) = declared.name.map(folded) else {
        return Ok(free_name(shape, &wish));
    };
    match is_taken(shape, &name) {
        true => Err(name_taken(&name, relation)),
        false => Ok(name),
    }
}

/// Whether a constraint has this name.
pub(super) fn is_taken(shape: &TableShape, name: &str) -> bool {
    shape.checks().contains_key(name)
        || shape.keys().iter().any(|key| key.name == name)
        || shape
            .references()
            .iter()
            .any(|reference| reference.name == name)
}

/// The error that a constraint has this name already.
pub(super) fn name_taken(name: &str, relation: &str) -> Error {
    let message = format!("constraint \"{name}\" for relation \"{relation}\" already exists");
    Error::invalid("42710", message, None)
}

/// A name that no constraint has.
pub(super) fn free_name(shape: &TableShape, wish: &str) -> String {
    let mut name = wish.to_owned();
    let mut number = 1;
    while is_taken(shape, &name) {
        name = format!("{wish}{number}");
        number += 1;
    }
    name
}
