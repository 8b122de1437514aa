//! Spellings: qualified functions, operators, types and collations, and conversions of object numbers.
//!
//! In and out: a syntax tree. `pg_catalog.f(x)` is `f(x)`; `OPERATOR(pg_catalog.~)` is `~`;
//! `x::pg_catalog.text` is `x::text`; `'t'::regclass` looks a name up, `oid::regclass` shows one, and `ANY('{a,b}'::regtype[])`
//! looks up each; beside what it is compared with, `x::regclass` is a number, whatever `x` is; `$$t$$` is `'t'`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, ExactNumberInfo, Expr, ObjectName, ObjectNamePart,
    SelectItem, SetExpr, Statement, TableFactor, Value, VisitMut, VisitorMut,
};

use super::postgres::{arguments_mut, array_items, call_of};
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
            Expr::BinaryOp { op, .. } => plain_operator(op),
            Expr::Cast { .. } => cast(expr),
            _ => {}
        }
        numbers(expr);
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

/// Whether an expression is a name written out, so that a conversion looks it up; also as the text or the object that it was
/// cast to, as declared parameters are.
fn is_written(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(
            value.value,
            Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_) | Value::Placeholder(_)
        ),
        Expr::Nested(inner) => is_written(inner),
        Expr::Cast {
            expr, data_type, ..
        } => is_name(data_type) && is_written(expr),
        _ => false,
    }
}

/// Whether values of a type name objects.
fn is_name(data_type: &DataType) -> bool {
    let is_text = |data_type: &DataType| matches!(data_type, DataType::Text | DataType::Varchar(_));
    match catalog_type(data_type) {
        Some(CatalogType::Registered(_)) => true,
        Some(CatalogType::Known(known)) => is_text(&known),
        None => is_text(data_type),
    }
}

/// Where an expression compares values, or calls a function that takes objects, what is cast to their names is their
/// numbers, which columns of the catalogs have.
fn numbers(expr: &mut Expr) {
    match expr {
        Expr::BinaryOp { left, op, right } if is_comparison(op) => {
            as_number(left);
            as_number(right);
        }
        Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
            as_number(left);
            as_number(right);
        }
        Expr::Between {
            expr, low, high, ..
        } => {
            as_number(expr);
            as_number(low);
            as_number(high);
        }
        Expr::InList { expr, list, .. } => {
            as_number(expr);
            list.iter_mut().for_each(as_number);
        }
        Expr::InSubquery { expr, subquery, .. } => {
            as_number(expr);
            numbered_column(&mut subquery.body);
        }
        Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } => {
            as_number(left);
            numbered_elements(right);
            array_literal(right);
        }
        Expr::Case {
            operand: Some(operand),
            conditions,
            ..
        } => {
            as_number(operand);
            let values = conditions.iter_mut().map(|case| &mut case.condition);
            values.for_each(as_number);
        }
        Expr::Function(function) if takes_objects(&function.name) => {
            arguments_mut(function).for_each(as_number);
        }
        _ => {}
    }
}

/// Whether a function takes numbers of objects.
fn takes_objects(name: &ObjectName) -> bool {
    let [part] = name.0.as_slice() else {
        return false;
    };
    let Some(name) = part.as_ident().map(|name| name.value.to_lowercase()) else {
        return false;
    };
    let is_of_privilege = name.starts_with("has_") && name.ends_with("_privilege");
    (name.starts_with("pg_") && name != "pg_typeof")
        || is_of_privilege
        || ["col_description", "format_type", "obj_description"].contains(&name.as_str())
}

/// Whether a function gives one of its arguments.
fn gives_an_argument(name: &ObjectName) -> bool {
    let name = name.to_string().to_lowercase();
    ["coalesce", "greatest", "least", "nullif"].contains(&name.as_str())
}

/// `x::regclass` as the number of the object: that of a name is looked up, and a number stays one.
fn as_number(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => return as_number(inner),
        Expr::Tuple(values) => return values.iter_mut().for_each(as_number),
        Expr::Subquery(query) => return numbered_column(&mut query.body),
        Expr::Function(function) if gives_an_argument(&function.name) => {
            return arguments_mut(function).for_each(as_number);
        }
        Expr::Case {
            conditions,
            else_result,
            ..
        } => {
            let results = conditions.iter_mut().map(|case| &mut case.result);
            let results = results.chain(else_result.as_deref_mut());
            return results.for_each(as_number);
        }
        _ => {}
    }
    if let Some((stem, inner)) = registered(expr)
        && !is_written(inner)
        && let Some(number) = call_of(&format!("{stem}number"), inner.clone())
    {
        *expr = number;
    }
}

/// The only column of a query, as numbers of objects.
fn numbered_column(query: &mut SetExpr) {
    match query {
        SetExpr::Select(select) => {
            if let [
                SelectItem::UnnamedExpr(column) | SelectItem::ExprWithAlias { expr: column, .. },
            ] = select.projection.as_mut_slice()
            {
                as_number(column);
            }
        }
        SetExpr::Query(query) => numbered_column(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            numbered_column(left);
            numbered_column(right);
        }
        _ => {}
    }
}

/// `'{a,b}'` beside ANY or ALL is an array of texts. JDBC writes brackets around it, which say nothing around any value.
fn array_literal(expr: &mut Expr) {
    let mut bare = &*expr;
    while let Expr::Nested(inner) = bare {
        bare = inner;
    }
    let Expr::Value(value) = bare else { return };
    let (Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text)) = &value.value else {
        *expr = bare.clone();
        return;
    };
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let array = match array_items(text) {
        Some(items) => {
            let items = items.into_iter();
            let items =
                items.map(|item| item.map_or_else(|| "NULL".to_owned(), |item| quoted(&item)));
            format!("ARRAY[{}]", items.collect::<Vec<_>>().join(", "))
        }
        // Of several dimensions, or of no array: then the cast tells it.
        None => format!("{}::text[]", quoted(text)),
    };
    replace(expr, &array);
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
    match expr {
        Expr::Nested(inner) => return numbered_elements(inner),
        Expr::Array(array) => return array.elem.iter_mut().for_each(as_number),
        Expr::Subquery(query) => return numbered_column(&mut query.body),
        _ => {}
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

/// Whether a type is `"char"`, one character; that of a column is `CHAR`.
fn is_char(data_type: &DataType) -> bool {
    let DataType::Custom(name, _) = data_type else {
        return false;
    };
    let last = name.0.last().and_then(ObjectNamePart::as_ident);
    last.is_some_and(|name| name.value == "char")
}

/// Casts to and from the types of the catalogs.
fn cast(expr: &mut Expr) {
    if let Some(names) = named_elements(expr) {
        *expr = names;
        return;
    }
    if let Some((stem, inner)) = registered(expr) {
        let direction = if is_written(inner) { "in" } else { "out" };
        if let Some(converted) = call_of(&format!("{stem}{direction}"), inner.clone()) {
            *expr = converted;
        }
        return;
    }
    let Expr::Cast {
        expr: inner,
        data_type,
        ..
    } = expr
    else {
        return;
    };
    if is_char(data_type) {
        if let Some(character) = call_of("charin", inner.as_ref().clone()) {
            *expr = character;
        }
        return;
    }
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
            if let Some(number) = call_of(&format!("{stem}number"), innermost.clone()) {
                **inner = number;
            }
        }
    }
}
