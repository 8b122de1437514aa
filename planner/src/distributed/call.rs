//! What the machines of a cluster say to each other beside the streams of queries.
//!
//! In: a [`Call`], as bytes; out: its reply, as bytes, or what went wrong in the words of a report. Both machines run
//! the same version, which is checked before a call is read.

use std::collections::BTreeSet;

use auspex_storage::ErrorPlace;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Report, Result};

/// The version that both sides of a connection must have: of the program, and of the calls, whose number is raised with
/// every change of their form between releases.
pub(super) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "+calls.8");

/// What a machine is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Call {
    /// A coordinator takes a worker in: a `WorkerFacts`.
    Hello(Hello),
    /// A worker asks a coordinator to take it in at this address: nothing.
    Join(String),
    /// How a worker is: a `Pong`.
    Ping {
        /// Which coordinator asks; what it keeps on the worker stays as long as it does.
        coordinator: u64,
        /// Its hosts of partitions there; others of it are forgotten.
        hosts: BTreeSet<u64>,
    },
    /// Hosts partitions of a training: nothing.
    OpenHost(Box<OpenHost>),
    /// Asks a host of partitions: its reply as it is.
    AskHost {
        host: HostId,
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
    /// Forgets a host of partitions: nothing.
    CloseHost(HostId),
    /// What predictions of a statement met on this worker: a `Vec<Found>`.
    TakeFindings(String),
}

/// Names a host of partitions on a worker that may work for several coordinators, each of which counts its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct HostId {
    pub(super) coordinator: u64,
    pub(super) number: u64,
}

/// What a worker needs to know of its coordinator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) coordinator: u64,
    /// The warehouse's URL.
    pub(super) warehouse: String,
    /// A file of the warehouse, to be read before anything else.
    pub(super) probe: String,
    /// What only those can open who have read the file, see `probe::sealed`.
    pub(super) letter: String,
}

/// What a worker is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WorkerFacts {
    /// A random number of this start: a worker that was started again has lost what it kept.
    pub(super) instance: u64,
    pub(super) version: String,
    pub(super) threads: u64,
    /// Of queries and trainings.
    pub(super) memory_bytes: u64,
}

/// How a worker is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pong {
    pub(super) instance: u64,
    /// Takes no new work.
    pub(super) is_draining: bool,
    /// Tasks of queries that run.
    pub(super) n_tasks: u64,
    /// Partitions of trainings that it keeps.
    pub(super) n_partitions: u64,
    /// Memory that those take.
    pub(super) held_bytes: u64,
    /// It no longer finds what the coordinator that asks has written into the warehouse.
    pub(super) misses_warehouse: bool,
}

/// Partitions of a training.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OpenHost {
    pub(super) host: HostId,
    pub(super) partitions: Vec<usize>,
    pub(super) estimator: String,
    /// `Options`, as JSON.
    pub(super) options: String,
    pub(super) label: Option<String>,
    pub(super) seed: u64,
    /// What the plan needs, see `StatementForm`.
    pub(super) statement: String,
    /// The plan of the training query.
    #[serde(with = "serde_bytes")]
    pub(super) plan: Vec<u8>,
}

/// What the predictions of one function met.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) function: String,
    /// `Surprises`, as JSON.
    pub(super) surprises: String,
    pub(super) n_rows: u64,
}

/// A report between machines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ReportForm {
    pub(super) sqlstate: String,
    pub(super) message: String,
    pub(super) detail: Option<String>,
    pub(super) hint: Option<String>,
    pub(super) place: ErrorPlace,
    /// The URL of the worker that it is from, once its words have reached another machine.
    pub(super) worker: Option<String>,
    /// The URL of the machine that did not answer, where that is the error.
    pub(super) missed: Option<String>,
}

impl From<Report> for ReportForm {
    fn from(report: Report) -> ReportForm {
        ReportForm {
            sqlstate: report.sqlstate.to_owned(),
            message: report.message,
            detail: report.detail,
            hint: report.hint,
            place: report.place,
            worker: None,
            missed: None,
        }
    }
}

/// A call or a reply as bytes.
pub(super) fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_allocvec(value).map_err(|error| unreadable(&error))
}

/// A call or a reply from bytes.
pub(super) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|error| unreadable(&error))
}

fn unreadable(error: &postcard::Error) -> Error {
    Error::invalid(
        "XX000",
        format!("a message between machines is damaged: {error}"),
        None,
    )
}
