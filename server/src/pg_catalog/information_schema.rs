//! Rows of `information_schema`, the standard's view of the same catalogs.
//!
//! In: what exists; out: the rows of one view. Views of what Auspex has none of are empty.

use auspex_planner::{SessionFacts, TextLimit};
use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::check_columns::columns_of_check;
use super::default_texts::{shown_default, shown_generation};
use super::domain_rows;
use super::functions::type_text;
use super::ml_functions;
use super::normal_form;
use super::objects::Objects;
use super::reference_rows;
use super::relation::{Key, Relation};
use super::relation_rows::RelationRows;
use super::roles;
use super::usage_rows;
use crate::protocol::types::{WireColumn, wire_columns};

/// How a view that consists of relations tells one; `None` for any other view.
pub(super) fn of_relations(name: &str) -> Option<RelationRows> {
    Some(match name {
        "tables" => |objects, relation| Ok(tables(&View::new(objects, relation))),
        "columns" => |objects, relation| Ok(columns(&View::new(objects, relation))),
        "views" => |objects, relation| views(&View::new(objects, relation)),
        "check_constraints" => |o, relation| Ok(check_constraints(&View::new(o, relation))),
        "key_column_usage" => |o, relation| Ok(key_columns(&View::new(o, relation))),
        "table_constraints" => |o, relation| Ok(table_constraints(&View::new(o, relation))),
        "referential_constraints" => {
            |o, relation| Ok(reference_rows::rules(o.database(), relation))
        }
        "constraint_column_usage" => |o, relation| Ok(constraint_columns(&View::new(o, relation))),
        "table_privileges" | "role_table_grants" => {
            |objects, relation| privileges(objects, &View::new(objects, relation))
        }
        "column_udt_usage" => |o, relation| Ok(column_types(&View::new(o, relation))),
        "element_types" => |o, relation| Ok(usage_rows::elements_of_table(o, relation)),
        "view_table_usage" => usage_rows::tables_of_view,
        "constraint_table_usage" => {
            |o, relation| Ok(usage_rows::tables_of_constraints(o, relation))
        }
        "foreign_tables" => |objects, relation| Ok(foreign_tables(&View::new(objects, relation))),
        "foreign_table_options" => |o, relation| Ok(foreign_options(&View::new(o, relation))),
        _ => return None,
    })
}

/// The rows of a view about anything else; none of one about what Auspex has none of.
pub(super) fn rows(objects: &Objects, session: &SessionFacts, name: &str) -> Result<Vec<Row>> {
    Ok(match name {
        "information_schema_catalog_name" => {
            vec![vec![("catalog_name", objects.database().into())]]
        }
        "schemata" => schemata(objects)?,
        "routines" => routines(objects),
        "parameters" => parameters(objects),
        "enabled_roles" => enabled_roles(session),
        "character_sets" => character_sets(objects),
        "domains" => domain_rows::domains(objects)?,
        "domain_constraints" => domain_rows::domain_constraints(objects)?,
        _ => Vec::new(),
    })
}

/// The name under which the planner keeps grants to everybody.
const PUBLIC_ROLE: &str = "public";

/// A relation in its database.
struct View<'a> {
    database: &'static str,
    objects: &'a Objects,
    relation: &'a Relation,
}

impl<'a> View<'a> {
    fn new(objects: &'a Objects, relation: &'a Relation) -> View<'a> {
        View {
            database: objects.database(),
            objects,
            relation,
        }
    }

    /// The three columns by which these views name a relation.
    fn named(&self, [catalog, schema, name]: [&'static str; 3]) -> Row {
        vec![
            (catalog, self.database.into()),
            (schema, self.relation.schema.as_str().into()),
            (name, self.relation.name.as_str().into()),
        ]
    }

    fn table(&self) -> Row {
        self.named(["table_catalog", "table_schema", "table_name"])
    }
}

fn yes_or_no(value: bool) -> Cell {
    if value { "YES" } else { "NO" }.into()
}

fn schemata(objects: &Objects) -> Result<Vec<Row>> {
    let namespaces = objects.namespaces()?;
    let row = |namespace: &super::objects::Namespace| {
        vec![
            ("catalog_name", objects.database().into()),
            ("schema_name", namespace.name.as_str().into()),
            ("schema_owner", namespace.owner.as_str().into()),
        ]
    };
    Ok(namespaces.iter().map(row).collect())
}

fn tables(view: &View<'_>) -> Vec<Row> {
    let kind = match view.relation.kind {
        _ if view.relation.is_temporary() => "LOCAL TEMPORARY",
        "r" => "BASE TABLE",
        "v" => "VIEW",
        _ => "FOREIGN",
    };
    let mut row = view.table();
    row.extend([
        ("table_type", kind.into()),
        ("is_insertable_into", yes_or_no(view.relation.takes_rows())),
        ("is_typed", yes_or_no(false)),
    ]);
    vec![row]
}

fn columns(view: &View<'_>) -> Vec<Row> {
    let relation = view.relation;
    let Ok(columns) = wire_columns(&relation.columns) else {
        return Vec::new();
    };
    let row = |(idx, column): (usize, &WireColumn)| {
        let identity = relation.identity(idx);
        let generated = shown_generation(view.objects, relation, idx, &columns);
        let default = shown_default(view.objects, relation, idx, column);
        let mut row = view.table();
        row.extend([
            ("column_name", column.name.clone().into()),
            ("ordinal_position", (idx + 1).into()),
            ("column_default", default.into()),
            ("is_nullable", yes_or_no(!relation.forbids_null(idx))),
            ("dtd_identifier", (idx + 1).to_string().into()),
            ("is_self_referencing", yes_or_no(false)),
            ("is_identity", yes_or_no(identity.is_some())),
            (
                "identity_generation",
                identity
                    .map(|numbers| match numbers.is_always() {
                        true => "ALWAYS",
                        false => "BY DEFAULT",
                    })
                    .into(),
            ),
            (
                "is_generated",
                if generated.is_some() {
                    "ALWAYS"
                } else {
                    "NEVER"
                }
                .into(),
            ),
            ("generation_expression", generated.into()),
            ("is_updatable", yes_or_no(relation.takes_values(idx))),
        ]);
        let limits = (relation.text_limit(idx), relation.clock_digits(idx));
        row.extend(type_columns(view.database, column, limits));
        row.extend(identity_columns(relation, idx));
        if let Some(domain) = relation.domain(idx) {
            row.extend([
                ("domain_catalog", view.database.into()),
                ("domain_schema", domain.schema.as_str().into()),
                ("domain_name", domain.name.as_str().into()),
            ]);
        }
        row
    };
    columns.iter().enumerate().map(row).collect()
}

/// What `columns` tells of the numbers of a column.
fn identity_columns(relation: &Relation, idx: usize) -> Row {
    let identity = relation.identity(idx);
    let bounds = identity.and_then(|found| found.bounds(relation.columns.field(idx).data_type()));
    let text = |number: Option<i64>| Cell::from(number.map(|number| number.to_string()));
    vec![
        ("identity_start", text(identity.map(|found| found.start))),
        (
            "identity_increment",
            text(identity.map(|found| found.increment)),
        ),
        ("identity_maximum", text(bounds.map(|(_, max)| max))),
        ("identity_minimum", text(bounds.map(|(min, _)| min))),
        ("identity_cycle", yes_or_no(false)),
    ]
}

/// The types of columns, as `columns` tells them.
fn column_types(view: &View<'_>) -> Vec<Row> {
    const SHOWN: [&str; 7] = [
        "udt_catalog",
        "udt_schema",
        "udt_name",
        "table_catalog",
        "table_schema",
        "table_name",
        "column_name",
    ];
    let mut rows = columns(view);
    for row in &mut rows {
        row.retain(|(name, _)| SHOWN.contains(name));
    }
    rows
}

/// What `columns` tells of a type, whose texts may have a limit, and whose seconds so many digits.
pub(super) fn type_columns(
    database: &'static str,
    column: &WireColumn,
    (limit, digits): (Option<TextLimit>, Option<u8>),
) -> Row {
    let name = column.pg_type.name();
    let data_type = match name.starts_with('_') {
        true => "ARRAY".to_owned(),
        false if column.pg_type.schema() != super::PG_CATALOG => "USER-DEFINED".to_owned(),
        // Lossless: the numbers of built-in types are small.
        false => type_text(column.pg_type.oid() as i32, -1),
    };
    // PostgreSQL's modifier packs both and adds the four bytes of a length header.
    let packed = column.type_modifier() - 4;
    let decimal = (name == "numeric" && packed >= 0).then_some((packed >> 16, packed & 0xffff));
    let (precision, radix, scale): (Cell, Cell, Cell) = match name {
        "int2" => (16.into(), 2.into(), 0.into()),
        "int4" => (32.into(), 2.into(), 0.into()),
        "int8" => (64.into(), 2.into(), 0.into()),
        "float4" => (24.into(), 2.into(), Cell::Null),
        "float8" => (53.into(), 2.into(), Cell::Null),
        "numeric" => (
            decimal.map(|(precision, _)| precision).into(),
            10.into(),
            decimal.map(|(_, scale)| scale).into(),
        ),
        _ => (Cell::Null, Cell::Null, Cell::Null),
    };
    let moment = match name {
        "date" => Cell::from(0),
        "time" | "timetz" | "timestamp" | "timestamptz" | "interval" => {
            Cell::Int(digits.unwrap_or(6).into())
        }
        _ => Cell::Null,
    };
    // A text may be as long as in PostgreSQL.
    let octets = match name {
        "text" | "varchar" | "bpchar" | "name" => Cell::Int(1 << 30),
        _ => Cell::Null,
    };
    let mut row: Row = vec![
        ("data_type", data_type.into()),
        ("character_octet_length", octets),
        ("numeric_precision", precision),
        ("numeric_precision_radix", radix),
        ("numeric_scale", scale),
        ("datetime_precision", moment),
        ("udt_catalog", database.into()),
        ("udt_schema", column.pg_type.schema().into()),
        ("udt_name", name.into()),
    ];
    if let Some(limit) = limit {
        let (data_type, udt) = match limit.is_fixed {
            true => ("character", "bpchar"),
            false => ("character varying", "varchar"),
        };
        row.retain(|(name, _)| !["data_type", "udt_name"].contains(name));
        row.extend([
            ("data_type", data_type.into()),
            ("udt_name", udt.into()),
            ("character_maximum_length", limit.length.into()),
        ]);
    }
    row
}

fn views(view: &View<'_>) -> Result<Vec<Row>> {
    if view.relation.kind != "v" {
        return Ok(Vec::new());
    }
    let mut row = view.table();
    let text = view.objects.view_text(view.relation)?;
    row.push(("view_definition", text.into()));
    let mut options = view.relation.options.iter();
    let checks = options.find_map(|option| option.strip_prefix("check_option="));
    let checks = checks.map_or_else(|| "NONE".to_owned(), str::to_uppercase);
    row.push(("check_option", checks.into()));
    let takes_rows = view.relation.takes_rows();
    row.extend(
        ["is_updatable", "is_insertable_into"].map(|column| (column, yes_or_no(takes_rows))),
    );
    let never = [
        "is_trigger_updatable",
        "is_trigger_deletable",
        "is_trigger_insertable_into",
    ];
    row.extend(never.map(|column| (column, yes_or_no(false))));
    Ok(vec![row])
}

/// The three columns by which these views name a check.
fn constraint(view: &View<'_>, name: &str) -> Row {
    vec![
        ("constraint_catalog", view.database.into()),
        ("constraint_schema", view.relation.schema.as_str().into()),
        ("constraint_name", name.into()),
    ]
}

fn check_constraints(view: &View<'_>) -> Vec<Row> {
    let row = |(name, text): (String, String)| {
        let mut row = constraint(view, &name);
        row.push(("check_clause", format!("({text})").into()));
        row
    };
    let checks = normal_form::checks(view.objects, view.relation);
    checks.into_iter().map(row).collect()
}

fn table_constraints(view: &View<'_>) -> Vec<Row> {
    let row = |name: &str, kind: &str| {
        let mut row = constraint(view, name);
        row.extend(view.table());
        row.extend([
            ("constraint_type", kind.into()),
            ("is_deferrable", yes_or_no(false)),
            ("initially_deferred", yes_or_no(false)),
            ("enforced", yes_or_no(true)),
        ]);
        row
    };
    let unique = |key: &Key| {
        let mut row = row(&key.name, "UNIQUE");
        row.push(("nulls_distinct", yes_or_no(!key.nulls_are_equal)));
        row
    };
    let checks = view.relation.rules.checks.iter();
    let checks = checks.map(|(name, _)| row(name, "CHECK"));
    let keys = view.relation.key_constraints();
    let keys = keys.map(|key| match key.is_primary {
        true => row(&key.name, "PRIMARY KEY"),
        false => unique(key),
    });
    let mut rows: Vec<Row> = checks.chain(keys).collect();
    rows.extend(reference_rows::table_constraints(
        view.database,
        view.relation,
    ));
    rows
}

fn key_columns(view: &View<'_>) -> Vec<Row> {
    let rows = |key: &Key| {
        let row = |(idx, column): (usize, &String)| {
            let mut row = constraint(view, &key.name);
            row.extend(view.table());
            row.push(("column_name", column.as_str().into()));
            row.push(("ordinal_position", (idx + 1).into()));
            row
        };
        key.columns.iter().enumerate().map(row).collect::<Vec<_>>()
    };
    let mut rows: Vec<Row> = view.relation.key_constraints().flat_map(rows).collect();
    rows.extend(reference_rows::columns(view.database, view.relation));
    rows
}

fn constraint_columns(view: &View<'_>) -> Vec<Row> {
    let fields = view.relation.columns.fields();
    let rows = |(name, text): &(String, String)| {
        let columns = columns_of_check(text, &view.relation.columns).into_iter();
        let row = |position: i64| {
            let field = fields.get(usize::try_from(position - 1).ok()?)?;
            let mut row = constraint(view, name);
            row.extend(view.table());
            row.push(("column_name", field.name().as_str().into()));
            Some(row)
        };
        columns.filter_map(row).collect::<Vec<_>>()
    };
    let of_key = |key: &Key| {
        let row = |column: &String| {
            let mut row = constraint(view, &key.name);
            row.extend(view.table());
            row.push(("column_name", column.as_str().into()));
            row
        };
        key.columns.iter().map(row).collect::<Vec<_>>()
    };
    let rules = &view.relation.rules;
    let mut columns: Vec<Row> = rules.checks.iter().flat_map(rows).collect();
    columns.extend(view.relation.key_constraints().flat_map(of_key));
    columns.extend(reference_rows::used_columns(view.database, view.relation));
    columns
}

/// What the owner may do, which is everything.
/// What the owner may do, then what others were granted.
fn privileges(objects: &Objects, view: &View<'_>) -> Result<Vec<Row>> {
    let relation = view.relation;
    let owner = relation.owner.as_str();
    let all: &[&str] = match relation.is_users_table() {
        true => &["INSERT", "SELECT", "UPDATE", "DELETE", "TRUNCATE"],
        false => &["SELECT"],
    };
    let row = |grantee: &str, privilege: &str, is_grantable: bool| {
        let mut row = view.table();
        row.extend([
            ("grantor", owner.into()),
            ("grantee", grantee.into()),
            ("privilege_type", privilege.into()),
            ("is_grantable", yes_or_no(is_grantable)),
            ("with_hierarchy", yes_or_no(privilege == "SELECT")),
        ]);
        row
    };
    let own = all.iter().map(|privilege| row(owner, privilege, true));
    let granted = objects.facts().grants(&relation.schema, &relation.name)?;
    let others = granted.iter().map(|(role, privilege, is_grantable)| {
        let grantee = if role == PUBLIC_ROLE { "PUBLIC" } else { role };
        row(grantee, privilege, *is_grantable)
    });
    Ok(own.chain(others).collect())
}

const FOREIGN: [&str; 3] = [
    "foreign_table_catalog",
    "foreign_table_schema",
    "foreign_table_name",
];

fn foreign_tables(view: &View<'_>) -> Vec<Row> {
    if view.relation.model.is_none() {
        return Vec::new();
    }
    let mut row = view.named(FOREIGN);
    row.push(("foreign_server_catalog", view.database.into()));
    row.push(("foreign_server_name", "models".into()));
    vec![row]
}

fn foreign_options(view: &View<'_>) -> Vec<Row> {
    let Some(model) = &view.relation.model else {
        return Vec::new();
    };
    let options = [
        ("model_type", model.model_type.clone()),
        ("label", model.labels.join(", ")),
        ("version", model.version.to_string()),
    ];
    let row = |(name, value): (&str, String)| {
        let mut row = view.named(FOREIGN);
        row.push(("option_name", name.into()));
        row.push(("option_value", value.into()));
        row
    };
    options.into_iter().map(row).collect()
}

/// The name that tells a function from its namesakes.
fn specific_name(function: &ml_functions::MlFunction) -> String {
    format!("{}_{}", function.name, function.oid)
}

fn function_schema(function: &ml_functions::MlFunction) -> &'static str {
    match function.schema_oid {
        super::oids::ML_SCHEMA => "ml",
        _ => super::PG_CATALOG,
    }
}

fn routines(objects: &Objects) -> Vec<Row> {
    let row = |function: &ml_functions::MlFunction| {
        vec![
            ("specific_catalog", objects.database().into()),
            ("specific_schema", function_schema(function).into()),
            ("specific_name", specific_name(function).into()),
            ("routine_catalog", objects.database().into()),
            ("routine_schema", function_schema(function).into()),
            ("routine_name", function.name.into()),
            ("routine_type", "FUNCTION".into()),
            (
                "data_type",
                function.result.trim_start_matches("SETOF ").into(),
            ),
            ("routine_body", "EXTERNAL".into()),
            ("external_language", "INTERNAL".into()),
            ("is_deterministic", yes_or_no(false)),
            ("security_type", "INVOKER".into()),
        ]
    };
    ml_functions::all().iter().map(row).collect()
}

fn parameters(objects: &Objects) -> Vec<Row> {
    let rows = |function: &'static ml_functions::MlFunction| {
        let arguments = function.arguments.split(", ").enumerate();
        arguments.map(move |(idx, argument)| {
            let mut words = argument.trim_start_matches("VARIADIC ").split(' ');
            vec![
                ("specific_catalog", objects.database().into()),
                ("specific_schema", function_schema(function).into()),
                ("specific_name", specific_name(function).into()),
                ("ordinal_position", (idx + 1).into()),
                ("parameter_mode", "IN".into()),
                ("is_result", yes_or_no(false)),
                ("as_locator", yes_or_no(false)),
                ("parameter_name", words.next().into()),
                ("data_type", words.next().into()),
            ]
        })
    };
    ml_functions::all().iter().flat_map(rows).collect()
}

fn enabled_roles(session: &SessionFacts) -> Vec<Row> {
    let roles = roles::roles(session).into_iter();
    roles
        .map(|(_, name)| vec![("role_name", name.into())])
        .collect()
}

fn character_sets(objects: &Objects) -> Vec<Row> {
    vec![vec![
        ("character_set_name", "UTF8".into()),
        ("character_repertoire", "UCS".into()),
        ("form_of_use", "UTF8".into()),
        ("default_collate_catalog", objects.database().into()),
        ("default_collate_schema", super::PG_CATALOG.into()),
        ("default_collate_name", "default".into()),
    ]]
}
