//! Names and numbers of objects, both ways: what `'t'::regclass` and `oid::regclass::text` become.
//!
//! In: names or numbers of relations, schemas, types, functions and roles; out: the other. The
//! functions have PostgreSQL's own names for these conversions (`regclassin`, `regclassout` …), which
//! no client writes; `rewrite` writes them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use auspex_planner::SessionFacts;
pub(crate) use auspex_planner::quoted_name as quoted;
use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, StructArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Int32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

use super::super::PG_CATALOG;
use super::super::columns;
use super::super::fresh;
use super::super::ml_functions;
use super::super::objects::Objects;
use super::super::own_types;
use super::super::roles::roles;
use super::elements::of_elements;
use super::scalar::{Call, function, returning};
use super::type_names::{is_known, type_number, type_text};
use crate::protocol::types::TYPE_KEY;

/// The conversions of names to plain numbers, and those to what a client is shown.
const NUMBERS: [&str; 6] = [
    "regclassnumber",
    "regnamespacenumber",
    "regtypenumber",
    "regprocnumber",
    "regrolenumber",
    "regoperatornumber",
];
const SHOW: [&str; 4] = [
    "regclassshow",
    "regnamespaceshow",
    "regtypeshow",
    "regroleshow",
];

/// A function of one argument whose result is marked with a type.
fn marked(
    name: &'static str,
    pg_type: &str,
    data_type: DataType,
    body: impl Fn(&Call) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let mark = HashMap::from([(TYPE_KEY.to_owned(), pg_type.to_owned())]);
    let field = Field::new(name, data_type, true).with_metadata(mark);
    returning(name, &[1], field, body)
}

/// A number and its name.
fn shown_struct() -> DataType {
    DataType::Struct(shown_fields())
}

fn shown_fields() -> Fields {
    Fields::from(vec![
        Field::new("oid", DataType::Int32, true),
        Field::new("name", DataType::Utf8, true),
    ])
}

/// The kinds of objects that have such conversions.
#[derive(Debug, Clone, Copy)]
enum Registered {
    Class,
    Namespace,
    Type,
    Proc,
    Role,
    Operator,
}

/// The conversions.
pub(super) fn functions(session: &SessionFacts, objects: &Objects) -> Vec<ScalarUDF> {
    let lookup = Lookup {
        objects: objects.clone(),
        roles: roles(session),
    };
    let mut functions = Vec::new();
    let names = [
        (
            Registered::Class,
            "regclassin",
            "to_regclass",
            "regclassout",
        ),
        (
            Registered::Namespace,
            "regnamespacein",
            "to_regnamespace",
            "regnamespaceout",
        ),
        (Registered::Type, "regtypein", "to_regtype", "regtypeout"),
        (Registered::Proc, "regprocin", "to_regproc", "regprocout"),
        (Registered::Role, "regrolein", "to_regrole", "regroleout"),
        (
            Registered::Operator,
            "regoperatorin",
            "to_regoperator",
            "regoperatorout",
        ),
    ];
    for (kind, must, may, back) in names {
        let stem = must.trim_end_matches("in");
        let strict = lookup.clone();
        let numbers = move |call: &Call| strict.numbers(kind, call, true);
        functions.push(marked(must, stem, DataType::Int32, numbers.clone()));
        // The same as a plain number.
        let plain = NUMBERS.iter().find(|name| name.starts_with(stem));
        functions.extend(plain.map(|name| function(name, &[1], DataType::Int32, numbers)));
        let shown = lookup.clone();
        let show = SHOW.iter().find(|name| name.starts_with(stem));
        functions.extend(show.map(|name| {
            marked(name, stem, shown_struct(), move |call| {
                shown.shown(kind, call)
            })
        }));
        if let Registered::Type = kind {
            let shown = lookup.clone();
            let types = DataType::new_list(shown_struct(), true);
            functions.push(marked("_regtypeshow", "_regtype", types, move |call| {
                of_elements(call, |elements| shown.shown(kind, elements))
            }));
        }
        let lenient = lookup.clone();
        functions.push(function(may, &[1], DataType::Int32, move |call| {
            lenient.numbers(kind, call, false)
        }));
        let reverse = lookup.clone();
        functions.push(marked(back, stem, DataType::Utf8, move |call| {
            reverse.names(kind, call)
        }));
    }
    functions.push(format_type(objects));
    functions.push(obj_description(objects));
    functions.push(col_description(objects));
    functions
}

fn format_type(objects: &Objects) -> ScalarUDF {
    let objects = objects.clone();
    function("format_type", &[2], DataType::Utf8, move |call| {
        let text = |(oid, modifier): (Option<i32>, Option<i32>)| -> Result<Option<String>> {
            let Some(oid) = oid else { return Ok(None) };
            let own = match is_known(oid) {
                true => None,
                false => own_types::name_of(&objects, oid)?,
            };
            Ok(own.or_else(|| Some(type_text(oid, modifier.unwrap_or(-1)))))
        };
        let (oids, modifiers) = (call.oids(0)?, call.oids(1)?);
        let texts = oids.iter().zip(modifiers.iter()).map(text);
        let texts = texts.collect::<Result<StringArray>>()?;
        Ok(Arc::new(texts) as ArrayRef)
    })
}

#[derive(Debug, Clone)]
struct Lookup {
    objects: Objects,
    roles: Vec<(i32, String)>,
}

impl Lookup {
    fn numbers(&self, kind: Registered, call: &Call, must_exist: bool) -> Result<ArrayRef> {
        if let Some(numbers) = call.args.first()
            && *numbers.data_type() == DataType::Int32
        {
            return Ok(Arc::clone(numbers));
        }
        let number = |name: Option<&str>| match name {
            None => Ok(None),
            Some(name) => match self.number(kind, name)? {
                None if must_exist => Err(missing(kind, name)),
                found => Ok(found),
            },
        };
        let numbers = call
            .texts(0)?
            .iter()
            .map(number)
            .collect::<Result<Int32Array>>()?;
        Ok(Arc::new(numbers))
    }

    fn number(&self, kind: Registered, name: &str) -> Result<Option<i32>> {
        if let Ok(number) = name.parse() {
            return Ok(Some(number));
        }
        if let Registered::Type = kind
            && let Some(number) = type_number(name)
        {
            return Ok(Some(number));
        }
        let parts = identifier_parts(name);
        let (qualifier, last) = match parts.as_slice() {
            [name] => (None, name.as_str()),
            [.., schema, name] => (Some(schema.as_str()), name.as_str()),
            [] => return Ok(None),
        };
        if let (Registered::Class | Registered::Type, Some(schema)) = (kind, qualifier) {
            self.objects.facts().check_usage(schema)?;
        }
        match kind {
            Registered::Class => self.objects.find(qualifier, last),
            Registered::Namespace => self.objects.find_schema(last),
            Registered::Proc => Ok(procedure(qualifier, last)),
            Registered::Role => Ok(self
                .roles
                .iter()
                .find(|(_, role)| role == last)
                .map(|(oid, _)| *oid)),
            Registered::Operator => Ok(OPERATORS
                .iter()
                .find(|(_, operator)| operator.split('(').next() == Some(last))
                .map(|(oid, _)| *oid)),
            Registered::Type => own_types::number_of(&self.objects, qualifier, last),
        }
    }

    fn names(&self, kind: Registered, call: &Call) -> Result<ArrayRef> {
        let is_text = call
            .args
            .first()
            .is_some_and(|array| array.data_type().is_string());
        let oids = match is_text {
            // A name is looked up first, so that it comes out as the server writes it.
            true => self.numbers(kind, call, true)?,
            false => Arc::new(call.oids(0)?),
        };
        let texts: StringArray = oids
            .as_primitive::<Int32Type>()
            .iter()
            .map(|oid| Some(self.name(kind, oid?)))
            .collect();
        Ok(Arc::new(texts))
    }

    /// Numbers with their names, of either.
    fn shown(&self, kind: Registered, call: &Call) -> Result<ArrayRef> {
        let is_text = call.args.first().is_some_and(|a| a.data_type().is_string());
        let (oids, names): (Int32Array, StringArray) = match is_text {
            true => {
                let names = call.texts(0)?;
                let number =
                    |name: &str| -> Result<i32> { Ok(self.number(kind, name)?.unwrap_or(0)) };
                let numbers = names.iter().map(|name| name.map(number).transpose());
                (numbers.collect::<Result<Int32Array>>()?, names)
            }
            false => {
                let oids = call.oids(0)?;
                let names = oids.iter().map(|oid| Some(self.name(kind, oid?)));
                (oids.clone(), names.collect())
            }
        };
        let nulls = oids.nulls().cloned();
        let columns: Vec<ArrayRef> = vec![Arc::new(oids), Arc::new(names)];
        Ok(Arc::new(StructArray::try_new(
            shown_fields(),
            columns,
            nulls,
        )?))
    }

    /// The name of a number; a number without a name stands for itself, and 0 is `-`.
    fn name(&self, kind: Registered, oid: i32) -> String {
        if oid == 0 {
            return "-".to_owned();
        }
        let name = match kind {
            Registered::Class => self.objects.name(oid).map(|(schema, name)| {
                if self.objects.is_visible(oid).ok().flatten() == Some(true) {
                    quoted(&name)
                } else {
                    format!("{}.{}", quoted(&schema), quoted(&name))
                }
            }),
            Registered::Namespace => self.objects.name(oid).map(|(schema, _)| quoted(&schema)),
            Registered::Type => match is_known(oid) {
                true => Some(type_text(oid, -1)),
                false => own_types::name_of(&self.objects, oid).ok().flatten(),
            },
            Registered::Proc => PROC_NAMES.get(&oid).cloned(),
            Registered::Operator => OPERATORS.get(&oid).cloned(),
            Registered::Role => self
                .roles
                .iter()
                .find(|(known, _)| *known == oid)
                .map(|(_, role)| quoted(role)),
        };
        name.unwrap_or_else(|| oid.to_string())
    }
}

/// The first function of a name, in a schema if one is named.
fn procedure(schema: Option<&str>, name: &str) -> Option<i32> {
    // Arguments, as in 'f(int)'::regprocedure, do not tell namesakes apart.
    let name = name.split('(').next().unwrap_or(name);
    let is_ours = |oid: i32| {
        ml_functions::all()
            .iter()
            .any(|ours| ours.oid == oid && ours.schema_oid == super::super::oids::ML_SCHEMA)
    };
    let fits = |oid: i32| match schema {
        Some("ml") => is_ours(oid),
        Some(_) => !is_ours(oid),
        None => true,
    };
    let found = PROCS.iter().find(|(oid, proc)| proc == name && fits(*oid));
    found.map(|(oid, _)| *oid)
}

fn missing(kind: Registered, name: &str) -> DataFusionError {
    DataFusionError::Plan(match kind {
        // The planner's own words, from which the SQLSTATE follows.
        Registered::Class => format!("table '{name}' not found"),
        Registered::Namespace => format!("schema \"{name}\" does not exist"),
        Registered::Type => format!("type \"{name}\" does not exist"),
        Registered::Proc => format!("function \"{name}\" does not exist"),
        Registered::Role => format!("role \"{name}\" does not exist"),
        Registered::Operator => format!("operator does not exist: {name}"),
    })
}

/// The parts of a qualified name: unquoted ones in lower case, quoted ones as they are. Blanks may stand around them.
pub(in super::super) fn identifier_parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.trim().chars().peekable();
    let mut in_quotes = false;
    while let Some(c) = chars.next() {
        let Some(part) = parts.last_mut() else { break };
        match c {
            '"' if in_quotes && chars.next_if_eq(&'"').is_some() => part.push('"'),
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => parts.push(String::new()),
            c if in_quotes => part.push(c),
            c if c.is_whitespace() => {}
            c => part.extend(c.to_lowercase()),
        }
    }
    parts
}

/// PostgreSQL's functions and ours: number and name, in the table's order.
static PROCS: LazyLock<Vec<(i32, String)>> = LazyLock::new(|| {
    let ours = ml_functions::all().iter();
    let ours = ours.map(|function| (function.oid, function.name.to_owned()));
    pairs("pg_proc", "oid", "proname")
        .into_iter()
        .chain(ours)
        .collect()
});

/// The names of functions by number.
static PROC_NAMES: LazyLock<BTreeMap<i32, String>> =
    LazyLock::new(|| PROCS.iter().cloned().collect());

/// PostgreSQL's operators: number, and name with the types of its sides.
static OPERATORS: LazyLock<BTreeMap<i32, String>> = LazyLock::new(|| {
    let mut operators = BTreeMap::new();
    let Some(batch) = fresh::rows("pg_operator") else {
        return operators;
    };
    let number = |name: &str| column(batch, name, &DataType::Int32);
    let names = column(batch, "oprname", &DataType::Utf8);
    if let (Some(oids), Some(lefts), Some(rights), Some(names)) =
        (number("oid"), number("oprleft"), number("oprright"), names)
    {
        let value = |array: &ArrayRef, row| array.as_primitive::<Int32Type>().value(row);
        let side = |oid: i32| match oid {
            0 => "NONE".to_owned(),
            oid => type_text(oid, -1),
        };
        for row in 0..batch.num_rows() {
            let name = names.as_string::<i32>().value(row);
            let (left, right) = (side(value(&lefts, row)), side(value(&rights, row)));
            operators.insert(value(&oids, row), format!("{name}({left},{right})"));
        }
    }
    operators
});

/// The name of a function; a number without a name stands for itself, and 0 is `-`.
pub(crate) fn procedure_name(oid: i32) -> String {
    match oid {
        0 => "-".to_owned(),
        oid => PROC_NAMES
            .get(&oid)
            .cloned()
            .unwrap_or_else(|| oid.to_string()),
    }
}

/// Number and text of each row of a catalog table.
fn pairs(table: &str, number: &str, text: &str) -> Vec<(i32, String)> {
    let rows = |batch: &RecordBatch| {
        let (numbers, texts) = (
            column(batch, number, &DataType::Int32),
            column(batch, text, &DataType::Utf8),
        );
        let (Some(numbers), Some(texts)) = (numbers, texts) else {
            return Vec::new();
        };
        let numbers = numbers.as_primitive::<Int32Type>().clone();
        let texts = texts.as_string::<i32>().clone();
        numbers
            .iter()
            .zip(texts.iter())
            .filter_map(|(number, text)| Some((number?, text?.to_owned())))
            .collect::<Vec<_>>()
    };
    fresh::rows(table).into_iter().flat_map(rows).collect()
}

pub(in super::super) fn column(
    batch: &RecordBatch,
    name: &str,
    data_type: &DataType,
) -> Option<ArrayRef> {
    cast(batch.column_by_name(name)?, data_type).ok()
}

/// PostgreSQL's comments on its own objects, by number and catalog.
static COMMENTS: LazyLock<BTreeMap<(i32, i32), String>> = LazyLock::new(|| {
    let mut comments = BTreeMap::new();
    if let Some(batch) = fresh::rows("pg_description") {
        let number = |name: &str| column(batch, name, &DataType::Int32);
        let (objects, classes) = (number("objoid"), number("classoid"));
        let texts = column(batch, "description", &DataType::Utf8);
        let (Some(objects), Some(classes), Some(texts)) = (objects, classes, texts) else {
            return comments;
        };
        for row in 0..batch.num_rows() {
            let object = objects.as_primitive::<Int32Type>().value(row);
            let class = classes.as_primitive::<Int32Type>().value(row);
            let text = texts.as_string::<i32>().value(row).to_owned();
            comments.entry((object, class)).or_insert(text);
        }
    }
    comments
});

fn obj_description(objects: &Objects) -> ScalarUDF {
    let objects = objects.clone();
    function("obj_description", &[1, 2], DataType::Utf8, move |call| {
        let catalogs = if call.args.len() > 1 {
            Some(call.texts(1)?)
        } else {
            None
        };
        let comment = |(row, oid): (usize, Option<i32>)| -> Result<Option<String>> {
            let Some(oid) = oid else { return Ok(None) };
            let class = catalogs.as_ref().map(|names| {
                let relation = columns::find(PG_CATALOG, names.value(row));
                relation.map_or(0, |relation| relation.oid)
            });
            let range = match class {
                Some(class) => (oid, class)..=(oid, class),
                None => (oid, 0)..=(oid, i32::MAX),
            };
            match COMMENTS.range(range).next() {
                Some((_, text)) => Ok(Some(text.clone())),
                None => objects.comment(oid),
            }
        };
        let oids = call.oids(0)?;
        let texts = oids.iter().enumerate().map(comment);
        let texts = texts.collect::<Result<StringArray>>()?;
        Ok(Arc::new(texts) as ArrayRef)
    })
}

fn col_description(objects: &Objects) -> ScalarUDF {
    let objects = objects.clone();
    function("col_description", &[2], DataType::Utf8, move |call| {
        let (oids, columns) = (call.oids(0)?, call.bigints(1)?);
        let comment = |(oid, column): (Option<i32>, Option<i64>)| -> Result<Option<String>> {
            let (Some(oid), Some(column)) = (oid, column) else {
                return Ok(None);
            };
            objects.column_comment(oid, column)
        };
        let texts = oids.iter().zip(columns.iter()).map(comment);
        let texts = texts.collect::<Result<StringArray>>()?;
        Ok(Arc::new(texts) as ArrayRef)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(
            identifier_parts(r#"Public."My ""Table""#),
            ["public", "My \"Table"]
        );
    }
}
