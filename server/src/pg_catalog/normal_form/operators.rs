//! What PostgreSQL makes of the operands of an operator.
//!
//! In: an operator and its operands with their types; out: the operation in brackets, its operands converted as
//! PostgreSQL's own operators ask for. `None` for what is not known here.

use super::typed::{
    BIGINT, BOOLEAN, BPCHAR, DATE, DOUBLE, INTEGER, INTERVAL, NUMERIC, TEXT, TIMESTAMP, Typed,
    is_float, is_moment, is_text, is_whole, rank,
};

/// An operation of two operands.
pub(super) fn operation(operator: &str, left: Typed, right: Typed) -> Option<Typed> {
    let (left, right, data_type) = match operator {
        "=" | "<>" | "<" | ">" | "<=" | ">=" => {
            let (left, right) = compared(left, right)?;
            (left, right, BOOLEAN.to_owned())
        }
        "+" | "-" | "*" | "/" | "%" => computed(operator, left, right)?,
        "||" => (left.argument(TEXT)?, right.argument(TEXT)?, TEXT.to_owned()),
        "~" | "~*" | "!~" | "!~*" | "~~" | "~~*" | "!~~" | "!~~*" => {
            let left = match left.data_type.as_str() {
                BPCHAR => left,
                _ => left.argument(TEXT)?,
            };
            (left, right.argument(TEXT)?, BOOLEAN.to_owned())
        }
        _ => of_documents(operator, left, right)?,
    };
    let text = format!("({} {operator} {})", left.text(), right.text());
    Some(Typed::new(text, data_type))
}

/// Operands that are compared.
pub(super) fn compared(left: Typed, right: Typed) -> Option<(Typed, Typed)> {
    let (left, right) = closed(left, right);
    let (one, other) = (left.data_type.as_str(), right.data_type.as_str());
    if rank(one).is_some() && rank(other).is_some() {
        return Some(numbers(left, right));
    }
    if is_text(one) && is_text(other) {
        let are_padded = one == BPCHAR && other == BPCHAR;
        return Some(match are_padded {
            true => (left, right),
            false => (left.converted(TEXT), right.converted(TEXT)),
        });
    }
    let are_alike = one == other || (is_moment(one) && is_moment(other));
    // There is no order of json.
    (are_alike && one != "json").then_some((left, right))
}

/// Operands of which none waits for its type: an open one takes that of the other.
fn closed(left: Typed, right: Typed) -> (Typed, Typed) {
    // What is compared with a varchar is a text.
    let meant = |known: &Typed| match known.data_type.as_str() {
        _ if known.is_open() => TEXT.to_owned(),
        "character varying" | "name" => TEXT.to_owned(),
        other => other.to_owned(),
    };
    match (left.is_open(), right.is_open()) {
        (false, false) => (left, right),
        (true, _) => {
            let data_type = meant(&right);
            (left.converted(&data_type), right.converted(&data_type))
        }
        (false, true) => {
            let data_type = meant(&left);
            (left.converted(&data_type), right.converted(&data_type))
        }
    }
}

/// Numbers as the operators take them, which there are of different whole numbers and of different floats.
fn numbers(left: Typed, right: Typed) -> (Typed, Typed) {
    let to = match (left.data_type.as_str(), right.data_type.as_str()) {
        (one, other) if is_float(one) || is_float(other) => DOUBLE,
        (NUMERIC, _) | (_, NUMERIC) => NUMERIC,
        _ => return (left, right),
    };
    let fit = |number: Typed| match is_float(&number.data_type) {
        true => number,
        false => number.converted(to),
    };
    (fit(left), fit(right))
}

/// Operands of arithmetic, and the type of what it gives.
fn computed(operator: &str, left: Typed, right: Typed) -> Option<(Typed, Typed, String)> {
    if left.is_open() && right.is_open() {
        return None;
    }
    let is_time = |part: &Typed| is_moment(&part.data_type) || part.data_type == INTERVAL;
    if is_time(&left) || is_time(&right) {
        return moved(operator, left, right);
    }
    let (left, right) = closed(left, right);
    let wider = match rank(&left.data_type)? < rank(&right.data_type)? {
        true => right.data_type.clone(),
        false => left.data_type.clone(),
    };
    if operator == "%" {
        // There is one of numbers of the same type alone, and none of floats.
        let known = is_whole(&wider) || wider == NUMERIC;
        return known.then(|| {
            let (left, right) = (left.converted(&wider), right.converted(&wider));
            (left, right, wider)
        });
    }
    let (left, right) = numbers(left, right);
    let wider = match left.data_type == right.data_type {
        true => left.data_type.clone(),
        false if is_float(&wider) => DOUBLE.to_owned(),
        false => wider,
    };
    Some((left, right, wider))
}

/// Arithmetic of days, moments and intervals.
fn moved(operator: &str, left: Typed, right: Typed) -> Option<(Typed, Typed, String)> {
    let data_type = match (left.data_type.as_str(), operator, right.data_type.as_str()) {
        (DATE, "-", DATE) => INTEGER,
        (DATE, "+" | "-", INTEGER) => DATE,
        (INTEGER, "+", DATE) => DATE,
        (DATE, "+" | "-", INTERVAL) => TIMESTAMP,
        (INTERVAL, "+" | "-", INTERVAL) => INTERVAL,
        (one, "-", other) if one == other && is_moment(one) => INTERVAL,
        (moment, "+" | "-", INTERVAL) if is_moment(moment) => moment,
        _ => return None,
    };
    let data_type = data_type.to_owned();
    Some((left, right, data_type))
}

/// Operators of documents and arrays.
fn of_documents(operator: &str, left: Typed, right: Typed) -> Option<(Typed, Typed, String)> {
    let of = left.data_type.clone();
    let is_document = matches!(of.as_str(), "json" | "jsonb");
    let is_key = is_whole(&right.data_type) && right.data_type != BIGINT;
    Some(match operator {
        "->" | "->>" if is_document => {
            let right = if is_key { right } else { right.argument(TEXT)? };
            let given = if operator == "->" {
                of
            } else {
                TEXT.to_owned()
            };
            (left, right, given)
        }
        "#>" | "#>>" if is_document => {
            let given = if operator == "#>" {
                of
            } else {
                TEXT.to_owned()
            };
            (left, right.argument("text[]")?, given)
        }
        "?" if of == "jsonb" => (left, right.argument(TEXT)?, BOOLEAN.to_owned()),
        "@>" | "<@" | "&&" if of == "jsonb" || of.ends_with("[]") => {
            let right = right.argument(&of)?;
            (left, right, BOOLEAN.to_owned())
        }
        _ => return None,
    })
}

/// `= ANY (…)` and its kin, of an array of elements of a type.
pub(super) fn of_array((operator, word): (&str, &str), left: Typed, array: Typed) -> Option<Typed> {
    let array = match array.is_open() {
        true if left.is_open() => return None,
        true => {
            let of = format!("{}[]", left.data_type);
            array.converted(&of)
        }
        false => array,
    };
    let element = array.data_type.strip_suffix("[]")?.to_owned();
    let (left, element) = match operator {
        "=" | "<>" | "<" | ">" | "<=" | ">=" => compared(left, Typed::new("", element))?,
        _ => (
            left.argument(TEXT)?,
            Typed::new("", element).argument(TEXT)?,
        ),
    };
    let array = array.converted(&format!("{}[]", element.data_type));
    let text = format!("({} {operator} {word} ({}))", left.text(), array.text());
    Some(Typed::new(text, BOOLEAN))
}
