//! Roles and privileges as they stand in the log.
//!
//! Plain data with a stable JSON form. What a privilege allows is the planner's business; a password is here only as the
//! verifier that was made of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Privileges by role, in upper case; one that the role may grant on ends in [`GRANT_OPTION`].
pub type Grants = BTreeMap<String, BTreeSet<String>>;

/// What follows a privilege that its holder may grant to others.
pub const GRANT_OPTION: &str = "*";
/// The name under which grants to everybody are kept; no role may have it.
pub const PUBLIC_ROLE: &str = "public";

/// A role: its rights, what it is a member of, and how it proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleDefinition {
    /// Passes every check of privileges.
    pub superuser: bool,
    /// May connect.
    pub login: bool,
    /// Has the privileges of the roles that it is a member of, without `SET ROLE`.
    pub inherit: bool,
    /// May create, alter and drop roles that are no superusers.
    pub create_role: bool,
    /// Kept for clients that show it: there is one database.
    pub create_db: bool,
    /// Sessions that it may have at a time; `None`: any number.
    pub connection_limit: Option<u32>,
    /// When its password ends to be good, in milliseconds since 1970.
    pub valid_until_ms: Option<i64>,
    /// The verifier of its password (`SCRAM-SHA-256$…`); never the password.
    pub verifier: Option<String>,
    /// Settings that its sessions start with, and its limits.
    pub settings: BTreeMap<String, String>,
    /// The roles that it is a member of; whether it may make others members.
    pub member_of: BTreeMap<String, bool>,
    /// The roles that may say who its members are, without being members: those that made it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub administrators: BTreeSet<String>,
    /// Privileges that others get on objects that it will create.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_grants: Vec<DefaultGrant>,
}

impl Default for RoleDefinition {
    fn default() -> Self {
        Self {
            superuser: false,
            login: false,
            inherit: true,
            create_role: false,
            create_db: false,
            connection_limit: None,
            valid_until_ms: None,
            verifier: None,
            settings: BTreeMap::new(),
            member_of: BTreeMap::new(),
            administrators: BTreeSet::new(),
            default_grants: Vec::new(),
        }
    }
}

/// One `ALTER DEFAULT PRIVILEGES`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultGrant {
    /// Only for objects of this schema.
    pub schema: Option<String>,
    /// `TABLE`, `MODEL` or `SCHEMA`.
    pub kind: String,
    /// Who gets the privileges.
    pub grants: Grants,
}
