//! Paths of SQL/JSON: `jsonb_path_query(x, '$.items[*] ? (@.price > $max).name', '{"max": 9}')` and its kin, `@?` and `@@`.
//!
//! In: jsonb, the text of a path and variables; out: the values at its ends. Lax paths alone: arrays are opened where a
//! member is asked for, what is missing is no error. `path_text` reads paths. Without arithmetic and times.

use std::cmp::Ordering;
use std::sync::Arc;

use auspex_storage::JsonKind;
use datafusion::arrow::array::{ArrayRef, BooleanArray, ListBuilder, StringArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use regex::Regex;

use super::path_text::{Compare, Index, Operand, Path, Predicate, Step, read};
use super::value::{Json, Layout};
use super::{json_field, values};
use crate::functions::call::{Call, Function, failure, function};

/// With variables, and whether errors are passed over.
const ARITIES: &[usize] = &[2, 3, 4];

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let one = |name: &'static str, of: fn(Vec<Json>) -> Option<Json>| {
        let body = move |call: &Call<'_>| {
            let found = found(call)?.into_iter();
            let texts = found.map(|found| Some(of(found?)?.write(Layout::Spaced)));
            Ok(Arc::new(texts.collect::<StringArray>()) as ArrayRef)
        };
        function(name, ARITIES, DataType::Utf8, body)
            .returning(|_| Ok(json_field("json", JsonKind::Jsonb)))
    };
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    vec![
        function("jsonb_path_query", ARITIES, list, |call| {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for found in found(call)? {
                let is_known = found.is_some();
                for value in found.into_iter().flatten() {
                    lists.values().append_value(value.write(Layout::Spaced));
                }
                lists.append(is_known);
            }
            Ok(Arc::new(lists.finish()))
        }),
        one("jsonb_path_query_array", |found| Some(Json::Array(found))),
        one("jsonb_path_query_first", |found| found.into_iter().next()),
        function("jsonb_path_exists", ARITIES, DataType::Boolean, |call| {
            let found = found(call)?.into_iter();
            let exists = found.map(|found| Some(!found?.is_empty()));
            Ok(Arc::new(exists.collect::<BooleanArray>()))
        }),
        function("jsonb_path_match", ARITIES, DataType::Boolean, |call| {
            let truth = |found: Option<Vec<Json>>| match found.as_deref() {
                None | Some([Json::Null]) => Ok(None),
                Some([Json::Bool(truth)]) => Ok(Some(*truth)),
                Some(_) => Err(failure("22038", "single boolean result is expected")),
            };
            let truths = found(call)?.into_iter().map(truth);
            Ok(Arc::new(truths.collect::<Result<BooleanArray>>()?))
        }),
    ]
}

/// The values at the ends of each row's path.
fn found(call: &Call<'_>) -> Result<Vec<Option<Vec<Json>>>> {
    let texts = call.texts(1)?;
    let variables = match call.args.len() {
        2 => vec![Some(Json::Object(Vec::new())); call.n_rows],
        _ => values(call, 2)?,
    };
    let mut known: Option<(String, Path)> = None;
    let rows = values(call, 0)?
        .into_iter()
        .zip(texts.iter())
        .zip(variables);
    let rows = rows.map(|((value, text), variables)| -> Result<Option<Vec<Json>>> {
        let (Some(value), Some(text), Some(variables)) = (value, text, variables) else {
            return Ok(None);
        };
        let path = match &mut known {
            Some((last, path)) if last.as_str() == text => path,
            known => &mut known.insert((text.to_owned(), read(text)?)).1,
        };
        let scope = Scope {
            root: &value,
            here: &value,
            variables: &variables,
        };
        match path {
            Path::Values(operand) => scope.all(operand).map(Some),
            Path::Truth(predicate) => {
                let truth = scope.holds(predicate)?;
                Ok(Some(vec![truth.map_or(Json::Null, Json::Bool)]))
            }
        }
    });
    rows.collect()
}

/// What a part of a path sees.
#[derive(Clone, Copy)]
struct Scope<'a> {
    root: &'a Json,
    here: &'a Json,
    variables: &'a Json,
}

impl Scope<'_> {
    fn all(&self, operand: &Operand) -> Result<Vec<Json>> {
        let (start, steps) = match operand {
            Operand::Literal(value) => return Ok(vec![value.clone()]),
            Operand::Root(steps) => (self.root, steps),
            Operand::Here(steps) => (self.here, steps),
            Operand::Variable(name, steps) => match self.variables.member(name) {
                Some(value) => (value, steps),
                None => {
                    let message = format!("could not find jsonpath variable \"{name}\"");
                    return Err(failure("42704", message));
                }
            },
        };
        let mut found = vec![start.clone()];
        for step in steps {
            let mut next = Vec::new();
            for value in &found {
                self.follow(value, step, &mut next)?;
            }
            found = next;
        }
        Ok(found)
    }

    fn follow(&self, value: &Json, step: &Step, next: &mut Vec<Json>) -> Result<()> {
        match (step, value) {
            (Step::Member(_) | Step::Members, Json::Array(items)) => {
                for item in items {
                    if !matches!(item, Json::Array(_)) {
                        self.follow(item, step, next)?;
                    }
                }
            }
            (Step::Member(key), value) => next.extend(value.member(key).cloned()),
            (Step::Members, Json::Object(members)) => {
                next.extend(members.iter().map(|(_, value)| value.clone()));
            }
            (Step::Elements, Json::Array(items)) => next.extend(items.iter().cloned()),
            (Step::Elements, value) => next.push(value.clone()),
            (Step::Places(places), Json::Array(items)) => self.elements(items, places, next),
            (Step::Places(places), value) => {
                self.elements(std::slice::from_ref(value), places, next);
            }
            (Step::Anywhere, value) => deep(value, next),
            (Step::Filter(predicate), Json::Array(items)) => {
                for item in items {
                    self.filter(item, predicate, next)?;
                }
            }
            (Step::Filter(predicate), value) => self.filter(value, predicate, next)?,
            (Step::Size, value) => {
                let size = match value {
                    Json::Array(items) => items.len(),
                    _ => 1,
                };
                next.push(Json::Number(size.to_string()));
            }
            (Step::Type, value) => next.push(Json::Text(value.type_name().to_owned())),
            (Step::Members, _) => {}
        }
        Ok(())
    }

    fn elements(&self, items: &[Json], places: &[(Index, Index)], next: &mut Vec<Json>) {
        for (from, to) in places {
            let at = |index: &Index| match index {
                Index::Front(place) => *place,
                Index::Last(back) => i64::try_from(items.len()).unwrap_or(i64::MAX) - 1 - back,
            };
            let (from, to) = (at(from).max(0), at(to));
            for place in from..=to.min(i64::try_from(items.len()).unwrap_or(i64::MAX) - 1) {
                let item = usize::try_from(place)
                    .ok()
                    .and_then(|place| items.get(place));
                next.extend(item.cloned());
            }
        }
    }

    fn filter(&self, value: &Json, predicate: &Predicate, next: &mut Vec<Json>) -> Result<()> {
        let scope = Scope {
            here: value,
            ..*self
        };
        if scope.holds(predicate)? == Some(true) {
            next.push(value.clone());
        }
        Ok(())
    }

    /// Whether a predicate holds; `None` where it is unknown.
    fn holds(&self, predicate: &Predicate) -> Result<Option<bool>> {
        Ok(match predicate {
            Predicate::And(parts) => {
                let mut all = Some(true);
                for part in parts {
                    match self.holds(part)? {
                        Some(false) => return Ok(Some(false)),
                        None => all = None,
                        Some(true) => {}
                    }
                }
                all
            }
            Predicate::Or(parts) => {
                let mut any = Some(false);
                for part in parts {
                    match self.holds(part)? {
                        Some(true) => return Ok(Some(true)),
                        None => any = None,
                        Some(false) => {}
                    }
                }
                any
            }
            Predicate::Not(part) => self.holds(part)?.map(|truth| !truth),
            Predicate::Exists(operand) => Some(!self.all(operand)?.is_empty()),
            Predicate::Compare(left, op, right) => {
                let (left, right) = (opened(self.all(left)?), opened(self.all(right)?));
                let pairs = left
                    .iter()
                    .flat_map(|left| right.iter().map(move |right| (left, right)));
                some(pairs.map(|(left, right)| compared(left, *op, right)))
            }
            Predicate::StartsWith(left, right) => {
                let (left, right) = (opened(self.all(left)?), opened(self.all(right)?));
                let Some(Json::Text(start)) = right.first() else {
                    return Ok(None);
                };
                some(left.iter().map(|value| match value {
                    Json::Text(text) => Some(text.starts_with(start)),
                    _ => None,
                }))
            }
            Predicate::Like(left, pattern) => {
                let pattern = Regex::new(pattern)
                    .map_err(|_| failure("2201B", "invalid regular expression"))?;
                some(opened(self.all(left)?).iter().map(|value| match value {
                    Json::Text(text) => Some(pattern.is_match(text)),
                    _ => None,
                }))
            }
        })
    }
}

/// All values below one, with itself.
fn deep(value: &Json, next: &mut Vec<Json>) {
    next.push(value.clone());
    match value {
        Json::Array(items) => items.iter().for_each(|item| deep(item, next)),
        Json::Object(members) => members.iter().for_each(|(_, value)| deep(value, next)),
        _ => {}
    }
}

/// Values with the elements in the place of arrays.
fn opened(values: Vec<Json>) -> Vec<Json> {
    let mut opened = Vec::with_capacity(values.len());
    for value in values {
        match value {
            Json::Array(items) => opened.extend(items),
            value => opened.push(value),
        }
    }
    opened
}

/// Whether one of them is true; unknown if none is and one is unknown.
fn some(truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut any = Some(false);
    for truth in truths {
        match truth {
            Some(true) => return Some(true),
            None => any = None,
            Some(false) => {}
        }
    }
    any
}

fn compared(left: &Json, op: Compare, right: &Json) -> Option<bool> {
    let order = match (left, right) {
        (Json::Null, Json::Null) => Ordering::Equal,
        // A null differs from all else, and is neither less nor greater.
        (Json::Null, _) | (_, Json::Null) => return Some(op == Compare::NotEqual),
        (Json::Bool(left), Json::Bool(right)) => left.cmp(right),
        (Json::Text(left), Json::Text(right)) => left.cmp(right),
        (Json::Number(left), Json::Number(right)) => {
            let (left, right) = (left.parse::<f64>().ok()?, right.parse::<f64>().ok()?);
            left.partial_cmp(&right)?
        }
        _ => return None,
    };
    Some(match op {
        Compare::Equal => order.is_eq(),
        Compare::NotEqual => order.is_ne(),
        Compare::Less => order.is_lt(),
        Compare::LessOrEqual => order.is_le(),
        Compare::Greater => order.is_gt(),
        Compare::GreaterOrEqual => order.is_ge(),
    })
}
