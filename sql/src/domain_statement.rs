//! The syntax tree of `CREATE DOMAIN`, `ALTER DOMAIN` and `DROP DOMAIN`.
//!
//! In: nothing; out: plain values. Never knows which domains exist, nor whether their rules go together.

use datafusion::sql::sqlparser::ast::{DataType, Expr};

use crate::statement::{Name, Word};

/// A statement about domains.
#[derive(Debug, Clone, PartialEq)]
pub enum DomainStatement {
    /// `CREATE DOMAIN name [AS] type rules`.
    Create {
        /// The domain.
        name: Name,
        /// The type that its values have.
        data_type: DataType,
        /// What is said of its values, in order.
        rules: Vec<DomainRule>,
    },
    /// `ALTER DOMAIN name action`.
    Alter {
        /// The domain.
        name: Name,
        /// What changes.
        action: Box<DomainAction>,
    },
    /// `DROP DOMAIN [IF EXISTS] name, … [CASCADE | RESTRICT]`.
    Drop {
        /// The domains.
        names: Vec<Name>,
        /// `IF EXISTS` was written.
        if_exists: bool,
        /// `CASCADE` was written.
        cascade: bool,
    },
}

/// What a definition says of a domain's values.
#[derive(Debug, Clone, PartialEq)]
pub enum DomainRule {
    /// `NULL`.
    Null,
    /// `NOT NULL`.
    NotNull,
    /// `DEFAULT expression`.
    Default(Expr),
    /// `COLLATE name`.
    Collate(String),
    /// `[CONSTRAINT name] CHECK (condition)`.
    Check {
        /// Its name, if it was given one.
        name: Option<String>,
        /// The condition of a `VALUE`.
        condition: Expr,
    },
}

/// The change that an `ALTER DOMAIN` asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum DomainAction {
    /// `SET DEFAULT expression`, and with `None` `DROP DEFAULT`.
    SetDefault(Option<Expr>),
    /// `SET NOT NULL`, `DROP NOT NULL`.
    SetNotNull(bool),
    /// `ADD [CONSTRAINT name] CHECK (condition) [NOT VALID]`, `ADD NOT NULL`.
    Add {
        /// The rule.
        rule: DomainRule,
        /// `NOT VALID` was written.
        not_valid: bool,
    },
    /// `DROP CONSTRAINT [IF EXISTS] name [CASCADE | RESTRICT]`.
    DropConstraint {
        /// The constraint.
        name: Word,
        /// `IF EXISTS` was written.
        if_exists: bool,
    },
    /// `RENAME CONSTRAINT name TO name`.
    RenameConstraint {
        /// The constraint.
        from: Word,
        /// Its new name.
        to: Word,
    },
    /// `VALIDATE CONSTRAINT name`.
    Validate(Word),
    /// `RENAME TO name`.
    Rename(Word),
    /// `SET SCHEMA name`.
    SetSchema(Word),
}
