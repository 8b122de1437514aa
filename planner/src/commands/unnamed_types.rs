//! Texts of definitions name no types of the catalog, which may get other names: `DEFAULT 'ok'::mood`, `CHECK (m >= 'ok'::mood)`,
//! `DEFAULT ARRAY['ok']::mood[]`.
//!
//! In: an expression of a definition; out: the same without casts of literals to such types, as which columns and comparisons read
//! them anyway.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, DataType, Expr, ObjectName, Value, visit_expressions_mut,
};

use crate::session::Session;

/// An expression without casts of literals, and of arrays of them, to enums and domains.
pub(super) fn without_named_types(session: &Session, expr: &Expr) -> Expr {
    let mut expr = expr.clone();
    // The visitor never breaks off.
    let _ = visit_expressions_mut(&mut expr, |expr| {
        if let Expr::Cast {
            expr: inner,
            data_type,
            ..
        } = &*expr
            && let Some(name) = type_name(data_type)
            && let Some(literal) = literal_of(inner)
            && is_read_anyway(session, name)
        {
            *expr = literal;
        }
        ControlFlow::<()>::Continue(())
    });
    expr
}

/// The name of a type that is not the parser's own, or of that of an array's elements.
fn type_name(data_type: &DataType) -> Option<&ObjectName> {
    match data_type {
        DataType::Custom(name, _) => Some(name),
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => type_name(element),
        _ => None,
    }
}

/// The literal that is cast; of an array of texts its text.
fn literal_of(inner: &Expr) -> Option<Expr> {
    match inner {
        Expr::Value(_) => Some(inner.clone()),
        Expr::Array(array) => {
            let items: Vec<String> = array.elem.iter().map(item_text).collect::<Option<_>>()?;
            let text = format!("{{{}}}", items.join(","));
            Some(Expr::value(Value::SingleQuotedString(text)))
        }
        _ => None,
    }
}

/// What an item is in the text of an array.
fn item_text(item: &Expr) -> Option<String> {
    let Expr::Value(value) = item else {
        return None;
    };
    match &value.value {
        Value::Null => Some("NULL".to_owned()),
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            Some(format!("\"{escaped}\""))
        }
        _ => None,
    }
}

/// Whether a literal is read as a value of a type without a cast to it: an enum, a domain, and `bpchar`, by which the
/// catalogs show literals beside columns of `char(n)`.
fn is_read_anyway(session: &Session, name: &ast::ObjectName) -> bool {
    let parts = super::name_parts(name);
    let is_padded = parts.last().is_some_and(|name| name == "bpchar");
    is_padded || session.type_entry(&parts).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind::parse_expr;

    #[test]
    fn arrays_of_texts_are_one_text() {
        for (text, expected) in [
            (
                "ARRAY['ok', NULL, 'it''s']",
                Some("'{\"ok\",NULL,\"it''s\"}'"),
            ),
            (r#"ARRAY['a"b\c']"#, Some(r#"'{"a\"b\\c"}'"#)),
            ("ARRAY[]", Some("'{}'")),
            ("ARRAY[x]", None),
            ("'ok'", Some("'ok'")),
            ("lower('OK')", None),
        ] {
            let literal = literal_of(&parse_expr(text).unwrap());
            let shown = literal.map(|literal| literal.to_string());
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }
}
