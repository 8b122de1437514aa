//! A machine's proof that it knows the cluster's token.
//!
//! In: a challenge that was never used before; out: the challenge, sealed with the token, which tells nobody the token. So a
//! coordinator finds out who it has called before it tells him anything.

use std::collections::BTreeMap;

use auspex_storage::CredentialKey;

use super::node::ClusterToken;
use crate::error::Result;

/// What is sealed, so that nothing else that the token seals is a proof.
const PURPOSE: &str = "auspex proof to coordinators 1";
/// The name of the challenge in what is sealed.
const CHALLENGE: &str = "challenge";

/// A text that nobody can foresee.
pub(super) fn challenge() -> Result<String> {
    Ok(auspex_storage::generated_password()?)
}

/// The answer of a machine that knows the token.
pub(super) fn proof(token: &ClusterToken, challenge: &str) -> Result<String> {
    let sealed = BTreeMap::from([(CHALLENGE.to_owned(), challenge.to_owned())]);
    Ok(key(token)?.seal_in(PURPOSE, &sealed)?)
}

/// Whether an answer to a challenge is that of a machine that knows the token.
pub(super) fn is_proof(token: &ClusterToken, challenge: &str, answer: &str) -> Result<bool> {
    let opened = key(token)?.open_in(PURPOSE, answer);
    Ok(opened.is_some_and(|opened| {
        opened
            .get(CHALLENGE)
            .is_some_and(|found| found == challenge)
    }))
}

/// Keys are longer than tokens must be.
fn key(token: &ClusterToken) -> Result<CredentialKey> {
    let text = String::from_utf8_lossy(token.secret());
    Ok(CredentialKey::new(&format!("{PURPOSE} {text}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_token_and_one_challenge() {
        let [token, other] = ["0123456789abcdef", "0123456789abcdeg"].map(ClusterToken::new);
        let (token, other) = (token.unwrap(), other.unwrap());
        let (asked, asked_again) = (challenge().unwrap(), challenge().unwrap());
        let answer = proof(&token, &asked).unwrap();
        assert!(is_proof(&token, &asked, &answer).unwrap());
        assert!(!is_proof(&token, &asked_again, &answer).unwrap());
        assert!(!is_proof(&other, &asked, &answer).unwrap());
        assert!(!is_proof(&token, &asked, "").unwrap());
        assert!(!is_proof(&token, &asked, &asked).unwrap());
    }
}
