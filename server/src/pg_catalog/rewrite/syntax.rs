//! Spellings: qualified functions, operators, types and collations, and conversions of object numbers.
//!
//! In and out: a syntax tree. `pg_catalog.f(x)` is `f(x)`; `OPERATOR(pg_catalog.~)` is `~`;
//! `x::pg_catalog.text` is `x::text`; `'t'::regclass` looks a name up, `oid::regclass` shows one, and `ANY('{a,b}'::regtype[])`
//! looks up each; `$$t$$` is `'t'`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, ExactNumberInfo, Expr, ObjectName, ObjectNamePart,
    Statement, TableFactor, Value, VisitMut, VisitorMut,
};

use super::postgres::array_items;
use super::{PG_CATALOG, parsed, parsed_with_lambdas};

/// Rewrites the spellings.
pub(super) fn rewrite(statement: &mut Statement) {
    // The visitor never breaks off.
    let _ = statement.visit(&mut Spelling);
}

struct Spelling;

impl VisitorMut for Spelling {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name,
                args: Some(_),
                ..
            }
            | TableFactor::Function { name, .. } => {
                strip_schema(name);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => strip_schema(&mut function.name),
            Expr::Identifier(name)
                if name.quote_style.is_none()
                    && name.value.eq_ignore_ascii_case("current_schema") =>
            {
                replace(expr, "current_schema()");
            }
            Expr::Collate {
                expr: inner,
                collation,
            } if is_byte_order(collation) => {
                *expr = inner.as_ref().clone();
                return self.pre_visit_expr(expr);
            }
            Expr::BinaryOp { left, op, right } => {
                plain_operator(op);
                if is_comparison(op) {
                    as_number(left);
                    as_number(right);
                }
            }
            Expr::InList {
                expr: left, list, ..
            } => {
                as_number(left);
                list.iter_mut().for_each(as_number);
            }
            Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } => {
                as_number(left);
                numbered_elements(right);
                array_literal(right);
            }
            Expr::Cast { .. } => cast(expr),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Replaces an expression by the one of a text.
fn replace(expr: &mut Expr, text: &str) {
    if let Some(replacement) = parsed(text) {
        *expr = replacement;
    }
}

fn strip_schema(name: &mut ObjectName) {
    let is_catalog = |part: &ObjectNamePart| {
        part.as_ident()
            .is_some_and(|ident| ident.value.eq_ignore_ascii_case(PG_CATALOG))
    };
    if name.0.len() == 2 && is_catalog(&name.0[0]) {
        name.0.remove(0);
    }
}

/// Collations that compare bytes, as the planner does; any other is left for it to refuse.
fn is_byte_order(collation: &ObjectName) -> bool {
    let last = collation.0.last().and_then(|part| part.as_ident());
    last.is_some_and(|name| ["default", "C", "POSIX", "ucs_basic"].contains(&name.value.as_str()))
}

/// `OPERATOR(pg_catalog.=)` and its like.
fn plain_operator(operator: &mut BinaryOperator) {
    let BinaryOperator::PGCustomBinaryOperator(parts) = operator else {
        return;
    };
    let [schema, symbol] = parts.as_slice() else {
        return;
    };
    if schema != PG_CATALOG {
        return;
    }
    *operator = match symbol.as_str() {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "||" => BinaryOperator::StringConcat,
        _ => return,
    };
}

fn is_comparison(operator: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// What a type of the catalogs is here.
enum CatalogType {
    /// A type that the planner knows.
    Known(DataType),
    /// A name for object numbers: the stem of its conversion functions.
    Registered(&'static str),
}

/// The meaning of a type that only PostgreSQL has.
fn catalog_type(data_type: &DataType) -> Option<CatalogType> {
    use CatalogType::{Known, Registered};
    let name = match data_type {
        DataType::Regclass => return Some(Registered("regclass")),
        // FLOAT is double precision unless few binary digits are asked for.
        DataType::Float(ExactNumberInfo::Precision(1..=24)) => return Some(Known(DataType::Real)),
        DataType::Float(_) => return Some(Known(DataType::DoublePrecision)),
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, size)) => {
            let Some(Known(element)) = catalog_type(element) else {
                return None;
            };
            let element = ArrayElemTypeDef::SquareBracket(Box::new(element), *size);
            return Some(Known(DataType::Array(element)));
        }
        DataType::Custom(name, modifiers) if modifiers.is_empty() => name,
        _ => return None,
    };
    let mut name = name.clone();
    strip_schema(&mut name);
    let [part] = name.0.as_slice() else {
        return None;
    };
    Some(match part.as_ident()?.value.to_lowercase().as_str() {
        "regclass" => Registered("regclass"),
        "regnamespace" => Registered("regnamespace"),
        "regtype" => Registered("regtype"),
        "regproc" | "regprocedure" => Registered("regproc"),
        "regrole" => Registered("regrole"),
        "regoper" | "regoperator" => Registered("regoperator"),
        "oid" | "xid" | "cid" | "int4" | "int" | "integer" => Known(DataType::Integer(None)),
        "text" | "name" | "varchar" | "bpchar" | "char" | "cstring" => Known(DataType::Text),
        "bool" | "boolean" => Known(DataType::Boolean),
        "int2" | "smallint" => Known(DataType::SmallInt(None)),
        "int8" | "bigint" => Known(DataType::BigInt(None)),
        "float4" | "real" => Known(DataType::Real),
        "float8" => Known(DataType::DoublePrecision),
        "date" => Known(DataType::Date),
        "bytea" => Known(DataType::Bytea),
        _ => return None,
    })
}

fn registered(expr: &Expr) -> Option<(&'static str, &Expr)> {
    let Expr::Cast {
        expr, data_type, ..
    } = expr
    else {
        return None;
    };
    match catalog_type(data_type)? {
        CatalogType::Registered(stem) => Some((stem, expr)),
        CatalogType::Known(_) => None,
    }
}

/// Whether an expression is a name written out, so that a conversion looks it up.
fn is_written(expr: &Expr) -> bool {
    let Expr::Value(value) = expr else {
        return false;
    };
    matches!(
        value.value,
        Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_) | Value::Placeholder(_)
    )
}

/// In a comparison, `oid::regclass` means the number.
fn as_number(expr: &mut Expr) {
    if let Some((_, inner)) = registered(expr)
        && !is_written(inner)
    {
        *expr = inner.clone();
    }
}

/// `'{a,b}'` beside ANY or ALL is an array of texts.
fn array_literal(expr: &mut Expr) {
    let Expr::Value(value) = &*expr else { return };
    let Value::SingleQuotedString(text) = &value.value else {
        return;
    };
    let Some(items) = array_items(text) else {
        return;
    };
    let items = items.into_iter().flatten();
    let items: Vec<String> = items
        .map(|item| format!("'{}'", item.replace('\'', "''")))
        .collect();
    replace(expr, &format!("ARRAY[{}]", items.join(", ")));
}

/// `numbers::regtype[]` is the names of the objects.
fn named_elements(expr: &Expr) -> Option<Expr> {
    let (stem, numbers) = registered_elements(expr)?;
    match is_written(numbers) {
        true => None,
        false => parsed_with_lambdas(&format!(
            "array_transform({numbers}, element -> {stem}out(element))"
        )),
    }
}

/// The stem of the conversions of an array's elements, and what is cast to such an array.
fn registered_elements(expr: &Expr) -> Option<(&'static str, &Expr)> {
    let Expr::Cast {
        expr,
        data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)),
        ..
    } = expr
    else {
        return None;
    };
    match catalog_type(element)? {
        CatalogType::Registered(stem) => Some((stem, expr)),
        CatalogType::Known(_) => None,
    }
}

/// Beside ANY or ALL, `names::regtype[]` means the numbers of the objects: columns of the catalogs have these.
fn numbered_elements(expr: &mut Expr) {
    if let Expr::Nested(inner) = expr {
        return numbered_elements(inner);
    }
    let Some((stem, names)) = registered_elements(expr) else {
        return;
    };
    let names = match names {
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
            format!("CAST({names} AS TEXT[])")
        }
        names => names.to_string(),
    };
    let numbers = format!("array_transform({names}, element -> {stem}number(element))");
    if let Some(numbers) = parsed_with_lambdas(&numbers) {
        *expr = numbers;
    }
}

/// Casts to and from the types of the catalogs.
fn cast(expr: &mut Expr) {
    if let Some(names) = named_elements(expr) {
        *expr = names;
        return;
    }
    if let Some((stem, inner)) = registered(expr) {
        let direction = if is_written(inner) { "in" } else { "out" };
        let text = format!("{stem}{direction}({inner})");
        return replace(expr, &text);
    }
    let Expr::Cast {
        expr: inner,
        data_type,
        ..
    } = expr
    else {
        return;
    };
    if let Some(CatalogType::Known(known)) = catalog_type(data_type) {
        *data_type = known;
    }
    let Some((stem, innermost)) = registered(inner) else {
        return;
    };
    let to_text = matches!(data_type, DataType::Text | DataType::Varchar(_));
    match (to_text, is_written(innermost)) {
        // 't'::regclass::text is the name as the server writes it: a text, not a name that has a number.
        (true, true) => {
            let text = format!("({stem}out({stem}in({innermost})) || '')");
            replace(expr, &text);
        }
        (true, false) => {
            let text = format!("({stem}out({innermost}) || '')");
            replace(expr, &text);
        }
        // A number stays one; a text, as that of a call, is looked up.
        (false, _) => {
            if let Some(number) = parsed(&format!("{stem}number({innermost})")) {
                **inner = number;
            }
        }
    }
}
