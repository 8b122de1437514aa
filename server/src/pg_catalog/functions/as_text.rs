//! Values as text in SQL: `x::text`, `x || 'y'` and `concat(x)` write what the wire would.
//!
//! In: a cast to text, or a function of texts that was given other types; out: the same over `wire_text(x)`.
//! Arrow's own texts of time stamps, floats, intervals, arrays, rows and bytes are not PostgreSQL's.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry as _;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, ExprSchemable as _, Operator, ScalarUDF};
use datafusion::optimizer::analyzer::function_rewrite::ApplyFunctionRewrites;
use datafusion::prelude::SessionContext;

use super::scalar::{Call, function};
use crate::protocol::types::{has_own_digits, wire_texts};

/// Adds the rewrites to a session.
pub(in crate::pg_catalog) fn register(context: &mut SessionContext) -> Result<()> {
    let rewrite = Arc::new(WireTexts {
        text: Arc::new(wire_text()),
        length: Arc::new(byte_length()),
    });
    // Once before types are coerced, while functions of texts still have what was written, and once after.
    context.register_function_rewrite(Arc::clone(&rewrite) as _)?;
    context.add_analyzer_rule(Arc::new(ApplyFunctionRewrites::new(vec![rewrite])));
    Ok(())
}

/// What the rewrites call.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![wire_text(), byte_length()]
}

#[derive(Debug)]
struct WireTexts {
    text: Arc<ScalarUDF>,
    length: Arc<ScalarUDF>,
}

impl WireTexts {
    fn shown(&self, expr: Expr) -> Expr {
        self.text.call(vec![expr])
    }

    /// The arguments of a function of texts, each of which is one.
    fn all_shown(&self, args: &mut [Expr], schema: &DFSchema) -> bool {
        let mut changed = false;
        for arg in args {
            if arg
                .get_type(schema)
                .is_ok_and(|found| is_other(&found) || is_switch(&found))
            {
                *arg = self.shown(std::mem::take(arg));
                changed = true;
            }
        }
        changed
    }
}

impl FunctionRewrite for WireTexts {
    fn name(&self) -> &str {
        "wire_texts"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        match expr {
            Expr::Cast(mut node)
                if node.field.data_type().is_string()
                    && node
                        .expr
                        .get_type(schema)
                        .is_ok_and(|found| is_other(&found)) =>
            {
                let shown = self.shown(std::mem::take(&mut *node.expr));
                if *node.field.data_type() == DataType::Utf8 {
                    return Ok(Transformed::yes(shown));
                }
                *node.expr = shown;
                Ok(Transformed::yes(Expr::Cast(node)))
            }
            Expr::BinaryExpr(mut node) if node.op == Operator::StringConcat => {
                let types = (node.left.get_type(schema), node.right.get_type(schema));
                let (Ok(left), Ok(right)) = types else {
                    return Ok(Transformed::no(Expr::BinaryExpr(node)));
                };
                if right.is_string() && is_other(&left) && !is_array(&left) {
                    *node.left = self.shown(std::mem::take(&mut *node.left));
                } else if left.is_string() && is_other(&right) && !is_array(&right) {
                    *node.right = self.shown(std::mem::take(&mut *node.right));
                } else {
                    return Ok(Transformed::no(Expr::BinaryExpr(node)));
                }
                Ok(Transformed::yes(Expr::BinaryExpr(node)))
            }
            Expr::ScalarFunction(mut call) => {
                let changed = match call.func.name() {
                    "concat" | "concat_ws" => self.all_shown(&mut call.args, schema),
                    "character_length" if call.args.len() == 1 => {
                        let found = call.args[0].get_type(schema);
                        let is_bytes = found.is_ok_and(|found| is_bytes(&found));
                        if is_bytes {
                            call.func = Arc::clone(&self.length);
                        }
                        is_bytes
                    }
                    _ => false,
                };
                let expr = Expr::ScalarFunction(call);
                Ok(match changed {
                    true => Transformed::yes(expr),
                    false => Transformed::no(expr),
                })
            }
            expr => Ok(Transformed::no(expr)),
        }
    }
}

fn is_bytes(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    matches!(
        data_type,
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_)
    )
}

fn is_array(data_type: &DataType) -> bool {
    use DataType::{FixedSizeList, LargeList, List};
    matches!(data_type, List(_) | LargeList(_) | FixedSizeList(..))
}

/// Whether values travel as json: rows, and objects of a file of JSON.
fn is_object(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Struct(_) | DataType::Map(..))
}

/// Whether Arrow writes the values of a type otherwise than PostgreSQL.
fn is_other(data_type: &DataType) -> bool {
    data_type.is_temporal()
        || data_type.is_floating()
        || is_array(data_type)
        || is_bytes(data_type)
        || is_object(data_type)
        || has_own_digits(data_type)
}

/// `concat(true)` is `t`, although `true::text` is `true`.
fn is_switch(data_type: &DataType) -> bool {
    *data_type == DataType::Boolean
}

/// The text that the wire would carry.
fn wire_text() -> ScalarUDF {
    function("wire_text", &[1], DataType::Utf8, |call| shown(call, 0))
}

/// An argument as the wire's text.
pub(super) fn shown(call: &Call, idx: usize) -> Result<ArrayRef> {
    let array = &call.args[idx];
    if array.data_type().is_string() {
        return Ok(cast(array, &DataType::Utf8)?);
    }
    let texts = wire_texts(array, &call.fields[idx], call.zone())?;
    Ok(Arc::new(texts))
}

/// How many bytes a value has.
fn byte_length() -> ScalarUDF {
    function("bytea_length", &[1], DataType::Int32, |call| {
        let bytes = cast(&call.args[0], &DataType::Binary)?;
        let lengths = datafusion::arrow::compute::kernels::length::length(bytes.as_ref())?;
        Ok(cast(&lengths, &DataType::Int32)?)
    })
}
