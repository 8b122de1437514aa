//! What must be looked up in the warehouse: texts of views and checks, sizes of tables, which relations take rows.
//!
//! In: a relation's or check's number, or a relation's name; out: a text or a number, NULL when there is no such
//! object. Asynchronous, since tables are opened.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::super::objects::Objects;
use super::super::relation::Relation;
use super::super::relation_rows::check_oid;
use super::super::{domain_rows, key_rows, normal_form, reference_rows};
use super::names::identifier_parts;

/// Texts by number: the whole, then its parts or other forms.
type Texts = BTreeMap<i32, Vec<String>>;

/// Relations by number; `None`: there is none of it.
type Met = BTreeMap<i32, Option<Relation>>;

/// What a function looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wanted {
    ViewText,
    ConstraintText,
    IndexText,
    Bytes,
    /// What a statement may do with a relation's rows.
    Events,
    /// Whether a column takes values.
    ColumnEvents,
    /// Of all tables: there is one database.
    AllBytes,
}

const NAMES: [(&str, Wanted); 9] = [
    ("pg_get_viewdef", Wanted::ViewText),
    ("pg_get_constraintdef", Wanted::ConstraintText),
    ("pg_get_indexdef", Wanted::IndexText),
    ("pg_relation_size", Wanted::Bytes),
    ("pg_table_size", Wanted::Bytes),
    ("pg_total_relation_size", Wanted::Bytes),
    ("pg_database_size", Wanted::AllBytes),
    ("pg_relation_is_updatable", Wanted::Events),
    ("pg_column_is_updatable", Wanted::ColumnEvents),
];

/// PostgreSQL's bits for what a statement does: 4 for UPDATE, 8 for INSERT, 16 for DELETE.
const ALL_EVENTS: i32 = 4 | 8 | 16;
const DELETE_EVENT: i32 = 16;
/// The text of a whole index where its parts may be asked for, too: the last of its texts.
const FOR_PEOPLE: usize = usize::MAX;

/// Whether a function of this name looks something up.
pub(in super::super) fn looks_up(name: &str) -> bool {
    NAMES.iter().any(|(known, _)| *known == name)
}

/// The functions, over a session's catalog.
pub(super) fn functions(objects: &Objects) -> Vec<ScalarUDF> {
    let function = |(name, wanted)| {
        let arities = match wanted {
            Wanted::Events => vec![TypeSignature::Any(2)],
            Wanted::ColumnEvents => vec![TypeSignature::Any(3)],
            Wanted::IndexText => vec![TypeSignature::Any(1), TypeSignature::Any(3)],
            _ => vec![TypeSignature::Any(1), TypeSignature::Any(2)],
        };
        let lookup = Lookup {
            name,
            wanted,
            signature: Signature::one_of(arities, Volatility::Volatile),
            objects: objects.clone(),
        };
        AsyncScalarUDF::new(Arc::new(lookup)).into_scalar_udf()
    };
    NAMES.into_iter().map(function).collect()
}

/// A check as PostgreSQL writes it, and as it does for people.
fn check_texts(condition: &str) -> Vec<String> {
    vec![
        format!("CHECK ({condition})"),
        format!("CHECK ({})", normal_form::for_people(condition)),
    ]
}

/// What statements may do with the rows of a relation.
fn events(relation: &Relation) -> i32 {
    match &relation.written {
        _ if relation.takes_rows() => ALL_EVENTS,
        // A view of computed columns has rows that can be removed.
        Some(_) => DELETE_EVENT,
        None => 0,
    }
}

#[derive(Debug)]
struct Lookup {
    name: &'static str,
    wanted: Wanted,
    signature: Signature,
    objects: Objects,
}

// A session has one function of a name.
impl PartialEq for Lookup {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Lookup {}

impl std::hash::Hash for Lookup {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Lookup {
    /// A relation, which is opened once a call however many of its columns are asked for.
    async fn met<'a>(&self, oid: i32, relations: &'a mut Met) -> Result<Option<&'a Relation>> {
        let relation = match relations.entry(oid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(self.objects.by_oid(oid).await?),
        };
        Ok(relation.as_ref())
    }

    async fn answer(
        &self,
        (oid, part): (i32, usize),
        texts: &Texts,
        relations: &mut Met,
    ) -> Result<ScalarValue> {
        Ok(match self.wanted {
            Wanted::ViewText => {
                let relation = self.objects.by_oid(oid).await?;
                let text = relation.map(|relation| self.objects.view_text(&relation));
                ScalarValue::Utf8(text.transpose()?.flatten())
            }
            Wanted::ConstraintText => {
                let text = texts.get(&oid);
                let text = text.and_then(|forms| forms.get(part).or_else(|| forms.first()));
                ScalarValue::Utf8(text.cloned())
            }
            Wanted::IndexText => {
                let text = texts.get(&oid).and_then(|parts| match part {
                    FOR_PEOPLE => parts.last(),
                    part => parts[..parts.len() - 1].get(part),
                });
                ScalarValue::Utf8(text.cloned())
            }
            Wanted::Bytes => {
                let relation = self.objects.by_oid(oid).await?;
                // A view has no files.
                let n_bytes = relation.map(|relation| match relation.is_stored() {
                    true => relation.n_bytes,
                    false => Some(0),
                });
                // Lossless: no table is so large.
                ScalarValue::Int64(n_bytes.flatten().map(|bytes| bytes as i64))
            }
            Wanted::Events => {
                let relation = self.met(oid, relations).await?;
                ScalarValue::from(relation.map_or(0, events))
            }
            Wanted::ColumnEvents => {
                let relation = self.met(oid, relations).await?;
                let takes = |relation: &Relation| {
                    let idx = part.checked_sub(1);
                    idx.is_some_and(|idx| relation.takes_values(idx))
                };
                ScalarValue::from(relation.is_some_and(takes))
            }
            Wanted::AllBytes => {
                let relations = self.objects.own_relations().await?;
                let stored = relations.iter().filter(|relation| relation.is_stored());
                let n_bytes: usize = stored.filter_map(|relation| relation.n_bytes).sum();
                // Lossless, as above.
                ScalarValue::Int64(Some(n_bytes as i64))
            }
        })
    }

    /// The texts of all constraints or indexes, if they are wanted: every table is opened for them.
    async fn texts(&self) -> Result<Texts> {
        let mut texts = Texts::new();
        let (constraints, indexes) = match self.wanted {
            Wanted::ConstraintText => (true, false),
            Wanted::IndexText => (false, true),
            _ => return Ok(texts),
        };
        if constraints {
            let of_domains = domain_rows::constraint_texts(&self.objects)?;
            texts.extend(
                of_domains
                    .into_iter()
                    .map(|(oid, text)| (oid, check_texts(&text))),
            );
        }
        for relation in self.objects.own_relations().await? {
            let checks = constraints.then(|| normal_form::checks(&self.objects, &relation));
            for (name, text) in checks.into_iter().flatten() {
                let oid = check_oid(&self.objects, &relation, &name);
                texts.insert(oid, check_texts(&text));
            }
            for reference in relation.rules.references.iter().filter(|_| constraints) {
                let oid = reference_rows::oid(&self.objects, &relation, reference);
                let text = reference_rows::constraint_text(&self.objects, reference)?;
                texts.insert(oid, vec![text]);
            }
            for key in relation.key_constraints().filter(|_| constraints) {
                let oid = key_rows::key_oid(&self.objects, &relation, key);
                texts.insert(oid, vec![key_rows::constraint_text(key)]);
            }
            for key in relation.rules.keys.iter().filter(|_| indexes) {
                let shown = key_rows::Shown::of(&self.objects, &relation, key);
                let mut parts = vec![shown.text(&relation, key)];
                let for_people = shown.text_for_people(&relation, key);
                parts.extend(shown.elements);
                parts.push(for_people);
                let oid = key_rows::index_oid(&self.objects, &relation, key);
                texts.insert(oid, parts);
            }
        }
        Ok(texts)
    }

    /// Which columns are asked for, row by row; 0 is the whole. Of constraints, 1 is the text for people.
    fn parts(&self, args: &ScalarFunctionArgs) -> Result<Vec<usize>> {
        let has_parts = matches!(
            self.wanted,
            Wanted::IndexText | Wanted::ColumnEvents | Wanted::ConstraintText
        );
        let Some(column) = args.args.get(1).filter(|_| has_parts) else {
            return Ok(Vec::new());
        };
        let column = cast(&column.to_array(args.number_rows)?, &DataType::Int32)?;
        let column = column.as_primitive::<Int32Type>().iter();
        let part = |number: Option<i32>| match (self.wanted, number) {
            (Wanted::IndexText, Some(0)) => Some(FOR_PEOPLE),
            (_, number) => number.and_then(|number| usize::try_from(number).ok()),
        };
        Ok(column
            .map(|number| part(number).unwrap_or_default())
            .collect())
    }

    /// The numbers of relations that are given by number or by name.
    fn numbers(&self, argument: &ArrayRef) -> Result<Vec<Option<i32>>> {
        if self.wanted == Wanted::AllBytes {
            let known = |row| argument.is_valid(row).then_some(0);
            return Ok((0..argument.len()).map(known).collect());
        }
        if !argument.data_type().is_string() {
            let oids = cast(argument, &DataType::Int32)?;
            return Ok(oids.as_primitive::<Int32Type>().iter().collect());
        }
        let names = cast(argument, &DataType::Utf8)?;
        let number = |name: Option<&str>| {
            let Some(name) = name else { return Ok(None) };
            if let Ok(oid) = name.parse() {
                return Ok(Some(oid));
            }
            let parts = identifier_parts(name);
            let found = match parts.as_slice() {
                [.., schema, name] => self.objects.find(Some(schema), name)?,
                [name] => self.objects.find(None, name)?,
                [] => None,
            };
            if found.is_none() && self.wanted == Wanted::Events {
                // It is none whose rows statements change, as an index.
                return Ok(Some(0));
            }
            // The planner's own words, from which the SQLSTATE follows.
            found
                .map(Some)
                .ok_or_else(|| DataFusionError::Plan(format!("table '{name}' not found")))
        };
        names.as_string::<i32>().iter().map(number).collect()
    }
}

impl ScalarUDFImpl for Lookup {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.wanted {
            Wanted::ViewText | Wanted::ConstraintText | Wanted::IndexText => DataType::Utf8,
            Wanted::Bytes | Wanted::AllBytes => DataType::Int64,
            Wanted::Events => DataType::Int32,
            Wanted::ColumnEvents => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = self.name;
        Err(DataFusionError::Internal(format!(
            "{name} runs asynchronously"
        )))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Lookup {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(argument) = args.args.first() else {
            let name = self.name;
            let message = format!("{name} needs an object");
            return Err(DataFusionError::Internal(message));
        };
        let argument = argument.to_array(args.number_rows)?;
        let texts = self.texts().await?;
        let parts = self.parts(&args)?;
        let mut relations = Met::new();
        let mut answers = Vec::with_capacity(args.number_rows);
        for (row, oid) in self.numbers(&argument)?.into_iter().enumerate() {
            let part = parts.get(row).copied().unwrap_or_default();
            answers.push(match oid {
                Some(oid) => self.answer((oid, part), &texts, &mut relations).await?,
                None => ScalarValue::try_from(&self.return_type(&[])?)?,
            });
        }
        if answers.is_empty() {
            answers.push(ScalarValue::try_from(&self.return_type(&[])?)?);
            let none = ScalarValue::iter_to_array(answers)?.slice(0, 0);
            return Ok(ColumnarValue::Array(none));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(answers)?))
    }
}
