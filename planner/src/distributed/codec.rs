//! Plans as bytes: what the library's own serialization does not know.
//!
//! In: operators of ours; out: bytes, and on the other machine the operators again. Scans of files are wrapped in ours,
//! which name files in errors and read ranges of rows; all else is the library's, or stays on the coordinator.

use std::sync::Arc;

use auspex_storage::{Locations, ScanForm};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
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

/// Writes and reads our operators.
pub(super) struct PlanCodec {
    locations: Arc<Locations>,
}

impl std::fmt::Debug for PlanCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlanCodec")
    }
}

/// One of our operators.
#[derive(Serialize, Deserialize)]
struct OperatorForm {
    scan: ScanForm,
    /// The scan that the library serializes.
    plain: Vec<u8>,
}

impl PlanCodec {
    pub(super) fn of(engine: &Engine) -> PlanCodec {
        PlanCodec {
            locations: Arc::clone(&engine.locations),
        }
    }
}

impl PhysicalExtensionCodec for PlanCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some((scan, plain)) = ScanForm::of(node.as_ref(), &self.locations)? else {
            let name = node.name().to_owned();
            return Err(DataFusionError::NotImplemented(format!(
                "{name} stays on the coordinator"
            )));
        };
        // Its expressions are written apart from those of the plan, which shares none with them.
        let converter = DeduplicatingProtoConverter::default();
        let plain = physical_plan_to_bytes_with_proto_converter(plain, self, &converter)?;
        let plain = plain.to_vec();
        buffer.extend(to_bytes(&OperatorForm { scan, plain })?);
        Ok(())
    }

    fn try_decode(
        &self,
        buffer: &[u8],
        _inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let OperatorForm { scan, plain } = from_bytes(buffer)?;
        let converter = DeduplicatingProtoConverter::default();
        let plain =
            physical_plan_from_bytes_with_proto_converter(&plain, context, self, &converter)?;
        scan.restore(plain.as_ref(), &context.runtime_env())
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
