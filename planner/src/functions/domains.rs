//! Domains: values of another type that keep to rules.
//!
//! In: values, and for each rule whether it holds; out: the same values, or the error of the first rule that does not. What
//! the rules are was settled when the statement was bound (`bind/domains.rs`), so that the function needs no catalog.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, AsArray as _};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast;

use super::call::{ANY, Function, failure, function};
use super::syntax;

/// `in_domain(value, 'domain', holds, 'constraint', …)`; NULL in a constraint's place stands for NOT NULL.
const IN_DOMAIN: &str = "in_domain";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![checked()]
}

fn checked() -> Function {
    function(IN_DOMAIN, ANY, DataType::Null, |call| {
        let names = call.texts(1)?;
        let domain = names.iter().flatten().next().unwrap_or_default();
        for idx in (2..call.args.len()).step_by(2) {
            let holds = call.converted(idx, &DataType::Boolean)?;
            let holds = holds.as_boolean();
            // A condition that is NULL holds.
            if holds.len() > holds.null_count() + holds.true_count() {
                let constraint = call.texts(idx + 1)?;
                return Err(violated(domain, constraint.iter().flatten().next()));
            }
        }
        Ok(Arc::clone(call.arg(0)?))
    })
    .returning(|args| {
        let found = &args.arg_fields[0];
        let field = Field::new(IN_DOMAIN, found.data_type().clone(), true);
        Ok(field.with_metadata(found.metadata().clone()))
    })
}

/// The error of a value that is none of a domain; without a constraint it is NULL.
fn violated(domain: &str, constraint: Option<&str>) -> DataFusionError {
    match constraint {
        Some(constraint) => {
            let rule = format!("violates check constraint \"{constraint}\"");
            failure("23514", format!("value for domain {domain} {rule}"))
        }
        None => failure(
            "23502",
            format!("domain {domain} does not allow null values"),
        ),
    }
}

/// The function's call in a plan.
pub(crate) fn in_domain(args: Vec<Expr>) -> Expr {
    checked().build().call(args)
}

/// The same in a syntax tree.
pub(crate) fn spelt_in_domain(args: Vec<ast::Expr>) -> ast::Expr {
    syntax::call(IN_DOMAIN, args)
}
