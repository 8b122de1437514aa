//! A fitted model inside a step, so that it reaches the partitions wherever they are.
//!
//! In: a model, or the bytes that another machine sent; out: the model, made once.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::estimator::EstimatorSpec;
use crate::model::{Model, ModelContext};
use crate::model_file::{self, ModelCore};

/// A model as its stored parts.
#[derive(Serialize, Deserialize)]
pub(super) struct CarriedModel {
    /// The manifest as JSON, since its parts describe their own types.
    manifest: String,
    tensors: Vec<u8>,
    /// The model, made when the first block comes.
    #[serde(skip)]
    core: OnceLock<Arc<ModelCore>>,
}

impl CarriedModel {
    pub(super) fn new(
        spec: &EstimatorSpec,
        context: &ModelContext<'_>,
        model: &dyn Model,
    ) -> Result<CarriedModel> {
        let (manifest, tensors) = model_file::to_parts(spec, context, model)?;
        Ok(CarriedModel {
            manifest: manifest.to_string(),
            tensors,
            core: OnceLock::new(),
        })
    }

    /// Threads that come first at the same time each load the model; one of them is kept.
    pub(super) fn core(&self) -> Result<Arc<ModelCore>> {
        if let Some(core) = self.core.get() {
            return Ok(Arc::clone(core));
        }
        let manifest = serde_json::from_str(&self.manifest).map_err(|source| Error::Internal {
            what: format!("cannot read a manifest: {source}"),
        })?;
        let core = Arc::new(model_file::from_parts(&manifest, &self.tensors)?);
        Ok(Arc::clone(self.core.get_or_init(|| core)))
    }
}
