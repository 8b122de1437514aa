//! `ALTER TABLE ... ALTER COLUMN ... TYPE`: a column's values become those of another type.
//!
//! In: a type and, where no conversion is sure, an expression; out: a definition, and where the column's values come
//! from. The rows are written anew, so that every reader of the format finds files of one type.

use std::sync::Arc;

use auspex_storage::{AddressKind, EnumType, JsonKind, TableOperation, is_uuid, marked_element};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::sql::sqlparser::ast::{self, Expr, Ident};

use super::{Altering, Source};
use crate::bind::{cast_ast, names_column, parse_expr};
use crate::commands::declared_types;
use crate::commands::table_shape::checked_default;
use crate::commands::tables::declared_schema;
use crate::error::{Error, Result};
use crate::functions::type_name;
use crate::session::Session;

/// The field that a column of this declaration is stored as.
pub(in crate::commands) async fn declared(
    session: &Arc<Session>,
    data_type: &ast::DataType,
) -> Result<FieldRef> {
    use auspex_sql::Statement;
    use datafusion::sql::parser::Statement as SqlStatement;
    let mut spelt = data_type.clone();
    declared_types::spell(&mut spelt);
    let text = format!("CREATE TABLE declared (c {spelt})");
    let parsed = auspex_sql::parse_own(&text)?;
    let parsed = parsed.into_iter().next().map(|parsed| parsed.statement);
    if let Some(Statement::Sql(statement)) = parsed
        && let SqlStatement::Statement(statement) = *statement
        && let ast::Statement::CreateTable(create) = *statement
    {
        let schema = declared_schema(session, &create).await?;
        let schema = auspex_storage::stored_schema(&schema)?;
        return Ok(Arc::clone(&schema.fields()[0]));
    }
    Err(Error::unsupported(format!("the column type {data_type}")))
}

impl Altering<'_> {
    pub(super) fn set_type(
        &mut self,
        session: &Arc<Session>,
        idx: usize,
        declared: &Field,
        using: Option<&Expr>,
    ) -> Result<()> {
        let field = Arc::clone(&self.shape.columns()[idx]);
        let (name, data_type) = (field.name(), declared.data_type());
        // Arrays are json, uuids and labels as their elements are.
        let (element, of_declared) = (marked_element(&field), marked_element(declared));
        let marked = element.as_ref().unwrap_or(&field);
        let brackets = of_declared.as_ref().map_or("", |_| "[]");
        let of_declared = of_declared.as_ref().unwrap_or(declared);
        let (found, wanted) = (JsonKind::of(marked), JsonKind::of(of_declared));
        let (was_uuid, is_uuid) = (is_uuid(marked), is_uuid(of_declared));
        let (was_enum, new_enum) = (EnumType::of(marked), EnumType::of(of_declared));
        let (was_address, new_address) = (AddressKind::of(marked), AddressKind::of(of_declared));
        let is_same = found == wanted
            && was_uuid == is_uuid
            && was_enum == new_enum
            && was_address == new_address;
        // Elements of arrays have another name in files than in declarations.
        let is_known = field.data_type().equals_datatype(data_type);
        if is_known && is_same && using.is_none() {
            return Ok(());
        }
        self.check_free(idx)?;
        let is_read = (wanted.is_some() && found.is_none())
            || (is_uuid && !was_uuid)
            || (new_enum.is_some() && was_enum != new_enum)
            || (new_address.is_some() && was_address != new_address);
        if using.is_none() && (is_read || !converts(field.data_type(), data_type)) {
            let shown = match wanted {
                Some(JsonKind::Json) => format!("json{brackets}"),
                Some(JsonKind::Jsonb) => format!("jsonb{brackets}"),
                None if is_uuid => format!("uuid{brackets}"),
                None => match new_enum {
                    Some(known) => known.name + brackets,
                    None => match new_address {
                        Some(kind) => format!("{}{brackets}", kind.name()),
                        None => type_name(data_type),
                    },
                },
            };
            let message = format!("column \"{name}\" cannot be cast automatically to type {shown}");
            let hint = "Say how values are converted: ALTER COLUMN ... TYPE ... USING expression.";
            return Err(Error::invalid("42804", message, Some(hint)));
        }
        let value = match (using, &self.sources[idx]) {
            (Some(using), _) => using.clone(),
            (None, Source::Column(column)) => {
                Expr::Identifier(Ident::with_quote('"', column.as_str()))
            }
            (None, Source::Value(value)) => value.as_ref().clone(),
        };
        self.sources[idx] = Source::Value(Box::new(cast_ast(value, data_type)));
        self.shape.set_type(idx, declared);
        if let Some(default) = self.shape.default_of(&field) {
            let text = checked_default(session, &self.shape, idx, &parse_expr(&default)?)?;
            self.shape.set_default(idx, text.as_deref());
        }
        self.needs_rows = true;
        self.operation = TableOperation::Columns;
        Ok(())
    }

    /// Fails if something else depends on the column's type.
    fn check_free(&self, idx: usize) -> Result<()> {
        let field = &self.shape.columns()[idx];
        let name = field.name();
        let refused = |why: String| {
            let message = format!("cannot alter type of column \"{name}\" because {why}");
            let hint = "Copy the table with CREATE TABLE ... AS.";
            Err(Error::invalid("0A000", message, Some(hint)))
        };
        if self.shape.partition_columns.contains(name) {
            return refused("it divides the table's files".into());
        }
        if self.shape.generated_of(field).is_some() {
            return refused("it is generated".into());
        }
        for column in self.shape.columns() {
            if let Some(text) = self.shape.generated_of(column)
                && names_column(&text, name)?
            {
                return refused(format!("column \"{}\" is generated from it", column.name()));
            }
        }
        Ok(())
    }
}

/// Whether every value of a type has one of another that PostgreSQL would assign without being asked.
fn converts(from: &DataType, to: &DataType) -> bool {
    let is_text =
        |t: &DataType| matches!(t, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_time = |t: &DataType| matches!(t, DataType::Timestamp(..) | DataType::Date32);
    (from.is_numeric() && to.is_numeric())
        || (is_time(from) && is_time(to))
        || is_text(to)
        || from == to
}
