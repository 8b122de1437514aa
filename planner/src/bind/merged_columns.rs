//! What joins merge in a FROM: `a LEFT JOIN b USING (id) NATURAL JOIN c`.
//!
//! In: the joins, and the columns of their relations where these are known; out: the columns in PostgreSQL's order, the value
//! of each merged one, and joins that say what they compare.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, ObjectName, TableFactor, TableWithJoins, VisitMut,
};

use super::column_rules::parse_expr;
use super::relation_columns::alias_of;
use crate::commands::folded;
use crate::functions::change_own;

/// The columns of each relation of a FROM, where they were asked for and are known.
pub(super) type Known = Vec<Option<Vec<String>>>;

/// What the star of a SELECT stands for.
pub(super) enum Columns {
    /// A column that a join merged.
    Merged(Merged),
    /// Those of a relation that no join merged.
    Of {
        relation: Ident,
        /// All of them.
        known: Option<Vec<String>>,
        merged: Vec<String>,
    },
}

/// A column that joins merged, and its value.
#[derive(Clone)]
pub(super) struct Merged {
    pub(super) name: String,
    pub(super) value: Box<Expr>,
    /// Whether the first relation that has a column of this name may have none of the value.
    pub(super) differs: bool,
}

impl Columns {
    /// Whether a column is known to be among them.
    fn has(&self, name: &String) -> bool {
        match self {
            Columns::Merged(merged) => merged.name == *name,
            Columns::Of { known, .. } => known.as_ref().is_some_and(|known| known.contains(name)),
        }
    }
}

/// The merged ones among columns.
pub(super) fn merged_among(columns: &[Columns]) -> Vec<Merged> {
    let merged = columns.iter().filter_map(|columns| match columns {
        Columns::Merged(merged) => Some(merged.clone()),
        Columns::Of { .. } => None,
    });
    merged.collect()
}

/// The columns of a FROM in PostgreSQL's order, and its joins with what they compare; `None`: it merges none, or they are
/// not known.
pub(super) fn columns_of(from: &mut [TableWithJoins], known: Known) -> Option<Vec<Columns>> {
    let mut known = known.into_iter();
    let mut next = |factor: &TableFactor| relation_of(factor, known.next().flatten());
    let mut all = Vec::new();
    let mut merges = false;
    for table in from {
        let mut columns = vec![next(&table.relation)?];
        for join in &mut table.joins {
            let relation = next(&join.relation)?;
            let (constraint, kept) = parts(&mut join.join_operator)?;
            let names = match constraint {
                JoinConstraint::Using(names) => {
                    names.iter().map(single).collect::<Option<Vec<_>>>()?
                }
                JoinConstraint::Natural => common(&columns, &relation)?,
                JoinConstraint::On(condition) => {
                    let mut merged = merged_among(&columns);
                    // What the new relation has, too, is ambiguous.
                    merged.retain(|merged| !relation.has(&merged.name));
                    Naming::of(merged).put_values(condition);
                    columns.push(relation);
                    continue;
                }
                JoinConstraint::None => {
                    columns.push(relation);
                    continue;
                }
            };
            merges = true;
            let is_one = columns.len() == 1;
            let (joined, condition, is_plain) = merged(columns, relation, &names, kept)?;
            columns = joined;
            // The planner finds a column of one relation, and one that it has found before.
            match is_one || is_plain {
                true if matches!(constraint, JoinConstraint::Using(_)) => {}
                true if !names.is_empty() => {
                    *constraint =
                        JoinConstraint::Using(names.iter().map(|name| object_name(name)).collect());
                }
                _ => *constraint = JoinConstraint::On(condition),
            }
        }
        all.extend(columns);
    }
    merges.then_some(all)
}

/// Which side of a join has a row always.
#[derive(Clone, Copy)]
enum Kept {
    Left,
    Right,
    Both,
}

fn parts(operator: &mut JoinOperator) -> Option<(&mut JoinConstraint, Kept)> {
    Some(match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => (constraint, Kept::Left),
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            (constraint, Kept::Right)
        }
        JoinOperator::FullOuter(constraint) => (constraint, Kept::Both),
        _ => return None,
    })
}

/// The name of a column by itself.
pub(super) fn object_name(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::with_quote('"', name)])
}

fn single(name: &ObjectName) -> Option<String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(folded),
        _ => None,
    }
}

/// A relation by the name that its columns have in the SELECT.
fn relation_of(factor: &TableFactor, known: Option<Vec<String>>) -> Option<Columns> {
    let relation = match (alias_of(factor), factor) {
        (Some(alias), _) => alias.name.clone(),
        (
            None,
            TableFactor::Table {
                name, args: None, ..
            },
        ) => name.0.last()?.as_ident()?.clone(),
        _ => return None,
    };
    Some(Columns::Of {
        relation,
        known,
        merged: Vec::new(),
    })
}

/// The names that both sides of a natural join have, in the order of the left side.
fn common(left: &[Columns], right: &Columns) -> Option<Vec<String>> {
    let Columns::Of {
        known: Some(of_right),
        ..
    } = right
    else {
        return None;
    };
    let mut names: Vec<String> = Vec::new();
    for columns in left {
        let (own, merged) = match columns {
            Columns::Merged(merged) => (std::slice::from_ref(&merged.name), &[][..]),
            Columns::Of { known, merged, .. } => (known.as_deref()?, merged.as_slice()),
        };
        for name in own {
            let is_new = !merged.contains(name) && !names.contains(name);
            if is_new && of_right.contains(name) {
                names.push(name.clone());
            }
        }
    }
    Some(names)
}

/// The columns of a join that merges some: these first, then the others of the left side, then of the right. Also what it
/// compares, and whether a join before has merged all of them into columns of one relation.
fn merged(
    mut left: Vec<Columns>,
    right: Columns,
    names: &[String],
    kept: Kept,
) -> Option<(Vec<Columns>, Expr, bool)> {
    let Columns::Of {
        relation: right,
        known,
        ..
    } = right
    else {
        return None;
    };
    let mut columns = Vec::with_capacity(names.len());
    let mut equal = Vec::with_capacity(names.len());
    let mut is_plain = true;
    for name in names {
        let first = taken(&mut left, name)?;
        is_plain &= first.is_merged && !first.differs;
        let second = column(&right, name);
        equal.push(format!("{} = {second}", first.value));
        let value = match kept {
            Kept::Left => first.value,
            Kept::Right => second,
            Kept::Both => parse_expr(&format!("coalesce({}, {second})", first.value)).ok()?,
        };
        columns.push(Columns::Merged(Merged {
            name: name.clone(),
            value: Box::new(value),
            differs: first.differs || !matches!(kept, Kept::Left),
        }));
    }
    columns.extend(left);
    columns.push(Columns::Of {
        relation: right,
        known,
        merged: names.to_vec(),
    });
    let condition = match equal.is_empty() {
        true => "true".to_owned(),
        false => equal.join(" AND "),
    };
    Some((columns, parse_expr(&condition).ok()?, is_plain))
}

/// A column of the left side of a join.
struct Taken {
    value: Expr,
    is_merged: bool,
    differs: bool,
}

/// Takes a column out of those of the left side.
fn taken(left: &mut Vec<Columns>, name: &str) -> Option<Taken> {
    let is_it =
        |columns: &Columns| matches!(columns, Columns::Merged(merged) if merged.name == name);
    if let Some(place) = left.iter().position(is_it) {
        return match left.remove(place) {
            Columns::Merged(merged) => Some(Taken {
                value: *merged.value,
                is_merged: true,
                differs: merged.differs,
            }),
            Columns::Of { .. } => None,
        };
    }
    let mut holders = left.iter_mut().filter_map(|columns| match columns {
        Columns::Of {
            relation,
            known,
            merged,
        } => {
            let may_have = known
                .as_ref()
                .is_none_or(|known| known.iter().any(|column| column == name));
            may_have.then_some((relation, merged))
        }
        Columns::Merged(_) => None,
    });
    let (Some((relation, merged)), None) = (holders.next(), holders.next()) else {
        return None;
    };
    merged.push(name.to_owned());
    Some(Taken {
        value: column(relation, name),
        is_merged: false,
        differs: false,
    })
}

fn column(relation: &Ident, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![relation.clone(), Ident::with_quote('"', name)])
}

/// Puts the values of merged columns in the place of their names, but not within subqueries.
pub(super) struct Naming {
    merged: Vec<Merged>,
}

impl Naming {
    pub(super) fn of(merged: Vec<Merged>) -> Naming {
        Naming { merged }
    }

    /// The merged columns.
    pub(super) fn merged(self) -> Vec<Merged> {
        self.merged
    }

    /// What a name means, if it is that of a merged column.
    pub(super) fn merged_of(&self, name: &Ident) -> Option<&Merged> {
        let name = folded(name);
        self.merged.iter().find(|merged| merged.name == name)
    }

    /// Puts the values in their places.
    pub(super) fn put_values<T: VisitMut + ?Sized>(&self, tree: &mut T) {
        change_own(tree, |expr| {
            if let Expr::Identifier(name) = &*expr
                && let Some(merged) = self.merged_of(name)
            {
                *expr = merged.value.as_ref().clone();
            }
        });
    }
}
