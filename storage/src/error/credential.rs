//! What credentials fail with: their options, and the key that seals their secrets.
//!
//! Names flow in, what a client is told flows out. No secret is in the latter.

/// A credential cannot be made, or its secrets cannot be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialFailure {
    /// The server has no key to seal secrets with.
    #[error("the server has no key for credentials")]
    NoKey,
    /// The server's key could be guessed.
    #[error("the key for credentials must have at least 32 characters")]
    ShortKey,
    /// A secret was sealed with another key.
    #[error("the secrets of credential \"{name}\" cannot be opened with this server's key")]
    Sealed {
        /// The credential.
        name: String,
    },
    /// A credential cannot have this option.
    #[error("unknown option \"{option}\" of a credential of type {kind}")]
    UnknownOption {
        /// The option as it was given.
        option: String,
        /// The credential's type.
        kind: &'static str,
        /// The options that the type has.
        known: Vec<&'static str>,
    },
    /// A credential is for other stores than its scope is of.
    #[error("a credential of type {kind} cannot be for \"{scope}\"")]
    Scope {
        /// The scope.
        scope: String,
        /// The credential's type.
        kind: &'static str,
    },
}

impl CredentialFailure {
    pub(super) fn sqlstate(&self) -> &'static str {
        match self {
            Self::NoKey | Self::Sealed { .. } => "55000",
            Self::ShortKey | Self::UnknownOption { .. } | Self::Scope { .. } => "22023",
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoKey | Self::ShortKey => {
                "Start the server with the environment variable AUSPEX_CREDENTIAL_KEY; a key is \
                 made by: openssl rand -hex 32."
                    .into()
            }
            Self::Sealed { .. } => "Start the server with the AUSPEX_CREDENTIAL_KEY that it was \
                 created under, or create it again."
                .into(),
            Self::UnknownOption { known, .. } => format!("Its options are {}.", known.join(", ")),
            Self::Scope { .. } => return None,
        })
    }
}
