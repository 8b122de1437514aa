//! The extension `auspex`: what every warehouse has beyond PostgreSQL, as PostgreSQL's catalogs tell such a thing.
//!
//! In: what exists; out: rows of `pg_extension`, `pg_depend` and `pg_init_privs`. The schema `ml` with its views and
//! functions belongs to it, and so do models, which no statement of PostgreSQL's makes: `pg_dump` writes none of them.

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::Int32Type;
use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::dependency_rows::{Place, dependency};
use super::objects::Objects;
use super::oids::ML_SCHEMA;
use super::relation::Relation;
use super::relation_rows::{server_oid, wrapper_oid};
use super::roles::SUPERUSER_OID;
use super::{PG_CATALOG, columns, fresh, ml_functions};

/// Its number: below 16384, as what PostgreSQL itself brings, so that `pg_dump` writes no CREATE EXTENSION.
const OID: i32 = 8_900;

/// The row of `pg_extension`.
pub(super) fn rows() -> Vec<Row> {
    vec![vec![
        ("oid", OID.into()),
        ("extname", "auspex".into()),
        ("extowner", SUPERUSER_OID.into()),
        ("extnamespace", ML_SCHEMA.into()),
        ("extrelocatable", false.into()),
        ("extversion", env!("CARGO_PKG_VERSION").into()),
    ]]
}

/// Whether a relation belongs to it.
fn has(objects: &Objects, relation: &Relation) -> Result<bool> {
    let schema = objects.find_schema(&relation.schema)?;
    Ok(relation.model.is_some() || schema == Some(ML_SCHEMA))
}

/// Rows of `pg_depend`: what belongs to it.
pub(super) fn members(objects: &Objects, relations: &[Relation]) -> Result<Vec<Row>> {
    let mut members: Vec<Place> = vec![
        ("pg_namespace", ML_SCHEMA, 0),
        ("pg_foreign_data_wrapper", wrapper_oid(objects), 0),
        ("pg_foreign_server", server_oid(objects), 0),
    ];
    let functions = ml_functions::all().iter();
    members.extend(functions.map(|function| ("pg_proc", function.oid, 0)));
    for relation in relations {
        if has(objects, relation)? {
            members.push(("pg_class", relation.oid, 0));
        }
    }
    let row = |member: Place| dependency(member, ("pg_extension", OID, 0), "e");
    Ok(members.into_iter().map(row).collect())
}

/// Rows of `pg_init_privs`: privileges that nobody granted, which `pg_dump` writes none of. They are those on functions of
/// PostgreSQL's own, and those on what belongs to the extension, which go where it goes.
pub(super) async fn privileges(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = of_functions();
    for relation in objects.own_relations().await? {
        let facts = objects.facts();
        let granted = match has(objects, &relation)? {
            true => facts.acl(&relation.schema, Some(&relation.name))?,
            false => None,
        };
        rows.extend(granted.map(|granted| initial("pg_class", relation.oid, "e", granted)));
    }
    Ok(rows)
}

fn initial(class: &str, oid: i32, kind: &str, privileges: Vec<String>) -> Row {
    let class = columns::find(PG_CATALOG, class).map_or(0, |relation| relation.oid);
    vec![
        ("objoid", oid.into()),
        ("classoid", class.into()),
        ("objsubid", 0.into()),
        ("privtype", kind.into()),
        ("initprivs", Cell::Texts(privileges)),
    ]
}

/// Those on functions of a fresh PostgreSQL.
fn of_functions() -> Vec<Row> {
    let known = fresh::rows("pg_proc");
    let column = |name: &str| known?.column_by_name(name);
    let (Some(oids), Some(lists)) = (column("oid"), column("proacl")) else {
        return Vec::new();
    };
    let (Some(oids), Some(lists)) = (
        oids.as_primitive_opt::<Int32Type>(),
        lists.as_list_opt::<i32>(),
    ) else {
        return Vec::new();
    };
    let row = |(oid, list): (Option<i32>, Option<ArrayRef>)| {
        let list = list?;
        let items = list.as_string_opt::<i32>()?.iter().flatten();
        let items = items.map(ToOwned::to_owned).collect();
        Some(initial("pg_proc", oid?, "i", items))
    };
    oids.iter().zip(lists.iter()).filter_map(row).collect()
}
