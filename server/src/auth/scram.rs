//! The exchange by which a client proves that it knows a password, and the server that it knows the verifier (RFC 5802,
//! RFC 7677), with channel binding over TLS (RFC 5929, `tls-server-end-point`).
//!
//! In: the client's messages and a verifier; out: the server's answers. The password never comes here.

use auspex_planner::PasswordVerifier;
use bytes::Bytes;
use pgwire::api::auth::sasl::scram::{
    ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal,
};
use pgwire::messages::startup::PasswordMessageFamily;

const PLAIN: &str = "SCRAM-SHA-256";
const BOUND: &str = "SCRAM-SHA-256-PLUS";

/// What all exchanges of a server share.
#[derive(Debug, Default)]
pub(crate) struct Scram {
    plain: ScramServerAuth,
    /// For encrypted connections: binds the exchange to the server's certificate.
    bound: Option<ScramServerAuth>,
}

/// Why an exchange ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ExchangeError {
    /// The password is another one.
    WrongPassword,
    /// The client does not keep to the protocol.
    Malformed(String),
}

/// One exchange after its first message.
#[derive(Debug)]
pub(crate) struct Exchange(ScramServerAuthWaitingForClientFinal);

impl Scram {
    /// Binds the exchanges of encrypted connections to a certificate in PEM.
    pub(crate) fn with_certificate(pem: &[u8]) -> Result<Scram, String> {
        let mut bound = ScramServerAuth::new();
        bound
            .configure_certificate(pem)
            .map_err(|error| error.to_string())?;
        Ok(Scram {
            plain: ScramServerAuth::new(),
            bound: Some(bound),
        })
    }

    /// The mechanisms to offer, the better one first.
    pub(crate) fn mechanisms(&self, is_encrypted: bool) -> Vec<String> {
        let bound = (is_encrypted && self.bound.is_some()).then(|| BOUND.to_owned());
        bound.into_iter().chain([PLAIN.to_owned()]).collect()
    }

    /// Answers the client's first message.
    pub(crate) fn begin(
        &self,
        message: PasswordMessageFamily,
        verifier: PasswordVerifier,
        is_encrypted: bool,
    ) -> Result<(Bytes, Exchange), ExchangeError> {
        if let PasswordMessageFamily::Raw(body) = &message
            && !is_whole(body)
        {
            let message = "invalid SASL initial response".to_owned();
            return Err(ExchangeError::Malformed(message));
        }
        let first = message.into_sasl_initial_response().map_err(malformed)?;
        let wants_bound = first.auth_method == BOUND;
        let authenticator = match self.bound.as_ref().filter(|_| is_encrypted) {
            Some(bound) => bound,
            None if wants_bound => return Err(unknown_mechanism(&first.auth_method)),
            None => &self.plain,
        };
        if !wants_bound && first.auth_method != PLAIN {
            return Err(unknown_mechanism(&first.auth_method));
        }
        let data = first.data.unwrap_or_default();
        // RFC 5802: the better mechanism and the binding come together or not at all.
        if wants_bound != data.starts_with(b"p=") {
            let message = "the mechanism does not fit the channel binding".to_owned();
            return Err(ExchangeError::Malformed(message));
        }
        let secret = ScramSecret::Verifier {
            salt: verifier.salt,
            iterations: verifier.iterations as usize,
            stored_key: verifier.stored_key,
            server_key: verifier.server_key,
        };
        let answer = authenticator.on_client_first_message_with_secret(&data, secret);
        let (text, waiting) = answer.map_err(malformed)?;
        Ok((Bytes::from(text), Exchange(waiting)))
    }
}

impl Exchange {
    /// Answers the client's last message, which holds the proof.
    pub(crate) fn finish(self, message: PasswordMessageFamily) -> Result<Bytes, ExchangeError> {
        let last = message.into_sasl_response().map_err(malformed)?;
        match self.0.on_client_final_message(&last.data) {
            Ok(text) => Ok(Bytes::from(text)),
            Err(pgwire::error::PgWireError::InvalidPassword(_)) => {
                Err(ExchangeError::WrongPassword)
            }
            Err(error) => Err(malformed(error)),
        }
    }
}

/// Whether a body is the name of a mechanism and as many bytes as it tells, which its decoder takes for granted.
fn is_whole(body: &[u8]) -> bool {
    let name_end = body.iter().position(|byte| *byte == 0);
    let rest = name_end.filter(|end| *end > 0).map(|end| &body[end + 1..]);
    let Some((length, data)) = rest.and_then(|rest| rest.split_first_chunk()) else {
        return false;
    };
    match i32::from_be_bytes(*length) {
        -1 => data.is_empty(),
        length => usize::try_from(length) == Ok(data.len()),
    }
}

fn malformed(error: pgwire::error::PgWireError) -> ExchangeError {
    ExchangeError::Malformed(error.to_string())
}

fn unknown_mechanism(name: &str) -> ExchangeError {
    ExchangeError::Malformed(format!(
        "client selected an invalid SASL authentication mechanism \"{name}\""
    ))
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn bodies_are_as_long_as_they_say() {
        for body in [
            &b"SCRAM-SHA-256\0\0\0\0\x01n"[..],
            b"SCRAM-SHA-256\0\xff\xff\xff\xff",
        ] {
            assert!(is_whole(body), "{body:?}");
        }
        for body in [
            &b""[..],
            b"x",
            b"x\0",
            b"x\0\0\0",
            b"\0\0\0\0\x01n",
            b"x\0\0\0\0\x02n",
            b"x\0\0\0\0\0n",
            b"x\0\xff\xff\xff\xfe",
        ] {
            assert!(!is_whole(body), "{body:?}");
        }
    }
}
