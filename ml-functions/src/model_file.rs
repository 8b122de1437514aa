//! The stored form of a model: a JSON manifest and a safetensors file, both readable elsewhere.
//!
//! In: the parts of a fitted model; out: the same model, to the bit. Never opens a file: storage puts
//! and gets the bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::ToByteSlice;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::estimator::EstimatorSpec;
use crate::features::{FeatureEncoder, TargetEncoding};
use crate::model::{Model, ModelContext, ModelState, Tensor, TensorData};
use crate::options::Options;
use crate::registry;

/// Version of the manifest; a change that older readers would misread raises it.
const FORMAT_VERSION: u64 = 1;

/// What is needed to predict.
pub(crate) struct ModelCore {
    pub(crate) spec: &'static EstimatorSpec,
    pub(crate) encoder: FeatureEncoder,
    pub(crate) target: Option<TargetEncoding>,
    pub(crate) options: Options,
    pub(crate) model: Arc<dyn Model>,
}

/// Manifest and tensors of a model.
pub(crate) fn to_parts(
    spec: &EstimatorSpec,
    context: &ModelContext<'_>,
    model: &dyn Model,
) -> Result<(Value, Vec<u8>)> {
    let state = model.state();
    let unwritable = |source: serde_json::Error| Error::Internal {
        what: format!("cannot write the manifest of a model: {source}"),
    };
    let manifest = json!({
        "format_version": FORMAT_VERSION,
        "estimator": spec.name,
        "encoder": serde_json::to_value(context.encoder).map_err(unwritable)?,
        "target": serde_json::to_value(context.target).map_err(unwritable)?,
        "options": serde_json::to_value(context.options).map_err(unwritable)?,
        "head": state.head,
    });
    Ok((manifest, tensors_to_bytes(state.tensors)?))
}

/// The model of a manifest and its tensors.
pub(crate) fn from_parts(manifest: &Value, tensors: &[u8]) -> Result<ModelCore> {
    match manifest.get("format_version").and_then(Value::as_u64) {
        Some(FORMAT_VERSION) => {}
        Some(other) => {
            let what = format!("format version {other}; this server reads {FORMAT_VERSION}");
            return Err(Error::Unsupported { what });
        }
        None => return Err(damaged("format version")),
    }
    let name: String = part(manifest, "estimator")?;
    let spec = registry::find(&name)?.spec();
    let encoder = part(manifest, "encoder")?;
    let target: Option<TargetEncoding> = part(manifest, "target")?;
    let options = part(manifest, "options")?;
    let state = ModelState {
        head: manifest.get("head").cloned().unwrap_or_default(),
        tensors: tensors_from_bytes(tensors)?,
    };
    let context = ModelContext {
        encoder: &encoder,
        target: target.as_ref(),
        options: &options,
    };
    let model = Arc::from((spec.load)(&state, &context)?);
    Ok(ModelCore {
        spec,
        encoder,
        target,
        options,
        model,
    })
}

/// One part of a manifest.
pub(crate) fn part<T: DeserializeOwned>(manifest: &Value, name: &str) -> Result<T> {
    manifest
        .get(name)
        .and_then(|value| T::deserialize(value).ok())
        .ok_or_else(|| damaged(&format!("\"{name}\"")))
}

fn damaged(what: &str) -> Error {
    Error::DamagedModel {
        what: what.to_owned(),
    }
}

fn tensors_to_bytes(tensors: BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let views = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), TensorBytes(tensor)));
    safetensors::serialize(views, None).map_err(|source| Error::Internal {
        what: format!("cannot write tensors: {source}"),
    })
}

fn tensors_from_bytes(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let file = SafeTensors::deserialize(bytes).map_err(|_| damaged("tensor file"))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let bytes = view.data();
        let data = match view.dtype() {
            Dtype::F64 => TensorData::F64(words(bytes, f64::from_le_bytes)),
            Dtype::F32 => TensorData::F32(words(bytes, f32::from_le_bytes)),
            Dtype::U32 => TensorData::U32(words(bytes, u32::from_le_bytes)),
            Dtype::U8 => TensorData::U8(bytes.to_vec()),
            _ => return Err(damaged(&format!("tensor \"{name}\""))),
        };
        tensors.insert(
            name.to_owned(),
            Tensor {
                shape: view.shape().to_vec(),
                data,
            },
        );
    }
    Ok(tensors)
}

fn words<T, const N: usize>(bytes: &[u8], from_le_bytes: fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|word| from_le_bytes(*word))
        .collect()
}

/// A tensor as safetensors sees it; the bytes of a little-endian machine are the format's.
struct TensorBytes<'a>(&'a Tensor);

impl View for TensorBytes<'_> {
    fn dtype(&self) -> Dtype {
        match &self.0.data {
            TensorData::F64(_) => Dtype::F64,
            TensorData::F32(_) => Dtype::F32,
            TensorData::U32(_) => Dtype::U32,
            TensorData::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = match &self.0.data {
            TensorData::F64(values) => values.to_byte_slice(),
            TensorData::F32(values) => values.to_byte_slice(),
            TensorData::U32(values) => values.to_byte_slice(),
            TensorData::U8(values) => values,
        };
        Cow::Borrowed(bytes)
    }

    fn data_len(&self) -> usize {
        match &self.0.data {
            TensorData::F64(values) => size_of_val(values.as_slice()),
            TensorData::F32(values) => size_of_val(values.as_slice()),
            TensorData::U32(values) => size_of_val(values.as_slice()),
            TensorData::U8(values) => values.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_back_to_the_bit() {
        let tensor = |shape: &[usize], data| Tensor {
            shape: shape.to_vec(),
            data,
        };
        let tensors = BTreeMap::from([
            (
                "a".to_owned(),
                Tensor::f64(&[2, 2], vec![1.0, -0.0, f64::INFINITY, 1e-310]),
            ),
            ("b".to_owned(), tensor(&[1], TensorData::F32(vec![0.1]))),
            (
                "c".to_owned(),
                tensor(&[3], TensorData::U32(vec![1, 2, u32::MAX])),
            ),
            ("d".to_owned(), tensor(&[0], TensorData::U8(Vec::new()))),
        ]);
        let bytes = tensors_to_bytes(tensors.clone()).unwrap();
        assert_eq!(tensors_from_bytes(&bytes).unwrap(), tensors);
        assert_eq!(tensors_to_bytes(tensors).unwrap(), bytes);
    }

    #[test]
    fn damage_is_told() {
        let error = tensors_from_bytes(&[1, 2, 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the stored model is damaged: tensor file is missing or unreadable"
        );
        let Err(error) = from_parts(&json!({}), &[]) else {
            unreachable!("nothing to load")
        };
        assert_eq!(error.sqlstate(), "XX001");
        let Err(error) = from_parts(&json!({"format_version": 2}), &[]) else {
            unreachable!("a newer format")
        };
        assert_eq!(
            error.to_string(),
            "format version 2; this server reads 1 is not supported"
        );
    }
}
