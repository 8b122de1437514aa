//! From the startup message to a client whose name is proved.
//!
//! In: the startup message and where it came from; out: the role whose password was given, if one was asked for, or why the
//! client is not let in. What is told is the same for a wrong password, no password, and no such role.

use std::net::{IpAddr, Ipv4Addr};

use auspex_planner::ProvenRole;
use pgwire::api::PgWireConnectionState;
use pgwire::messages::startup::{Authentication, PasswordMessageFamily, Startup};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::connection::{DATABASE, Interruption, Shared};
use super::socket::{Socket, Stream};
use crate::auth::{ExchangeError, Method, Peer, Wants, decide};
use crate::sqlstate::Failure;

/// The user and the database that a startup message names.
pub(super) struct Names {
    pub(super) user: String,
    pub(super) database: String,
}

impl Names {
    pub(super) fn of(startup: &Startup) -> Result<Names, Failure> {
        let parameter = |name: &str| startup.parameters.get(name).map(String::as_str);
        let user = parameter("user").filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| {
            Failure::fatal(
                "28000",
                "no PostgreSQL user name specified in startup packet",
            )
        })?;
        Ok(Names {
            user: user.to_owned(),
            database: parameter("database").unwrap_or(DATABASE).to_owned(),
        })
    }
}

/// Lets the client prove who it is, as the rules ask for; gives the role whose password it was.
pub(super) async fn authenticate<S: Stream>(
    socket: &mut Socket<S>,
    names: &Names,
    peer: &Peer,
    shared: &Shared,
) -> Result<Option<ProvenRole>, Interruption> {
    match method(names, peer, shared) {
        Some(Method::Trust) => Ok(None),
        Some(Method::Scram) => {
            socket.set_state(PgWireConnectionState::AuthenticationInProgress);
            let role = ask_password(socket, names, peer, shared).await?;
            Ok(Some(role))
        }
        Some(Method::Certificate) => match &peer.certificate_name {
            Some(name) if *name == names.user => Ok(None),
            Some(_) => {
                let message = format!(
                    "certificate authentication failed for user \"{}\"",
                    names.user
                );
                let hint = "The certificate's common name must be the user's.";
                Err(Failure::fatal("28000", message).with_hint(hint).into())
            }
            None => {
                let message = "connection requires a valid client certificate";
                Err(Failure::fatal("28000", message).into())
            }
        },
        Some(Method::Reject) => {
            Err(refused("pg_hba.conf rejects connection for", names, peer).into())
        }
        None => Err(refused("no pg_hba.conf entry for", names, peer).into()),
    }
}

/// How the client must prove who it is; `None` if no rule lets it in.
fn method(names: &Names, peer: &Peer, shared: &Shared) -> Option<Method> {
    let is_member = |group: &str| shared.engine.is_member(&names.user, group);
    let wants = Wants {
        user: &names.user,
        database: &names.database,
        is_member: &is_member,
    };
    decide(&shared.options.rules, peer, &wants)
}

/// PostgreSQL's words; the rules are in the configuration file here.
fn refused(words: &str, names: &Names, peer: &Peer) -> Failure {
    let address = peer
        .address
        .map(|address| address.ip().to_canonical().to_string());
    let encryption = match peer.is_encrypted {
        true => "SSL encryption",
        false => "no encryption",
    };
    let message = format!(
        "{words} host \"{}\", user \"{}\", database \"{}\", {encryption}",
        address.unwrap_or_default(),
        names.user,
        names.database,
    );
    let hint = "The rules are the tables [[hba]] of the server's configuration file.";
    Failure::fatal("28000", message).with_hint(hint)
}

fn wrong_password(names: &Names) -> Failure {
    let message = format!("password authentication failed for user \"{}\"", names.user);
    Failure::fatal("28P01", message)
}

/// SCRAM-SHA-256, over TLS bound to the server's certificate.
async fn ask_password<S: Stream>(
    socket: &mut Socket<S>,
    names: &Names,
    peer: &Peer,
    shared: &Shared,
) -> Result<ProvenRole, Interruption> {
    let address = peer
        .address
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
    refuse_while_throttled(address, names, shared)?;
    let facts = shared.engine.login_facts(&names.user).await;
    let facts = facts.map_err(|error| Failure::fatal("58000", error.to_string()))?;
    // Without a password the exchange goes on all the same, so that its end tells nothing.
    let verifier = facts
        .verifier
        .unwrap_or_else(|| shared.engine.unknown_verifier(&names.user));
    let scram = &shared.scram;
    let mechanisms = scram.mechanisms(peer.is_encrypted);
    send(socket, Authentication::SASL(mechanisms)).await?;
    let outcome = async {
        let first = answer(socket).await?;
        let (data, exchange) = scram
            .begin(first, verifier, peer.is_encrypted)
            .map_err(Ended::from)?;
        send(socket, Authentication::SASLContinue(data))
            .await
            .map_err(|_| Ended::Lost)?;
        let last = answer(socket).await?;
        // Exchanges that began together must not each get a guess.
        if shared.throttle.wait(address, &names.user).is_some() {
            return Err(Ended::Wrong);
        }
        exchange.finish(last).map_err(Ended::from)
    };
    let failure = match outcome.await {
        Ok(data) => {
            shared.throttle.succeeded(address, &names.user);
            send(socket, Authentication::SASLFinal(data)).await?;
            return Ok(facts.role);
        }
        Err(Ended::Lost) => return Err(Interruption::Lost),
        Err(Ended::Wrong) => wrong_password(names),
        Err(Ended::Malformed(message)) => Failure::fatal("08P01", message),
    };
    shared.throttle.failed(address, &names.user);
    Err(failure.into())
}

/// Refuses an address from which too many wrong passwords came.
fn refuse_while_throttled(
    address: IpAddr,
    names: &Names,
    shared: &Shared,
) -> Result<(), Interruption> {
    let Some(wait) = shared.throttle.wait(address, &names.user) else {
        return Ok(());
    };
    let hint = format!(
        "Too many wrong passwords came from this address; try again in {} seconds.",
        wait.as_secs() + 1
    );
    Err(wrong_password(names).with_hint(hint).into())
}

/// How an exchange ended without success.
enum Ended {
    Lost,
    Wrong,
    Malformed(String),
}

impl From<ExchangeError> for Ended {
    fn from(error: ExchangeError) -> Ended {
        match error {
            ExchangeError::WrongPassword => Ended::Wrong,
            ExchangeError::Malformed(message) => Ended::Malformed(message),
        }
    }
}

async fn send<S: Stream>(socket: &mut Socket<S>, message: Authentication) -> std::io::Result<()> {
    socket
        .feed(PgWireBackendMessage::Authentication(message))
        .await?;
    socket.flush().await
}

/// The client's next message about its password.
async fn answer<S: Stream>(socket: &mut Socket<S>) -> Result<PasswordMessageFamily, Ended> {
    match socket.next().await {
        Some(Ok(PgWireFrontendMessage::PasswordMessageFamily(message))) => Ok(message),
        Some(Ok(_)) => Err(Ended::Malformed("expected SASL response".to_owned())),
        Some(Err(error)) => Err(Ended::Malformed(error.message())),
        None => Err(Ended::Lost),
    }
}
