//! Statements that are ready to run: how they become so, and whether they still are.
//!
//! In: a parsed statement with the types that a client declares; out: its plan, with what it was planned under. A plan whose
//! names, role or settings mean something else by now is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use auspex_sql::ParsedStatement;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};

use super::full_digits::InFull;
use super::{Session, TablesRead, kept};
use crate::bind::{WithParameters, stored_parameters, typed_values, with_parameters};
use crate::engine::lock;
use crate::error::Result;
use crate::error_places::placed;
use crate::execute::{self, Work};
use crate::functions::holds_numerics;
use crate::named::Named;
use crate::point_plan::PointPlan;
use crate::transaction::locked_rows;

/// A statement that is ready to run, any number of times.
pub struct Prepared {
    pub(crate) statement: ParsedStatement,
    schema: Option<SchemaRef>,
    pub(super) parameter_types: Vec<DataType>,
    /// The types that the client declared, with what tells of a text that it is a uuid or json.
    pub(super) declared: Vec<Option<FieldRef>>,
    /// The numerics that do nothing but fill columns.
    pub(super) stored: BTreeSet<usize>,
    /// The parameters that are uuids or json.
    pub(super) marked_parameters: BTreeMap<usize, FieldRef>,
    /// Only the session that prepared it asks for it, so that nobody ever waits here.
    pub(super) planned: Mutex<Arc<Planned>>,
    /// The same for numerics that have more digits than its parameters.
    pub(super) in_full: Mutex<Option<InFull>>,
    /// The bytes of its plan.
    pub(super) plan_bytes: usize,
    /// What it says of rows that others have locked.
    pub(super) locked_rows: Option<&'static str>,
    /// Whether it is kept by a name.
    pub(super) stays: AtomicBool,
}

/// What a prepared statement does, as the catalog was at a generation.
pub(crate) struct Planned {
    /// The generation up to which `named` is known to mean the same.
    generation: AtomicU64,
    pub(crate) work: Work,
    /// The same as expressions, if its only inputs are parameters.
    pub(super) point: Option<PointPlan>,
    pub(super) named: Named,
    /// Whether it was run.
    pub(super) used: AtomicBool,
    /// How often that had changed which the session alone sees.
    own_changes: u64,
    /// The change of the session's role that it was planned after.
    role_change: u64,
    /// What names without a schema meant.
    search_path: Option<String>,
    /// Where its predictions are computed.
    device: [Option<String>; 2],
    /// The clock that it reads.
    time_zone: Option<String>,
}

impl Prepared {
    /// The columns of its rows; `None` when it gives none.
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }

    /// The types of its parameters.
    pub fn parameter_types(&self) -> &[DataType] {
        &self.parameter_types
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.statement.text
    }

    /// Whether it ends a block by committing it.
    pub fn is_commit(&self) -> bool {
        execute::is_commit(&self.statement)
    }

    /// Whether its only inputs are its parameters, so that `execute_point` may answer it.
    pub fn is_point(&self) -> bool {
        lock(&self.planned).point.is_some()
    }

    pub(crate) fn planned(&self) -> Arc<Planned> {
        Arc::clone(&lock(&self.planned))
    }
}

impl Planned {
    /// Whether the objects that the statement names are what they were. One atomic comparison, unless the catalog has
    /// changed since the last time.
    pub(super) fn is_current(&self, session: &Session) -> bool {
        if self.own_changes != session.own_changes()
            || self.role_change != session.identity.changes()
            || self.search_path != session.settings.get("search_path")
            || self.device != session.settings.device_settings()
            || self.time_zone != session.settings.get("timezone")
        {
            return false;
        }
        let catalog = &session.engine.catalog;
        let generation = catalog.generation();
        if self.generation.load(Ordering::Relaxed) == generation {
            return true;
        }
        let same = self.named.mean_the_same(&session.seen_catalog());
        if same {
            self.generation.store(generation, Ordering::Relaxed);
        }
        same
    }
}

impl Session {
    /// Binds and plans a statement; client types for parameters win over inferred ones.
    pub async fn prepare(
        self: &Arc<Session>,
        statement: &ParsedStatement,
        declared: &[Option<FieldRef>],
    ) -> Result<Prepared> {
        self.clock.start();
        self.know_catalog(statement).await?;
        let names = self.names_of_now();
        let tables = TablesRead::of(&self.engine.catalog, vec![names.1.clone()]);
        let planning = self.prepare_once(statement, declared, names);
        let prepared = Box::pin(planning).await;
        let Err(error) = prepared else {
            return prepared;
        };
        if tables.gone(&error).await.is_none() {
            return Err(placed(tables.in_names(error), self, statement));
        }
        // The names mean other tables by now, or none.
        let names = self.names_of_now();
        let again = Box::pin(self.prepare_once(statement, declared, names)).await;
        again.map_err(|error| placed(error, self, statement))
    }

    /// The number of the catalog's state, and what is to hold the names that are looked up in it.
    fn names_of_now(&self) -> (u64, Named) {
        let generation = self.engine.catalog.generation();
        (generation, Named::of(&self.seen_catalog()))
    }

    /// How often that changed which it alone sees: its temporary tables, and what its block has defined.
    fn own_changes(&self) -> u64 {
        self.temporary.changes() + self.transaction.redefined()
    }

    async fn prepare_once(
        self: &Arc<Session>,
        statement: &ParsedStatement,
        declared: &[Option<FieldRef>],
        (generation, named): (u64, Named),
    ) -> Result<Prepared> {
        let role_change = self.identity.changes();
        let search_path = self.settings.get("search_path");
        let device = self.settings.device_settings();
        let time_zone = self.settings.get("timezone");
        let mut declared = declared.to_vec();
        let mut work = self.plan_typed(statement, &declared, &named).await?;
        if let Some(settled) = work.settled_parameters(&declared)? {
            declared = settled;
            work = self.plan_typed(statement, &declared, &named).await?;
        }
        if let Work::Late { given, .. } = &mut work {
            given.clone_from(&declared);
        }
        let mut parameter_types = work.parameter_types(&declared)?;
        let mut marked_parameters = work.marked_parameters()?;
        let unread = self.unread_parameters(statement, &declared, &work, &named);
        for (place, (data_type, marked)) in Box::pin(unread).await? {
            if parameter_types.len() <= place {
                parameter_types.resize(place + 1, DataType::Utf8);
            }
            parameter_types[place] = data_type;
            marked_parameters.extend(marked.map(|marked| (place, marked)));
        }
        let schema = work.schema(&statement.statement, &parameter_types)?;
        let stored = match parameter_types.iter().any(holds_numerics) {
            true => stored_parameters(statement, &declared),
            false => BTreeSet::new(),
        };
        let plan_bytes = kept::plan_bytes(&work, !parameter_types.is_empty());
        let planned = Planned {
            generation: AtomicU64::new(generation),
            point: work.point_plan(&parameter_types, schema.as_ref()),
            work,
            named,
            used: AtomicBool::new(false),
            own_changes: self.own_changes(),
            role_change,
            search_path,
            device,
            time_zone,
        };
        Ok(Prepared {
            statement: statement.clone(),
            schema,
            parameter_types,
            declared,
            stored,
            marked_parameters,
            plan_bytes,
            locked_rows: locked_rows(statement),
            planned: Mutex::new(Arc::new(planned)),
            in_full: Mutex::default(),
            stays: AtomicBool::new(false),
        })
    }

    /// The types of the parameters that only queries in WITH have that nothing reads, which its plan leaves out, with what marks them.
    async fn unread_parameters(
        self: &Arc<Session>,
        statement: &ParsedStatement,
        declared: &[Option<FieldRef>],
        work: &Work,
        named: &Named,
    ) -> Result<BTreeMap<usize, (DataType, Option<FieldRef>)>> {
        let mut found = BTreeMap::new();
        // The outer ones come first.
        let mut waiting = match work {
            Work::Late { .. } => Vec::new(),
            _ => with_parameters(statement),
        };
        if waiting.is_empty() {
            return Ok(found);
        }
        waiting.reverse();
        let mut known = work.parameter_places()?;
        let places = waiting.iter().flat_map(WithParameters::places);
        let unread: BTreeSet<usize> = places.filter(|place| !known.contains(place)).collect();
        while let Some(mut queries) = waiting.pop() {
            if !queries.leave_out(&known) {
                continue;
            }
            waiting.push(queries.split_read());
            let reader = queries.reader(statement)?;
            let Ok(read) = self.plan_typed(&reader, declared, named).await else {
                // One that cannot stand alone tells nothing, but the others may.
                if let Some(second) = queries.split_half() {
                    waiting.extend([second, queries]);
                }
                continue;
            };
            let types = read.parameter_types(declared)?;
            let marked = read.marked_parameters()?;
            let places = read.parameter_places()?;
            for place in places.difference(&known) {
                if let Some(data_type) = types.get(*place) {
                    found.insert(*place, (data_type.clone(), marked.get(place).cloned()));
                }
            }
            known.extend(places);
        }
        for place in unread {
            let given = declared.get(place).and_then(Option::as_ref);
            let given = given.map_or(DataType::Utf8, |field| field.data_type().clone());
            found.entry(place).or_insert((given, None));
        }
        Ok(found)
    }

    /// Plans a statement whose parameters are declared.
    async fn plan_typed(
        self: &Arc<Session>,
        statement: &ParsedStatement,
        declared: &[Option<FieldRef>],
        named: &Named,
    ) -> Result<Work> {
        let typed = typed_values(statement, declared);
        let planning = Box::pin(execute::plan(self, typed.as_ref().unwrap_or(statement)));
        self.room().scope(named.scope(planning)).await
    }

    /// Plans a statement anew, and keeps that plan.
    pub(crate) async fn replan(self: &Arc<Session>, prepared: &Prepared) -> Result<Arc<Planned>> {
        // A marked one was left to what stands beside it: as of the type that Arrow has for it, it would be a text.
        let declared = |(idx, known): (usize, &DataType)| {
            let declared = prepared.declared.get(idx).cloned().flatten();
            let is_marked = prepared.marked_parameter(idx).is_some();
            let known = || Arc::new(Field::new("value", known.clone(), true));
            declared.or_else(|| (!is_marked).then(known))
        };
        let types = prepared.parameter_types.iter().enumerate().map(declared);
        let types: Vec<Option<FieldRef>> = types.collect();
        let again = self.prepare(&prepared.statement, &types).await?;
        if prepared.stays.load(Ordering::Relaxed) {
            again.stay(self)?;
        }
        let again = again.planned();
        again.used.store(true, Ordering::Relaxed);
        *lock(&prepared.planned) = Arc::clone(&again);
        Ok(again)
    }
}
