//! The columns of the catalog tables that Auspex fills itself, as PostgreSQL 15 has them.
//!
//! In: a table's name; out: its columns. Holds no rows.

use super::cells::{Columns, Kind};

/// The columns of a table about objects or the server; `None` for any other table.
pub(super) fn columns_of(name: &str) -> Option<Columns> {
    TABLES
        .iter()
        .find(|(table, _)| *table == name)
        .map(|(_, columns)| *columns)
}

/// The tables of this module, in alphabetical order.
pub(super) const TABLES: &[(&str, Columns)] = &[
    ("pg_attribute", PG_ATTRIBUTE),
    ("pg_authid", PG_ROLES),
    ("pg_class", PG_CLASS),
    ("pg_collation", PG_COLLATION),
    ("pg_database", PG_DATABASE),
    ("pg_foreign_data_wrapper", PG_FOREIGN_DATA_WRAPPER),
    ("pg_foreign_server", PG_FOREIGN_SERVER),
    ("pg_foreign_table", PG_FOREIGN_TABLE),
    ("pg_namespace", PG_NAMESPACE),
    ("pg_roles", PG_ROLES),
    ("pg_settings", PG_SETTINGS),
    ("pg_tables", PG_TABLES),
    ("pg_tablespace", PG_TABLESPACE),
    ("pg_user", PG_USER),
    ("pg_views", PG_VIEWS),
];

const PG_NAMESPACE: Columns = &[
    ("oid", Kind::Oid),
    ("nspname", Kind::Text),
    ("nspowner", Kind::Oid),
    ("nspacl", Kind::Texts),
];

const PG_CLASS: Columns = &[
    ("oid", Kind::Oid),
    ("relname", Kind::Text),
    ("relnamespace", Kind::Oid),
    ("reltype", Kind::Oid),
    ("reloftype", Kind::Oid),
    ("relowner", Kind::Oid),
    ("relam", Kind::Oid),
    ("relfilenode", Kind::Oid),
    ("reltablespace", Kind::Oid),
    ("relpages", Kind::Int4),
    ("reltuples", Kind::Float4),
    ("relallvisible", Kind::Int4),
    ("reltoastrelid", Kind::Oid),
    ("relhasindex", Kind::Bool),
    ("relisshared", Kind::Bool),
    ("relpersistence", Kind::Text),
    ("relkind", Kind::Text),
    ("relnatts", Kind::Int2),
    ("relchecks", Kind::Int2),
    ("relhasrules", Kind::Bool),
    ("relhastriggers", Kind::Bool),
    ("relhassubclass", Kind::Bool),
    ("relrowsecurity", Kind::Bool),
    ("relforcerowsecurity", Kind::Bool),
    ("relispopulated", Kind::Bool),
    ("relreplident", Kind::Text),
    ("relispartition", Kind::Bool),
    ("relrewrite", Kind::Oid),
    ("relfrozenxid", Kind::Int4),
    ("relminmxid", Kind::Int4),
    ("relacl", Kind::Texts),
    ("reloptions", Kind::Texts),
    ("relpartbound", Kind::Text),
];

const PG_ATTRIBUTE: Columns = &[
    ("attrelid", Kind::Oid),
    ("attname", Kind::Text),
    ("atttypid", Kind::Oid),
    ("attstattarget", Kind::Int4),
    ("attlen", Kind::Int2),
    ("attnum", Kind::Int2),
    ("attndims", Kind::Int4),
    ("attcacheoff", Kind::Int4),
    ("atttypmod", Kind::Int4),
    ("attbyval", Kind::Bool),
    ("attalign", Kind::Text),
    ("attstorage", Kind::Text),
    ("attcompression", Kind::Text),
    ("attnotnull", Kind::Bool),
    ("atthasdef", Kind::Bool),
    ("atthasmissing", Kind::Bool),
    ("attidentity", Kind::Text),
    ("attgenerated", Kind::Text),
    ("attisdropped", Kind::Bool),
    ("attislocal", Kind::Bool),
    ("attinhcount", Kind::Int4),
    ("attcollation", Kind::Oid),
    ("attacl", Kind::Texts),
    ("attoptions", Kind::Texts),
    ("attfdwoptions", Kind::Texts),
];

const PG_TABLES: Columns = &[
    ("schemaname", Kind::Text),
    ("tablename", Kind::Text),
    ("tableowner", Kind::Text),
    ("tablespace", Kind::Text),
    ("hasindexes", Kind::Bool),
    ("hasrules", Kind::Bool),
    ("hastriggers", Kind::Bool),
    ("rowsecurity", Kind::Bool),
];

const PG_VIEWS: Columns = &[
    ("schemaname", Kind::Text),
    ("viewname", Kind::Text),
    ("viewowner", Kind::Text),
    ("definition", Kind::Text),
];

const PG_FOREIGN_TABLE: Columns = &[
    ("ftrelid", Kind::Oid),
    ("ftserver", Kind::Oid),
    ("ftoptions", Kind::Texts),
];

const PG_FOREIGN_SERVER: Columns = &[
    ("oid", Kind::Oid),
    ("srvname", Kind::Text),
    ("srvowner", Kind::Oid),
    ("srvfdw", Kind::Oid),
    ("srvtype", Kind::Text),
    ("srvversion", Kind::Text),
    ("srvacl", Kind::Texts),
    ("srvoptions", Kind::Texts),
];

const PG_FOREIGN_DATA_WRAPPER: Columns = &[
    ("oid", Kind::Oid),
    ("fdwname", Kind::Text),
    ("fdwowner", Kind::Oid),
    ("fdwhandler", Kind::Oid),
    ("fdwvalidator", Kind::Oid),
    ("fdwacl", Kind::Texts),
    ("fdwoptions", Kind::Texts),
];

const PG_DATABASE: Columns = &[
    ("oid", Kind::Oid),
    ("datname", Kind::Text),
    ("datdba", Kind::Oid),
    ("encoding", Kind::Int4),
    ("datlocprovider", Kind::Text),
    ("datistemplate", Kind::Bool),
    ("datallowconn", Kind::Bool),
    ("datconnlimit", Kind::Int4),
    ("datfrozenxid", Kind::Int4),
    ("datminmxid", Kind::Int4),
    ("dattablespace", Kind::Oid),
    ("datcollate", Kind::Text),
    ("datctype", Kind::Text),
    ("daticulocale", Kind::Text),
    ("datcollversion", Kind::Text),
    ("datacl", Kind::Texts),
];

const PG_COLLATION: Columns = &[
    ("oid", Kind::Oid),
    ("collname", Kind::Text),
    ("collnamespace", Kind::Oid),
    ("collowner", Kind::Oid),
    ("collprovider", Kind::Text),
    ("collisdeterministic", Kind::Bool),
    ("collencoding", Kind::Int4),
    ("collcollate", Kind::Text),
    ("collctype", Kind::Text),
    ("colliculocale", Kind::Text),
    ("collversion", Kind::Text),
];

const PG_TABLESPACE: Columns = &[
    ("oid", Kind::Oid),
    ("spcname", Kind::Text),
    ("spcowner", Kind::Oid),
    ("spcacl", Kind::Texts),
    ("spcoptions", Kind::Texts),
];

const PG_ROLES: Columns = &[
    ("oid", Kind::Oid),
    ("rolname", Kind::Text),
    ("rolsuper", Kind::Bool),
    ("rolinherit", Kind::Bool),
    ("rolcreaterole", Kind::Bool),
    ("rolcreatedb", Kind::Bool),
    ("rolcanlogin", Kind::Bool),
    ("rolreplication", Kind::Bool),
    ("rolbypassrls", Kind::Bool),
    ("rolconnlimit", Kind::Int4),
    ("rolpassword", Kind::Text),
    ("rolvaliduntil", Kind::Text),
    ("rolconfig", Kind::Texts),
];

const PG_USER: Columns = &[
    ("usename", Kind::Text),
    ("usesysid", Kind::Oid),
    ("usecreatedb", Kind::Bool),
    ("usesuper", Kind::Bool),
    ("userepl", Kind::Bool),
    ("usebypassrls", Kind::Bool),
    ("passwd", Kind::Text),
    ("valuntil", Kind::Text),
    ("useconfig", Kind::Texts),
];

const PG_SETTINGS: Columns = &[
    ("name", Kind::Text),
    ("setting", Kind::Text),
    ("unit", Kind::Text),
    ("category", Kind::Text),
    ("short_desc", Kind::Text),
    ("extra_desc", Kind::Text),
    ("context", Kind::Text),
    ("vartype", Kind::Text),
    ("source", Kind::Text),
    ("min_val", Kind::Text),
    ("max_val", Kind::Text),
    ("enumvals", Kind::Texts),
    ("boot_val", Kind::Text),
    ("reset_val", Kind::Text),
    ("sourcefile", Kind::Text),
    ("sourceline", Kind::Int4),
    ("pending_restart", Kind::Bool),
];
