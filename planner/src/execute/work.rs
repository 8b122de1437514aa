//! What a prepared statement will do, and what it tells its client before it is run.
//!
//! In: bound queries and changes; out: the columns of their rows and the types of their parameters. Runs nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use auspex_sql::Statement;
use datafusion::arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;

use crate::bind::{BoundInsert, BoundQuery, Change, LateNames, Returning};
use crate::change_in_with::ChangeInWith;
use crate::commands::{self, ClientCopy};
use crate::copy_options::CopyOptions;
use crate::error::Result;
use crate::explain::Explained;
use crate::first_uses::{Order, first_uses};
use crate::look_up_plan::LookUpPlan;
use crate::parameter_types::{inferred_parameters, marked_parameters};
use crate::point_plan::{PointPlan, place};
use crate::statement_run::Notice;
use crate::streams::told;

/// What a prepared statement will do.
pub(crate) enum Work {
    /// Streams the rows of a plan.
    Query {
        query: Box<BoundQuery>,
        look_up: LookUpPlan,
        tag: &'static str,
        notices: Vec<Notice>,
    },
    /// Tells a plan.
    Explain(Box<Explained>),
    /// Appends the rows of a plan to a managed table.
    Insert(Box<BoundInsert>),
    /// Changes rows of a managed table; `query` tells the types of the parameters, and is made anew to run.
    Change {
        change: Change,
        query: Box<BoundQuery>,
        returning: Option<Arc<Returning>>,
    },
    /// Makes a table of the rows of a query, which tells the types of the parameters, and is made anew to run.
    CreateAs(Box<BoundQuery>),
    /// Changes rows in the WITH of a query, then streams the query's rows.
    ChangeInWith(Box<ChangeInWith>),
    /// Sends the rows of a plan in the form of a COPY.
    CopyOut(Box<BoundQuery>, CopyOptions),
    /// Takes rows from the client.
    CopyIn(ClientCopy),
    /// Shows settings.
    Show { setting: Option<String> },
    /// One of which parameters name models or queries or size frames: bound anew with each execution's values.
    Late {
        names: LateNames,
        /// One of the same columns, if they do not depend on the values.
        alike: Option<Box<Work>>,
        /// The types that the client declared.
        given: Vec<Option<FieldRef>>,
    },
    /// `SELECT ml.train('m')`: for tools that send only `SELECT`.
    TrainCall(Box<auspex_sql::Train>),
    /// Everything else, run from the syntax tree.
    Command,
    /// A text with nothing in it, or one that needs no work: the tag.
    Nothing(&'static str),
}

impl Work {
    pub(super) fn query(query: BoundQuery, tag: &'static str) -> Work {
        Work::Query {
            query: Box::new(query),
            look_up: LookUpPlan::default(),
            tag,
            notices: Vec::new(),
        }
    }

    /// The columns of the rows, once the parameters have these types; `None` for no rows.
    pub(crate) fn schema(
        &self,
        statement: &Statement,
        parameter_types: &[DataType],
    ) -> Result<Option<SchemaRef>> {
        Ok(match self {
            Work::Query { query, .. } => Some(columns_of(query, parameter_types)?),
            Work::Late {
                alike: Some(alike), ..
            } => alike.schema(statement, parameter_types)?,
            Work::ChangeInWith(both) => Some(columns_of(&both.query, parameter_types)?),
            Work::Explain(explained) => Some(explained.schema()),
            Work::Show { setting } => Some(commands::show_schema(setting.as_deref())),
            Work::TrainCall(_) => Some(commands::train_call_schema()),
            Work::Insert(insert) => returned_columns(insert.returning.as_ref(), parameter_types)?,
            Work::Change { returning, .. } => {
                returned_columns(returning.as_ref(), parameter_types)?
            }
            Work::Nothing(_) | Work::CreateAs(_) => None,
            Work::CopyIn(_) | Work::CopyOut(..) | Work::Late { .. } => None,
            Work::Command => commands::schema(statement),
        })
    }

    /// The plan as expressions over its parameters, if it reads nothing else.
    pub(crate) fn point_plan(
        &self,
        parameter_types: &[DataType],
        schema: Option<&SchemaRef>,
    ) -> Option<PointPlan> {
        let Work::Query {
            query,
            tag: "SELECT",
            notices,
            ..
        } = self
        else {
            return None;
        };
        let plan = PointPlan::of(query, parameter_types).filter(|_| notices.is_empty())?;
        // The client was told this schema.
        let told = schema?.fields().iter().map(|field| field.data_type());
        let found = plan.schema().fields().iter().map(|field| field.data_type());
        found.eq(told).then_some(plan)
    }

    /// The plans that have its parameters.
    fn parameters_plans(&self) -> Vec<&LogicalPlan> {
        match self {
            Work::Query { query, .. } | Work::CopyOut(query, _) | Work::CreateAs(query) => {
                vec![&query.plan]
            }
            Work::Change {
                query, returning, ..
            } => with_returning(&query.plan, returning.as_ref()),
            Work::Late {
                alike: Some(alike), ..
            } => alike.parameters_plans(),
            Work::Insert(insert) => with_returning(&insert.query.plan, insert.returning.as_ref()),
            Work::Explain(explained) => vec![&explained.query.plan],
            Work::ChangeInWith(both) => {
                let mut plans = both.change.parameters_plans();
                plans.push(&both.query.plan);
                plans
            }
            _ => Vec::new(),
        }
    }

    /// The places of the parameters that its plans have.
    pub(crate) fn parameter_places(&self) -> Result<BTreeSet<usize>> {
        let mut places = BTreeSet::new();
        for plan in self.parameters_plans() {
            let names = plan.get_parameter_names()?;
            places.extend(names.iter().filter_map(|name| place(name)));
        }
        Ok(places)
    }

    /// The parameters that are uuids or json, by their places.
    pub(crate) fn marked_parameters(&self) -> Result<BTreeMap<usize, FieldRef>> {
        let mut marked = BTreeMap::new();
        for plan in self.parameters_plans() {
            for (place, field) in marked_parameters(plan)? {
                marked.entry(place).or_insert(field);
            }
        }
        Ok(marked)
    }

    /// The types to plan it with where what stands beside a parameter tells several: the first counts. `None`: it has none such.
    pub(crate) fn settled_parameters(
        &self,
        given: &[Option<FieldRef>],
    ) -> Result<Option<Vec<Option<FieldRef>>>> {
        let order = match self {
            Work::Change { .. } => Order::OfChanges,
            _ => Order::OfQueries,
        };
        let mut settled = given.to_vec();
        let mut is_settled = true;
        for (name, uses) in first_uses(&self.parameters_plans(), order)? {
            let Some(idx) = place(&name).filter(|_| uses.differ) else {
                continue;
            };
            if settled.len() <= idx {
                settled.resize(idx + 1, None);
            }
            if settled[idx].is_none() {
                settled[idx] = Some(uses.settled());
                is_settled = false;
            }
        }
        Ok((!is_settled).then_some(settled))
    }

    pub(crate) fn parameter_types(&self, given: &[Option<FieldRef>]) -> Result<Vec<DataType>> {
        let late = match self {
            Work::Late { names, .. } => Some(names),
            _ => None,
        };
        let plans = self.parameters_plans();
        if plans.is_empty() && late.is_none() {
            return Ok(Vec::new());
        }
        let mut inferred: HashMap<String, Option<DataType>> = HashMap::new();
        for plan in plans {
            let known = inferred_parameters(plan)?.into_iter();
            known.for_each(|(name, known)| {
                let kept = inferred.entry(name).or_default();
                *kept = kept.take().or(known);
            });
        }
        let places = inferred
            .keys()
            .filter_map(|name| name.strip_prefix('$')?.parse().ok());
        let n_parameters: usize = places.max().unwrap_or(0);
        let type_of = |idx: usize| {
            let given = given.get(idx).and_then(Option::as_ref);
            let given = given.map(|field| field.data_type().clone());
            let inferred = inferred.get(&format!("${}", idx + 1)).cloned().flatten();
            match given {
                // A numeric takes the scale of the column that it is for.
                Some(DataType::Decimal128(..)) => inferred.or(given),
                // Clients have one type of arrays, of however many dimensions.
                Some(DataType::List(_)) if inferred.as_ref().is_some_and(is_list_of_lists) => {
                    inferred
                }
                _ => given.or(inferred),
            }
            .unwrap_or_else(|| {
                let mut sizes = late.iter().flat_map(|names| &names.sizes);
                let told = sizes.find(|(place, _)| *place == idx);
                told.map_or(DataType::Utf8, |(_, told)| told.clone())
            })
        };
        let n_late = late.map_or(0, |names| names.n_parameters);
        let n_parameters = n_parameters.max(given.len()).max(n_late);
        Ok((0..n_parameters).map(type_of).collect())
    }
}

/// The plans of a change: of its rows, and of what it returns of them.
fn with_returning<'a>(
    plan: &'a LogicalPlan,
    returning: Option<&'a Arc<Returning>>,
) -> Vec<&'a LogicalPlan> {
    let returned = returning.map(|returning| returning.rows());
    std::iter::once(plan).chain(returned).collect()
}

/// The columns of what a change returns, once the parameters have these types.
fn returned_columns(
    returning: Option<&Arc<Returning>>,
    parameter_types: &[DataType],
) -> Result<Option<SchemaRef>> {
    let told = returning.map(|returning| returning.told(parameter_types));
    told.transpose()
}

/// The columns of a query, once the parameters have these types.
fn columns_of(query: &BoundQuery, parameter_types: &[DataType]) -> Result<SchemaRef> {
    if parameter_types.is_empty() {
        return Ok(told(query.plan.schema().inner(), query));
    }
    // The type of `SELECT $1` is that of its parameter, so any value shows it.
    let nulls: std::result::Result<Vec<ScalarValue>, DataFusionError> =
        parameter_types.iter().map(ScalarValue::try_from).collect();
    let values = nulls?
        .into_iter()
        .map(|value| ScalarAndMetadata::new(value, None));
    let values = ParamValues::List(values.collect());
    let plan = query.plan.clone().replace_params_with_values(&values)?;
    Ok(told(plan.schema().inner(), query))
}

fn is_list_of_lists(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(item) if matches!(item.data_type(), DataType::List(_)))
}
