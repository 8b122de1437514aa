//! Types that a statement gives its parameters by casts and that only PostgreSQL has: `$1::oid[]`, `$1::uuid`; and
//! whether its arrays of integers are oids.
//!
//! In: a statement; out: a type for each such parameter. Arrow holds these values as numbers and texts, by which alone
//! a client would be told another type than the one it must send.

use std::ops::ControlFlow;

use auspex_sql::ParsedStatement;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType, Expr, ObjectName, ObjectNamePart, Value, Visit, Visitor,
    visit_relations,
};
use pgwire::api::Type;

use crate::pg_catalog::catalog_table;

/// Adds the types of casts to those that the client declared.
pub(super) fn add_cast_types(statement: &ParsedStatement, declared: &mut Vec<Option<Type>>) {
    let Some(statement) = statement.sql() else {
        return;
    };
    // The visitor never breaks off.
    let _ = statement.visit(&mut Casts { declared });
}

/// The type that `PREPARE` declares by a name, if Arrow has none for it.
pub(super) fn named_type(data_type: &DataType) -> Option<Type> {
    let name = match data_type {
        DataType::Regclass => return Some(Type::REGCLASS),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => name,
        _ => return own_type(data_type),
    };
    let last = name.0.last().and_then(ObjectNamePart::as_ident)?;
    match last.value.to_lowercase().as_str() {
        "regclass" => Some(Type::REGCLASS),
        "regnamespace" => Some(Type::REGNAMESPACE),
        "regproc" => Some(Type::REGPROC),
        "regrole" => Some(Type::REGROLE),
        "regtype" => Some(Type::REGTYPE),
        _ => own_type(data_type),
    }
}

/// Whether a statement reads PostgreSQL's catalogs, which have no arrays of plain integers: what a query over them gathers
/// in one are oids.
pub(super) fn reads_catalogs(statement: &ParsedStatement) -> bool {
    let Some(statement) = statement.sql() else {
        return false;
    };
    let of_catalogs = |name: &ObjectName| match catalog_table(name) {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    };
    visit_relations(statement, of_catalogs).is_break()
}

struct Casts<'a> {
    declared: &'a mut Vec<Option<Type>>,
}

impl Visitor for Casts<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Cast {
            expr, data_type, ..
        } = expr
            && let Some(idx) = parameter(expr)
            && let Some(found) = own_type(data_type)
        {
            if self.declared.len() <= idx {
                self.declared.resize(idx + 1, None);
            }
            self.declared[idx].get_or_insert(found);
        }
        ControlFlow::Continue(())
    }
}

/// How many parameters a statement may have, as the protocol counts them.
const MAX_PARAMETERS: usize = u16::MAX as usize;

/// The place of a parameter that an expression is.
pub(super) fn parameter(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else {
        return None;
    };
    let Value::Placeholder(name) = &value.value else {
        return None;
    };
    let number: usize = name.strip_prefix('$')?.parse().ok()?;
    number.checked_sub(1).filter(|idx| *idx < MAX_PARAMETERS)
}

/// The type, if Arrow has none for it.
fn own_type(data_type: &DataType) -> Option<Type> {
    Some(match data_type {
        DataType::Uuid => Type::UUID,
        DataType::JSON => Type::JSON,
        DataType::JSONB => Type::JSONB,
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => match own_type(element)? {
            Type::OID => Type::OID_ARRAY,
            Type::NAME => Type::NAME_ARRAY,
            Type::UUID => Type::UUID_ARRAY,
            Type::INET => Type::INET_ARRAY,
            Type::CIDR => Type::CIDR_ARRAY,
            Type::JSON => Type::JSON_ARRAY,
            Type::JSONB => Type::JSONB_ARRAY,
            // `uuid[][]` is `uuid[]`.
            array if array.name().starts_with('_') => array,
            _ => return None,
        },
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            let last = name.0.last().and_then(ObjectNamePart::as_ident)?;
            match last.value.to_lowercase().as_str() {
                "oid" => Type::OID,
                "name" => Type::NAME,
                "inet" => Type::INET,
                "cidr" => Type::CIDR,
                _ => return None,
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn casts_tell_types_that_arrow_lacks() {
        let text = "SELECT $1::oid[], $3::uuid, CAST($2 AS pg_catalog.name), $4::int, $5::jsonb";
        let parsed = auspex_sql::parse(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut declared = vec![None, Some(Type::TEXT)];
        add_cast_types(&parsed[0], &mut declared);
        let expected = [
            Some(Type::OID_ARRAY),
            Some(Type::TEXT),
            Some(Type::UUID),
            None,
            Some(Type::JSONB),
        ];
        assert_eq!(declared, expected);
    }
}
