//! The types that a statement gives its parameters by what stands beside them: of several, the first one counts.
//!
//! In: plans with parameters; out: by name, the field of each parameter that has one. The order is that in which PostgreSQL
//! looks at a statement: what is read, what is computed, conditions, windows, then order and limits. A statement that gives a
//! parameter several types is planned again with the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_storage::marks_of;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

/// The uses of a parameter that tell its type.
#[derive(Debug)]
pub(crate) struct Uses {
    /// The first, but for numerics: their digits are those of the finest.
    pub(crate) field: FieldRef,
    /// Whether others tell another type.
    pub(crate) differ: bool,
}

/// In which order the parts of a query are looked at, behind what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// What is computed comes before conditions.
    OfQueries,
    /// Conditions come before new values.
    OfChanges,
}

/// The uses of parameters in plans, by name.
pub(crate) fn first_uses(plans: &[&LogicalPlan], order: Order) -> Result<BTreeMap<String, Uses>> {
    let mut finder = Finder {
        order,
        found: BTreeMap::new(),
    };
    for plan in plans {
        finder.in_plan(plan)?;
    }
    Ok(finder.found)
}

struct Finder {
    order: Order,
    found: BTreeMap<String, Uses>,
}

/// A part of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Values,
    Conditions,
    Windows,
    Rest,
}

/// The part of a query that a node with one input is; `None`: another query begins there.
fn part_of(node: &LogicalPlan) -> Option<Part> {
    match node {
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => Some(Part::Values),
        LogicalPlan::Filter(_) => Some(Part::Conditions),
        LogicalPlan::Window(_) => Some(Part::Windows),
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Distinct(_) => Some(Part::Rest),
        _ => None,
    }
}

/// Whether an operator is one of a name or a text and a text.
fn is_of_texts(op: Operator) -> bool {
    matches!(
        op,
        Operator::RegexMatch
            | Operator::RegexIMatch
            | Operator::RegexNotMatch
            | Operator::RegexNotIMatch
            | Operator::LikeMatch
            | Operator::ILikeMatch
            | Operator::NotLikeMatch
            | Operator::NotILikeMatch
            | Operator::StringConcat
    )
}

impl Finder {
    fn in_plan(&mut self, plan: &LogicalPlan) -> Result<()> {
        let (mut parts, mut node) = (Vec::new(), plan);
        while let Some(part) = part_of(node) {
            let inputs = node.inputs();
            let [input] = inputs.as_slice() else {
                break;
            };
            parts.push((part, node));
            node = *input;
        }
        for input in node.inputs() {
            self.in_plan(input)?;
        }
        self.in_node(node)?;
        let stages = match self.order {
            Order::OfQueries => [Part::Values, Part::Conditions, Part::Windows, Part::Rest],
            Order::OfChanges => [Part::Conditions, Part::Values, Part::Windows, Part::Rest],
        };
        for stage in stages {
            // The innermost first: WHERE comes before HAVING.
            for (_, node) in parts.iter().rev().filter(|(part, _)| *part == stage) {
                self.in_node(node)?;
            }
        }
        Ok(())
    }

    fn in_node(&mut self, node: &LogicalPlan) -> Result<()> {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Placeholder(placeholder) => {
                        // Beside another without a type it has that of NULL, which tells nothing.
                        if let Some(field) = &placeholder.field
                            && !field.data_type().is_null()
                        {
                            self.note(&placeholder.id, field);
                        }
                    }
                    Expr::Like(like) | Expr::SimilarTo(like) => self.note_text(&like.pattern),
                    Expr::BinaryExpr(pair) if is_of_texts(pair.op) => {
                        self.note_text(&pair.left);
                        self.note_text(&pair.right);
                    }
                    Expr::Cast(cast) => {
                        if let Expr::Placeholder(placeholder) = cast.expr.as_ref() {
                            self.note(&placeholder.id, &cast.field);
                            return Ok(TreeNodeRecursion::Jump);
                        }
                    }
                    Expr::ScalarSubquery(query) => self.in_plan(&query.subquery)?,
                    Expr::Exists(exists) => self.in_plan(&exists.subquery.subquery)?,
                    Expr::InSubquery(within) => self.in_plan(&within.subquery.subquery)?,
                    Expr::SetComparison(compared) => self.in_plan(&compared.subquery.subquery)?,
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok(())
    }

    /// Beside names of the catalogs, what is searched for or added is a text.
    fn note_text(&mut self, value: &Expr) {
        if let Expr::Placeholder(placeholder) = value
            && let Some(field) = &placeholder.field
            && field.data_type().is_string()
        {
            let marks = marks_of(field);
            let text = field.as_ref().clone().with_metadata(marks);
            self.note(&placeholder.id, &Arc::new(text));
        }
    }

    fn note(&mut self, name: &str, field: &FieldRef) {
        match self.found.get_mut(name) {
            None => {
                let (field, differ) = (Arc::clone(field), false);
                self.found.insert(name.to_owned(), Uses { field, differ });
            }
            Some(known) => match (known.field.data_type(), field.data_type()) {
                (DataType::Decimal128(_, one), DataType::Decimal128(_, other)) => {
                    if other > one {
                        known.field = Arc::clone(field);
                    }
                }
                (one, other) => {
                    known.differ |= one != other || marks_of(&known.field) != marks_of(field);
                }
            },
        }
    }
}

impl Uses {
    /// The type that a statement is planned with where its uses differ.
    pub(crate) fn settled(&self) -> FieldRef {
        let data_type = match self.field.data_type() {
            // A numeric has as many digits as it is given.
            DataType::Decimal128(..) => DataType::Decimal128(38, 10),
            known => known.clone(),
        };
        let field = Field::new("value", data_type, true);
        Arc::new(field.with_metadata(marks_of(&self.field)))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::expr::Placeholder;
    use datafusion::logical_expr::{LogicalPlanBuilder, lit};

    use super::*;

    fn parameter(data_type: DataType) -> Expr {
        let field = Arc::new(Field::new("value", data_type, true));
        Expr::Placeholder(Placeholder::new_with_field("$1".to_owned(), Some(field)))
    }

    fn first(plan: &LogicalPlan, order: Order) -> (DataType, bool) {
        let uses = first_uses(&[plan], order).unwrap();
        let uses = &uses["$1"];
        (uses.field.data_type().clone(), uses.differ)
    }

    #[test]
    fn what_is_computed_comes_before_conditions_but_in_changes() {
        let read = LogicalPlanBuilder::values(vec![vec![lit(1_i64)]]).unwrap();
        let condition = parameter(DataType::Float64).eq(lit(1.0));
        let plan = read.filter(condition).unwrap();
        let plan = plan
            .project(vec![parameter(DataType::Int32).alias("a")])
            .unwrap();
        let plan = plan.build().unwrap();
        assert_eq!(first(&plan, Order::OfQueries), (DataType::Int32, true));
        assert_eq!(first(&plan, Order::OfChanges), (DataType::Float64, true));
        // A query within comes before both.
        let within = LogicalPlanBuilder::from(plan).alias("x").unwrap();
        let outer = within
            .project(vec![parameter(DataType::Utf8).alias("b")])
            .unwrap();
        let outer = outer.build().unwrap();
        assert_eq!(first(&outer, Order::OfQueries), (DataType::Int32, true));
    }

    #[test]
    fn numerics_of_other_digits_are_of_one_type() {
        let read = LogicalPlanBuilder::values(vec![vec![lit(1_i64)]]).unwrap();
        let numeric = |scale| parameter(DataType::Decimal128(20, scale));
        let plan = read.project(vec![numeric(2).alias("a"), numeric(9).alias("b")]);
        let plan = plan.unwrap().build().unwrap();
        let found = first(&plan, Order::OfQueries);
        assert_eq!(found, (DataType::Decimal128(20, 9), false));
    }
}
