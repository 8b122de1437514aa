//! A training set whose partitions other machines host.
//!
//! In: passes; out: their partials, joined along the tree that one machine would merge along, so that the model is the
//! same to the bit. Holds no sample, and knows no host: those are [`super::hosts`]'.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::memory_pool::MemoryPool;

use super::hosting::{FitReply, HostPool, HostRequest, PreparedForm, SurveyReply};
use super::hosts::Hosts;
use super::merge_tree::{Merge, Subtree, join_subtrees};
use super::pass_request::{EncodedVisit, PassRequest, decoded_subtrees, merged_states};
use super::prepare::{FitPartial, Prepared, SamplesOfChunk, encoder_fit, finish};
use super::roles::Roles;
use super::split::{self, Split, Survey};
use super::{AnyPartial, AnyStart, AnyStep, Part, StateVisit, TrainingSet, Visit, WorkingMemory};
use crate::error::{Error, Result};
use crate::features::{EncoderFit, FeatureBlock, FeatureEncoder, RowSample, TargetEncoding};
use crate::run::{Progress, TrainingRun};
use crate::training::TrainingRequest;

/// The samples of a training on several machines.
pub struct RemoteTrainingSet {
    hosts: Hosts,
    n_partitions: usize,
    prepared: Prepared,
    memory: Arc<dyn MemoryPool>,
    threads: usize,
}

impl RemoteTrainingSet {
    /// Reads the source on the machines of `pool` as often as the split needs, fits the encoder, and tells `run` of
    /// warnings.
    pub async fn open(
        request: &TrainingRequest,
        pool: Arc<dyn HostPool>,
        run: &TrainingRun,
    ) -> Result<RemoteTrainingSet> {
        let roles = Roles::resolve(&request.columns())?;
        let n_partitions = request.source.n_partitions();
        let hosts = Hosts::open(pool, n_partitions).await?;
        let split = match split::plan(request.estimator.spec().task, &request.options) {
            (split, None) => split,
            (_, Some(kind)) => {
                let request_bytes = HostRequest::Survey(kind);
                let replies: Vec<SurveyReply> = hosts.ask_all(&request_bytes, run).await?;
                let subtrees = replies.into_iter().flatten();
                let survey = join_subtrees(subtrees, n_partitions, &Survey::merge)?;
                split::decide(survey, &request.options)
            }
        };
        let fit = encoder_fit(request, &roles);
        let (partial, of_chunk) = fit_on(&hosts, &split, &fit, n_partitions, run).await?;
        let prepared = finish(partial, &fit, &roles, request, split, of_chunk, run)?;
        let prepare = HostRequest::Prepare(PreparedForm::of(&prepared)?);
        hosts.ask_all_bytes(&prepare, run).await?;
        hosts.open_with(&prepare)?;
        Ok(RemoteTrainingSet {
            hosts,
            n_partitions,
            prepared,
            memory: Arc::clone(&request.memory),
            threads: request.threads,
        })
    }

    /// Rows without a label, which no part has.
    pub fn n_dropped(&self) -> u64 {
        self.prepared.n_dropped
    }

    /// Gives up what the estimator kept, once it has learned.
    pub async fn drop_states(&self, run: &TrainingRun) -> Result<()> {
        for part in [Part::Training, Part::Evaluation] {
            self.hosts.forget(part);
        }
        self.hosts
            .ask_all_bytes(&HostRequest::DropStates, run)
            .await?;
        Ok(())
    }
}

/// What the first readings of all hosts come to, and the samples of each chunk.
async fn fit_on(
    hosts: &Hosts,
    split: &Split,
    fit: &EncoderFit,
    n_partitions: usize,
    run: &TrainingRun,
) -> Result<(Option<FitPartial>, SamplesOfChunk)> {
    let request = HostRequest::Fit(split.clone());
    let replies: Vec<FitReply> = hosts.ask_all(&request, run).await?;
    let (mut subtrees, mut of_chunk) = (Vec::new(), SamplesOfChunk::new());
    for reply in replies {
        subtrees.extend(reply.subtrees);
        of_chunk.extend(reply.of_chunk);
    }
    let merge: Merge<'_, FitPartial> = &|into, later| into.merge(later, fit);
    let Some(mut partial) = join_subtrees(subtrees, n_partitions, merge)? else {
        return Ok((None, of_chunk));
    };
    // Only who has read the rows can send those of the sample.
    hosts.open_with(&request)?;
    let sample = match partial.encoder.greatest_hash() {
        Some(greatest) => sample_on(hosts, greatest, fit, n_partitions, run).await?,
        None => RowSample::default(),
    };
    partial.encoder.put_sample(sample)?;
    Ok((Some(partial), of_chunk))
}

/// The sampled rows. Each host has sampled as many as are wanted of all, so that most of its rows do not count: those
/// that do are known by their hashes before any is sent.
async fn sample_on(
    hosts: &Hosts,
    greatest: u64,
    fit: &EncoderFit,
    n_partitions: usize,
    run: &TrainingRun,
) -> Result<RowSample> {
    let request = HostRequest::Sample(greatest);
    let replies: Vec<Vec<Subtree<RowSample>>> = hosts.ask_all(&request, run).await?;
    let merge: Merge<'_, RowSample> = &|into, later| {
        fit.merge_samples(into, &later);
        Ok(())
    };
    let sample = join_subtrees(replies.into_iter().flatten(), n_partitions, merge)?;
    Ok(sample.unwrap_or_default())
}

#[async_trait]
impl TrainingSet for RemoteTrainingSet {
    fn encoder(&self) -> &FeatureEncoder {
        &self.prepared.encoder
    }

    fn target(&self) -> Option<&TargetEncoding> {
        self.prepared.target.as_ref()
    }

    fn sample(&self) -> Option<&[Vec<f64>]> {
        self.prepared.sample.as_deref()
    }

    fn n_samples(&self, part: Part) -> u64 {
        match part {
            Part::Training => self.prepared.n_samples[0],
            Part::Evaluation => self.prepared.n_samples[1],
        }
    }

    async fn reduce_any(
        &self,
        step: &dyn AnyStep,
        part: Part,
        visit: Visit,
        run: &TrainingRun,
    ) -> Result<Option<AnyPartial>> {
        run.check_cancelled()?;
        if self.n_samples(part) == 0 {
            return Ok(None);
        }
        let pass = PassRequest::Blocks {
            name: step.name().to_owned(),
            step: step.encode()?,
            part,
            visit,
        };
        let replies = self.hosts.pass(pass, run).await?;
        run.report(Progress::Rows(self.n_samples(part)));
        let subtrees = decoded_subtrees(step, &replies)?;
        let merge: Merge<'_, AnyPartial> = &|into, later| step.merge_any(into, later);
        join_subtrees(subtrees, self.n_partitions, merge)
    }

    async fn start_states(
        &self,
        start: &dyn AnyStart,
        part: Part,
        run: &TrainingRun,
    ) -> Result<()> {
        let request = HostRequest::Start {
            name: start.name().to_owned(),
            start: start.encode()?,
            part,
        };
        // Of an earlier start nothing is left, so that a host that is lost meanwhile needs none of it.
        self.hosts.forget(part);
        self.hosts.ask_all_bytes(&request, run).await?;
        self.hosts.remember(part, &request)
    }

    async fn reduce_states_any(
        &self,
        visits: &[StateVisit<'_>],
        run: &TrainingRun,
    ) -> Result<Vec<AnyPartial>> {
        run.check_cancelled()?;
        let encoded: Result<Vec<_>> = visits.iter().map(EncodedVisit::of).collect();
        let encoded = encoded?;
        let pass = PassRequest::States(encoded.clone());
        let replies = self.hosts.pass(pass, run).await?;
        // Each part alone, since the states of one may be made anew and forget what made them before.
        for visit in encoded {
            let part = visit.part;
            let made = HostRequest::Pass(PassRequest::States(vec![visit]));
            self.hosts.remember(part, &made)?;
        }
        let n_rows = visits.iter().map(|visit| self.n_samples(visit.part));
        run.report(Progress::Rows(n_rows.sum()));
        let steps: Result<Vec<_>> = visits.iter().map(|v| v.step.to_owned_step()).collect();
        merged_states(&steps?, &replies)
    }

    async fn gather(&self, _part: Part, _run: &TrainingRun) -> Result<FeatureBlock> {
        Err(Error::Unsupported {
            what: "gathering samples from other machines".to_owned(),
        })
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn working_memory(&self, most_bytes: usize) -> WorkingMemory {
        WorkingMemory::of(&self.memory, most_bytes)
    }

    fn memory_guard(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(())
    }
}
