//! `pg_cancel_backend(pid)` and `pg_terminate_backend(pid)`: end what another session, or a training in the background,
//! runs, or the session itself.
//!
//! In: process numbers, as `pg_stat_activity` and `pg_stat_progress_train` show them; out: whether there is such a process.
//! A role ends its own processes; others' only a superuser, or a member of `pg_signal_backend`.

use std::sync::{Arc, Weak};

use datafusion::arrow::array::{AsArray, BooleanArray};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use crate::access::{Access, Identity, roles};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::session::Session;

/// The functions of a session by which it and others meet: these, those of advisory locks and those of channels.
pub(crate) fn functions(session: &Arc<Session>) -> Vec<ScalarUDF> {
    let signals = [Signal::Cancel, Signal::Terminate].map(|signal| {
        ScalarUDF::from(SignalBackend {
            signal,
            engine: Arc::downgrade(&session.engine),
            identity: Arc::clone(session.identity()),
            signature: Signature::one_of(
                vec![
                    TypeSignature::Exact(vec![DataType::Int64]),
                    // The time to wait for the end, which PostgreSQL takes; here nobody waits.
                    TypeSignature::Exact(vec![DataType::Int64, DataType::Int64]),
                ],
                Volatility::Volatile,
            ),
        })
    });
    let locks = crate::advisory_locks::functions(session);
    let channels = crate::listening::functions(session);
    signals.into_iter().chain(locks).chain(channels).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Signal {
    Cancel,
    Terminate,
}

/// A function, for one session.
#[derive(Debug)]
struct SignalBackend {
    signal: Signal,
    engine: Weak<Engine>,
    identity: Arc<Identity>,
    signature: Signature,
}

impl PartialEq for SignalBackend {
    fn eq(&self, other: &SignalBackend) -> bool {
        self.signal == other.signal && Arc::ptr_eq(&self.identity, &other.identity)
    }
}

impl Eq for SignalBackend {}

impl std::hash::Hash for SignalBackend {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.signal.hash(state);
    }
}

impl SignalBackend {
    fn send(&self, engine: &Engine, process_id: i32) -> Result<bool> {
        let Some(owner) = engine.user_of(process_id) else {
            return Ok(false);
        };
        let access = Access::of(engine.catalog.state(), &self.identity.current_user());
        let is_superusers = roles::is_superuser(access.state(), &owner);
        let verb = match self.signal {
            Signal::Cancel => "cancel query",
            Signal::Terminate => "terminate process",
        };
        if is_superusers && !access.is_superuser() {
            return Err(Error::NotAllowed {
                what: format!("{verb} of a superuser"),
                hint: Some("Only a superuser may do this.".to_owned()),
            });
        }
        if !access.is(&owner) && !access.is(roles::SIGNAL) {
            return Err(Error::NotAllowed {
                what: verb.to_owned(),
                hint: Some(format!(
                    "Only role \"{owner}\" and members of it or of \"{}\" may do this.",
                    roles::SIGNAL
                )),
            });
        }
        Ok(match self.signal {
            Signal::Cancel => engine.cancel(process_id),
            // A training in the background has no session to end.
            Signal::Terminate => engine.activity.terminate(process_id) || engine.cancel(process_id),
        })
    }
}

impl ScalarUDFImpl for SignalBackend {
    fn name(&self) -> &str {
        match self.signal {
            Signal::Cancel => "pg_cancel_backend",
            Signal::Terminate => "pg_terminate_backend",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arguments = ColumnarValue::values_to_arrays(&args.args)?;
        let numbers = arguments[0].as_primitive::<Int64Type>();
        let engine = self.engine.upgrade();
        let mut known: Vec<Option<bool>> = Vec::with_capacity(numbers.len());
        for number in numbers {
            let process = number.map(i32::try_from);
            known.push(match (process, &engine) {
                (None, _) => None,
                (Some(Ok(id)), Some(engine)) => Some(self.send(engine, id)?),
                _ => Some(false),
            });
        }
        Ok(ColumnarValue::Array(Arc::new(BooleanArray::from(known))))
    }
}
