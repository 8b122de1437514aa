//! Where operators stand that have no form for their operands.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Visit, Visitor};

use super::{Sought, only};

/// What names of operators are made of.
fn is_of_operator(c: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(c)
}

/// The operator of `operator does not exist: left + right`.
pub(super) fn operator(sought: &Sought<'_>) -> Option<usize> {
    let operands = sought.message.strip_prefix("operator does not exist: ")?;
    let mut words = operands.split(' ');
    // Types have names of several words; one of a single operand has its operator first.
    words
        .next()
        .filter(|word| !word.chars().all(is_of_operator))?;
    let name = words.find(|word| !word.is_empty() && word.chars().all(is_of_operator))?;
    let mut found = Operators {
        sought,
        name,
        places: Vec::new(),
        is_unsure: has_implied_comparisons(sought.text),
    };
    let _ = sought.statement.visit(&mut found);
    let is_comparison = ["=", "<>", "<", "<=", ">", ">="].contains(&name);
    let is_sure = !(is_comparison && found.is_unsure);
    only(found.places).flatten().filter(|_| is_sure)
}

/// Whether a text may compare values without an operator or an expression of its own.
fn has_implied_comparisons(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["using", "natural", "nullif", "overlaps"]
        .iter()
        .any(|word| text.contains(word))
}

/// Collects the places of an operator between two operands.
struct Operators<'a> {
    sought: &'a Sought<'a>,
    name: &'a str,
    places: Vec<Option<usize>>,
    /// Whether something else compares values, too.
    is_unsure: bool,
}

impl Operators<'_> {
    /// Where the operator stands: nothing but brackets and spaces lie between it and its right operand.
    fn place(&self, right: &Expr) -> Option<usize> {
        let text = self.sought.text;
        let before = text.get(..self.sought.start(right)?)?;
        let before = before.trim_end_matches(|c: char| c == '(' || c.is_whitespace());
        let others = before
            .strip_suffix(self.name)
            .or_else(|| before.strip_suffix("!=").filter(|_| self.name == "<>"))?;
        (!others.ends_with(is_of_operator)).then_some(others.len())
    }
}

impl Visitor for Operators<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::BinaryOp { op, right, .. } if op.to_string() == self.name => {
                let place = self.place(right);
                self.places.push(place);
            }
            Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::InUnnest { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::Between { .. }
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::Tuple(_)
            | Expr::Case {
                operand: Some(_), ..
            } => self.is_unsure = true,
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
