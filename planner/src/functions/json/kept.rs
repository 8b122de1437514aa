//! `coalesce` of json is json: clients decode `coalesce(json_agg(x), '[]')` by its type. That of uuids is a uuid.
//!
//! In: the planner's own `coalesce`; out: the same with the mark of json or uuids kept.

use std::sync::Arc;

use auspex_storage::{JsonKind, is_uuid, uuid_marks};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExprSchemable as _, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature,
};

use super::marked;
use crate::functions::uuid;

/// The function in the place of the planner's.
pub(in crate::functions) fn coalesce() -> ScalarUDF {
    ScalarUDF::from(Kept {
        inner: datafusion::functions::core::coalesce(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Kept {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Kept {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let kind = args.arg_fields.iter().find_map(|field| JsonKind::of(field));
        let has_uuids = args.arg_fields.iter().any(|field| is_uuid(field));
        let field = self.inner.return_field_from_args(args)?;
        let marked = |marks| Arc::new(field.as_ref().clone().with_metadata(marks));
        Ok(match kind.filter(|_| field.data_type().is_string()) {
            Some(kind) => marked(kind.marks()),
            None if has_uuids => marked(uuid_marks()),
            None => field,
        })
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let field = |arg: &Expr| Some(arg.to_field(info.schema().as_ref()).ok()?.1);
        let fields: Vec<FieldRef> = args.iter().filter_map(field).collect();
        let kind = fields.iter().find_map(|field| JsonKind::of(field));
        let has_uuids = fields.iter().any(|field| is_uuid(field));
        Ok(match (kind, self.inner.simplify(args, info)?) {
            (Some(kind), ExprSimplifyResult::Simplified(expr)) => {
                ExprSimplifyResult::Simplified(marked(kind, expr))
            }
            (None, ExprSimplifyResult::Simplified(expr)) if has_uuids => {
                ExprSimplifyResult::Simplified(uuid::read(expr))
            }
            (_, result) => result,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }

    fn conditional_arguments<'a>(
        &self,
        args: &'a [Expr],
    ) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
