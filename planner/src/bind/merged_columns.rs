//! What joins merge in a FROM: `a LEFT JOIN b USING (id) NATURAL JOIN c`.
//!
//! In: the joins, and the columns of their relations where these are known; out: the columns in PostgreSQL's order, the value
//! of each merged one, and joins that say what they compare.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, ObjectName, TableFactor, TableWithJoins, VisitMut,
};

use super::column_rules::parse_expr;
use super::merged_within::{Within, put_into_relation};
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
    /// Whether a column is known to be among them, and was not merged into another.
    fn has(&self, name: &String) -> bool {
        match self {
            Columns::Merged(merged) => merged.name == *name,
            Columns::Of { known, merged, .. } => {
                let is_known = known.as_ref().is_some_and(|known| known.contains(name));
                is_known && !merged.contains(name)
            }
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
/// not known. Known are the columns of its relations, also of those in parentheses, and of those within LATERAL ones.
pub(super) fn columns_of(
    from: &mut [TableWithJoins],
    known: Known,
    within: &Within,
) -> Option<Vec<Columns>> {
    let mut joining = Joining {
        known: known.into_iter(),
        within,
        merges: false,
    };
    let mut all = Vec::new();
    for table in from {
        let columns = joining.columns_of_table(table, &[&all])?;
        all.extend(columns);
    }
    joining.merges.then_some(all)
}

/// Goes through the joins of a FROM in order.
struct Joining<'a> {
    known: std::vec::IntoIter<Option<Vec<String>>>,
    within: &'a Within,
    /// Whether a join merged columns.
    merges: bool,
}

impl Joining<'_> {
    /// The columns of joined relations; `before` are those that stand before them.
    fn columns_of_table(
        &mut self,
        table: &mut TableWithJoins,
        before: &[&[Columns]],
    ) -> Option<Vec<Columns>> {
        let mut columns = self.columns_of_factor(&mut table.relation, before)?;
        for join in &mut table.joins {
            let seen: Vec<&[Columns]> = before.iter().copied().chain([&columns[..]]).collect();
            let joined = self.columns_of_factor(&mut join.relation, &seen)?;
            columns = self.columns_of_join(columns, joined, &mut join.join_operator)?;
        }
        Some(columns)
    }

    fn columns_of_factor(
        &mut self,
        factor: &mut TableFactor,
        before: &[&[Columns]],
    ) -> Option<Vec<Columns>> {
        match factor {
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => self.columns_of_table(table_with_joins, before),
            factor => {
                let columns = relation_of(factor, self.known.next().flatten())?;
                put_into_relation(factor, merged_before(before), self.within);
                Some(vec![columns])
            }
        }
    }

    fn columns_of_join(
        &mut self,
        mut left: Vec<Columns>,
        right: Vec<Columns>,
        operator: &mut JoinOperator,
    ) -> Option<Vec<Columns>> {
        let (constraint, kept) = parts(operator)?;
        let names = match constraint {
            JoinConstraint::Using(names) => names.iter().map(single).collect::<Option<Vec<_>>>()?,
            JoinConstraint::Natural => common(&left, &right)?,
            JoinConstraint::On(condition) => {
                left.extend(right);
                let mut merged = merged_among(&left);
                // What two sides have is ambiguous.
                merged.retain(|merged| holders(&left, &merged.name) == 1);
                Naming::of(merged).put_values(condition);
                return Some(left);
            }
            JoinConstraint::None => {
                left.extend(right);
                return Some(left);
            }
        };
        self.merges = true;
        // The planner finds a column of one relation, and one that it has found before.
        let are_single = [left.len() == 1, right.len() == 1];
        let joined = merged(left, right, &names, kept)?;
        let are_found = are_single
            .iter()
            .zip(joined.are_plain)
            .all(|(is_single, is_plain)| *is_single || is_plain);
        match are_found {
            true if matches!(constraint, JoinConstraint::Using(_)) => {}
            true if !names.is_empty() => {
                let names = names.iter().map(|name| object_name(name));
                *constraint = JoinConstraint::Using(names.collect());
            }
            _ => *constraint = JoinConstraint::On(joined.condition),
        }
        Some(joined.columns)
    }
}

/// The merged columns among those of relations before another one that no other column has the name of.
fn merged_before(before: &[&[Columns]]) -> Vec<Merged> {
    let mut merged: Vec<Merged> = before.iter().flat_map(|side| merged_among(side)).collect();
    merged.retain(|merged| {
        let sides = before.iter();
        sides.map(|side| holders(side, &merged.name)).sum::<usize>() == 1
    });
    merged
}

/// How many of the columns of a FROM are known to have a name.
fn holders(columns: &[Columns], name: &String) -> usize {
    columns.iter().filter(|columns| columns.has(name)).count()
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
fn common(left: &[Columns], right: &[Columns]) -> Option<Vec<String>> {
    let right = names_of(right)?;
    let mut names: Vec<String> = Vec::new();
    for name in names_of(left)? {
        if right.contains(&name) && !names.contains(&name) {
            names.push(name);
        }
    }
    Some(names)
}

/// The names of columns, but of those that were merged into others; `None`: not all are known.
fn names_of(columns: &[Columns]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for columns in columns {
        match columns {
            Columns::Merged(merged) => names.push(merged.name.clone()),
            Columns::Of { known, merged, .. } => {
                let own = known.as_ref()?.iter();
                names.extend(own.filter(|name| !merged.contains(name)).cloned());
            }
        }
    }
    Some(names)
}

/// What a join makes of the columns of its sides.
struct Joined {
    /// The merged ones first, then the others of the left side, then of the right.
    columns: Vec<Columns>,
    /// What it compares.
    condition: Expr,
    /// Of each side: whether a join before has merged all of what is merged into columns of one relation.
    are_plain: [bool; 2],
}

fn merged(
    mut left: Vec<Columns>,
    mut right: Vec<Columns>,
    names: &[String],
    kept: Kept,
) -> Option<Joined> {
    let mut columns = Vec::with_capacity(names.len());
    let mut equal = Vec::with_capacity(names.len());
    let mut are_plain = [true; 2];
    for name in names {
        let (first, second) = (taken(&mut left, name)?, taken(&mut right, name)?);
        for (is_plain, side) in are_plain.iter_mut().zip([&first, &second]) {
            *is_plain &= side.is_merged && !side.differs;
        }
        equal.push(format!("{} = {}", first.value, second.value));
        let value = match kept {
            Kept::Left => first.value,
            Kept::Right => second.value,
            Kept::Both => {
                parse_expr(&format!("coalesce({}, {})", first.value, second.value)).ok()?
            }
        };
        columns.push(Columns::Merged(Merged {
            name: name.clone(),
            value: Box::new(value),
            differs: first.differs || !matches!(kept, Kept::Left),
        }));
    }
    columns.extend(left);
    columns.extend(right);
    let condition = match equal.is_empty() {
        true => "true".to_owned(),
        false => equal.join(" AND "),
    };
    Some(Joined {
        columns,
        condition: parse_expr(&condition).ok()?,
        are_plain,
    })
}

/// A column of one side of a join.
struct Taken {
    value: Expr,
    is_merged: bool,
    differs: bool,
}

/// Takes a column out of those of a side.
fn taken(side: &mut Vec<Columns>, name: &str) -> Option<Taken> {
    let is_it =
        |columns: &Columns| matches!(columns, Columns::Merged(merged) if merged.name == name);
    if let Some(place) = side.iter().position(is_it) {
        return match side.remove(place) {
            Columns::Merged(merged) => Some(Taken {
                value: *merged.value,
                is_merged: true,
                differs: merged.differs,
            }),
            Columns::Of { .. } => None,
        };
    }
    let mut holders = side.iter_mut().filter_map(|columns| match columns {
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

    pub(super) fn columns(&self) -> &[Merged] {
        &self.merged
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
