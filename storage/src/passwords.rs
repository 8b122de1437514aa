//! Verifiers of passwords, as PostgreSQL keeps them: `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
//!
//! A password flows in, a verifier flows out, from which nobody gets the password back but by trying. A password is kept
//! nowhere and shown in no message.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use crate::error::{Error, Result};

/// PostgreSQL's number; RFC 7677 asks for at least as many.
const ITERATIONS: u32 = 4096;
/// More than this in a given verifier would let one log-in cost seconds.
const MAX_ITERATIONS: u32 = 1_000_000;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const PREFIX: &str = "SCRAM-SHA-256$";

/// What proves that a client knows a password, without the password (RFC 5802).
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordVerifier {
    /// How often the password was hashed.
    pub iterations: u32,
    /// What it was hashed with.
    pub salt: Vec<u8>,
    /// Checks the client's proof.
    pub stored_key: Vec<u8>,
    /// Proves the server to the client.
    pub server_key: Vec<u8>,
}

impl fmt::Debug for PasswordVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordVerifier(***)")
    }
}

impl PasswordVerifier {
    /// The verifier of a password, with a new salt.
    pub fn of_password(password: &str) -> Result<Self> {
        let mut salt = [0; SALT_BYTES];
        random(&mut salt)?;
        Ok(Self::with_salt(password, &salt))
    }

    fn with_salt(password: &str, salt: &[u8]) -> Self {
        // As in PostgreSQL, a password that cannot be prepared is taken as it is.
        let prepared = stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password));
        let mut salted = [0; KEY_BYTES];
        let iterations = NonZeroU32::new(ITERATIONS).unwrap_or(NonZeroU32::MIN);
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(
            algorithm,
            iterations,
            salt,
            prepared.as_bytes(),
            &mut salted,
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&key, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        Self {
            iterations: ITERATIONS,
            salt: salt.to_vec(),
            stored_key: stored_key.as_ref().to_vec(),
            server_key: hmac::sign(&key, b"Server Key").as_ref().to_vec(),
        }
    }

    /// Reads a verifier; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (parameters, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let iterations = iterations.parse().ok();
        let verifier = Self {
            iterations: iterations.filter(|n| (1..=MAX_ITERATIONS).contains(n))?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: STANDARD.decode(stored_key).ok()?,
            server_key: STANDARD.decode(server_key).ok()?,
        };
        let is_whole = verifier.stored_key.len() == KEY_BYTES
            && verifier.server_key.len() == KEY_BYTES
            && !verifier.salt.is_empty();
        is_whole.then_some(verifier)
    }

    /// The text that the catalog keeps.
    pub fn to_text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt, &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        format!("{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }

    /// A verifier that no password fits and that looks like any other, the same for a name whenever it is asked for:
    /// so a client cannot find out which roles there are.
    pub fn of_nobody(secret: &[u8], name: &str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let salt = hmac::sign(&key, name.as_bytes());
        let keys = hmac::sign(&key, salt.as_ref());
        Self {
            iterations: ITERATIONS,
            salt: salt.as_ref()[..SALT_BYTES].to_vec(),
            stored_key: keys.as_ref().to_vec(),
            server_key: keys.as_ref().to_vec(),
        }
    }
}

/// A password that nobody can guess, of letters and digits that are not mixed up.
pub fn generated_password() -> Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 24];
    random(&mut bytes)?;
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    Ok(bytes.iter().map(letter).collect())
}

/// Fills bytes with what nobody can guess.
pub fn random(bytes: &mut [u8]) -> Result<()> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| Error::Internal {
            what: "the system gives no random numbers".into(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_that_of_the_standard() {
        // The password and salt of RFC 7677; the keys are those that give its server signature.
        let text = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=\
            :wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = PasswordVerifier::with_salt("pencil", &salt);
        assert_eq!(verifier.to_text(), text);
        assert_eq!(
            PasswordVerifier::parse(&verifier.to_text()),
            Some(verifier.clone())
        );
        let other = PasswordVerifier::of_password("pencil").unwrap();
        assert_ne!(other.salt, verifier.salt);
        assert!(!format!("{verifier:?}").contains("pencil"));
    }

    #[test]
    fn what_is_no_verifier_is_a_password() {
        for text in [
            "",
            "foo",
            "SCRAM-SHA-256$",
            "SCRAM-SHA-256$0:AAAA$AAAA:AAAA",
            "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
            "SCRAM-SHA-256$9999999999:AAAA$AAAA:AAAA",
        ] {
            assert!(PasswordVerifier::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn generated_passwords_differ() {
        let [one, two] = [(); 2].map(|()| generated_password().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 24);
    }
}
