//! Unquoted column names that match a column in all but letter case.
//!
//! In: a statement and the error that planning it met; out: the statement with the column's own
//! spelling, if exactly one column is meant. PostgreSQL folds names to lower case and then fails; files
//! and BigQuery's outputs (`CENTROID_ID`) have columns in other case, which GoogleSQL finds by any. A
//! qualified name is that of the column only if the column's own relation qualifies it.

use std::ops::ControlFlow;

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    self, ExcludeSelectItem, Expr, Ident, ObjectName, ObjectNamePart, Select, SelectItem, VisitMut,
    VisitorMut, WildcardAdditionalOptions,
};

use crate::commands::folded;

/// Spells names as the one column that `error` did not find; false if there is none, or nothing to
/// change.
pub(super) fn adopt(statement: &mut ast::Statement, error: &DataFusionError) -> bool {
    let Some(mut spelling) = meant(error) else {
        return false;
    };
    let _ = VisitMut::visit(statement, &mut spelling);
    spelling.is_changed
}

/// Keeps the letters of a struct's field as they are written, if `error` says that the folded name is no field.
/// False if nothing was changed.
pub(super) fn adopt_field(statement: &mut ast::Statement, error: &DataFusionError) -> bool {
    let message = error.strip_backtrace();
    let name = message
        .split_once("ield ")
        .and_then(|(_, rest)| rest.split_once(" not found in struct"));
    let Some((name, _)) = name else {
        return false;
    };
    let mut fields = Fields {
        folded: name.to_owned(),
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut fields);
    fields.is_changed
}

struct Fields {
    folded: String,
    is_changed: bool,
}

impl VisitorMut for Fields {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(path) = expr {
            for name in path.iter_mut().skip(1) {
                let is_meant = name.quote_style.is_none()
                    && name.value != self.folded
                    && name.value.to_lowercase() == self.folded;
                if is_meant {
                    name.quote_style = Some('"');
                    self.is_changed = true;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// The only column whose name is the missing one in another case, of the missing one's relation if it has one.
fn meant(error: &DataFusionError) -> Option<Spelling> {
    let DataFusionError::SchemaError(cause, _) = error.find_root() else {
        return None;
    };
    let SchemaError::FieldNotFound {
        field,
        valid_fields,
    } = cause.as_ref()
    else {
        return None;
    };
    let is_alike = |column: &&Column| {
        let (name, missing) = (column.name(), field.name());
        name.eq_ignore_ascii_case(missing) && name != missing
    };
    let is_of_relation = |column: &&Column| match (&column.relation, &field.relation) {
        (Some(own), Some(wanted)) => own.table() == wanted.table(),
        _ => true,
    };
    let alike = valid_fields.iter().filter(is_alike).filter(is_of_relation);
    let alike: Vec<&Column> = alike.collect();
    let (first, others) = alike.split_first()?;
    let relation = |column: &&Column| Some(column.relation.as_ref()?.table().to_owned());
    let is_only = others.iter().all(|column| column.name() == first.name());
    is_only.then(|| Spelling {
        name: first.name().to_owned(),
        relations: alike.iter().map(relation).collect(),
        is_changed: false,
    })
}

struct Spelling {
    name: String,
    /// The relations that have a column of the name; `None`: any.
    relations: Option<Vec<String>>,
    is_changed: bool,
}

impl Spelling {
    /// Whether a name behind a qualifier may be the column's.
    fn is_qualified_by(&self, qualifier: &Ident) -> bool {
        let relations = self.relations.as_ref();
        relations.is_none_or(|relations| relations.contains(&folded(qualifier)))
    }

    fn spell(&mut self, ident: &mut Ident) {
        let is_meant = ident.value.eq_ignore_ascii_case(&self.name) && ident.value != self.name;
        // An unquoted name is folded even if it is spelt right.
        let is_folded = ident.quote_style.is_none() && ident.value == self.name;
        if (is_meant && ident.quote_style != Some('"')) || is_folded {
            ident.value.clone_from(&self.name);
            ident.quote_style = Some('"');
            self.is_changed = true;
        }
    }

    fn spell_name(&mut self, name: &mut ObjectName) {
        for part in &mut name.0 {
            if let ObjectNamePart::Identifier(ident) = part {
                self.spell(ident);
            }
        }
    }

    fn spell_wildcard(&mut self, options: &mut WildcardAdditionalOptions) {
        if let Some(except) = &mut options.opt_except {
            self.spell(&mut except.first_element);
            except
                .additional_elements
                .iter_mut()
                .for_each(|ident| self.spell(ident));
        }
        match &mut options.opt_exclude {
            Some(ExcludeSelectItem::Single(name)) => self.spell_name(name),
            Some(ExcludeSelectItem::Multiple(names)) => {
                names.iter_mut().for_each(|name| self.spell_name(name));
            }
            None => {}
        }
    }
}

impl VisitorMut for Spelling {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item
            {
                self.spell_wildcard(options);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.spell(ident),
            Expr::CompoundIdentifier(parts) => {
                if let [.., qualifier, name] = parts.as_mut_slice()
                    && self.is_qualified_by(qualifier)
                {
                    self.spell(name);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
