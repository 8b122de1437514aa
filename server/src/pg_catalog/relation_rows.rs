//! Rows of `pg_catalog` about schemas, relations, columns, rules and comments.
//!
//! In: what exists; out: the rows of one table, as they are at the moment of the query. A model is a foreign
//! table of the server `models`, whose options tell its type, label and version.

use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::check_columns::columns_of_check;
use super::default_texts::{shown_default, shown_generation};
use super::objects::Objects;
use super::relation::Relation;
use super::roles::SUPERUSER_OID;
use super::server_tables::owner;
use super::{
    INFORMATION_SCHEMA, PG_CATALOG, columns, domain_rows, enum_rows, extension_rows, key_rows,
    normal_form, reference_rows, row_types, sequence_rows, view_rows,
};
use crate::protocol::types::{WireColumn, n_dimensions, wire_columns};

/// The foreign server that models are shown on.
const MODEL_SERVER: &str = "models";
/// The access method of tables, PostgreSQL's `heap`.
const HEAP: i32 = 2;
/// The collation of text columns, PostgreSQL's `default`.
pub(super) const DEFAULT_COLLATION: i32 = 100;

/// The rows of one relation in a table.
pub(super) type RelationRows = fn(&Objects, &Relation) -> Result<Vec<Row>>;

/// How a table that consists of relations tells one; `None` for any other table.
pub(super) fn of_relations(name: &str) -> Option<RelationRows> {
    Some(match name {
        "pg_class" => class,
        "pg_attribute" => attributes,
        "pg_tables" => table,
        "pg_views" => view,
        "pg_matviews" => materialized_view,
        "pg_attrdef" => defaults,
        "pg_constraint" => constraints,
        "pg_index" => key_rows::indexes,
        "pg_indexes" => key_rows::index_views,
        "pg_foreign_table" => foreign_table,
        "pg_stat_user_tables"
        | "pg_stat_all_tables"
        | "pg_statio_user_tables"
        | "pg_statio_all_tables" => table_statistics,
        _ => return None,
    })
}

/// The rows of a table about schemas and servers; `None` for any other table.
pub(super) fn rows(objects: &Objects, name: &str) -> Result<Option<Vec<Row>>> {
    Ok(Some(match name {
        "pg_namespace" => namespaces(objects)?,
        "pg_description" => comments(objects)?,
        "pg_rewrite" => view_rows::rules(objects)?,
        "pg_type" => {
            let mut rows = enum_rows::types(objects)?;
            rows.extend(domain_rows::types(objects)?);
            rows.extend(row_types::types(objects)?);
            rows
        }
        "pg_enum" => enum_rows::labels(objects)?,
        "pg_foreign_server" => foreign_server(objects),
        "pg_foreign_data_wrapper" => foreign_data_wrapper(objects),
        "pg_extension" => extension_rows::rows(),
        _ => return Ok(None),
    }))
}

/// The comments on schemas, relations and columns.
fn comments(objects: &Objects) -> Result<Vec<Row>> {
    let facts = objects.facts();
    let mut rows = Vec::new();
    for (catalog, described) in [
        ("pg_namespace", facts.schemas()?),
        ("pg_class", facts.objects()?),
        ("pg_class", facts.temporary_objects()?),
    ] {
        let class = columns::find(PG_CATALOG, catalog).map_or(0, |relation| relation.oid);
        for object in described {
            let number = objects.number_of(&object);
            let own = object.comment.map(|comment| (0, comment));
            for (column, comment) in own.into_iter().chain(object.column_comments) {
                rows.push(vec![
                    ("objoid", number.into()),
                    ("classoid", class.into()),
                    ("objsubid", column.into()),
                    ("description", comment.into()),
                ]);
            }
        }
    }
    rows.extend(enum_rows::comments(objects)?);
    rows.extend(domain_rows::comments(objects)?);
    Ok(rows)
}

/// The comments on the constraints of all tables, which are opened if there are any.
pub(super) async fn constraint_comments(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if !objects.facts().has_constraint_comments()? {
        return Ok(rows);
    }
    for relation in objects.own_relations().await? {
        let rules = &relation.rules;
        for (name, comment) in &rules.constraint_comments {
            let key = relation.key_constraints().find(|key| key.name == *name);
            let mut references = rules.references.iter();
            let reference = references.find(|known| known.reference.name == *name);
            let oid = match (key, reference) {
                (Some(key), _) => key_rows::key_oid(objects, &relation, key),
                (None, Some(reference)) => reference_rows::oid(objects, &relation, reference),
                (None, None) => check_oid(objects, &relation, name),
            };
            rows.push(domain_rows::described("pg_constraint", oid, comment));
        }
    }
    Ok(rows)
}

fn namespaces(objects: &Objects) -> Result<Vec<Row>> {
    let namespaces = objects.namespaces()?;
    let row = |namespace: &super::objects::Namespace| {
        Ok(vec![
            ("oid", namespace.oid.into()),
            ("nspname", namespace.name.as_str().into()),
            ("nspowner", owner(&namespace.owner)),
            ("nspacl", acl(objects, &namespace.name, None)?),
        ])
    };
    namespaces.iter().map(row).collect()
}

/// The privileges on a relation or schema; NULL where nobody changed them.
fn acl(objects: &Objects, schema: &str, name: Option<&str>) -> Result<Cell> {
    let items = objects.facts().acl(schema, name)?;
    Ok(items.map_or(Cell::Null, Cell::Texts))
}

fn schema_oid(objects: &Objects, relation: &Relation) -> Result<Cell> {
    Ok(objects.find_schema(&relation.schema)?.into())
}

fn class(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let is_stored = relation.is_stored();
    let n_rows = relation.n_rows.map_or(-1.0, |rows| rows as f64);
    let no = || Cell::from(false);
    let zero = || Cell::from(0);
    let row = vec![
        ("oid", relation.oid.into()),
        ("relname", relation.name.as_str().into()),
        ("relnamespace", schema_oid(objects, relation)?),
        ("reltype", row_type(objects, relation).into()),
        ("reloftype", zero()),
        ("relowner", owner(&relation.owner)),
        ("relam", if is_stored { HEAP } else { 0 }.into()),
        ("relfilenode", relation.oid.into()),
        ("reltablespace", zero()),
        // Clients divide what has pages among connections by `ctid`, which rows here do not have.
        ("relpages", zero()),
        (
            "reltuples",
            Cell::Float(if is_stored { n_rows } else { -1.0 }),
        ),
        ("relallvisible", zero()),
        ("reltoastrelid", zero()),
        ("relhasindex", (!relation.rules.keys.is_empty()).into()),
        ("relisshared", no()),
        (
            "relpersistence",
            if relation.is_temporary() { "t" } else { "p" }.into(),
        ),
        ("relkind", relation.kind.into()),
        ("relnatts", relation.columns.fields().len().into()),
        ("relchecks", relation.rules.checks.len().into()),
        ("relhasrules", matches!(relation.kind, "v" | "m").into()),
        (
            "relhastriggers",
            reference_rows::has_triggers(relation).into(),
        ),
        ("relhassubclass", no()),
        ("relrowsecurity", no()),
        ("relforcerowsecurity", no()),
        ("relispopulated", relation.is_populated.into()),
        ("relreplident", if is_stored { "d" } else { "n" }.into()),
        ("relispartition", no()),
        ("relrewrite", zero()),
        ("relfrozenxid", zero()),
        ("relminmxid", zero()),
        (
            "relacl",
            acl(objects, &relation.schema, Some(&relation.name))?,
        ),
        (
            "reloptions",
            match relation.options.is_empty() {
                true => Cell::Null,
                false => Cell::Texts(relation.options.clone()),
            },
        ),
    ];
    let mut rows = key_rows::classes(objects, relation, &row);
    rows.extend(sequence_rows::classes(objects, relation, &row));
    rows.insert(0, row);
    Ok(rows)
}

/// The number of the type of a relation's rows; 0: there is none.
fn row_type(objects: &Objects, relation: &Relation) -> i32 {
    match relation.kind {
        "S" => 0,
        _ => row_types::numbers(objects, relation.oid).0,
    }
}

/// The default or the generating expression of a column.
fn rule_of(relation: &Relation, idx: usize) -> (Option<&String>, bool) {
    let rules = &relation.rules;
    let generated = rules.generated.get(idx).and_then(Option::as_ref);
    let default = rules.defaults.get(idx).and_then(Option::as_ref);
    (generated.or(default), generated.is_some())
}

fn attributes(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let Ok(columns) = wire_columns(&relation.columns) else {
        return Ok(Vec::new());
    };
    let row = |(idx, column): (usize, WireColumn)| {
        let (rule, is_generated) = rule_of(relation, idx);
        let collation = match is_text(&column) {
            true => DEFAULT_COLLATION,
            false => 0,
        };
        let no = || Cell::from(false);
        let n_dimensions = match column.pg_type.name().starts_with('_') {
            true => n_dimensions(relation.columns.field(idx).data_type()),
            false => 0,
        };
        let (type_oid, modifier) = declared_type(relation, idx, &column);
        vec![
            ("attrelid", relation.oid.into()),
            ("attname", column.name.clone().into()),
            ("atttypid", Cell::Int(type_oid)),
            ("attstattarget", Cell::Int(-1)),
            ("attlen", Cell::Int(i64::from(column.type_size()))),
            ("attnum", (idx + 1).into()),
            ("attndims", n_dimensions.into()),
            ("attcacheoff", Cell::Int(-1)),
            ("atttypmod", modifier.into()),
            ("attbyval", (column.type_size() > 0).into()),
            ("attalign", "i".into()),
            ("attstorage", storage(&column).into()),
            ("attcompression", "".into()),
            ("attnotnull", relation.forbids_null(idx).into()),
            (
                "atthasdef",
                (rule.is_some() || sequence_rows::is_default(relation, idx)).into(),
            ),
            ("atthasmissing", no()),
            (
                "attidentity",
                match relation.identity(idx) {
                    Some(numbers) if numbers.is_always() => "a",
                    Some(_) => "d",
                    None => "",
                }
                .into(),
            ),
            ("attgenerated", if is_generated { "s" } else { "" }.into()),
            ("attisdropped", no()),
            ("attislocal", true.into()),
            ("attinhcount", 0.into()),
            ("attcollation", collation.into()),
        ]
    };
    let mut rows: Vec<Row> = columns.into_iter().enumerate().map(row).collect();
    rows.extend(key_rows::attributes(objects, relation, &rows));
    Ok(rows)
}

/// The number and the modifier of the type that a column was declared with.
fn declared_type(relation: &Relation, idx: usize, column: &WireColumn) -> (i64, i32) {
    if let Some(domain) = relation.domain(idx) {
        return (i64::from(domain.oid), -1);
    }
    let (pg_type, modifier) = column.declared_as(relation.declared(idx));
    (i64::from(pg_type.oid()), modifier)
}

/// How PostgreSQL keeps values of a column's type, unless a column says otherwise.
pub(super) fn storage(column: &WireColumn) -> &'static str {
    match column.pg_type.name() {
        "numeric" => "m",
        _ if column.type_size() < 0 => "x",
        _ => "p",
    }
}

/// Whether a column holds texts or arrays of them.
pub(super) fn is_text(column: &WireColumn) -> bool {
    let name = column.pg_type.name();
    ["text", "varchar", "bpchar"].contains(&name.trim_start_matches('_'))
}

fn table(_: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    if relation.kind != "r" {
        return Ok(Vec::new());
    }
    let no = || Cell::from(false);
    Ok(vec![vec![
        ("schemaname", relation.schema.as_str().into()),
        ("tablename", relation.name.as_str().into()),
        ("tableowner", relation.owner.as_str().into()),
        ("hasindexes", (!relation.rules.keys.is_empty()).into()),
        ("hasrules", no()),
        ("hastriggers", no()),
        ("rowsecurity", no()),
    ]])
}

fn view(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    if relation.kind != "v" {
        return Ok(Vec::new());
    }
    Ok(vec![vec![
        ("schemaname", relation.schema.as_str().into()),
        ("viewname", relation.name.as_str().into()),
        ("viewowner", relation.owner.as_str().into()),
        ("definition", objects.view_text(relation)?.into()),
    ]])
}

fn materialized_view(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    if relation.kind != "m" {
        return Ok(Vec::new());
    }
    Ok(vec![vec![
        ("schemaname", relation.schema.as_str().into()),
        ("matviewname", relation.name.as_str().into()),
        ("matviewowner", relation.owner.as_str().into()),
        ("hasindexes", (!relation.rules.keys.is_empty()).into()),
        ("ispopulated", relation.is_populated.into()),
        ("definition", objects.view_text(relation)?.into()),
    ]])
}

fn defaults(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let Ok(columns) = wire_columns(&relation.columns) else {
        return Ok(Vec::new());
    };
    let row = |(idx, column): (usize, &WireColumn)| {
        let text = match rule_of(relation, idx) {
            (_, true) => shown_generation(objects, relation, idx, &columns),
            (_, false) => shown_default(objects, relation, idx, column),
        };
        Some(vec![
            ("oid", default_oid(objects, relation, idx).into()),
            ("adrelid", relation.oid.into()),
            ("adnum", (idx + 1).into()),
            ("adbin", text?.into()),
        ])
    };
    Ok(columns.iter().enumerate().filter_map(row).collect())
}

/// The number of a column's default.
pub(super) fn default_oid(objects: &Objects, relation: &Relation, idx: usize) -> i32 {
    objects.number("default", &format!("{}.{idx}", relation.oid))
}

/// The number of a check.
pub(super) fn check_oid(objects: &Objects, relation: &Relation, name: &str) -> i32 {
    objects.number("check", &format!("{}.{name}", relation.oid))
}

fn constraints(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let schema = schema_oid(objects, relation)?;
    let row = |((name, text), (_, shown)): (&(String, String), (String, String))| {
        let no = || Cell::from(false);
        let zero = || Cell::from(0);
        let columns = columns_of_check(text, &relation.columns);
        vec![
            ("oid", check_oid(objects, relation, name).into()),
            ("conname", name.as_str().into()),
            ("connamespace", schema.clone()),
            ("contype", "c".into()),
            ("condeferrable", no()),
            ("condeferred", no()),
            ("convalidated", true.into()),
            ("conrelid", relation.oid.into()),
            ("contypid", zero()),
            ("conindid", zero()),
            ("conparentid", zero()),
            ("confrelid", zero()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", true.into()),
            ("coninhcount", zero()),
            ("connoinherit", no()),
            ("conkey", Cell::Ints(columns)),
            ("conbin", shown.into()),
        ]
    };
    let checks = relation.rules.checks.iter();
    let checks = checks.zip(normal_form::checks(objects, relation));
    let mut rows: Vec<Row> = checks.map(row).collect();
    rows.extend(key_rows::constraints(objects, relation, &schema));
    rows.extend(reference_rows::constraints(objects, relation, &schema));
    Ok(rows)
}

fn foreign_table(objects: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let Some(model) = &relation.model else {
        return Ok(Vec::new());
    };
    let mut options = vec![format!("model_type={}", model.model_type)];
    if !model.labels.is_empty() {
        options.push(format!("label={}", model.labels.join(", ")));
    }
    options.push(format!("version={}", model.version));
    Ok(vec![vec![
        ("ftrelid", relation.oid.into()),
        ("ftserver", server_oid(objects).into()),
        ("ftoptions", Cell::Texts(options)),
    ]])
}

/// The number of the server that models are shown on.
pub(super) fn server_oid(objects: &Objects) -> i32 {
    objects.number(MODEL_SERVER, "server")
}

/// The number of that server's wrapper.
pub(super) fn wrapper_oid(objects: &Objects) -> i32 {
    objects.number(MODEL_SERVER, "wrapper")
}

fn foreign_server(objects: &Objects) -> Vec<Row> {
    vec![vec![
        ("oid", server_oid(objects).into()),
        ("srvname", MODEL_SERVER.into()),
        ("srvowner", SUPERUSER_OID.into()),
        ("srvfdw", wrapper_oid(objects).into()),
    ]]
}

fn foreign_data_wrapper(objects: &Objects) -> Vec<Row> {
    vec![vec![
        ("oid", wrapper_oid(objects).into()),
        ("fdwname", "auspex".into()),
        ("fdwowner", SUPERUSER_OID.into()),
        ("fdwhandler", 0.into()),
        ("fdwvalidator", 0.into()),
    ]]
}

fn table_statistics(_: &Objects, relation: &Relation) -> Result<Vec<Row>> {
    let is_users = ![PG_CATALOG, INFORMATION_SCHEMA].contains(&relation.schema.as_str());
    if !relation.is_stored() || !is_users {
        return Ok(Vec::new());
    }
    Ok(vec![vec![
        ("relid", relation.oid.into()),
        ("schemaname", relation.schema.as_str().into()),
        ("relname", relation.name.as_str().into()),
        ("n_live_tup", relation.n_rows.into()),
        // Rows that are gone are in files of older versions.
        ("n_dead_tup", 0.into()),
    ]])
}
