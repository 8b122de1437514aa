//! What catalogs of others fail with: a REST service that names Iceberg tables.
//!
//! The name of a catalog and what it said flow in, what a client is told flows out. No secret is in the latter: who makes a
//! failure takes them out of what the service said.

/// A catalog of others did not answer what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogFailure {
    /// It does not take the token or the credential.
    #[error("catalog \"{name}\" denied access")]
    Denied {
        /// The catalog's name here.
        name: String,
        /// What it said.
        reason: String,
    },
    /// It cannot be reached, or its answer is none.
    #[error("request to catalog \"{name}\" failed")]
    Failed {
        /// The catalog's name here.
        name: String,
        /// What it said, or what hindered the request.
        reason: String,
    },
}

impl CatalogFailure {
    pub(super) fn sqlstate(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "42501",
            Self::Failed { .. } => "58030",
        }
    }

    pub(super) fn hint(&self) -> String {
        match self {
            Self::Denied { name, .. } => format!(
                "Give the server another token or credential: CREATE OR REPLACE CATALOG {name} \
                 TYPE iceberg WITH (..., token = '...')."
            ),
            Self::Failed { name, .. } => format!(
                "See whether the service is there, and whether the options of the catalog are \
                 its own: SHOW CATALOGS tells those of \"{name}\"."
            ),
        }
    }

    pub(super) fn detail(&self) -> String {
        let (Self::Denied { reason, .. } | Self::Failed { reason, .. }) = self;
        format!("{}.", reason.trim_end_matches(['.', '\n']))
    }
}
