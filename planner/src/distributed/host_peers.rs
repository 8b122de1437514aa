//! How partitions of a training on one worker reach those on another, to merge what these keep of a pass.
//!
//! In: the place of a host, which the coordinator tells, and a request; out: its reply. Says nothing of whether a worker
//! that does not answer is gone: the coordinator asks it itself.

use std::fmt::Display;
use std::sync::Arc;

use async_trait::async_trait;
use auspex_ml::training_set::{HostFailure, HostPeers};
use serde::{Deserialize, Serialize};
use url::Url;

use super::call::{Call, HostId, from_bytes, to_bytes};
use super::connections::{CallFailure, Connections, address_of, url_of};

/// Where a host of partitions is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HostPlace {
    /// The worker's address.
    worker: String,
    host: HostId,
}

impl HostPlace {
    /// The place as bytes.
    pub(super) fn bytes(worker: &Url, host: HostId) -> Option<Vec<u8>> {
        let worker = address_of(worker);
        to_bytes(&HostPlace { worker, host }).ok()
    }
}

/// The hosts on other workers, over the connections of this one.
pub(super) struct WorkerPeers(pub(super) Arc<Connections>);

#[async_trait]
impl HostPeers for WorkerPeers {
    async fn ask(&self, address: &[u8], request: Arc<[u8]>) -> Result<Vec<u8>, HostFailure> {
        let place: HostPlace = from_bytes(address).map_err(unreached)?;
        let worker = url_of(&place.worker).map_err(unreached)?;
        let call = Call::AskHost {
            host: place.host,
            request: request.to_vec(),
        };
        let reply = self.0.call_for_bytes(&worker, &call, None).await;
        reply.map_err(|failure| match failure {
            CallFailure::Lost(reason) => HostFailure::Lost(reason),
            CallFailure::Refused(error) => unreached(error),
        })
    }
}

fn unreached(error: impl Display) -> HostFailure {
    HostFailure::Lost(error.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::distributed::error::ClusterError;
    use crate::distributed::node::{Node, NodePort};

    /// A worker that has one host, whose reply is the request.
    struct Echo(HostId);

    #[async_trait]
    impl Node for Echo {
        async fn answer(self: Arc<Self>, call: Call) -> crate::error::Result<Vec<u8>> {
            match call {
                Call::AskHost { host, request } if host == self.0 => Ok(request),
                _ => Err(ClusterError::HostUnknown.into()),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn hosts_of_other_workers_answer() {
        let host = |number| HostId {
            coordinator: 1,
            number,
        };
        let port = NodePort::bind("127.0.0.1:0", None, None).await.unwrap();
        let worker = url_of(&port.address().to_string()).unwrap();
        let connections = Connections::new(None, None).unwrap();
        let (node, stop) = (Arc::new(Echo(host(7))), CancellationToken::new());
        let runtimes = (connections.wire(), Handle::current());
        port.serve(None, node, None, runtimes, stop.clone());
        let peers = WorkerPeers(connections);
        let request: Arc<[u8]> = Arc::from([1, 2, 3]);
        let place = HostPlace::bytes(&worker, host(7)).unwrap();
        let reply = peers.ask(&place, Arc::clone(&request)).await;
        assert_eq!(reply.unwrap(), [1, 2, 3]);
        // Which of them it does not reach is all that it tells.
        let gone = HostPlace::bytes(&worker, host(8)).unwrap();
        let reply = peers.ask(&gone, Arc::clone(&request)).await;
        assert!(matches!(reply, Err(HostFailure::Lost(_))), "{reply:?}");
        let reply = peers.ask(b"nowhere", request).await;
        assert!(matches!(reply, Err(HostFailure::Lost(_))), "{reply:?}");
        stop.cancel();
    }
}
