//! Paths of SQL/JSON: `jsonb_path_query(x, '$.items[*] ? (@.price > $max).name', '{"max": 9}')` and its kin, `@?` and `@@`.
//!
//! In: jsonb, the text of a path and variables; out: the values at its ends. Lax paths alone: arrays are opened where a
//! member is asked for, what is missing is no error. `path_text` reads paths. Without arithmetic and times, so that the
//! functions with `_tz`, which compare times of several zones, do the same as those without. A method that a value does
//! not take makes a predicate unknown.

use std::cmp::Ordering;
use std::sync::Arc;

use auspex_storage::JsonKind;
use datafusion::arrow::array::{
    ArrayRef, AsArray as _, BooleanArray, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};
use regex::Regex;

use super::path_text::{Compare, Index, Method, Operand, Path, Predicate, Step, read};
use super::value::{Json, Layout};
use super::{json_field, values};
use crate::functions::call::{Call, Function, failure, function};

/// With variables, and whether errors are passed over.
const ARITIES: &[usize] = &[2, 3, 4];

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let one = |name: &'static str, of: fn(Vec<Json>) -> Option<Json>| {
        let body = move |call: &Call<'_>| {
            let found = found(call, false)?.into_iter();
            let texts = found.map(|found| Some(of(found?.values)?.write(Layout::Spaced)));
            Ok(Arc::new(texts.collect::<StringArray>()) as ArrayRef)
        };
        function(name, ARITIES, DataType::Utf8, body)
            .returning(|_| Ok(json_field("json", JsonKind::Jsonb)))
    };
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    let truth = DataType::Boolean;
    vec![
        function("jsonb_path_query", ARITIES, list, |call| {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for found in found(call, false)? {
                let is_known = found.is_some();
                for value in found.into_iter().flat_map(|found| found.values) {
                    lists.values().append_value(value.write(Layout::Spaced));
                }
                lists.append(is_known);
            }
            Ok(Arc::new(lists.finish()))
        })
        .alias("jsonb_path_query_tz"),
        one("jsonb_path_query_array", |found| Some(Json::Array(found)))
            .alias("jsonb_path_query_array_tz"),
        one("jsonb_path_query_first", |found| found.into_iter().next())
            .alias("jsonb_path_query_first_tz"),
        function("jsonb_path_exists", ARITIES, truth.clone(), |call| {
            exists(call, false)
        })
        .alias("jsonb_path_exists_tz"),
        function("jsonb_path_match", ARITIES, truth.clone(), |call| {
            matched(call, false)
        })
        .alias("jsonb_path_match_tz"),
        // What the operators `@?` and `@@` call.
        function("jsonb_path_exists_opr", &[2], truth.clone(), |call| {
            exists(call, true)
        }),
        function("jsonb_path_match_opr", &[2], truth, |call| {
            matched(call, true)
        }),
    ]
}

fn exists(call: &Call<'_>, is_silent: bool) -> Result<ArrayRef> {
    let exists = found(call, is_silent)?.into_iter().map(|found| {
        let found = found?;
        (!found.has_failed).then_some(!found.values.is_empty())
    });
    Ok(Arc::new(exists.collect::<BooleanArray>()))
}

fn matched(call: &Call<'_>, is_silent: bool) -> Result<ArrayRef> {
    let truth = |found: Option<Found>| {
        let Some(found) = found else {
            return Ok(None);
        };
        match found.values.as_slice() {
            [Json::Null] => Ok(None),
            [Json::Bool(truth)] => Ok(Some(*truth)),
            _ if found.is_silent => Ok(None),
            _ => Err(failure("22038", "single boolean result is expected")),
        }
    };
    let truths = found(call, is_silent)?.into_iter().map(truth);
    Ok(Arc::new(truths.collect::<Result<BooleanArray>>()?))
}

/// What a path leads to.
struct Found {
    values: Vec<Json>,
    /// Whether errors are passed over.
    is_silent: bool,
    /// Whether one was.
    has_failed: bool,
}

/// The values at the ends of each row's path.
fn found(call: &Call<'_>, is_silent: bool) -> Result<Vec<Option<Found>>> {
    let texts = call.texts(1)?;
    let variables = match call.args.len() {
        2 => vec![Some(Json::Object(Vec::new())); call.n_rows],
        _ => values(call, 2)?,
    };
    let silent = match call.args.len() {
        4 => cast(call.arg(3)?, &DataType::Boolean)?.as_boolean().clone(),
        _ => BooleanArray::from(vec![is_silent; call.n_rows]),
    };
    let mut known: Option<(String, Path)> = None;
    let rows = values(call, 0)?
        .into_iter()
        .zip(texts.iter())
        .zip(variables)
        .zip(silent.iter());
    let rows = rows.map(|(((value, text), variables), is_silent)| {
        let (Some(value), Some(text), Some(variables)) = (value, text, variables) else {
            return Ok(None);
        };
        let Some(is_silent) = is_silent else {
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
        let values = match path {
            Path::Values(operand) => scope.all(operand),
            Path::Truth(predicate) => {
                let truth = scope.holds(predicate);
                truth.map(|truth| vec![truth.map_or(Json::Null, Json::Bool)])
            }
        };
        let (values, has_failed) = match values {
            Ok(values) => (values, false),
            Err(Stop::Step(_)) if is_silent => (Vec::new(), true),
            Err(Stop::Step(error) | Stop::Statement(error)) => return Err(error),
        };
        Ok(Some(Found {
            values,
            is_silent,
            has_failed,
        }))
    });
    rows.collect()
}

/// An error on a path.
enum Stop {
    /// Of a step that a value does not take: a predicate is unknown then, and a silent call has no result.
    Step(DataFusionError),
    /// Of the call itself.
    Statement(DataFusionError),
}

type Followed<T> = std::result::Result<T, Stop>;

/// What a part of a path sees.
#[derive(Clone, Copy)]
struct Scope<'a> {
    root: &'a Json,
    here: &'a Json,
    variables: &'a Json,
}

impl Scope<'_> {
    fn all(&self, operand: &Operand) -> Followed<Vec<Json>> {
        let (start, steps) = match operand {
            Operand::Literal(value) => return Ok(vec![value.clone()]),
            Operand::Root(steps) => (self.root, steps),
            Operand::Here(steps) => (self.here, steps),
            Operand::Variable(name, steps) => match self.variables.member(name) {
                Some(value) => (value, steps),
                None => {
                    let message = format!("could not find jsonpath variable \"{name}\"");
                    return Err(Stop::Statement(failure("42704", message)));
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

    fn follow(&self, value: &Json, step: &Step, next: &mut Vec<Json>) -> Followed<()> {
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
            (Step::Number(method), Json::Array(items)) => {
                for item in items {
                    next.push(computed(*method, item)?);
                }
            }
            (Step::Number(method), value) => next.push(computed(*method, value)?),
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

    fn filter(&self, value: &Json, predicate: &Predicate, next: &mut Vec<Json>) -> Followed<()> {
        let scope = Scope {
            here: value,
            ..*self
        };
        if scope.holds(predicate)? == Some(true) {
            next.push(value.clone());
        }
        Ok(())
    }

    /// What an operand of a predicate leads to; `None` where a value does not take a step.
    fn known(&self, operand: &Operand) -> Followed<Option<Vec<Json>>> {
        match self.all(operand) {
            Ok(found) => Ok(Some(found)),
            Err(Stop::Step(_)) => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    /// Whether a predicate holds; `None` where it is unknown.
    fn holds(&self, predicate: &Predicate) -> Followed<Option<bool>> {
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
            Predicate::Unknown(part) => Some(self.holds(part)?.is_none()),
            Predicate::Exists(operand) => self.known(operand)?.map(|found| !found.is_empty()),
            Predicate::Compare(left, op, right) => {
                let (Some(left), Some(right)) = (self.known(left)?, self.known(right)?) else {
                    return Ok(None);
                };
                let (left, right) = (opened(left), opened(right));
                let pairs = left
                    .iter()
                    .flat_map(|left| right.iter().map(move |right| (left, right)));
                some(pairs.map(|(left, right)| compared(left, *op, right)))
            }
            Predicate::StartsWith(left, right) => {
                let (Some(left), Some(right)) = (self.known(left)?, self.known(right)?) else {
                    return Ok(None);
                };
                let (left, right) = (opened(left), opened(right));
                let Some(Json::Text(start)) = right.first() else {
                    return Ok(None);
                };
                some(left.iter().map(|value| match value {
                    Json::Text(text) => Some(text.starts_with(start)),
                    _ => None,
                }))
            }
            Predicate::Like(left, pattern) => {
                let invalid = || failure("2201B", "invalid regular expression");
                let pattern = Regex::new(pattern).map_err(|_| Stop::Statement(invalid()))?;
                let Some(left) = self.known(left)? else {
                    return Ok(None);
                };
                some(opened(left).iter().map(|value| match value {
                    Json::Text(text) => Some(pattern.is_match(text)),
                    _ => None,
                }))
            }
        })
    }
}

/// The number that a method makes of a value.
fn computed(method: Method, value: &Json) -> Followed<Json> {
    let (name, what) = match method {
        Method::Abs => ("abs", "numeric"),
        Method::Floor => ("floor", "numeric"),
        Method::Ceiling => ("ceiling", "numeric"),
        Method::Double => ("double", "string or numeric"),
    };
    let wrong = |message: String| Err(Stop::Step(failure("22036", message)));
    let digits = match (method, value) {
        (Method::Abs, Json::Number(digits)) => digits.trim_start_matches('-').to_owned(),
        (Method::Floor, Json::Number(digits)) => rounded(digits, false),
        (Method::Ceiling, Json::Number(digits)) => rounded(digits, true),
        (Method::Double, Json::Number(digits)) => digits.clone(),
        (Method::Double, Json::Text(text)) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => number.to_string(),
            _ => {
                let message = "string argument of jsonpath item method .double() is not a valid \
                    representation of a double precision number";
                return wrong(message.to_owned());
            }
        },
        _ => {
            let message =
                format!("jsonpath item method .{name}() can only be applied to a {what} value");
            return wrong(message);
        }
    };
    Ok(Json::Number(digits))
}

/// The nearest whole number that is not less, or not greater.
fn rounded(digits: &str, up: bool) -> String {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (Ok(number), false) = (whole.parse::<i128>(), digits.contains(['e', 'E'])) else {
        // Doubles of such a size are whole, or less than one.
        let number: f64 = digits.parse().unwrap_or_default();
        return match up {
            true => number.ceil(),
            false => number.floor(),
        }
        .to_string();
    };
    let is_whole = fraction.bytes().all(|digit| digit == b'0');
    let step = match (digits.starts_with('-'), up) {
        _ if is_whole => 0,
        (true, false) => -1,
        (false, true) => 1,
        _ => 0,
    };
    number.saturating_add(step).to_string()
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
