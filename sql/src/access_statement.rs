//! The syntax tree of the statements about roles and privileges.
//!
//! In: nothing; out: plain values with the place where they were read. Never knows which roles or objects exist.

use std::fmt;

use crate::statement::{Name, Word};

/// A text that no message and no debug output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A role as statements name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleName {
    /// By its name; `public` is everybody where that is allowed.
    Named(Word),
    /// `CURRENT_USER`, `CURRENT_ROLE`.
    Current,
    /// `SESSION_USER`.
    Session,
}

/// What is said of a role behind its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleOptions {
    /// `[NO]SUPERUSER`.
    pub superuser: Option<bool>,
    /// `[NO]LOGIN`.
    pub login: Option<bool>,
    /// `[NO]INHERIT`.
    pub inherit: Option<bool>,
    /// `[NO]CREATEROLE`.
    pub create_role: Option<bool>,
    /// `[NO]CREATEDB`.
    pub create_db: Option<bool>,
    /// `CONNECTION LIMIT n`; -1 is no limit.
    pub connection_limit: Option<i64>,
    /// `PASSWORD 'text'`; the inner `None` is `PASSWORD NULL`.
    pub password: Option<Option<Secret>>,
    /// `VALID UNTIL 'time'`.
    pub valid_until: Option<String>,
    /// `IN ROLE a, b`.
    pub in_roles: Vec<Word>,
    /// `ROLE a, b`: become members of the new role.
    pub members: Vec<Word>,
    /// `ADMIN a, b`: the same, and may make others members.
    pub admins: Vec<Word>,
}

/// A statement about roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleStatement {
    /// `CREATE ROLE | USER | GROUP`.
    Create {
        /// The role.
        name: Word,
        /// `IF NOT EXISTS` was written.
        if_not_exists: bool,
        /// Its rights; `USER` has set `login`.
        options: RoleOptions,
    },
    /// `ALTER ROLE name options`.
    Alter {
        /// The role.
        name: RoleName,
        /// What changes.
        options: RoleOptions,
    },
    /// `ALTER ROLE name RENAME TO name`.
    Rename {
        /// The role.
        name: Word,
        /// Its new name.
        to: Word,
    },
    /// `ALTER ROLE name [IN DATABASE name] SET setting = value`, `… RESET setting`, `… RESET ALL`.
    Configure {
        /// The role.
        name: RoleName,
        /// The database, if it is named.
        database: Option<Word>,
        /// The setting; `None` is all.
        setting: Option<String>,
        /// The value; `None` takes the setting away.
        value: Option<String>,
    },
    /// `ALTER ROLE ALL [IN DATABASE name] SET setting = value`, `ALTER DATABASE name SET setting = value`, and `RESET` of both.
    ConfigureAll {
        /// The database, if it is named.
        database: Option<Word>,
        /// `ALTER ROLE ALL` rather than `ALTER DATABASE`.
        of_roles: bool,
        /// The setting; `None` is all.
        setting: Option<String>,
        /// The value; `None` takes the setting away.
        value: Option<String>,
    },
    /// `DROP ROLE | USER | GROUP`.
    Drop {
        /// `IF EXISTS` was written.
        if_exists: bool,
        /// The roles.
        names: Vec<Word>,
    },
    /// `GRANT role TO role`, `REVOKE role FROM role`, `ALTER GROUP role ADD | DROP USER role`.
    Membership {
        /// `GRANT` rather than `REVOKE`.
        grant: bool,
        /// It was written as `ALTER GROUP`.
        alters_group: bool,
        /// `WITH ADMIN OPTION`, `ADMIN OPTION FOR`.
        admin_option: bool,
        /// The groups.
        roles: Vec<Word>,
        /// Who becomes a member of them.
        members: Vec<RoleName>,
        /// `GRANTED BY`.
        grantor: Option<RoleName>,
    },
    /// `SET [LOCAL] ROLE name`.
    SetRole {
        /// The role; `None` for `NONE` and `RESET ROLE`.
        role: Option<Word>,
        /// Until the end of the transaction block.
        is_local: bool,
    },
    /// `SET [LOCAL] SESSION AUTHORIZATION name`.
    SetSession {
        /// The role; `None` for `DEFAULT` and `RESET`.
        role: Option<Word>,
        /// Until the end of the transaction block.
        is_local: bool,
    },
    /// `REASSIGN OWNED BY a, b TO c`.
    ReassignOwned {
        /// Whose objects.
        from: Vec<RoleName>,
        /// Who owns them from now on.
        to: RoleName,
    },
    /// `DROP OWNED BY a, b`.
    DropOwned {
        /// Whose objects and privileges.
        roles: Vec<RoleName>,
        /// `CASCADE` was written.
        cascade: bool,
    },
}

/// What a privilege is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrivilegeKind {
    /// A table or view.
    Table,
    /// A sequence.
    Sequence,
    /// A type, which is owned; there are no privileges on it.
    Type,
    /// A schema.
    Schema,
    /// A model.
    Model,
    /// An external location.
    Location,
    /// A credential.
    Credential,
    /// A catalog of others.
    Catalog,
    /// The database.
    Database,
}

impl PrivilegeKind {
    /// The words that statements name it by.
    pub fn words(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::Sequence => "SEQUENCE",
            Self::Type => "TYPE",
            Self::Schema => "SCHEMA",
            Self::Model => "MODEL",
            Self::Location => "EXTERNAL LOCATION",
            Self::Credential => "CREDENTIAL",
            Self::Catalog => "CATALOG",
            Self::Database => "DATABASE",
        }
    }

    /// The privileges that there are on it.
    pub fn privileges(self) -> &'static [&'static str] {
        match self {
            Self::Table => &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"],
            Self::Sequence => &["USAGE", "SELECT", "UPDATE"],
            Self::Type => &[],
            Self::Schema => &["USAGE", "CREATE", "CREATE MODEL"],
            Self::Model => &["EXECUTE", "SELECT"],
            Self::Location => &["READ", "WRITE"],
            Self::Credential | Self::Catalog => &["USAGE"],
            Self::Database => &["CONNECT", "CREATE", "TEMPORARY"],
        }
    }
}

/// The objects of a `GRANT` or `REVOKE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivilegeObjects {
    /// By their names.
    Named(Vec<Name>),
    /// `ALL TABLES IN SCHEMA a, b`.
    AllIn(Vec<Word>),
}

/// `GRANT privileges ON objects TO roles`, `REVOKE … FROM roles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// `GRANT` rather than `REVOKE`.
    pub grant: bool,
    /// `WITH GRANT OPTION`, `GRANT OPTION FOR`.
    pub grant_option: bool,
    /// In upper case; `ALL` stands for all that the kind has.
    pub privileges: Vec<String>,
    /// What the objects are.
    pub kind: PrivilegeKind,
    /// The objects.
    pub objects: PrivilegeObjects,
    /// The roles.
    pub roles: Vec<RoleName>,
}

/// `ALTER DEFAULT PRIVILEGES [FOR ROLE a] [IN SCHEMA s] GRANT … ON TABLES TO b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultPrivileges {
    /// Whose future objects; none: the current role's.
    pub roles: Vec<RoleName>,
    /// In which schemas; none: in all.
    pub schemas: Vec<Word>,
    /// The privileges; its objects are not named.
    pub grant: Grant,
}

/// `ALTER TABLE | VIEW | SCHEMA | CREDENTIAL | … name OWNER TO role`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterOwner {
    /// What it is; a view is a table here.
    pub kind: PrivilegeKind,
    /// The words behind `ALTER`, for the command tag.
    pub words: &'static str,
    /// `IF EXISTS` was written.
    pub if_exists: bool,
    /// The object.
    pub name: Name,
    /// The new owner.
    pub owner: RoleName,
}
