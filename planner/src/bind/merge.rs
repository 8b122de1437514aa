//! MERGE as a join: which WHEN applies to each pair of source and target, and what it makes of the row.
//!
//! In: the syntax tree; out: the parts of a query of changes. One join serves all clauses; the first that applies wins.

use auspex_sql::{EVERY_COLUMN, NO_COLUMN};
use auspex_storage::{ROW_COLUMN, RowAction, TableShape};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::sql::sqlparser::ast::{
    self, AssignmentTarget, CaseWhen, Expr, Ident, Join, JoinConstraint, JoinOperator, MergeAction,
    MergeClause, MergeClauseKind, MergeInsertKind, ObjectName, TableFactor, TableWithJoins,
};

use super::assignments::given_value;
use super::change::{Parts, Target, action, table_alias};
use super::column_rules::{
    cast_ast, column_place, default_of, generated_value, is_computed, is_default, value_for,
};
use super::one_relation::qualify;
use crate::commands::name_parts;
use crate::error::{Error, Result};

/// The column that says that a row of the join has a source.
pub(super) const SOURCE_COLUMN: &str = "__auspex_source";

/// A WHEN clause taken apart.
struct Clause {
    condition: Expr,
    action: RowAction,
    /// The row that it makes.
    values: Option<Vec<Expr>>,
}

/// The parts of the query of changes of a MERGE into `factor`.
pub(super) fn parts(merge: &ast::Merge, target: &Target<'_>, factor: TableFactor) -> Result<Parts> {
    refuse_unreachable(&merge.clauses)?;
    let (source, alias) = marked_source(&merge.source)?;
    let clauses: Vec<Clause> = merge
        .clauses
        .iter()
        .map(|clause| read(&seeing(clause, target, &alias), target, &alias))
        .collect::<Result<_>>()?;
    let has = |wanted: &[MergeClauseKind]| {
        let mut clauses = merge.clauses.iter();
        clauses.any(|clause| wanted.contains(&clause.clause_kind))
    };
    let inserts = has(&[
        MergeClauseKind::NotMatched,
        MergeClauseKind::NotMatchedByTarget,
    ]);
    let by_source = has(&[MergeClauseKind::NotMatchedBySource]);
    let on = JoinConstraint::On(merge.on.as_ref().clone());
    let join_operator = match (inserts, by_source) {
        (false, false) => JoinOperator::Inner(on),
        (true, false) => JoinOperator::LeftOuter(on),
        (false, true) => JoinOperator::RightOuter(on),
        (true, true) => JoinOperator::FullOuter(on),
    };
    let join = Join {
        relation: factor,
        global: false,
        join_operator,
    };
    let values = (0..target.shape.columns().len()).map(|idx| {
        let value = |clause: &Clause| {
            let value = clause.values.as_ref()?.get(idx)?.clone();
            Some((clause.condition.clone(), value))
        };
        case(clauses.iter().filter_map(value).collect(), null())
    });
    let values: Vec<Expr> = values.collect();
    let acts = clauses
        .iter()
        .map(|clause| (clause.condition.clone(), action(clause.action)));
    Ok(Parts {
        action: case(acts.collect(), action(RowAction::Keep)),
        from: vec![TableWithJoins {
            relation: source,
            joins: vec![join],
        }],
        condition: None,
        order: None,
        values: Some(values),
    })
}

/// Fails for a WHEN that no pair reaches, since one of its kind before it has no condition.
fn refuse_unreachable(clauses: &[MergeClause]) -> Result<()> {
    let kind = |clause: &MergeClause| match clause.clause_kind {
        MergeClauseKind::NotMatchedByTarget => MergeClauseKind::NotMatched,
        kind => kind,
    };
    let is_reached = |(place, clause): (usize, &MergeClause)| {
        let mut before = clauses[..place].iter();
        !before.any(|other| other.predicate.is_none() && kind(other) == kind(clause))
    };
    match clauses.iter().enumerate().all(is_reached) {
        true => Ok(()),
        false => {
            let message = "unreachable WHEN clause specified after unconditional WHEN clause";
            Err(Error::invalid("42601", message, None))
        }
    }
}

/// The source with a column that is true in each of its rows; and its name.
fn marked_source(source: &TableFactor) -> Result<(TableFactor, Ident)> {
    let alias = match source {
        TableFactor::Table { name, alias, .. } => match alias {
            Some(alias) => alias.name.clone(),
            None => Ident::with_quote('"', name_parts(name).pop().unwrap_or_default()),
        },
        TableFactor::Derived { alias, .. } => match alias {
            Some(alias) => alias.name.clone(),
            None => {
                let message = "the source of MERGE needs a name";
                let hint = "Write USING (SELECT ...) AS source.";
                return Err(Error::invalid("42601", message, Some(hint)));
            }
        },
        _ => return Err(Error::unsupported("this source of MERGE")),
    };
    let text = format!("SELECT *, TRUE AS \"{SOURCE_COLUMN}\" FROM source");
    let mut query = auspex_sql::parse_query(&text, auspex_sql::Dialect::Postgres)?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.from = vec![TableWithJoins {
            relation: source.clone(),
            joins: vec![],
        }];
    }
    let marked = TableFactor::Derived {
        lateral: false,
        subquery: query,
        alias: Some(table_alias(alias.clone())),
        sample: None,
    };
    Ok((marked, alias))
}

/// The clause with names that mean what it sees: a row without a partner is seen alone.
fn seeing(clause: &MergeClause, target: &Target<'_>, source: &Ident) -> MergeClause {
    let relation = match clause.clause_kind {
        MergeClauseKind::Matched => None,
        MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => Some(source),
        MergeClauseKind::NotMatchedBySource => Some(&target.alias),
    };
    let mut clause = clause.clone();
    if let Some(relation) = relation {
        qualify(&mut clause, target.shape, relation);
    }
    clause
}

fn read(clause: &MergeClause, target: &Target<'_>, source: &Ident) -> Result<Clause> {
    let is_there = |expr: Expr| Expr::IsNotNull(Box::new(expr));
    let is_missing = |expr: Expr| Expr::IsNull(Box::new(expr));
    let in_target = target.column(ROW_COLUMN);
    let mark = Ident::with_quote('"', SOURCE_COLUMN);
    let in_source = Expr::CompoundIdentifier(vec![source.clone(), mark]);
    let kind = match clause.clause_kind {
        MergeClauseKind::Matched => and(is_there(in_target), is_there(in_source)),
        MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => is_missing(in_target),
        MergeClauseKind::NotMatchedBySource => is_missing(in_source),
    };
    let condition = match &clause.predicate {
        Some(predicate) => and(kind, Expr::Nested(Box::new(predicate.clone()))),
        None => kind,
    };
    let (action, values) = match &clause.action {
        MergeAction::Delete { .. } => (RowAction::Delete, None),
        MergeAction::Update(update) if assigns(update, NO_COLUMN) => (RowAction::Keep, None),
        MergeAction::Update(update) if assigns(update, EVERY_COLUMN) => {
            let kept = |name: &str| target.column(name);
            (RowAction::Update, Some(of_source(target, source, kept)))
        }
        MergeAction::Insert(insert) if names(insert, NO_COLUMN) => (RowAction::Keep, None),
        MergeAction::Insert(insert) if names(insert, EVERY_COLUMN) => (
            RowAction::Insert,
            Some(of_source(target, source, |_| null())),
        ),
        MergeAction::Update(update) => {
            if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                return Err(Error::unsupported("WHERE in a WHEN clause"));
            }
            (
                RowAction::Update,
                Some(target.updated(&update.assignments)?),
            )
        }
        MergeAction::Insert(insert) => (RowAction::Insert, Some(inserted(insert, target)?)),
    };
    Ok(Clause {
        condition,
        action,
        values,
    })
}

fn assigns(update: &ast::MergeUpdateExpr, column: &str) -> bool {
    let is_it = |name: &ObjectName| name_parts(name) == [column];
    matches!(update.assignments.as_slice(), [only]
        if matches!(&only.target, AssignmentTarget::ColumnName(name) if is_it(name)))
}

fn names(insert: &ast::MergeInsertExpr, column: &str) -> bool {
    matches!(insert.columns.as_slice(), [only] if name_parts(only) == [column])
}

/// The row that `UPDATE SET *` and `INSERT *` make: each column has the value of the source's column of its name, in
/// whatever case, save for `computed` ones.
fn of_source(target: &Target<'_>, source: &Ident, computed: impl Fn(&str) -> Expr) -> Vec<Expr> {
    let columns = target.shape.columns().iter();
    let value = |field: &FieldRef| {
        // Such quotes leave the case to `letter_case`.
        let name = Ident::with_quote('`', field.name());
        match is_computed(target.shape, field) {
            true => cast_ast(computed(field.name()), field.data_type()),
            false => given_value(Expr::CompoundIdentifier(vec![source.clone(), name]), field),
        }
    };
    columns.map(value).collect()
}

/// An error of binding, in other words if it is that the source lacks a column which `UPDATE SET *` or `INSERT *` takes.
pub(super) fn lack_of_source(error: Error, merge: &ast::Merge, shape: &TableShape) -> Error {
    let takes_all = merge.clauses.iter().any(|clause| match &clause.action {
        MergeAction::Update(update) => assigns(update, EVERY_COLUMN),
        MergeAction::Insert(insert) => names(insert, EVERY_COLUMN),
        MergeAction::Delete { .. } => false,
    });
    let report = error.report();
    let column = report.message.strip_prefix("column \"");
    let column = column.and_then(|rest| rest.strip_suffix("\" does not exist"));
    let is_ours = |name: &&str| shape.columns().iter().any(|field| field.name() == *name);
    match column.filter(is_ours) {
        Some(column) if takes_all && report.sqlstate == "42703" => Error::invalid(
            "42703",
            format!("the source of MERGE has no column \"{column}\""),
            Some(
                "UPDATE SET * and INSERT * take every column of the table from the source; name the columns that it has, as in UPDATE SET a = s.a.",
            ),
        ),
        _ => error,
    }
}

/// The row that `INSERT (…) VALUES (…)` makes.
fn inserted(insert: &ast::MergeInsertExpr, target: &Target<'_>) -> Result<Vec<Expr>> {
    let MergeInsertKind::Values(values) = &insert.kind else {
        return Err(Error::unsupported("INSERT ROW"));
    };
    if insert.insert_predicate.is_some() {
        return Err(Error::unsupported("WHERE in a WHEN clause"));
    }
    let shape = target.shape;
    let [row] = values.rows.as_slice() else {
        return Err(Error::unsupported("several rows in a WHEN clause"));
    };
    let places: Vec<usize> = match insert.columns.is_empty() {
        true => (0..row.content.len().min(shape.columns().len())).collect(),
        false => {
            let name = |name| name_parts(name).pop().unwrap_or_default();
            let names = insert.columns.iter().map(name);
            let place = |name: String| column_place(shape, &name, &target.relation);
            names.map(place).collect::<Result<_>>()?
        }
    };
    if row.content.len() != places.len() {
        let message = "INSERT has another number of expressions than of target columns";
        return Err(Error::invalid("42601", message, None));
    }
    let mut made = Vec::new();
    for (idx, field) in shape.columns().iter().enumerate() {
        let given = places.iter().position(|place| *place == idx);
        let given = given
            .map(|at| &row.content[at])
            .filter(|expr| !is_default(expr));
        let takes_number = target.takes_numbers && shape.identity_of(field).is_some();
        made.push(match given {
            Some(_) if is_computed(shape, field) && !takes_number => {
                return Err(generated_value(field.name(), false));
            }
            Some(value) => given_value(value.clone(), field),
            None => value_for(default_of(shape, field)?, field),
        });
    }
    Ok(made)
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: ast::BinaryOperator::And,
        right: Box::new(right),
    }
}

fn null() -> Expr {
    Expr::Value(ast::Value::Null.with_empty_span())
}

/// The first result whose condition is true.
pub(super) fn case(branches: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    if branches.is_empty() {
        return otherwise;
    }
    let branch = |(condition, result)| CaseWhen { condition, result };
    Expr::Case {
        case_token: ast::helpers::attached_token::AttachedToken::empty(),
        end_token: ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: branches.into_iter().map(branch).collect(),
        else_result: Some(Box::new(otherwise)),
    }
}
