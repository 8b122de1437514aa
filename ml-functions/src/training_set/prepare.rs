//! Reads the training query for the first time: splits it, fits the encoder, learns the labels.
//!
//! In: the chunks of the source; out: all that later passes need to encode blocks, and what is worth a
//! warning. Every user error about rows ends here, before an estimator starts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::execution::memory_pool::MemoryConsumer;
use serde::{Deserialize, Serialize};

use super::chunks::{ChunkSource, PassEnd, RawChunk, TooLarge};
use super::first_blocks::FirstBlocks;
use super::merge_tree::{Merge, MergeTree};
use super::passes::Workers;
use super::roles::{RoleColumn, Roles};
use super::split::{self, MAX_CLASSES, Selection, Split, Survey, SurveyKind, row_hash};
use super::weights::{WeightPartial, class_weights, read_weights};
use crate::error::{Error, Result};
use crate::estimator::Task;
use crate::features::{
    ClassKey, EncoderFit, EncoderPartial, FeatureEncoder, FitLimits, Labels, Moments,
    TargetEncoding, count_nan, sql_type,
};
use crate::run::{TrainingRun, Warning};
use crate::training::TrainingRequest;

/// Seed of the sample for medians; apart from the split's, so that the two are independent.
const SAMPLE_SEED: u64 = 0x6d65_6469_616e;

/// Estimators that learn from missing numbers as such make bins and split sets of categories.
fn limits(request: &TrainingRequest) -> FitLimits {
    if request.estimator.spec().tags.keeps_missing {
        FitLimits::BINNED
    } else {
        FitLimits::ENCODED
    }
}

/// What the first reading found.
pub(super) struct Prepared {
    pub(super) split: Split,
    pub(super) encoder: FeatureEncoder,
    /// For estimators that make bins: of each numeric feature the values in some rows.
    pub(super) sample: Option<Vec<Vec<f64>>>,
    pub(super) target: Option<TargetEncoding>,
    /// By class, then for classes that training never saw.
    pub(super) class_weights: Option<Vec<f64>>,
    /// Training, evaluation.
    pub(super) n_samples: [u64; 2],
    pub(super) n_dropped: u64,
    /// Training and evaluation samples of each chunk.
    pub(super) of_chunk: SamplesOfChunk,
}

/// What some chunks tell.
#[derive(Serialize, Deserialize)]
pub(super) struct FitPartial {
    pub(super) encoder: EncoderPartial,
    target: TargetPartial,
    weights: WeightPartial,
    n_samples: [u64; 2],
    n_dropped: u64,
    n_nan_labels: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct TargetPartial {
    /// Training and evaluation rows of each class.
    classes: BTreeMap<ClassKey, [u64; 2]>,
    /// Of a regression's label, in both parts.
    moments: [Moments; 2],
}

/// Of each chunk its training and evaluation samples.
pub(super) type SamplesOfChunk = BTreeMap<(usize, usize), [usize; 2]>;

/// Reads what is needed to split and to encode.
pub(super) async fn prepare(
    request: &TrainingRequest,
    roles: &Roles,
    source: &Arc<ChunkSource>,
    workers: &Workers,
    first_blocks: Option<&Arc<FirstBlocks>>,
    run: &TrainingRun,
) -> Result<Prepared> {
    let split = match split::plan(request.estimator.spec().task, &request.options) {
        (split, None) => split,
        (_, Some(kind)) => {
            let tree = survey(request, kind, roles, source, workers, run.seed).await?;
            let survey = tree.finish(&source.n_chunks(), &Survey::merge)?;
            split::decide(survey, &request.options)
        }
    };
    let fit = Arc::new(encoder_fit(request, roles));
    let pass = FitPass {
        fit: Arc::clone(&fit),
        split: split.clone(),
        first_blocks: first_blocks.cloned(),
    };
    let (tree, of_chunk) = fit_pass(request, pass, roles, source, workers, run.seed).await?;
    let merge: Merge<'_, FitPartial> = &|into, later| into.merge(later, &fit);
    let partial = tree.finish(&source.n_chunks(), merge)?;
    finish(partial, &fit, roles, request, split, of_chunk, run)
}

/// What fits the encoder of a training.
pub(super) fn encoder_fit(request: &TrainingRequest, roles: &Roles) -> EncoderFit {
    EncoderFit::new(roles.features.clone(), limits(request))
}

/// The reading that fits the encoder.
pub(super) struct FitPass {
    pub(super) fit: Arc<EncoderFit>,
    pub(super) split: Split,
    pub(super) first_blocks: Option<Arc<FirstBlocks>>,
}

/// Reads all columns; the partials of the chunks are merged as far as the chunks of a partition go.
pub(super) async fn fit_pass(
    request: &TrainingRequest,
    pass: FitPass,
    roles: &Roles,
    source: &Arc<ChunkSource>,
    workers: &Workers,
    seed: u64,
) -> Result<(Arc<MergeTree<FitPartial>>, SamplesOfChunk)> {
    let task = request.estimator.spec().task;
    let tree = Arc::new(MergeTree::new());
    let of_chunk = Arc::new(Mutex::new(BTreeMap::new()));
    let visit = {
        let (tree, of_chunk) = (Arc::clone(&tree), Arc::clone(&of_chunk));
        move |chunk: &RawChunk| {
            let labels = read_labels(task, chunk)?;
            let selection = pass.split.select(chunk, &labels, seed)?;
            let (partial, n_samples) = fit_chunk(&pass.fit, chunk, &labels, &selection)?;
            if let Some(first_blocks) = &pass.first_blocks {
                first_blocks.keep(chunk, &labels, &selection)?;
            }
            let position = (chunk.partition, chunk.number);
            of_chunk
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(position, n_samples);
            let merge: Merge<'_, FitPartial> = &|into, later| into.merge(later, &pass.fit);
            tree.insert(position.0, position.1, Some(partial), merge)
        }
    };
    let (columns, keep) = (roles.all_columns(), Some(TooLarge::Continue));
    source.for_each(columns, keep, workers, visit).await?;
    let of_chunk = std::mem::take(&mut *of_chunk.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((tree, of_chunk))
}

/// What the split needs to know of all rows. Small sources are read with all columns and kept; for
/// others a second start reads only the columns of the split.
pub(super) async fn survey(
    request: &TrainingRequest,
    kind: SurveyKind,
    roles: &Roles,
    source: &Arc<ChunkSource>,
    workers: &Workers,
    seed: u64,
) -> Result<Arc<MergeTree<Survey>>> {
    let task = request.estimator.spec().task;
    let mut tree = Arc::new(MergeTree::new());
    for (columns, keep) in [
        (roles.all_columns(), Some(TooLarge::Stop)),
        (roles.split_columns(), None),
    ] {
        let memory = MemoryConsumer::new("keys of the split column").register(&request.memory);
        tree = Arc::new(MergeTree::new());
        let visit = {
            let tree = Arc::clone(&tree);
            move |chunk: &RawChunk| {
                let labels = read_labels(task, chunk)?;
                let survey = Survey::of(kind, chunk, &labels, seed)?;
                let needed_bytes = survey.memory_bytes();
                memory.try_grow(needed_bytes).map_err(|_| Error::OutOfMemory {
                    what: "ordering the rows by the split column".to_owned(),
                    needed_bytes: memory.size() + needed_bytes,
                    available_bytes: memory.size(),
                    hint: "Split by data_split_method = 'RANDOM' or 'CUSTOM', which need no memory.".to_owned(),
                })?;
                tree.insert(chunk.partition, chunk.number, Some(survey), &Survey::merge)
            }
        };
        if source.for_each(columns, keep, workers, visit).await? == PassEnd::Complete {
            break;
        }
    }
    Ok(tree)
}

/// The labels of a chunk.
pub(super) fn read_labels(task: Task, chunk: &RawChunk) -> Result<Labels> {
    match chunk.layout.label(&chunk.batches) {
        None => Ok(Labels::None),
        Some(columns) => Labels::read(task, &columns),
    }
}

fn fit_chunk(
    fit: &EncoderFit,
    chunk: &RawChunk,
    labels: &Labels,
    selection: &Selection,
) -> Result<(FitPartial, [usize; 2])> {
    let features: Vec<_> = chunk
        .batches
        .iter()
        .map(|batch| chunk.layout.features(batch))
        .collect();
    let parts = selection.parts.each_ref();
    let encoder = fit.chunk(&features, parts, row_hash(chunk, SAMPLE_SEED))?;
    let mut target = TargetPartial::default();
    match labels {
        Labels::None => {}
        Labels::Numbers(values) => {
            for (moments, rows) in target.moments.iter_mut().zip(&selection.parts) {
                *moments = Moments::of(&mut rows.gather(values));
            }
        }
        Labels::Classes { classes, codes } => {
            let mut counts = vec![[0; 2]; classes.len()];
            for (part, rows) in selection.parts.iter().enumerate() {
                rows.chunk_rows()
                    .for_each(|row| counts[codes[row] as usize][part] += 1);
            }
            target.classes = classes
                .iter()
                .cloned()
                .zip(counts)
                .take(MAX_CLASSES + 1)
                .collect();
        }
    }
    let weights = WeightPartial::of(&read_weights(chunk)?.unwrap_or_default());
    let n_samples = selection.parts.each_ref().map(|rows| rows.n_rows);
    let partial = FitPartial {
        encoder,
        target,
        weights,
        n_samples: n_samples.map(|n_rows| n_rows as u64),
        n_dropped: selection.n_dropped,
        n_nan_labels: match chunk.layout.label(&chunk.batches) {
            None => 0,
            Some(columns) => count_nan(&columns)?,
        },
    };
    Ok((partial, n_samples))
}

impl FitPartial {
    pub(super) fn merge(&mut self, later: FitPartial, fit: &EncoderFit) -> Result<()> {
        fit.merge(&mut self.encoder, later.encoder);
        for (class, counts) in later.target.classes {
            let known = &mut self.target.classes;
            // One class beyond the limit is enough to refuse the column.
            if known.len() <= MAX_CLASSES || known.contains_key(&class) {
                let into = known.entry(class).or_default();
                into.iter_mut()
                    .zip(counts)
                    .for_each(|(into, count)| *into += count);
            }
        }
        for (into, later) in self.target.moments.iter_mut().zip(&later.target.moments) {
            into.merge(later);
        }
        self.weights.merge(&later.weights);
        for (into, later) in self.n_samples.iter_mut().zip(later.n_samples) {
            *into += later;
        }
        self.n_dropped += later.n_dropped;
        self.n_nan_labels += later.n_nan_labels;
        Ok(())
    }
}

/// What the partial of all chunks comes to; tells of what is surprising in it.
pub(super) fn finish(
    partial: Option<FitPartial>,
    fit: &EncoderFit,
    roles: &Roles,
    request: &TrainingRequest,
    split: Split,
    of_chunk: SamplesOfChunk,
    run: &TrainingRun,
) -> Result<Prepared> {
    let Some(partial) = partial else {
        return Err(no_row("The training query returned no rows."));
    };
    let n_samples = partial.n_samples;
    if let Some(label) = &roles.label {
        check_labels(label, &partial, run)?;
    }
    let target = finish_target(roles.label.as_ref(), partial.target, n_samples, run)?;
    if let Some(weight) = &roles.weight {
        partial.weights.check(weight, run)?;
    }
    let fitted = fit.finish(partial.encoder)?;
    let tags = request.estimator.spec().tags;
    for Warning {
        code,
        message,
        hint,
    } in fitted
        .warnings
        .into_iter()
        .filter(|warning| !(warning.code == "nulls_filled" && tags.keeps_missing))
    {
        run.warn(&code, message, hint.as_deref());
    }
    let class_weights = match &target {
        Some(target) if !target.classes.is_empty() => class_weights(target, &request.options)?,
        _ => None,
    };
    let n_dropped = partial.n_dropped;
    Ok(Prepared {
        split,
        encoder: fitted.encoder,
        sample: tags.keeps_missing.then_some(fitted.sample),
        target,
        class_weights,
        n_samples,
        n_dropped,
        of_chunk,
    })
}

/// Fails unless some row to learn from has a label, and none one that is no number.
fn check_labels(label: &RoleColumn, partial: &FitPartial, run: &TrainingRun) -> Result<()> {
    let n_samples = partial.n_samples;
    if partial.n_nan_labels > 0 {
        let rows = if partial.n_nan_labels == 1 {
            "row"
        } else {
            "rows"
        };
        return Err(bad_label(
            label,
            format!("is NaN in {} {rows}", partial.n_nan_labels),
            "Leave such rows out, or set the label to NULL: rows without a label are dropped.",
        ));
    }
    if n_samples == [0, 0] {
        return Err(bad_label(
            label,
            "is NULL in every row".to_owned(),
            "Select rows whose label is known.",
        ));
    }
    if n_samples[0] == 0 {
        return Err(no_row(
            "Every row with a label is held out; see data_split_method.",
        ));
    }
    if partial.n_dropped > 0 {
        let message = format!(
            "{} rows without a label in column \"{}\" were dropped",
            partial.n_dropped, label.name
        );
        run.warn("null_labels_dropped", message, None);
    }
    Ok(())
}

fn no_row(hint: &str) -> Error {
    Error::TooFewSamples {
        needed: 1,
        found: 0,
        hint: hint.to_owned(),
    }
}

fn bad_label(label: &RoleColumn, problem: String, hint: &str) -> Error {
    Error::BadLabel {
        column: label.name.clone(),
        problem,
        hint: hint.to_owned(),
    }
}

fn finish_target(
    label: Option<&RoleColumn>,
    partial: TargetPartial,
    n_samples: [u64; 2],
    run: &TrainingRun,
) -> Result<Option<TargetEncoding>> {
    let Some(label) = label else { return Ok(None) };
    let column = label.name.clone();
    let sql_type = sql_type(&label.data_type);
    if partial.classes.is_empty() {
        let mut all = partial.moments[0].clone();
        all.merge(&partial.moments[1]);
        all.check(&column)?;
        let mean = partial.moments[0].mean;
        let class_counts = vec![n_samples[0]];
        return Ok(Some(TargetEncoding {
            column,
            sql_type,
            classes: Vec::new(),
            class_counts,
            mean,
        }));
    }
    check_classes(label, &partial.classes)?;
    for (part, name) in [(0, "training"), (1, "evaluation")] {
        let missing: Vec<String> = partial
            .classes
            .iter()
            .filter(|(_, counts)| counts[part] == 0)
            .map(|(class, _)| format!("\"{}\"", class.0.text()))
            .collect();
        if !missing.is_empty() && n_samples[part] > 0 {
            let shown = missing
                .iter()
                .take(3)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            let message = format!(
                "{} of {} classes of column \"{column}\" have no row in the {name} part: {shown}{}",
                missing.len(),
                partial.classes.len(),
                if missing.len() > 3 { ", ..." } else { "" },
            );
            run.warn(
                "class_missing_from_split",
                message,
                Some("Metrics say nothing of such classes."),
            );
        }
    }
    let learned = partial
        .classes
        .into_iter()
        .filter(|(_, counts)| counts[0] > 0);
    let (classes, class_counts) = learned.map(|(class, counts)| (class.0, counts[0])).unzip();
    Ok(Some(TargetEncoding {
        column,
        sql_type,
        classes,
        class_counts,
        mean: 0.0,
    }))
}

fn check_classes(label: &RoleColumn, classes: &BTreeMap<ClassKey, [u64; 2]>) -> Result<()> {
    if classes.len() > MAX_CLASSES {
        let problem = format!("has more than {MAX_CLASSES} classes");
        let regressor = crate::registry::first_of(Task::Regression).unwrap_or_default();
        let hint = format!("For a number use a regressor: model_type = '{regressor}'.");
        return Err(bad_label(label, problem, &hint));
    }
    let in_training: Vec<&ClassKey> = classes
        .iter()
        .filter(|(_, counts)| counts[0] > 0)
        .map(|(class, _)| class)
        .collect();
    if let [only] = in_training.as_slice() {
        let place = if classes.len() > 1 {
            " in the training part"
        } else {
            ""
        };
        let problem = format!("has only one class{place}: \"{}\"", only.0.text());
        return Err(bad_label(
            label,
            problem,
            "A classifier needs rows of at least two classes.",
        ));
    }
    Ok(())
}
