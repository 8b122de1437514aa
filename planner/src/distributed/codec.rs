//! Plans as bytes: what the library's own serialization does not know.
//!
//! In: operators of ours; out: bytes, and on the other machine the operators again. Scans of files are wrapped in ours,
//! which name files in errors and read ranges of rows; what writes files is ours; all else is the library's, or stays on
//! the coordinator.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_storage::{Locations, RowChecks, ScanForm, Tables};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion_distributed::DistributedCodec;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_proto_converter, physical_plan_to_bytes_with_proto_converter,
};
use datafusion_proto::physical_plan::{
    DeduplicatingProtoConverter, PhysicalExtensionCodec, PhysicalProtoConverterExtension,
};
use serde::{Deserialize, Serialize};

use super::call::{from_bytes, to_bytes};
use crate::engine::Engine;
use crate::functions::FILE_TEXTS;
use crate::physical::{WriteFilesExec, WriteTarget};

/// Writes and reads our operators.
pub(super) struct PlanCodec {
    locations: Arc<Locations>,
    tables: Arc<Tables>,
}

impl std::fmt::Debug for PlanCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlanCodec")
    }
}

/// One of our operators.
#[derive(Serialize, Deserialize)]
enum OperatorForm {
    Scan {
        scan: ScanForm,
        /// The scan that the library serializes.
        plain: Vec<u8>,
    },
    WriteFiles {
        id: String,
        version: u64,
        schema: String,
        relation: String,
        /// The table's checks as columns of a plan that the library serializes.
        checks: Vec<u8>,
    },
}

impl PlanCodec {
    pub(super) fn of(engine: &Engine) -> PlanCodec {
        PlanCodec {
            locations: Arc::clone(&engine.locations),
            tables: Arc::clone(&engine.tables),
        }
    }

    // The expressions within our operators are written apart from those of the plan, which shares none with them.

    fn encode(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Vec<u8>> {
        let converter = DeduplicatingProtoConverter::default();
        Ok(physical_plan_to_bytes_with_proto_converter(plan, self, &converter)?.to_vec())
    }

    fn decode(&self, bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
        let converter = DeduplicatingProtoConverter::default();
        physical_plan_from_bytes_with_proto_converter(bytes, context, self, &converter)
    }

    fn form_of(&self, node: &dyn ExecutionPlan) -> Result<OperatorForm> {
        if let Some(write) = node.downcast_ref::<WriteFilesExec>() {
            let target = write.target();
            return Ok(OperatorForm::WriteFiles {
                id: target.id.clone(),
                version: target.version,
                schema: target.checks.schema.clone(),
                relation: target.checks.relation.clone(),
                checks: self.encode(as_columns(&target.checks, write.input_schema())?)?,
            });
        }
        let Some((scan, plain)) = ScanForm::of(node, &self.locations)? else {
            let name = node.name().to_owned();
            return Err(DataFusionError::NotImplemented(format!(
                "{name} stays on the coordinator"
            )));
        };
        let plain = self.encode(plain)?;
        Ok(OperatorForm::Scan { scan, plain })
    }
}

/// The conditions of checks as the columns of a plan over rows of a table.
fn as_columns(checks: &RowChecks, rows: SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    let columns = checks.checks.iter();
    let columns = columns.map(|(name, condition)| (Arc::clone(condition), name.clone()));
    let columns: Vec<(Arc<dyn PhysicalExpr>, String)> = columns.collect();
    let rows = Arc::new(EmptyExec::new(rows));
    Ok(Arc::new(ProjectionExec::try_new(columns, rows)?))
}

/// The other way round.
fn from_columns(plan: &dyn ExecutionPlan) -> Result<Vec<(String, Arc<dyn PhysicalExpr>)>> {
    let columns = plan.downcast_ref::<ProjectionExec>().ok_or_else(damaged)?;
    let columns = columns.expr().iter();
    Ok(columns
        .map(|column| (column.alias.clone(), Arc::clone(&column.expr)))
        .collect())
}

fn damaged() -> DataFusionError {
    DataFusionError::Internal("an operator from another machine is damaged".to_owned())
}

impl PhysicalExtensionCodec for PlanCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        buffer.extend(to_bytes(&self.form_of(node.as_ref())?)?);
        Ok(())
    }

    fn try_decode(
        &self,
        buffer: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (from_bytes(buffer)?, inputs) {
            (OperatorForm::Scan { scan, plain }, []) => {
                let plain = self.decode(&plain, context)?;
                scan.restore(plain.as_ref(), &context.runtime_env(), FILE_TEXTS)
            }
            (
                OperatorForm::WriteFiles {
                    id,
                    version,
                    schema,
                    relation,
                    checks,
                },
                [input],
            ) => {
                let checks = self.decode(&checks, context)?;
                let checks = RowChecks {
                    schema,
                    relation,
                    checks: from_columns(checks.as_ref())?,
                    // What is written through views that look at the rows stays on the coordinator.
                    views: Vec::new(),
                    as_of: None,
                    session: None,
                    forms: BTreeMap::new(),
                };
                let target = WriteTarget {
                    id,
                    version,
                    checks: Arc::new(checks),
                };
                let (input, tables) = (Arc::clone(input), Arc::clone(&self.tables));
                Ok(Arc::new(WriteFilesExec::new(input, tables, target)))
            }
            _ => Err(damaged()),
        }
    }
}

/// A plan as bytes; `context` has the codecs. Fails for plans that must stay on this machine.
pub(super) fn encode_plan(plan: &Arc<dyn ExecutionPlan>, context: &TaskContext) -> Result<Vec<u8>> {
    let codec = DistributedCodec::new_combined_with_user(context.session_config());
    let converter = DeduplicatingProtoConverter::default();
    let bytes = physical_plan_to_bytes_with_proto_converter(Arc::clone(plan), &codec, &converter)?;
    Ok(bytes.to_vec())
}

/// A plan from bytes.
pub(super) fn decode_plan(bytes: &[u8], context: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
    let codec = DistributedCodec::new_combined_with_user(context.session_config());
    let converter = DeduplicatingProtoConverter::default();
    physical_plan_from_bytes_with_proto_converter(bytes, context, &codec, &converter)
}
