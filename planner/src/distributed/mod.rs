//! Many machines: one coordinator, workers that run stages of its plans and keep partitions of its trainings.
//!
//! In: a finished physical plan or a training; out: the same rows and the same model. A query is cut at its exchanges by
//! the library `datafusion-distributed`, which streams batches between machines. A pass of a training is a call of a
//! service of our own on the same port: it has parameters and a partial rather than rows, goes to the machine that keeps
//! the encoded block, and leaves state there, none of which is a plan's.
//!
//! Code map, in reading order: `call` is what machines say to each other; `connections` carries it, with the
//! cluster's token, and `peers` says whose an error is; `node` listens. `worker` is a machine that executes: `worker_session` runs stages of queries
//! there, `worker_hosts` keeps partitions of trainings, which reach each other by `host_peers`. `cluster` is what a coordinator knows of its workers, `sources` where it finds them.
//! `statement_form` and `codec` are what a plan needs on another machine, `marks` what it would lose; `place` decides where a query runs,
//! `one_task` what is not divided, `divide` what each task reads of files; `routes` says on which worker each task runs; `running` runs it, again if a worker was lost; `training` finds hosts
//! for partitions, which `shares` deals to them, `written_rows` writes the rows of joins for them; `task_rows` ends what nobody reads. Nothing here runs on a server without workers.

mod call;
mod cluster;
mod cluster_metrics;
mod codec;
mod connections;
mod counted;
mod divide;
mod error;
mod host_peers;
mod live_hosts;
mod marks;
mod node;
mod one_task;
mod peers;
mod place;
mod probe;
mod proof;
mod refusals;
mod routes;
mod running;
mod shares;
mod sources;
mod statement_form;
mod strangers;
mod task_rows;
mod tls;
mod training;
mod training_figures;
mod worker;
mod worker_hosts;
mod worker_metrics;
mod worker_session;
mod written_rows;

pub use cluster::{Cluster, ClusterConfig};
pub use error::ClusterError;
pub use node::ClusterToken;
pub use tls::ClusterTls;
pub use worker::{WorkerConfig, WorkerNode};
pub use worker_metrics::WorkerWatch;

pub(crate) use cluster::WorkerRow;
pub(crate) use place::{HERE, describe, reads_little};
pub(crate) use routes::Routes;
pub(crate) use running::{collected, rows};
pub(crate) use training::{TrainingPlace, WorkerPool, describe_training};
pub(crate) use training_figures::TrainingFigures;
pub(crate) use written_rows::WrittenRows;
