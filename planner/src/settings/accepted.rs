//! PostgreSQL's settings that clients send and that change nothing here: planner, keep-alives, logs.
//!
//! In: nothing; out: definitions, so that their values are checked and shown as PostgreSQL does. Sessions keep a value of these
//! only once one is set.

use super::definitions::{Check, Definition, setting};
use super::units::Unit;

/// The largest number of PostgreSQL's settings.
pub(super) const MOST: i64 = i32::MAX as i64;

const PLANNER: &str = "Accepted for clients; plans are chosen by statistics of files.";
const DEFERRABLE: &str = "Accepted for clients; a block waits for nobody.";
const WORKERS: &str = "Accepted for clients; parallel work follows from threads.";
const KEPT_ALIVE: &str = "Accepted for clients; the server's own are set by --tcp-keepalives-idle.";
const MEMORY: &str = "Accepted for clients; memory is limited by --memory-limit.";
const LOGGED: &str =
    "Accepted for clients; the server's log and --audit-log are set when it starts.";

const fn switch(name: &'static str, default: &'static str) -> Definition {
    setting(name, default, Check::Switch, PLANNER)
}

const fn cost(name: &'static str, default: &'static str) -> Definition {
    setting(name, default, Check::Real(0.0, f64::MAX), PLANNER)
}

const fn number(
    name: &'static str,
    default: &'static str,
    (least, most): (i64, i64),
    description: &'static str,
) -> Definition {
    let check = Check::Quantity(Unit::Number, least, most);
    setting(name, default, check, description)
}

const fn memory(name: &'static str, default: &'static str, least: i64) -> Definition {
    let check = Check::Quantity(Unit::Kilobytes, least, MOST);
    setting(name, default, check, MEMORY)
}

/// The settings in alphabetical order.
pub(super) const ACCEPTED: &[Definition] = &[
    setting(
        "client_connection_check_interval",
        "0",
        Check::Quantity(Unit::Milliseconds, 0, MOST),
        "Accepted for clients; a statement ends when its client has gone.",
    ),
    setting(
        "constraint_exclusion",
        "partition",
        Check::Words(&["partition", "on", "off"]),
        PLANNER,
    ),
    cost("cpu_index_tuple_cost", "0.005"),
    cost("cpu_operator_cost", "0.0025"),
    cost("cpu_tuple_cost", "0.01"),
    setting(
        "cursor_tuple_fraction",
        "0.1",
        Check::Real(0.0, 1.0),
        PLANNER,
    ),
    setting(
        "deadlock_timeout",
        "1s",
        Check::Quantity(Unit::Milliseconds, 1, MOST),
        "Accepted for clients; advisory locks alone are waited for.",
    ),
    number("default_statistics_target", "100", (1, 10_000), PLANNER),
    setting(
        "default_transaction_deferrable",
        "off",
        Check::Switch,
        DEFERRABLE,
    ),
    switch("enable_bitmapscan", "on"),
    switch("enable_gathermerge", "on"),
    switch("enable_hashagg", "on"),
    switch("enable_hashjoin", "on"),
    switch("enable_incremental_sort", "on"),
    switch("enable_indexonlyscan", "on"),
    switch("enable_indexscan", "on"),
    switch("enable_material", "on"),
    switch("enable_memoize", "on"),
    switch("enable_mergejoin", "on"),
    switch("enable_nestloop", "on"),
    switch("enable_parallel_append", "on"),
    switch("enable_parallel_hash", "on"),
    switch("enable_partition_pruning", "on"),
    switch("enable_partitionwise_aggregate", "off"),
    switch("enable_partitionwise_join", "off"),
    switch("enable_seqscan", "on"),
    switch("enable_sort", "on"),
    switch("enable_tidscan", "on"),
    setting(
        "escape_string_warning",
        "on",
        Check::Switch,
        "Accepted for clients; backslashes in strings are plain.",
    ),
    number("from_collapse_limit", "8", (1, MOST), PLANNER),
    switch("geqo", "on"),
    number("geqo_threshold", "12", (2, MOST), PLANNER),
    setting("hash_mem_multiplier", "2", Check::Real(1.0, 1000.0), MEMORY),
    cost("jit_above_cost", "100000"),
    number("join_collapse_limit", "8", (1, MOST), PLANNER),
    setting("log_duration", "off", Check::Switch, LOGGED),
    setting(
        "log_min_duration_statement",
        "-1",
        Check::Quantity(Unit::Milliseconds, -1, MOST),
        LOGGED,
    ),
    setting(
        "log_statement",
        "none",
        Check::Words(&["none", "ddl", "mod", "all"]),
        LOGGED,
    ),
    memory("maintenance_work_mem", "64MB", 1024),
    number("max_parallel_maintenance_workers", "2", (0, 1024), WORKERS),
    number("max_parallel_workers", "8", (0, 1024), WORKERS),
    number("max_parallel_workers_per_gather", "2", (0, 1024), WORKERS),
    cost("parallel_setup_cost", "1000"),
    cost("parallel_tuple_cost", "0.1"),
    setting(
        "plan_cache_mode",
        "auto",
        Check::Words(&["auto", "force_generic_plan", "force_custom_plan"]),
        PLANNER,
    ),
    cost("random_page_cost", "4"),
    cost("seq_page_cost", "1"),
    number("tcp_keepalives_count", "0", (0, MOST), KEPT_ALIVE),
    setting(
        "tcp_keepalives_idle",
        "0",
        Check::Quantity(Unit::Seconds, 0, MOST),
        KEPT_ALIVE,
    ),
    setting(
        "tcp_keepalives_interval",
        "0",
        Check::Quantity(Unit::Seconds, 0, MOST),
        KEPT_ALIVE,
    ),
    setting(
        "tcp_user_timeout",
        "0",
        Check::Quantity(Unit::Milliseconds, 0, MOST),
        KEPT_ALIVE,
    ),
    setting("transaction_deferrable", "off", Check::Switch, DEFERRABLE),
    setting(
        "vacuum_cost_delay",
        "0",
        Check::Real(0.0, 100.0),
        "Accepted for clients; VACUUM does not pause.",
    ),
];
