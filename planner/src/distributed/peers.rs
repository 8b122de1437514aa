//! The library's channels, whose errors tell which machine they are from, or which one did not answer.
//!
//! In: a channel to a machine; out: the same channel. What a worker says passes others on its way to the coordinator,
//! which must know whom to leave out.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::{
    CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse,
    SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use tonic::codegen::http::HeaderMap;
use url::Url;

use super::error::from_peer;

/// A channel to a machine of this URL.
pub(super) struct PeerChannel {
    pub(super) url: Url,
    pub(super) channel: Box<dyn WorkerChannel>,
}

impl PeerChannel {
    fn named<T: 'static>(
        &self,
        stream: BoxStream<'static, DfResult<T>>,
    ) -> BoxStream<'static, DfResult<T>> {
        let url = self.url.clone();
        stream.map_err(move |error| from_peer(&url, error)).boxed()
    }
}

#[async_trait]
impl WorkerChannel for PeerChannel {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        plan: SetPlanRequest,
        messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> DfResult<BoxStream<'static, DfResult<WorkerToCoordinatorMsg>>> {
        let answers = self
            .channel
            .coordinator_channel(headers, plan, messages, metrics, context)
            .await
            .map_err(|error| from_peer(&self.url, error))?;
        Ok(self.named(answers))
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> DfResult<Vec<BoxStream<'static, DfResult<RecordBatch>>>> {
        let partitions = self
            .channel
            .execute_task(headers, request, metrics, context)
            .await
            .map_err(|error| from_peer(&self.url, error))?;
        Ok(partitions
            .into_iter()
            .map(|rows| self.named(rows))
            .collect())
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> DfResult<GetWorkerInfoResponse> {
        let asked = self.channel.get_worker_info(request).await;
        asked.map_err(|error| from_peer(&self.url, error))
    }
}
