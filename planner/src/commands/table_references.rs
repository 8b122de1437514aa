//! FOREIGN KEY and REFERENCES as definitions write them, and what becomes of them when their keys go.
//!
//! In: syntax trees; out: references of a `TableShape`, once the other table and its key are known to be there. Nothing
//! looks whether rows keep to them, which a NOTICE says.

use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, CatalogState, Deferral, Definition, Key, Reference, ReferenceAction,
    TableReference, TableShape,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    self, ColumnOption, ConstraintReferenceMatchKind, ForeignKeyConstraint, Ident, TableConstraint,
};

use super::alter_table::drop_references;
use super::table_keys::{free_name, is_taken, name_taken};
use super::{folded, name_parts};
use crate::access::TableUse;
use crate::bind::column_place;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};
use crate::temporary::SCHEMA as TEMPORARY;

/// A reference as a statement declares it.
pub(super) struct DeclaredReference<'a> {
    name: Option<&'a Ident>,
    /// The column that it stands behind, if it stands behind one.
    column: Option<String>,
    constraint: &'a ForeignKeyConstraint,
}

impl<'a> DeclaredReference<'a> {
    /// One that stands by itself.
    pub(super) fn of_table(constraint: &'a ForeignKeyConstraint) -> Self {
        Self {
            name: constraint.name.as_ref(),
            column: None,
            constraint,
        }
    }

    /// Those behind a column.
    pub(super) fn of_column(column: &'a ast::ColumnDef) -> Vec<Self> {
        let reference = |option: &'a ast::ColumnOptionDef| match &option.option {
            ColumnOption::ForeignKey(constraint) => Some(Self {
                name: option.name.as_ref().or(constraint.name.as_ref()),
                column: Some(folded(&column.name)),
                constraint,
            }),
            _ => None,
        };
        column.options.iter().filter_map(reference).collect()
    }

    /// Those of a `CREATE TABLE`.
    pub(super) fn of_create(create: &'a ast::CreateTable) -> Vec<Self> {
        let mut all: Vec<Self> = create.columns.iter().flat_map(Self::of_column).collect();
        all.extend(
            create
                .constraints
                .iter()
                .filter_map(|constraint| match constraint {
                    TableConstraint::ForeignKey(constraint) => Some(Self::of_table(constraint)),
                    _ => None,
                }),
        );
        all
    }
}

/// Adds a reference to the definition of a table, which has all its columns and keys.
pub(super) async fn add_reference(
    session: &Arc<Session>,
    shape: &mut TableShape,
    table: &CatalogEntry,
    declared: &DeclaredReference<'_>,
) -> Result<()> {
    let constraint = declared.constraint;
    if constraint.match_kind == Some(ConstraintReferenceMatchKind::Partial) {
        return Err(Error::unsupported("MATCH PARTIAL"));
    }
    let own = match &declared.column {
        Some(column) => vec![column.clone()],
        None => constraint.columns.iter().map(folded).collect(),
    };
    let columns = columns_of(shape, own)?;
    let other = referred_table(session, table, constraint)?;
    let other_shape = match &other {
        None => shape.clone(),
        Some(other) => session.engine.tables.shape(&other.id).await?,
    };
    let other_name = other.as_ref().map_or(&table.name, |other| &other.name);
    let wanted = constraint.referred_columns.iter().map(folded).collect();
    let wanted = columns_of(&other_shape, wanted)?;
    let (key, places) = key_of(&other_shape, &wanted, columns.len(), other_name)?;
    let wish = format!("{}_{}_fkey", table.name, columns.join("_"));
    let name = match declared.name.map(folded) {
        Some(name) if is_taken(shape, &name) => return Err(name_taken(&name, &table.name)),
        Some(name) => name,
        None => free_name(shape, &wish),
    };
    check_types(&name, (shape, &columns), (&other_shape, &key, &places))?;
    let characteristics = constraint.characteristics.as_ref();
    shape.add_reference(&Reference {
        name,
        columns,
        table: other.map_or_else(|| table.id.clone(), |other| other.id.clone()),
        key: key.name,
        places,
        on_update: action(constraint.on_update),
        on_delete: action(constraint.on_delete),
        is_full: constraint.match_kind == Some(ConstraintReferenceMatchKind::Full),
        deferral: deferral(characteristics),
        is_declared_so: characteristics.is_some_and(|c| c.enforced == Some(false)),
    });
    Ok(())
}

fn action(action: Option<ast::ReferentialAction>) -> ReferenceAction {
    use ast::ReferentialAction as A;
    match action {
        None | Some(A::NoAction) => ReferenceAction::NoAction,
        Some(A::Restrict) => ReferenceAction::Restrict,
        Some(A::Cascade) => ReferenceAction::Cascade,
        Some(A::SetNull) => ReferenceAction::SetNull,
        Some(A::SetDefault) => ReferenceAction::SetDefault,
    }
}

fn deferral(characteristics: Option<&ast::ConstraintCharacteristics>) -> Deferral {
    let Some(characteristics) = characteristics else {
        return Deferral::Never;
    };
    match (&characteristics.initially, characteristics.deferrable) {
        (Some(ast::DeferrableInitial::Deferred), _) => Deferral::Initially,
        (_, Some(true)) => Deferral::Possible,
        _ => Deferral::Never,
    }
}

/// The names of columns as the table has them.
fn columns_of(shape: &TableShape, names: Vec<String>) -> Result<Vec<String>> {
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        let missing = |_| {
            let message =
                format!("column \"{name}\" referenced in foreign key constraint does not exist");
            Error::invalid("42703", message, None)
        };
        let idx = column_place(shape, &name, "").map_err(missing)?;
        columns.push(shape.columns()[idx].name().clone());
    }
    Ok(columns)
}

/// The table that a reference names; `None`: the one that is being defined.
fn referred_table(
    session: &Session,
    table: &CatalogEntry,
    constraint: &ForeignKeyConstraint,
) -> Result<Option<Arc<CatalogEntry>>> {
    let parts = name_parts(&constraint.foreign_table);
    let is_temporary = table.schema == TEMPORARY;
    let (schema, name) = session.relation_parts(&parts)?;
    let is_own =
        name == table.name && (schema == table.schema || (is_temporary && parts.len() == 1));
    if is_own {
        return Ok(None);
    }
    let Some(other) = session.entry(&schema, &name) else {
        return Err(session.undefined_relation(&schema, &name));
    };
    if is_temporary != (other.schema == TEMPORARY) {
        let kind = if is_temporary {
            "temporary"
        } else {
            "permanent"
        };
        let message = format!("constraints on {kind} tables may reference only {kind} tables");
        return Err(Error::invalid("42P16", message, None));
    }
    if !matches!(other.definition, Definition::Table(_)) {
        let message = format!("referenced relation \"{name}\" is not a table");
        let hint = "Managed tables alone have keys.";
        return Err(Error::invalid("42809", message, Some(hint)));
    }
    TableUse::Read.check(&session.access(), &other)?;
    Ok(Some(other))
}

/// The key that consists of the wanted columns, or the primary one if none are named, and for each referring column the
/// place in it.
fn key_of(
    shape: &TableShape,
    wanted: &[String],
    n_columns: usize,
    relation: &str,
) -> Result<(Key, Vec<usize>)> {
    let keys = shape.keys();
    let found = match wanted {
        [] => {
            let primary = keys.into_iter().find(|key| key.is_primary);
            primary.ok_or_else(|| {
                let message =
                    format!("there is no primary key for referenced table \"{relation}\"");
                Error::invalid("42704", message, None)
            })?
        }
        wanted => {
            let has_all = |key: &Key| {
                key.is_of_columns()
                    && key.columns.len() == wanted.len()
                    && key.columns.iter().all(|column| wanted.contains(column))
            };
            keys.into_iter().find(has_all).ok_or_else(|| {
                let message = format!(
                    "there is no unique constraint matching given keys for referenced table \"{relation}\""
                );
                let hint = "Declare one with PRIMARY KEY or UNIQUE.";
                Error::invalid("42830", message, Some(hint))
            })?
        }
    };
    if found.columns.len() != n_columns {
        let message = "number of referencing and referenced columns for foreign key disagree";
        return Err(Error::invalid("42830", message, None));
    }
    let places = match wanted {
        [] => (0..n_columns).collect(),
        wanted => {
            let place = |name| found.columns.iter().position(|column| column == name);
            wanted.iter().filter_map(place).collect()
        }
    };
    Ok((found, places))
}

/// Fails where values of a column can be no values of the one that it refers to.
fn check_types(
    name: &str,
    (shape, columns): (&TableShape, &[String]),
    (other, key, places): (&TableShape, &Key, &[usize]),
) -> Result<()> {
    let type_of = |shape: &TableShape, name: &str| {
        let idx = shape.position(name)?;
        Some(shape.columns()[idx].data_type().clone())
    };
    for (column, place) in columns.iter().zip(places) {
        let referred = &key.columns[*place];
        let (Some(from), Some(to)) = (type_of(shape, column), type_of(other, referred)) else {
            continue;
        };
        if !are_alike(&from, &to) {
            let message = format!(
                "foreign key constraint \"{name}\" cannot be implemented: key columns \"{column}\" and \
                 \"{referred}\" are of incompatible types"
            );
            return Err(Error::invalid("42804", message, None));
        }
    }
    Ok(())
}

fn are_alike(from: &DataType, to: &DataType) -> bool {
    from == to
        || (from.is_numeric() && to.is_numeric())
        || (from.is_string() && to.is_string())
        || (from.is_temporal() && to.is_temporal())
}

/// Says once that the references which a definition has gained are not enforced, unless it says so itself.
pub(super) fn tell(
    relation: &str,
    before: &[Reference],
    shape: &TableShape,
    control: &StatementControl,
) {
    let references = shape.references().into_iter();
    let mut added = references.filter(|reference| !before.contains(reference));
    if added.any(|reference| !reference.is_declared_so) {
        control.notify(Notice {
            hint: Some(
                "See \"Foreign keys\" in docs/reference/statements/create_table.md.".to_owned(),
            ),
            ..Notice::plain(format!(
                "foreign keys of table \"{relation}\" are kept and shown, but not enforced"
            ))
        });
    }
}

/// The references of tables to one, each with its table.
pub(super) fn referring<'a>(
    catalog: &'a CatalogState,
    id: &'a str,
) -> impl Iterator<Item = (&'a Arc<CatalogEntry>, &'a TableReference)> {
    let references = |entry: &'a Arc<CatalogEntry>| {
        let found = match &entry.definition {
            Definition::Table(table) => table.references.as_slice(),
            _ => &[],
        };
        found.iter().map(move |reference| (entry, reference))
    };
    let all = catalog.all().flat_map(references);
    all.filter(move |(_, reference)| reference.table == id)
}

/// A reference as messages about what depends on something name it.
pub(super) fn shown(table: &CatalogEntry, reference: &TableReference) -> String {
    format!("constraint {} on table {}", reference.name, table.name)
}

/// Takes away the references to tables that are about to go; those of tables that go too do not matter.
pub(super) async fn release_tables(
    session: &Session,
    dropped: &[Arc<CatalogEntry>],
    text: &str,
) -> Result<()> {
    let catalog = session.seen_catalog();
    for table in dropped {
        let released = to_release(&catalog, table, None, dropped);
        release(session, released, text).await?;
    }
    Ok(())
}

/// Takes away the references of other tables to keys of a table that went.
pub(super) async fn release_keys(
    session: &Session,
    table: &Arc<CatalogEntry>,
    gone: &[String],
    text: &str,
) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let catalog = session.seen_catalog();
    let own = std::slice::from_ref(table);
    let released = to_release(&catalog, table, Some(gone), own);
    release(session, released, text).await
}

/// The names of references by table.
type Released = Vec<(Arc<CatalogEntry>, Vec<String>)>;

/// The references to a table, or to some of its keys, of other tables than `settled`.
fn to_release(
    catalog: &CatalogState,
    table: &CatalogEntry,
    keys: Option<&[String]>,
    settled: &[Arc<CatalogEntry>],
) -> Released {
    let mut released = Released::new();
    for (entry, reference) in referring(catalog, &table.id) {
        let is_settled = settled.iter().any(|other| other.id == entry.id);
        if is_settled || keys.is_some_and(|keys| !keys.contains(&reference.key)) {
            continue;
        }
        match released.iter_mut().find(|(known, _)| known.id == entry.id) {
            Some((_, names)) => names.push(reference.name.clone()),
            None => released.push((Arc::clone(entry), vec![reference.name.clone()])),
        }
    }
    released
}

async fn release(session: &Session, released: Released, text: &str) -> Result<()> {
    for (entry, names) in released {
        drop_references(session, &entry, &names, text).await?;
    }
    Ok(())
}
