//! GoogleSQL's type names in a parsed tree: INT64, FLOAT64, STRING, BOOL, BYTES, DATETIME, BIGNUMERIC.
//!
//! In: sqlparser's tree; out: the same tree with the names that DataFusion plans. Touches nothing but data types.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    AlterTableOperation, ArrayElemTypeDef, ColumnDef, DataType, Expr, SelectItem, Statement,
    TimezoneInfo, VisitMut, VisitorMut,
};

/// Renames the types in any part of a tree.
pub(crate) fn normalize_types<T: VisitMut>(tree: &mut T) {
    let _ = tree.visit(&mut TypeNames);
}

/// Renames the types in one item of a select list.
pub(crate) fn normalize_select_item(item: &mut SelectItem) {
    normalize_types(item);
}

/// Renames the types in a statement, DataFusion's own ones included.
pub(crate) fn normalize_statement(statement: &mut SqlStatement) {
    match statement {
        SqlStatement::Statement(statement) => normalize_types(statement.as_mut()),
        SqlStatement::CreateExternalTable(table) => normalize_columns(&mut table.columns),
        SqlStatement::Explain(explain) => normalize_statement(&mut explain.statement),
        SqlStatement::CopyTo(copy) => {
            if let datafusion::sql::parser::CopyToSource::Query(query) = &mut copy.source {
                normalize_types(query.as_mut());
            }
        }
        SqlStatement::Reset(_) => {}
    }
}

struct TypeNames;

impl VisitorMut for TypeNames {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { data_type, .. } => normalize(data_type),
            Expr::TypedString(typed) => normalize(&mut typed.data_type),
            Expr::Struct { fields, .. } => {
                fields
                    .iter_mut()
                    .for_each(|field| normalize(&mut field.field_type));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<()> {
        match statement {
            Statement::CreateTable(table) => normalize_columns(&mut table.columns),
            Statement::AlterTable(alter) => {
                for operation in &mut alter.operations {
                    if let AlterTableOperation::AddColumn { column_def, .. } = operation {
                        normalize(&mut column_def.data_type);
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn normalize_columns(columns: &mut [ColumnDef]) {
    columns
        .iter_mut()
        .for_each(|column| normalize(&mut column.data_type));
}

fn normalize(data_type: &mut DataType) {
    let renamed = match data_type {
        DataType::Int64 => DataType::BigInt(None),
        DataType::Float64 => {
            DataType::Double(datafusion::sql::sqlparser::ast::ExactNumberInfo::None)
        }
        DataType::String(_) => DataType::Varchar(None),
        DataType::Character(length) => DataType::Char(*length),
        DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            DataType::Varchar(*length)
        }
        DataType::Bool => DataType::Boolean,
        DataType::Bytes(_) => DataType::Bytea,
        DataType::Datetime(_) => DataType::Timestamp(None, TimezoneInfo::None),
        DataType::BigNumeric(info) => DataType::Numeric(*info),
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(inner)
            | ArrayElemTypeDef::SquareBracket(inner, _)
            | ArrayElemTypeDef::Parenthesis(inner),
        ) => return normalize(inner),
        DataType::Struct(fields, _) => {
            return fields
                .iter_mut()
                .for_each(|field| normalize(&mut field.field_type));
        }
        DataType::Map(key, value) => {
            normalize(key);
            return normalize(value);
        }
        _ => return,
    };
    *data_type = renamed;
}
