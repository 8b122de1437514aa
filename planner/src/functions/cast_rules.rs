//! Casts that mean more to PostgreSQL than to the planner, wherever a plan has them.
//!
//! In: a cast, written or put there by the planner; out: what the rules make of it, each of the cast that the one before it
//! left. What is no cast any more stays as it is.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Cast, Expr};

use super::dimensions::keep_dimensions;
use super::json::read_scalars;
use super::rows_by_place::cast_by_place;
use super::text_input::read_cast;
use super::truth::compare_with_zero;

/// What a rule makes of a cast; `None`: the cast is none of its own.
type Rule = fn(&Cast, &DFSchema) -> Result<Option<Expr>>;

/// Applies some rules in one pass.
#[derive(Debug)]
pub(super) struct CastRules(&'static [Rule]);

impl CastRules {
    /// The rules of the casts of a statement.
    pub(super) const WRITTEN: CastRules = CastRules(&[
        keep_dimensions,
        read_scalars,
        read_cast,
        cast_by_place,
        compare_with_zero,
    ]);
    /// Those of the casts that the planner has added.
    pub(super) const ADDED: CastRules = CastRules(&[read_cast]);
}

impl FunctionRewrite for CastRules {
    fn name(&self) -> &str {
        "cast_rules"
    }

    fn rewrite(
        &self,
        mut expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let mut is_changed = false;
        for rule in self.0 {
            let Expr::Cast(cast) = &expr else {
                break;
            };
            if let Some(changed) = rule(cast, schema)? {
                expr = changed;
                is_changed = true;
            }
        }
        Ok(Transformed::new_transformed(expr, is_changed))
    }
}

/// The same cast of another value.
pub(super) fn cast_of(value: Expr, cast: &Cast) -> Expr {
    Expr::Cast(Cast::new_from_field(
        Box::new(value),
        Arc::clone(&cast.field),
    ))
}
