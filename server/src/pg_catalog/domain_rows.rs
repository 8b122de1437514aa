//! Domains as the catalogs tell them: rows of `pg_type`, `pg_constraint`, and of the standard's views.
//!
//! In: what exists; out: rows. A result's column of a domain has the type that the domain is made of, as in PostgreSQL; the
//! catalogs alone tell which columns are of one.

use std::collections::BTreeMap;

use auspex_planner::{DeclaredType, DomainFacts};
use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::dependency_rows::dependency;
use super::enum_rows::array_row;
use super::functions::type_text;
use super::information_schema::type_columns;
use super::normal_form::{self, Columns, shown_name};
use super::objects::Objects;
use super::own_types::ArrayNames;
use super::relation_rows::{DEFAULT_COLLATION, is_text, storage};
use super::server_tables::owner;
use super::{PG_CATALOG, columns, usage_rows};
use crate::protocol::types::{WireColumn, wire_columns};

/// PostgreSQL's functions that read values of domains.
const DOMAIN_IN: i32 = 2597;
const DOMAIN_RECV: i32 = 2598;

/// Lossless: entries count up from 16384.
fn number(oid: u32) -> i32 {
    oid as i32
}

/// The type that a domain is made of in the end: a column of it, its number and its modifier.
fn base(facts: &DomainFacts) -> Option<(WireColumn, i32, i32)> {
    let column = wire_columns(&facts.base).ok()?.into_iter().next()?;
    let text = facts.text_limit.map(DeclaredType::Text);
    let clock = facts.clock_digits.map(DeclaredType::Clock);
    let (pg_type, modifier) = column.declared_as(text.or(clock));
    // Lossless: numbers of types fit.
    let oid = pg_type.oid() as i32;
    Some((column, oid, modifier))
}

fn is_array(column: &WireColumn) -> bool {
    column.pg_type.name().starts_with('_')
}

/// The types that domains are made of in the end, by the domains' numbers.
pub(super) fn base_types(objects: &Objects) -> Result<BTreeMap<i32, i32>> {
    let domains = objects.facts().domains()?.into_iter();
    let base_of = |facts: DomainFacts| {
        let (_, base_oid, _) = base(&facts)?;
        Some((number(facts.known.oid), base_oid))
    };
    Ok(domains.filter_map(base_of).collect())
}

/// Rows of `pg_depend`: a domain comes after the one that it is made of.
pub(super) fn dependencies(objects: &Objects) -> Result<Vec<Row>> {
    let domains = objects.facts().domains()?.into_iter();
    let row = |facts: DomainFacts| {
        let place = |oid: u32| ("pg_type", number(oid), 0);
        let on = place(facts.known.over.as_ref()?.oid);
        Some(dependency(place(facts.known.oid), on, "n"))
    };
    Ok(domains.filter_map(row).collect())
}

/// The letter of the kind that a type is of.
fn category(name: &str) -> &'static str {
    match name {
        name if name.starts_with('_') => "A",
        "bool" => "B",
        "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" => "N",
        "text" | "varchar" | "bpchar" => "S",
        "date" | "time" | "timestamp" | "timestamptz" => "D",
        "interval" => "T",
        _ => "U",
    }
}

/// Rows of `pg_type`: each domain and its arrays.
pub(super) fn types(objects: &Objects) -> Result<Vec<Row>> {
    let arrays = ArrayNames::of(objects)?;
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        let Some((column, base_oid, modifier)) = base(&facts) else {
            continue;
        };
        let schema: Cell = objects.find_schema(&facts.known.schema)?.into();
        let definition = &facts.known.definition;
        let category = category(column.pg_type.name());
        let collation = match is_text(&column) {
            true => DEFAULT_COLLATION,
            false => 0,
        };
        let size = column.type_size();
        let zero = || Cell::from(0);
        let oid = number(facts.known.oid);
        let (base_oid, modifier, dimensions) = match &facts.known.over {
            Some(over) => (number(over.oid), -1, 0),
            None => (base_oid, modifier, i32::from(is_array(&column))),
        };
        rows.push(vec![
            ("oid", Cell::from(oid)),
            ("typname", facts.known.name.clone().into()),
            ("typnamespace", schema.clone()),
            ("typowner", owner(&facts.owner)),
            ("typlen", Cell::Int(i64::from(size))),
            ("typbyval", (1..=8).contains(&size).into()),
            ("typtype", "d".into()),
            ("typcategory", category.into()),
            ("typispreferred", false.into()),
            ("typisdefined", true.into()),
            ("typdelim", ",".into()),
            ("typrelid", zero()),
            ("typsubscript", zero()),
            ("typelem", zero()),
            ("typarray", number(definition.array_oid).into()),
            ("typinput", DOMAIN_IN.into()),
            ("typoutput", zero()),
            ("typreceive", DOMAIN_RECV.into()),
            ("typsend", zero()),
            ("typmodin", zero()),
            ("typmodout", zero()),
            ("typanalyze", zero()),
            ("typalign", "i".into()),
            ("typstorage", storage(&column).into()),
            ("typnotnull", definition.not_null.into()),
            ("typbasetype", base_oid.into()),
            ("typtypmod", modifier.into()),
            ("typndims", dimensions.into()),
            ("typcollation", collation.into()),
            ("typdefaultbin", default(objects, &facts).into()),
            ("typdefault", default(objects, &facts).into()),
        ]);
        let array = arrays.of_type(&facts.known.schema, &facts.known.name);
        let named = (array.as_str(), facts.owner.as_str());
        let numbers = (oid, number(definition.array_oid));
        rows.push(array_row(named, numbers, &schema, "i"));
    }
    Ok(rows)
}

/// The name of the type that a domain is made of in the end, without lengths.
fn base_name(objects: &Objects, facts: &DomainFacts) -> Option<String> {
    let (column, _, _) = base(facts)?;
    Some(shown_name(objects, facts.text_limit, &column))
}

/// A domain's default as PostgreSQL writes it.
fn default(objects: &Objects, facts: &DomainFacts) -> Option<String> {
    let text = facts.known.definition.default.clone()?;
    let of = base_name(objects, facts)?;
    Some(normal_form::value(&text, &of, &Columns::default()).unwrap_or(text))
}

/// A domain's condition as PostgreSQL writes it.
fn condition(objects: &Objects, facts: &DomainFacts, text: &str) -> String {
    let of = base_name(objects, facts).unwrap_or_default();
    let value = Columns::of_domain(&of, facts.known.over.is_some());
    normal_form::condition(text, &value)
}

/// The number of a domain's constraint.
fn constraint_oid(objects: &Objects, facts: &DomainFacts, name: &str) -> i32 {
    objects.number("domain check", &format!("{}.{name}", facts.known.oid))
}

/// Rows of `pg_constraint`.
pub(super) fn constraints(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        let schema: Cell = objects.find_schema(&facts.known.schema)?.into();
        for (name, text) in &facts.known.definition.checks {
            let (no, zero) = (|| Cell::from(false), || Cell::from(0));
            rows.push(vec![
                ("oid", constraint_oid(objects, &facts, name).into()),
                ("conname", name.as_str().into()),
                ("connamespace", schema.clone()),
                ("contype", "c".into()),
                ("condeferrable", no()),
                ("condeferred", no()),
                ("convalidated", true.into()),
                ("conrelid", zero()),
                ("contypid", number(facts.known.oid).into()),
                ("conindid", zero()),
                ("conparentid", zero()),
                ("confrelid", zero()),
                ("confupdtype", " ".into()),
                ("confdeltype", " ".into()),
                ("confmatchtype", " ".into()),
                ("conislocal", true.into()),
                ("coninhcount", zero()),
                ("connoinherit", no()),
                ("conbin", condition(objects, &facts, text).into()),
            ]);
        }
    }
    Ok(rows)
}

/// The conditions by the numbers of their constraints.
pub(super) fn constraint_texts(objects: &Objects) -> Result<Vec<(i32, String)>> {
    let mut texts = Vec::new();
    for facts in objects.facts().domains()? {
        for (name, text) in &facts.known.definition.checks {
            let oid = constraint_oid(objects, &facts, name);
            texts.push((oid, condition(objects, &facts, text)));
        }
    }
    Ok(texts)
}

/// A row of `pg_description`, of an object of a catalog.
pub(super) fn described(catalog: &str, oid: i32, comment: &str) -> Row {
    let class = columns::find(PG_CATALOG, catalog).map_or(0, |relation| relation.oid);
    vec![
        ("objoid", oid.into()),
        ("classoid", class.into()),
        ("objsubid", 0.into()),
        ("description", comment.into()),
    ]
}

/// Rows of `pg_description`.
pub(super) fn comments(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        for (name, comment) in &facts.constraint_comments {
            let oid = constraint_oid(objects, &facts, name);
            rows.push(described("pg_constraint", oid, comment));
        }
        if let Some(comment) = &facts.comment {
            rows.push(described("pg_type", number(facts.known.oid), comment));
        }
    }
    Ok(rows)
}

/// The three columns by which the standard's views name a domain.
fn named(objects: &Objects, facts: &DomainFacts) -> Row {
    vec![
        ("domain_catalog", objects.database().into()),
        ("domain_schema", facts.known.schema.as_str().into()),
        ("domain_name", facts.known.name.as_str().into()),
    ]
}

/// Rows of `information_schema.domains`.
pub(super) fn domains(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        let Some((column, base_oid, _)) = base(&facts) else {
            continue;
        };
        let mut row = named(objects, &facts);
        match &facts.known.over {
            Some(over) => row.extend([
                ("data_type", "USER-DEFINED".into()),
                ("udt_catalog", objects.database().into()),
                ("udt_schema", over.schema.as_str().into()),
                ("udt_name", over.name.as_str().into()),
            ]),
            None => {
                if is_array(&column) {
                    // Unlike those of columns, these types of arrays are told.
                    row.push(("data_type", type_text(base_oid, -1).into()));
                }
                let limits = (facts.text_limit, facts.clock_digits);
                row.extend(type_columns(objects.database(), &column, limits));
            }
        }
        row.push(("domain_default", default(objects, &facts).into()));
        row.push(("dtd_identifier", "1".into()));
        rows.push(row);
    }
    Ok(rows)
}

/// Rows of `information_schema.element_types`: what the arrays that domains are made of hold.
pub(super) fn elements(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        let found = base(&facts).filter(|_| facts.known.over.is_none());
        rows.extend(found.and_then(|(column, _, _)| {
            let owner = (facts.known.schema.as_str(), facts.known.name.as_str());
            usage_rows::elements(objects, (owner.0, owner.1, "DOMAIN"), 1, &column.pg_type)
        }));
    }
    Ok(rows)
}

/// The columns by which the standard's views name a constraint of a domain.
fn constraint(objects: &Objects, facts: &DomainFacts, name: &str) -> Row {
    vec![
        ("constraint_catalog", objects.database().into()),
        ("constraint_schema", facts.known.schema.as_str().into()),
        ("constraint_name", name.into()),
    ]
}

/// Rows of `information_schema.domain_constraints`.
pub(super) fn domain_constraints(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        for name in facts.known.definition.checks.keys() {
            let mut row = constraint(objects, &facts, name);
            row.extend(named(objects, &facts));
            row.push(("is_deferrable", "NO".into()));
            row.push(("initially_deferred", "NO".into()));
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Rows of `information_schema.check_constraints`.
pub(super) fn check_constraints(objects: &Objects) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for facts in objects.facts().domains()? {
        for (name, text) in &facts.known.definition.checks {
            let mut row = constraint(objects, &facts, name);
            let clause = condition(objects, &facts, text);
            row.push(("check_clause", format!("({clause})").into()));
            rows.push(row);
        }
    }
    Ok(rows)
}
