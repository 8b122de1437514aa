//! Expressions of definitions in the form that PostgreSQL shows: operations in brackets, literals with their types, lists as
//! arrays, names in quotes only where they need them. Tools compare such texts with what they would write themselves, and
//! read labels out of them.
//!
//! In: the text of a check, a default or a generated value, and the types of the columns that it names; out: PostgreSQL's text
//! of it, which means the same when it is read again. Evaluates nothing. What is not known here is shown as it is kept.
//! Code map: this file walks the syntax tree; `operators` and `calls` know which types PostgreSQL's operators and
//! functions take; `typed` converts; `types` names the types of casts and columns.

mod calls;
mod operators;
mod typed;
mod types;

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, Expr, Ident, UnaryOperator, Value, visit_expressions,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::functions::quoted;
use super::objects::Objects;
use super::relation::Relation;
use crate::protocol::types::{WireColumn, wire_columns};
use typed::{BOOLEAN, BPCHAR, Typed, common_type, is_text};
pub(super) use types::shown_name;

/// The word that a condition of a domain has for the value.
const VALUE: &str = "value";
/// The type of what becomes a value of the type that its domain is made of.
const DOMAIN: &str = "domain";
/// The bytes of the longest text of a part. `BETWEEN` and `IN` write what they ask about several times, so that the texts of
/// those within each other have no bound.
const LONGEST: usize = 1 << 16;

/// The columns that an expression may name.
#[derive(Debug, Default)]
pub(super) struct Columns {
    known: Vec<(String, Typed)>,
}

impl Columns {
    /// The columns of a relation.
    pub(super) fn of(objects: &Objects, relation: &Relation, columns: &[WireColumn]) -> Columns {
        let known = columns.iter().enumerate().map(|(idx, column)| {
            let data_type = shown_name(objects, relation.text_limit(idx), column);
            let mut shown = Typed::new(quoted(&column.name), data_type.clone());
            if relation.domain(idx).is_some() {
                // What a domain is made of is what operators take.
                shown = Typed::new(quoted(&column.name), DOMAIN).converted(&data_type);
            }
            (column.name.clone(), shown)
        });
        Columns {
            known: known.collect(),
        }
    }

    /// The value of a domain that is made of a type in the end; `is_over`: it is made of another domain.
    pub(super) fn of_domain(data_type: &str, is_over: bool) -> Columns {
        let shown = match is_over {
            true => Typed::new("VALUE", DOMAIN).converted(data_type),
            false => Typed::new("VALUE", data_type),
        };
        Columns {
            known: vec![(VALUE.to_owned(), shown)],
        }
    }

    fn find(&self, name: &Ident) -> Option<Typed> {
        let folded = match name.quote_style {
            Some(_) => name.value.clone(),
            None => name.value.to_lowercase(),
        };
        let found = self.known.iter().find(|(known, _)| *known == folded);
        found.map(|(_, shown)| shown.clone())
    }
}

/// The checks of a relation by name.
pub(super) fn checks(objects: &Objects, relation: &Relation) -> Vec<(String, String)> {
    let checks = &relation.rules.checks;
    if checks.is_empty() {
        return Vec::new();
    }
    let columns = wire_columns(&relation.columns).unwrap_or_default();
    let columns = Columns::of(objects, relation, &columns);
    let shown = |(name, text): &(String, String)| (name.clone(), condition(text, &columns));
    checks.iter().map(shown).collect()
}

/// A condition; the whole is in brackets unless it is no operation.
pub(super) fn condition(text: &str, columns: &Columns) -> String {
    let known = walked(text, columns).and_then(|shown| shown.argument(BOOLEAN));
    known.map_or_else(
        || format!("({text})"),
        |shown| without_spaces(shown.plain()),
    )
}

/// What stands in an index; `None`: it is not known here.
pub(super) fn expression(text: &str, columns: &Columns) -> Option<String> {
    walked(text, columns).map(|shown| without_spaces(shown.plain()))
}

/// A condition with fewer brackets: without those around it, and around names, numbers
/// and arrays that are cast.
pub(super) fn for_people(condition: &str) -> String {
    let within = condition.strip_prefix('(');
    let within = within.and_then(|rest| rest.strip_suffix(')'));
    let mut rest = within.unwrap_or(condition);
    let mut shown = String::with_capacity(rest.len());
    while let Some(at) = rest.find(['\'', '"', '(']) {
        let (before, tail) = rest.split_at(at);
        shown.push_str(before);
        if let Some(inner) = plainly_cast(tail) {
            shown.push_str(inner);
            rest = &tail[inner.len() + 2..];
            continue;
        }
        let end = match tail.starts_with('(') {
            true => 1,
            false => end_of_quoted(tail),
        };
        shown.push_str(&tail[..end]);
        rest = &tail[end..];
    }
    shown.push_str(rest);
    shown
}

/// The name, number or array between the brackets that a text begins with, if it is cast.
fn plainly_cast(text: &str) -> Option<&str> {
    if text.starts_with("(ARRAY[") {
        let inner = &text[1..=text.find("])::")?];
        let is_whole = inner.matches('\'').count().is_multiple_of(2);
        return is_whole.then_some(inner);
    }
    let (inner, behind) = text.strip_prefix('(')?.split_once(')')?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let is_plain = !inner.is_empty() && inner.bytes().all(is_part);
    (is_plain && behind.starts_with("::")).then_some(inner)
}

/// What gives a column of a type its value.
pub(super) fn value(text: &str, data_type: &str, columns: &Columns) -> Option<String> {
    let shown = walked(text, columns)?;
    let shown = match shown.is_open() {
        true => shown.converted(data_type),
        false => shown,
    };
    Some(without_spaces(shown.plain()))
}

/// A `CASE`, which begins a line, has no space before it. What is in quotes stays as it is.
fn without_spaces(text: &str) -> String {
    let mut rest = text;
    let mut shown = String::with_capacity(text.len());
    while let Some(at) = rest.find(['\'', '"']) {
        let (before, tail) = rest.split_at(at);
        shown.push_str(&before.replace(" \nCASE", "\nCASE"));
        let (quoted, behind) = tail.split_at(end_of_quoted(tail));
        shown.push_str(quoted);
        rest = behind;
    }
    shown.push_str(&rest.replace(" \nCASE", "\nCASE"));
    shown
}

/// The bytes of what is in quotes, with which a text begins. A quote within quotes ends one text and begins the next.
fn end_of_quoted(text: &str) -> usize {
    let (quote, inner) = text.split_at(1);
    inner.find(quote).map_or(text.len(), |end| end + 2)
}

fn walked(text: &str, columns: &Columns) -> Option<Typed> {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text);
    let expr = parsed.and_then(|mut parser| parser.parse_expr()).ok()?;
    columns.shown(&expr)
}

/// Whether an expression names a column.
fn names_column(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// Whether a literal in an expression has more than one line.
fn has_lines(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |expr| {
        let value = match expr {
            Expr::Value(value) => value.value.clone().into_string(),
            Expr::TypedString(typed) => typed.value.clone().into_string(),
            _ => None,
        };
        match value.is_some_and(|value| value.contains('\n')) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    found.is_break()
}

fn listed(parts: &[Typed]) -> String {
    let texts: Vec<&str> = parts.iter().map(Typed::text).collect();
    texts.join(", ")
}

impl Columns {
    /// An expression; `None` if a part of it is not known here or too long.
    fn shown(&self, expr: &Expr) -> Option<Typed> {
        self.part(expr)
            .filter(|shown| shown.text().len() <= LONGEST)
    }

    fn part(&self, expr: &Expr) -> Option<Typed> {
        match expr {
            Expr::Nested(inner) => self.shown(inner),
            Expr::Identifier(name) => self.find(name),
            Expr::CompoundIdentifier(names) => self.find(names.last()?),
            Expr::Value(value) => literal(&value.value),
            Expr::TypedString(typed) => {
                let value = typed.value.clone().into_string()?;
                Some(Typed::open(&value).converted(&types::named(&typed.data_type)?))
            }
            Expr::Interval(interval) if interval.leading_field.is_none() => {
                let value = self.shown(&interval.value)?;
                value.is_open().then(|| value.converted(typed::INTERVAL))
            }
            Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon,
                expr,
                data_type,
                array: false,
                format: None,
            } => self.cast(expr, &types::named(data_type)?),
            Expr::Array(array) => self.array(&array.elem, None),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            Expr::Case {
                operand: None,
                conditions,
                else_result,
                ..
            } => self.case(conditions, else_result.as_deref()),
            Expr::InList { .. } | Expr::AnyOp { .. } | Expr::AllOp { .. } => self.among(expr),
            Expr::Like { .. } | Expr::ILike { .. } => self.like(expr),
            Expr::Between {
                expr,
                negated,
                low,
                high,
            } => self.between(expr, *negated, (low, high)),
            Expr::Function(_)
            | Expr::Extract { .. }
            | Expr::Trim { .. }
            | Expr::Substring { .. }
            | Expr::Position { .. }
            | Expr::AtTimeZone { .. } => self.call(expr),
            _ => self.test(expr),
        }
    }

    /// `IS NULL` and its kin.
    fn test(&self, expr: &Expr) -> Option<Typed> {
        let (inner, test) = match expr {
            Expr::IsNull(inner) => (inner, "NULL"),
            Expr::IsNotNull(inner) => (inner, "NOT NULL"),
            Expr::IsTrue(inner) => (inner, "TRUE"),
            Expr::IsNotTrue(inner) => (inner, "NOT TRUE"),
            Expr::IsFalse(inner) => (inner, "FALSE"),
            Expr::IsNotFalse(inner) => (inner, "NOT FALSE"),
            Expr::IsUnknown(inner) => (inner, "UNKNOWN"),
            Expr::IsNotUnknown(inner) => (inner, "NOT UNKNOWN"),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                let (left, right) = operators::compared(self.shown(left)?, self.shown(right)?)?;
                let (left, right) = (left.text(), right.text());
                let text = format!("({left} IS DISTINCT FROM {right})");
                // PostgreSQL keeps the one as the denial of the other.
                let text = match expr {
                    Expr::IsDistinctFrom(..) => text,
                    _ => format!("(NOT {text})"),
                };
                return Some(Typed::new(text, BOOLEAN));
            }
            _ => return None,
        };
        let inner = self.shown(inner)?;
        Some(Typed::new(
            format!("({} IS {test})", inner.plain()),
            BOOLEAN,
        ))
    }

    fn unary(&self, operator: UnaryOperator, expr: &Expr) -> Option<Typed> {
        match operator {
            UnaryOperator::Not => {
                let inner = self.shown(expr)?.argument(BOOLEAN)?;
                Some(Typed::new(format!("(NOT {})", inner.plain()), BOOLEAN))
            }
            UnaryOperator::Minus => match expr {
                Expr::Value(value) => match &value.value {
                    Value::Number(digits, _) => typed::number(&format!("-{digits}")),
                    _ => None,
                },
                _ => {
                    let inner = self.shown(expr)?;
                    typed::rank(&inner.data_type)?;
                    Some(Typed::new(
                        format!("(- {})", inner.text()),
                        inner.data_type.clone(),
                    ))
                }
            },
            _ => None,
        }
    }

    fn binary(&self, left: &Expr, operator: &BinaryOperator, right: &Expr) -> Option<Typed> {
        if matches!(operator, BinaryOperator::And | BinaryOperator::Or) {
            let mut parts = Vec::new();
            self.side_by_side(left, operator, &mut parts)?;
            parts.push(self.shown(right)?.argument(BOOLEAN)?.plain().to_owned());
            return Some(joined(&parts, &operator.to_string()));
        }
        operators::operation(&operator.to_string(), self.shown(left)?, self.shown(right)?)
    }

    /// What stands left of the last `AND`, of which PostgreSQL makes one list.
    fn side_by_side(
        &self,
        expr: &Expr,
        operator: &BinaryOperator,
        parts: &mut Vec<String>,
    ) -> Option<()> {
        match expr {
            Expr::Nested(inner) => self.side_by_side(inner, operator, parts),
            Expr::BinaryOp { left, op, right } if op == operator => {
                self.side_by_side(left, operator, parts)?;
                parts.push(self.shown(right)?.argument(BOOLEAN)?.plain().to_owned());
                Some(())
            }
            other => {
                parts.push(self.shown(other)?.argument(BOOLEAN)?.plain().to_owned());
                Some(())
            }
        }
    }

    fn between(&self, expr: &Expr, negated: bool, (low, high): (&Expr, &Expr)) -> Option<Typed> {
        let (least, most, word) = match negated {
            true => ("<", ">", "OR"),
            false => (">=", "<=", "AND"),
        };
        let expr = self.shown(expr)?;
        let low = operators::operation(least, expr.clone(), self.shown(low)?)?;
        let high = operators::operation(most, expr, self.shown(high)?)?;
        let parts = [low, high].map(|part| part.plain().to_owned());
        Some(joined(&parts, word))
    }

    fn like(&self, expr: &Expr) -> Option<Typed> {
        let (operator, expr, pattern) = match expr {
            Expr::Like {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            } => (if *negated { "!~~" } else { "~~" }, expr, pattern),
            Expr::ILike {
                negated,
                any: false,
                expr,
                pattern,
                escape_char: None,
            } => (if *negated { "!~~*" } else { "~~*" }, expr, pattern),
            _ => return None,
        };
        operators::operation(operator, self.shown(expr)?, self.shown(pattern)?)
    }

    /// `IN` and comparisons with the elements of an array.
    fn among(&self, expr: &Expr) -> Option<Typed> {
        match expr {
            Expr::InList {
                expr,
                list,
                negated,
            } => self.in_list(expr, list, *negated),
            Expr::AnyOp {
                left,
                compare_op,
                right,
                ..
            } => {
                let left = self.shown(left)?;
                let array = self.array_beside(&left, right)?;
                operators::of_array((compare_op.to_string().as_str(), "ANY"), left, array)
            }
            Expr::AllOp {
                left,
                compare_op,
                right,
            } => {
                let left = self.shown(left)?;
                let array = self.array_beside(&left, right)?;
                operators::of_array((compare_op.to_string().as_str(), "ALL"), left, array)
            }
            _ => None,
        }
    }

    /// An array whose elements a value is compared with. Definitions keep no casts of literals to enums and to `bpchar`, which
    /// dumps write; as texts they could not be compared with values of another type.
    fn array_beside(&self, left: &Typed, right: &Expr) -> Option<Typed> {
        let array = match right {
            Expr::Nested(inner) => return self.array_beside(left, inner),
            Expr::Array(array) => &array.elem,
            _ => return self.shown(right),
        };
        let is_text = is_text(&left.data_type) && left.data_type != BPCHAR;
        let is_literal = |element: &Expr| matches!(element, Expr::Value(_));
        if is_text || left.is_open() || !array.iter().all(is_literal) {
            return self.shown(right);
        }
        let elements = array.iter().map(|element| self.shown(element));
        let elements: Vec<Typed> = elements.collect::<Option<_>>()?;
        match !elements.is_empty() && elements.iter().all(Typed::is_open) {
            true => Some(self::array(elements, &left.data_type)),
            false => self.shown(right),
        }
    }

    /// Values that name no column are an array, if there are several; the others are compared one by one.
    fn in_list(&self, expr: &Expr, list: &[Expr], negated: bool) -> Option<Typed> {
        let (equal, word, join) = match negated {
            true => ("<>", "ALL", "AND"),
            false => ("=", "ANY", "OR"),
        };
        let left = self.shown(expr)?;
        let (named, fixed): (Vec<&Expr>, Vec<&Expr>) =
            list.iter().partition(|element| names_column(element));
        let mut parts = Vec::with_capacity(list.len());
        let singles: Vec<&Expr> = match fixed.len() {
            0 | 1 => list.iter().collect(),
            _ => {
                let elements = fixed.iter().map(|element| self.shown(element));
                let mut all: Vec<Typed> = elements.collect::<Option<_>>()?;
                all.insert(0, left.clone());
                let of = common_type(&all)?;
                all.remove(0);
                let array = self::array(all, &of);
                parts.push(operators::of_array((equal, word), left.clone(), array)?);
                named
            }
        };
        for element in singles {
            parts.push(operators::operation(
                equal,
                left.clone(),
                self.shown(element)?,
            )?);
        }
        match parts.as_slice() {
            [one] => Some(one.clone()),
            _ => {
                let texts: Vec<String> = parts.iter().map(|part| part.plain().to_owned()).collect();
                Some(joined(&texts, join))
            }
        }
    }

    fn array(&self, elements: &[Expr], of: Option<&str>) -> Option<Typed> {
        let parts = elements.iter().map(|element| self.shown(element));
        let parts: Vec<Typed> = parts.collect::<Option<_>>()?;
        if parts.iter().any(|part| part.data_type.ends_with("[]")) {
            return None;
        }
        match of {
            Some(of) => {
                let parts: Vec<Typed> = parts.into_iter().map(|part| part.cast(of)).collect();
                let text = match parts.is_empty() {
                    true => format!("ARRAY[]::{of}[]"),
                    false => format!("ARRAY[{}]", listed(&parts)),
                };
                Some(Typed::new(text, format!("{of}[]")))
            }
            // Nothing tells the type of an empty one.
            None if parts.is_empty() => None,
            None => {
                let of = common_type(&parts)?;
                Some(array(parts, &of))
            }
        }
    }

    fn cast(&self, expr: &Expr, to: &str) -> Option<Typed> {
        match expr {
            Expr::Nested(inner) => self.cast(inner, to),
            // The type of an array is that of its elements.
            Expr::Array(array) => self.array(&array.elem, Some(to.strip_suffix("[]")?)),
            Expr::Value(value) if matches!(value.value, Value::Null) => {
                Some(Typed::new(format!("NULL::{to}"), to))
            }
            _ => Some(self.shown(expr)?.cast(to)),
        }
    }

    fn case(&self, conditions: &[CaseWhen], other: Option<&Expr>) -> Option<Typed> {
        // Lines within literals are not those of the layout.
        let parts = conditions
            .iter()
            .flat_map(|when| [&when.condition, &when.result]);
        if parts.chain(other).any(has_lines) {
            return None;
        }
        let results = conditions.iter().map(|when| &when.result).chain(other);
        let mut results: Vec<Typed> = results
            .map(|result| self.shown(result))
            .collect::<Option<_>>()?;
        let data_type = common_type(&results)?;
        if other.is_none() {
            results.push(Typed::new(format!("NULL::{data_type}"), data_type.clone()));
        }
        let mut results = results.into_iter().map(|part| part.converted(&data_type));
        let mut text = "\nCASE".to_owned();
        for when in conditions {
            let condition = self.shown(&when.condition)?.argument(BOOLEAN)?;
            let result = results.next()?;
            let line = format!("WHEN {} THEN {}", condition.plain(), result.text());
            text.push_str("\n    ");
            text.push_str(&line.replace('\n', "\n    "));
        }
        let line = format!("ELSE {}", results.next()?.text());
        text.push_str("\n    ");
        text.push_str(&line.replace('\n', "\n    "));
        text.push_str("\nEND");
        Some(Typed::new(text, data_type.clone()))
    }
}

/// An array of parts that become elements of a type.
fn array(parts: Vec<Typed>, of: &str) -> Typed {
    let parts: Vec<Typed> = parts.into_iter().map(|part| part.converted(of)).collect();
    Typed::new(format!("ARRAY[{}]", listed(&parts)), format!("{of}[]"))
}

fn joined(parts: &[String], word: &str) -> Typed {
    Typed::new(format!("({})", parts.join(&format!(" {word} "))), BOOLEAN)
}

fn literal(value: &Value) -> Option<Typed> {
    match value {
        Value::SingleQuotedString(value) | Value::EscapedStringLiteral(value) => {
            Some(Typed::open(value))
        }
        Value::Boolean(value) => Some(Typed::new(value.to_string(), BOOLEAN)),
        Value::Number(digits, _) => typed::number(digits),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::typed::TEXT;
    use super::*;

    fn columns() -> Columns {
        let column = |(name, data_type): (&str, &str)| {
            (name.to_owned(), Typed::new(quoted(name), data_type))
        };
        let known = [
            ("i", "integer"),
            ("s", "smallint"),
            ("b", "bigint"),
            ("n", "numeric"),
            ("f", "double precision"),
            ("t", TEXT),
            ("v", "character varying"),
            ("a", BOOLEAN),
            ("d", "date"),
            ("end", "date"),
            ("j", "jsonb"),
            ("m", "mood"),
            ("ta", "text[]"),
            ("c", BPCHAR),
            ("tz", "timestamp with time zone"),
        ];
        Columns {
            known: known.into_iter().map(column).collect(),
        }
    }

    /// Checks as PostgreSQL 15 shows them.
    const CHECKS: &[(&str, &str)] = &[
        ("\"i\" >= 0", "(i >= 0)"),
        ("i > -5", "(i > '-5'::integer)"),
        ("b % 2 = 0", "((b % (2)::bigint) = 0)"),
        ("n / 2 > i", "((n / (2)::numeric) > (i)::numeric)"),
        ("f > 0.5", "(f > (0.5)::double precision)"),
        ("i > 1.5", "((i)::numeric > 1.5)"),
        ("t IN ('p', 'q')", "(t = ANY (ARRAY['p'::text, 'q'::text]))"),
        (
            "v IN ('p', 'q')",
            "((v)::text = ANY ((ARRAY['p'::character varying, 'q'::character varying])::text[]))",
        ),
        ("v IN ('p')", "((v)::text = 'p'::text)"),
        (
            "t NOT IN ('p', 'q')",
            "(t <> ALL (ARRAY['p'::text, 'q'::text]))",
        ),
        ("s IN (1, 2)", "(s = ANY (ARRAY[1, 2]))"),
        ("n IN (1, 2.5)", "(n = ANY (ARRAY[(1)::numeric, 2.5]))"),
        ("i IN (1, b)", "((i = 1) OR (i = b))"),
        (
            "m IN ('sad', 'ok')",
            "(m = ANY (ARRAY['sad'::mood, 'ok'::mood]))",
        ),
        (
            "m = ANY(ARRAY['sad', 'ok'])",
            "(m = ANY (ARRAY['sad'::mood, 'ok'::mood]))",
        ),
        (
            "m <> ALL((ARRAY['sad']))",
            "(m <> ALL (ARRAY['sad'::mood]))",
        ),
        (
            "c = ANY(ARRAY['p', 'q'])",
            "(c = ANY (ARRAY['p'::bpchar, 'q'::bpchar]))",
        ),
        (
            "v = ANY(ARRAY['p'])",
            "((v)::text = ANY (ARRAY['p'::text]))",
        ),
        ("a", "a"),
        ("NOT a", "(NOT a)"),
        (
            "i > 0 AND b > 0 AND s > 0",
            "((i > 0) AND (b > 0) AND (s > 0))",
        ),
        (
            "i > 0 AND (b > 0 AND s > 0)",
            "((i > 0) AND ((b > 0) AND (s > 0)))",
        ),
        ("i BETWEEN 1 AND 10", "((i >= 1) AND (i <= 10))"),
        ("i NOT BETWEEN 1 AND 10", "((i < 1) OR (i > 10))"),
        ("v ILIKE 'a%'", "((v)::text ~~* 'a%'::text)"),
        ("t ~ '^\\d+$'", "(t ~ '^\\d+$'::text)"),
        ("length(v) > 3", "(length((v)::text) > 3)"),
        ("TRIM(v) <> ''", "(TRIM(BOTH FROM v) <> ''::text)"),
        (
            "COALESCE(v, '') <> ''",
            "((COALESCE(v, ''::character varying))::text <> ''::text)",
        ),
        (
            "EXTRACT(YEAR FROM d) > 2000",
            "(EXTRACT(year FROM d) > (2000)::numeric)",
        ),
        (
            "\"end\" IS NULL OR \"end\" >= d",
            "((\"end\" IS NULL) OR (\"end\" >= d))",
        ),
        ("d > current_date", "(d > CURRENT_DATE)"),
        (
            "tz < now() + INTERVAL '1 day'",
            "(tz < (now() + '1 day'::interval))",
        ),
        ("j ->> 'k' = 'x'", "((j ->> 'k'::text) = 'x'::text)"),
        (
            "jsonb_typeof(j) = 'object'",
            "(jsonb_typeof(j) = 'object'::text)",
        ),
        ("num_nonnulls(i, b) = 1", "(num_nonnulls(i, b) = 1)"),
        ("'x' = ANY(ta)", "('x'::text = ANY (ta))"),
        (
            "(v)::TEXT = ANY((ARRAY['a'::VARCHAR])::TEXT[])",
            "((v)::text = ANY (ARRAY[('a'::character varying)::text]))",
        ),
        ("left(t, 2) = 'ab'", "(\"left\"(t, 2) = 'ab'::text)"),
        (
            "CASE WHEN i > 0 THEN b > 0 ELSE true END",
            "\nCASE\n    WHEN (i > 0) THEN (b > 0)\n    ELSE true\nEND",
        ),
        ("greatest(i, b) > 0", "(GREATEST((i)::bigint, b) > 0)"),
        ("i::text <> ''", "((i)::text <> ''::text)"),
        ("i IS DISTINCT FROM b", "(i IS DISTINCT FROM b)"),
        ("v = t", "((v)::text = t)"),
    ];

    #[test]
    fn checks_are_shown_as_postgresql_shows_them() {
        for (written, shown) in CHECKS {
            assert_eq!(condition(written, &columns()), *shown, "{written}");
        }
        // What is not known stays as it is.
        assert_eq!(
            condition("unheard_of(i)>0", &columns()),
            "(unheard_of(i)>0)"
        );
        // What is in quotes is no layout.
        let quoted = "(t <> 'it''s \nCASE') = CASE WHEN a THEN a ELSE a END";
        assert_eq!(
            condition(quoted, &columns()),
            "((t <> 'it''s \nCASE'::text) =\nCASE\n    WHEN a THEN a\n    ELSE a\nEND)"
        );
        let of_two_lines = "CASE WHEN a THEN t ELSE 'x\ny' END = t".to_owned();
        let endless = format!("a{}", " BETWEEN true AND true".repeat(40));
        for written in [of_two_lines, endless] {
            assert_eq!(condition(&written, &columns()), format!("({written})"));
        }
    }

    #[test]
    fn what_is_shown_means_the_same_when_it_is_read_again() {
        // The planner's own reading of texts takes these apart; PostgreSQL, too, shows a restored array in another form.
        let others = ["\n", "TRIM(", "::mood", "::character varying, "];
        let is_plain = |shown: &str| !others.iter().any(|other| shown.contains(other));
        for (_, shown) in CHECKS.iter().filter(|(_, shown)| is_plain(shown)) {
            assert_eq!(condition(shown, &columns()), *shown);
        }
    }

    #[test]
    fn people_read_fewer_brackets() {
        for (shown, read) in [
            ("(n > (0)::numeric)", "n > 0::numeric"),
            ("((v)::text = '(0)::x'::text)", "v::text = '(0)::x'::text"),
            ("(t = 'it''s (a)::b'::text)", "t = 'it''s (a)::b'::text"),
            ("((- i) < 0)", "(- i) < 0"),
            (
                "(v = ANY ((ARRAY['p'::x, 'q'::x])::text[]))",
                "v = ANY (ARRAY['p'::x, 'q'::x]::text[])",
            ),
            ("a", "a"),
        ] {
            assert_eq!(for_people(shown), read);
        }
    }

    #[test]
    fn values_tell_their_types() {
        for (written, data_type, shown) in [
            ("'x'", "character varying", "'x'::character varying"),
            (
                "'x'::VARCHAR",
                "character varying",
                "'x'::character varying",
            ),
            ("-1", "bigint", "'-1'::integer"),
            ("'5'", "integer", "5"),
            ("0", "numeric", "0"),
            ("'f'", "boolean", "false"),
            (
                "current_timestamp",
                "timestamp with time zone",
                "CURRENT_TIMESTAMP",
            ),
            ("'{}'", "jsonb", "'{}'::jsonb"),
            ("ARRAY[]::TEXT[]", "text[]", "ARRAY[]::text[]"),
            ("ARRAY['a', 'b']", "text[]", "ARRAY['a'::text, 'b'::text]"),
            ("'a' || 'b'", "text", "('a'::text || 'b'::text)"),
            (
                "(EXTRACT(EPOCH FROM now()) * 1000)::BIGINT",
                "bigint",
                "((EXTRACT(epoch FROM now()) * (1000)::numeric))::bigint",
            ),
            (
                "(now() AT TIME ZONE 'utc')",
                TEXT,
                "(now() AT TIME ZONE 'utc'::text)",
            ),
        ] {
            let found = value(written, data_type, &Columns::default());
            assert_eq!(found.as_deref(), Some(shown), "{written}");
        }
        assert_eq!(value("unheard_of(1)", "integer", &Columns::default()), None);
    }
}
