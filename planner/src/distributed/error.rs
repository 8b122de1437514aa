//! What goes wrong between machines, and errors of other machines told here.
//!
//! In: failures of connections and reports of workers; out: SQLSTATE, message and hint as of any error.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Mutex;

use auspex_storage::ErrorPlace;
use datafusion::error::DataFusionError;
use tonic::{Code, Status};
use url::Url;

use super::call::ReportForm;
use super::connections::address_of;
use crate::engine::lock;
use crate::error::{Error, Report, report_of};

/// A failure of the cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A worker was lost while its rows were already on their way to the client.
    #[error("worker {worker} was lost")]
    WorkerLost {
        /// Its address.
        worker: String,
    },
    /// Machines do not reach each other, and rows were already on their way to the client.
    #[error("{worker} does not reach worker {missed}")]
    WorkersApart {
        /// The address of the one that told of it.
        worker: String,
        /// That of the other one.
        missed: String,
    },
    /// Worker after worker was lost.
    #[error("the statement lost its workers again and again")]
    WorkersLost,
    /// The other machine runs another version.
    #[error("this machine runs auspex {own}, the other one {other}")]
    OtherVersion {
        /// Of the machine that refuses.
        own: String,
        /// Of the machine that is refused.
        other: String,
    },
    /// The other machine does not know the cluster's token.
    #[error("the cluster's token is missing or wrong")]
    Stranger,
    /// The worker that a coordinator calls does not know the cluster's token.
    #[error("the worker does not prove that it knows the cluster's token")]
    Unproved,
    /// A port that other machines reach needs a token.
    #[error("\"{address}\" is reached by other machines, so that a token is needed")]
    NoToken {
        /// The address.
        address: String,
    },
    /// A token that is too easily guessed.
    #[error("the cluster's token must have at least {least} characters")]
    ShortToken {
        /// How many.
        least: usize,
    },
    /// A certificate of the cluster's TLS that is of no use.
    #[error("cannot use \"{path}\" for the cluster's TLS: {reason}")]
    Certificate {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A worker cannot read the coordinator's warehouse.
    #[error("the warehouse \"{warehouse}\" is not the coordinator's on this machine")]
    OtherWarehouse {
        /// Its URL.
        warehouse: String,
    },
    /// A worker belongs to one warehouse.
    #[error("this worker works for the warehouse \"{own}\", not for \"{other}\"")]
    WarehouseTaken {
        /// Its warehouse.
        own: String,
        /// The one that it was asked to work for.
        other: String,
    },
    /// A worker that no coordinator took in.
    #[error("this worker takes no work before a coordinator took it in")]
    NotTakenIn,
    /// A worker that ends.
    #[error("this worker takes no work, since it is being stopped")]
    Draining,
    /// A training asks for partitions that this worker does not keep, since it was started again.
    #[error("this worker no longer keeps these partitions")]
    HostUnknown,
    /// An address that is none.
    #[error("\"{address}\" is not an address of the form HOST:PORT")]
    Address {
        /// The address.
        address: String,
    },
    /// A worker must tell its coordinator where it is reached.
    #[error("a worker that listens on \"{address}\" must say where others reach it")]
    NoAdvertise {
        /// The address.
        address: String,
    },
    /// A worker that is to show itself in a warehouse must know which.
    #[error("a worker that coordinators find in the warehouse must know the warehouse")]
    NoWarehouse,
    /// The port cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// A machine cannot be reached.
    #[error("{address} does not answer: {reason}")]
    Unreachable {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A worker's own error.
    #[error("{message}")]
    OnWorker {
        /// The SQLSTATE.
        sqlstate: &'static str,
        /// The message.
        message: String,
        /// The detail.
        detail: Option<String>,
        /// The hint.
        hint: Option<String>,
    },
}

impl ClusterError {
    /// The five-character code of the condition, as PostgreSQL names it.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            ClusterError::WorkerLost { .. }
            | ClusterError::WorkersApart { .. }
            | ClusterError::WorkersLost
            | ClusterError::HostUnknown
            | ClusterError::Draining => "57P01",
            ClusterError::OtherVersion { .. } | ClusterError::Stranger | ClusterError::Unproved => {
                "28000"
            }
            ClusterError::NoToken { .. }
            | ClusterError::ShortToken { .. }
            | ClusterError::Certificate { .. }
            | ClusterError::NoAdvertise { .. }
            | ClusterError::NoWarehouse
            | ClusterError::Address { .. } => "22023",
            ClusterError::OtherWarehouse { .. }
            | ClusterError::WarehouseTaken { .. }
            | ClusterError::NotTakenIn => "55000",
            ClusterError::Listen { .. } | ClusterError::Unreachable { .. } => "08006",
            ClusterError::OnWorker { sqlstate, .. } => sqlstate,
        }
    }

    /// A sentence that helps.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            ClusterError::WorkerLost { .. } | ClusterError::WorkersApart { .. } => {
                "Rows of the result had been sent already. Run the statement again; SHOW WORKERS tells which workers answer."
            }
            ClusterError::WorkersLost => {
                "SHOW WORKERS tells which workers answer. Run the statement again."
            }
            ClusterError::OtherVersion { .. } => {
                "Start the same version of auspex on all machines of a cluster."
            }
            ClusterError::Stranger | ClusterError::Unproved => {
                "Give --cluster-token-file with the same content on all machines of a cluster."
            }
            ClusterError::NoToken { .. } => {
                "Give --cluster-token-file or --cluster-tls, or listen on 127.0.0.1."
            }
            ClusterError::Certificate { .. } => {
                "--cluster-tls names a folder with ca.pem, cert.pem and key.pem."
            }
            ClusterError::ShortToken { .. } => "A good one: openssl rand -hex 32 > token.",
            ClusterError::OtherWarehouse { .. } => {
                "All machines of a cluster must reach one warehouse: an object store, or a folder that is shared under the same path."
            }
            ClusterError::NoAdvertise { .. } => "Give --advertise HOST:PORT.",
            ClusterError::NoWarehouse => "Give --warehouse, the same as to the coordinators.",
            ClusterError::Address { .. } => "For example 10.0.0.7:5433.",
            ClusterError::OnWorker { hint, .. } => return hint.clone(),
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// More about the cause.
    pub fn detail(&self) -> Option<String> {
        match self {
            ClusterError::OnWorker { detail, .. } => detail.clone(),
            _ => None,
        }
    }
}

impl From<ReportForm> for ClusterError {
    fn from(report: ReportForm) -> ClusterError {
        ClusterError::OnWorker {
            sqlstate: interned(&report.sqlstate),
            message: report.message,
            detail: report.detail,
            hint: report.hint,
        }
    }
}

impl From<ClusterError> for DataFusionError {
    fn from(error: ClusterError) -> DataFusionError {
        Error::from(error).into()
    }
}

/// A code for as long as the process lives; there are some hundred of them at most.
fn interned(sqlstate: &str) -> &'static str {
    static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let is_code = sqlstate.len() == 5 && sqlstate.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_code {
        return "XX000";
    }
    let mut known = lock(&KNOWN);
    if let Some(found) = known.get(sqlstate) {
        return found;
    }
    let leaked: &'static str = Box::leak(sqlstate.to_owned().into_boxed_str());
    known.insert(leaked);
    leaked
}

/// What begins the text of an error that a worker has already put into the words of a report.
const MARK: &str = "auspex-report:";

/// An error of a stage in a form that survives the way: the library keeps no more of ours than their text.
pub(super) fn for_the_way(error: DataFusionError) -> DataFusionError {
    match form_in(&error) {
        Some(_) => error,
        None => sent(&ReportForm::from(report_of(&error))).unwrap_or(error),
    }
}

/// An error that came from another machine, or the words for one that did not answer.
pub(super) fn from_peer(peer: &Url, error: DataFusionError) -> DataFusionError {
    let form = match (form_in(&error), transport_failure(&error)) {
        (Some(form), _) if form.worker.is_some() => return error,
        (Some(form), _) => ReportForm {
            worker: Some(peer.to_string()),
            ..form
        },
        (None, Some(reason)) => {
            let address = address_of(peer);
            let unreachable = ClusterError::Unreachable { address, reason };
            ReportForm {
                missed: Some(peer.to_string()),
                ..report_form(&unreachable.into())
            }
        }
        (None, None) => return error,
    };
    sent(&form).unwrap_or(error)
}

/// The library's words for a task whose plan its machine has not read in time.
const NO_PLAN: &str = "timed-out while waiting for the plan to be set";

/// Why a connection failed or a machine did not begin what it was to; `None`: the error is the other machine's own, whose
/// status has no cause here.
fn transport_failure(error: &DataFusionError) -> Option<String> {
    if error.to_string().contains(NO_PLAN) {
        return Some("it did not begin its task in time".to_owned());
    }
    let DataFusionError::External(source) = error.find_root() else {
        return None;
    };
    let status = source.downcast_ref::<Status>()?;
    let is_ours = status.code() == Code::Unavailable || status.source().is_some();
    is_ours.then(|| status.message().to_owned())
}

fn sent(form: &ReportForm) -> Option<DataFusionError> {
    let json = serde_json::to_string(form).ok()?;
    Some(DataFusionError::External(format!("{MARK}{json}").into()))
}

fn form_in(error: &DataFusionError) -> Option<ReportForm> {
    let text = error.find_root().to_string();
    let (_, json) = text.split_once(MARK)?;
    let mut reports = serde_json::Deserializer::from_str(json).into_iter::<ReportForm>();
    reports.next()?.ok()
}

/// A worker's report in an error of a distributed plan.
pub(super) struct Told {
    /// In its own words.
    pub(super) error: Error,
    /// The worker that it is from; `None`: this machine.
    pub(super) worker: Option<Url>,
    /// The machine that it could not reach.
    pub(super) missed: Option<Url>,
}

impl Told {
    /// The report in an error, if there is one.
    pub(super) fn of(error: &DataFusionError) -> Option<Told> {
        let form = form_in(error)?;
        let url = |text: &Option<String>| Url::parse(text.as_ref()?).ok();
        let (worker, missed) = (url(&form.worker), url(&form.missed));
        let place = Box::new(form.place.clone());
        let error = Error::from(ClusterError::from(form));
        let error = match *place == ErrorPlace::default() {
            true => error,
            false => Error::InPlace {
                error: Box::new(error),
                place,
            },
        };
        Some(Told {
            error,
            worker,
            missed,
        })
    }
}

/// Whether a machine lacked memory or disk for its part, which others may have.
pub(super) fn is_short(sqlstate: &str) -> bool {
    matches!(sqlstate, "53200" | "53100")
}

/// Whether a machine did not find or could not read what others may: its way to the warehouse or to a store is cut, or what
/// it is told to use there is not what others use. No privilege is checked on workers, so that who may not is told by a store.
pub(super) fn is_unread(sqlstate: &str) -> bool {
    matches!(sqlstate, "58P01" | "58030" | "XX001" | "42P01" | "42501")
}

/// A report of a worker under its address, where it matters which one it is.
pub(super) fn named(worker: &Url, report: Report) -> ClusterError {
    ClusterError::OnWorker {
        sqlstate: report.sqlstate,
        message: format!("worker {}: {}", address_of(worker), report.message),
        detail: report.detail,
        hint: report.hint,
    }
}

/// A report as an error, for what was told on another machine.
pub(super) fn report_form(error: &Error) -> ReportForm {
    let report: Report = error.report();
    report.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::connections::url_of;

    #[test]
    fn errors_of_workers_keep_their_words() {
        let error = Error::invalid("22P02", "no number: \"x\"", Some("Write a number."));
        let sent = for_the_way(error.into()).to_string();
        // As the library gives it back: the text alone, within others.
        let received = DataFusionError::External(format!("stage 2: {sent}").into());
        let told = Told::of(&received).unwrap().error.report();
        assert_eq!(told.sqlstate, "22P02");
        assert_eq!(told.message, "no number: \"x\"");
        assert_eq!(told.hint.as_deref(), Some("Write a number."));
        assert!(Told::of(&DataFusionError::Execution("lost".to_owned())).is_none());

        let place = ErrorPlace {
            constraint: Some("positive".to_owned()),
            ..ErrorPlace::default()
        };
        let error = Error::InPlace {
            error: Box::new(Error::invalid("23514", "too small", None)),
            place: Box::new(place.clone()),
        };
        let told = Told::of(&for_the_way(error.into())).unwrap();
        let told = told.error.report();
        assert_eq!((told.sqlstate, told.place), ("23514", place));
    }

    #[test]
    fn errors_tell_which_machine_they_are_from_and_which_is_missed() {
        let [first, second] = ["a:1", "b:1"].map(|address| url_of(address).unwrap());
        let error = for_the_way(Error::invalid("53200", "no memory", None).into());
        // Whoever passes them on changes nothing.
        let error = from_peer(&second, from_peer(&first, error));
        let told = Told::of(&error).unwrap();
        assert_eq!((told.worker.as_ref(), told.missed), (Some(&first), None));
        let report = named(&first, told.error.report());
        assert_eq!(report.to_string(), "worker a:1: no memory");
        assert!(is_short(report.sqlstate()) && !is_unread(report.sqlstate()));

        let mut status = Status::unknown("transport error");
        status.set_source(std::sync::Arc::new(std::io::Error::other("cut")));
        let error = from_peer(&second, DataFusionError::External(Box::new(status)));
        let error = from_peer(&first, for_the_way(error));
        let told = Told::of(&error).unwrap();
        assert_eq!(
            (told.worker, told.missed),
            (Some(first), Some(second.clone()))
        );

        // The library's own words, as they come over the wire.
        let late = "Worker::execute_task timed-out while waiting for the plan to be set by the coordinator.";
        let late = DataFusionError::External(Box::new(Status::internal(late)));
        let told = Told::of(&from_peer(&second, late)).unwrap();
        assert_eq!((told.worker, told.missed), (None, Some(second.clone())));

        let own = DataFusionError::External(Box::new(Status::internal("no such task")));
        assert!(Told::of(&from_peer(&second, own)).is_none());
    }

    #[test]
    fn codes_are_codes() {
        assert_eq!(interned("57P01"), "57P01");
        assert_eq!(interned("nonsense"), "XX000");
    }
}
