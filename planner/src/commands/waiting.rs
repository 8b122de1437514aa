//! Which definitions may stand behind a change of rows in a transaction block, since they can wait for its end.
//!
//! In: a statement; out: whether all that it does is a change of the catalog, or of the block's own table, so that it is
//! taken back with the block, or one of the session's temporary tables that comes or goes. What else makes files, or changes
//! other tables, is done at once or not at all.

use auspex_sql::Statement;
use auspex_storage::Definition;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    self, AlterColumnOperation, AlterTableOperation, ColumnOption, CommentObject, DropBehavior,
    ObjectType, TableConstraint,
};

use super::name_parts;
use super::table_references::{DeclaredReference, referring};
use crate::session::Session;
use crate::temporary::SCHEMA as TEMPORARY;

/// Whether a statement waits for the end of the session's block.
pub(super) fn is_kept(session: &Session, statement: &Statement) -> bool {
    session.keeps_definitions() && can_wait(session, statement)
}

fn can_wait(session: &Session, statement: &Statement) -> bool {
    match statement {
        Statement::Grant(_) | Statement::AlterOwner(_) => true,
        Statement::CreateTable(create) => makes_temporary(session, &create.table),
        Statement::ConstraintComment(comment) => {
            comment.is_of_domain || is_lasting(session, &comment.owner.parts)
        }
        Statement::Sql(statement) => match statement.as_ref() {
            SqlStatement::Statement(statement) => sql_can_wait(session, statement),
            _ => false,
        },
        _ => false,
    }
}

fn sql_can_wait(session: &Session, statement: &ast::Statement) -> bool {
    use ast::Statement as S;
    match statement {
        S::Comment {
            object_type,
            object_name,
            ..
        } => {
            let mut parts = name_parts(object_name);
            if matches!(object_type, CommentObject::Column) {
                parts.pop();
            }
            is_lasting(session, &parts)
        }
        S::CreateIndex(index) => is_lasting(session, &name_parts(&index.table_name)),
        S::CreateTable(create) => makes_temporary(session, create),
        // Constraints of lasting tables alone are found by the names of indexes.
        S::AlterIndex { .. } => true,
        S::AlterTable(alter) => alters_one_table(session, alter),
        S::Drop {
            object_type,
            names,
            cascade,
            ..
        } => match object_type {
            ObjectType::Index => true,
            ObjectType::Table | ObjectType::View | ObjectType::MaterializedView => names
                .iter()
                .all(|name| drops_alone(session, &name_parts(name), *cascade)),
            _ => false,
        },
        _ => false,
    }
}

/// Whether a temporary table is made that notes nothing in another one, as a foreign key does.
fn makes_temporary(session: &Session, create: &ast::CreateTable) -> bool {
    let place = session.new_relation_parts(&name_parts(&create.name), create.temporary);
    let is_temporary = matches!(place, Ok((schema, _)) if schema == TEMPORARY);
    is_temporary && DeclaredReference::of_create(create).is_empty()
}

/// Whether a name means no temporary relation, which is the session's own and changes at once.
fn is_lasting(session: &Session, parts: &[String]) -> bool {
    // A name that cannot be read is the statement's to refuse.
    !matches!(session.relation_parts(parts), Ok((schema, _)) if schema == TEMPORARY)
}

/// Whether a relation goes without a change of other tables' logs, which name it in their references. One that the block
/// has changed stays: its rows would be committed to be dropped.
fn drops_alone(session: &Session, parts: &[String], cascade: bool) -> bool {
    let Ok((schema, name)) = session.relation_parts(parts) else {
        return true;
    };
    if schema == TEMPORARY {
        return true;
    }
    let Some(entry) = session.entry(&schema, &name) else {
        return true;
    };
    let catalog = session.seen_catalog();
    let mut others = referring(&catalog, &entry.id).filter(|(other, _)| other.id != entry.id);
    !(session.has_changed(&entry.id) || cascade && others.next().is_some())
}

/// Whether a statement gives a relation another name, or changes what one table alone knows.
fn alters_one_table(session: &Session, alter: &ast::AlterTable) -> bool {
    let Ok((schema, name)) = session.relation_parts(&name_parts(&alter.name)) else {
        return true;
    };
    if schema == TEMPORARY {
        return false;
    }
    let operations = alter.operations.as_slice();
    let is_rename = matches!(operations, [AlterTableOperation::RenameTable { .. }]);
    match session.entry(&schema, &name).as_deref() {
        None => true,
        Some(entry) => match &entry.definition {
            Definition::View(_) => is_rename,
            Definition::Table(_) => is_rename || operations.iter().all(stays_in_table),
            _ => false,
        },
    }
}

/// Whether an operation leaves other tables alone: references are noted in both.
fn stays_in_table(operation: &AlterTableOperation) -> bool {
    use AlterTableOperation as O;
    match operation {
        O::RenameColumn { .. } | O::RenameConstraint { .. } => true,
        O::AddConstraint { constraint, .. } => {
            !matches!(constraint, TableConstraint::ForeignKey(_))
        }
        O::DropConstraint { drop_behavior, .. } | O::DropColumn { drop_behavior, .. } => {
            !matches!(drop_behavior, Some(DropBehavior::Cascade))
        }
        O::AddColumn { column_def, .. } => {
            let mut options = column_def.options.iter();
            !options.any(|option| is_of_others(&option.option))
        }
        O::AlterColumn { op, .. } => !matches!(op, AlterColumnOperation::AddGenerated { .. }),
        _ => false,
    }
}

/// Whether an option of a column is noted elsewhere, too: the key that it refers to, or numbers that are claimed.
fn is_of_others(option: &ColumnOption) -> bool {
    matches!(
        option,
        ColumnOption::ForeignKey(_) | ColumnOption::Generated { .. } | ColumnOption::Identity(_)
    )
}
