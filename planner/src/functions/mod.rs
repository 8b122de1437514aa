//! PostgreSQL's functions and operators that the planner lacks, or gives another meaning.
//!
//! In: a session's context; out: the same with the functions of each family. Code map: `call` describes
//! a function; `moment`, `moment_parts`, `overlaps`, `now`, `interval`, `clock_sums`, `day_sums`, `time_sums`, `truncation`, `bins`, `precision`, `template`, `template_letters`, `number_template`, `interval_template` and `to_char` are about time and
//! its text; `math`, `rounding`, `series`, `bytes`, `digests`, `bits`, `of_bytes`, `strings`, `regexps`, `similar`, `arrays`, `array_parts`, `array_extremes`, `joined_arrays`, `null_arrays`, `dimensions`, `json`, `uuid`, `addresses`, `enums` what their names say; `aggregates`, `array_agg`, `distinct_values`, `string_agg`, `sums`, `averages` and `interval_totals` look at whole groups, `sliding` at frames of windows, `shifts` at other rows of a window;
//! `googlesql` has those of BigQuery; `operators` and `checked` plan operators, `json_operators` tells those of json, `order_keys` and `float_key` are what values are compared by, `extreme_arguments` choose by them, `literals` types numbers; `fitted` prepares what is cast, `decimals` numbers for numerics, `one_nan` what is computed of floats, `rows_by_place` rows for structs, `assigned_value` marks it,
//! `quantified` compares with all rows of a subquery, `array_comparisons` with the elements of arrays, `chosen_items` with those of lists, `case_marks` tells what CASE is of, `cast_rules` are about casts wherever they stand, `truth` about those of numbers to truth values, `cast_keys` keeps keys of groups apart, `query_keys` makes values of those with subqueries, `element_marks` what elements are of, `bare_fields` what names mean beside elements, `value_marks` what columns are among the rows of VALUES, `beside_days` reads moments beside branches, `pattern_lists` with all patterns of an array; `row_bucket` divides rows that come in no order; `row_counts` are those of limits that are computed; `set_key` hides what is known of a key of groups, `condition` what DataFusion would conclude from one; `server_side` waits; `long_chains` refuses operators that would be planned for minutes; `syntax` spells a
//! statement anew before it is planned, `types` names its types. Functions about catalogs, and those that write
//! values as the wire does (`format`, `to_json`), are the server's.

mod addresses;
mod aggregates;
mod array_agg;
mod array_comparisons;
mod array_elements;
mod array_extremes;
mod array_parts;
mod arrays;
mod assigned_value;
mod averages;
mod bare_fields;
mod beside_days;
mod bins;
mod bits;
mod bytes;
mod call;
mod case_marks;
mod cast_keys;
mod cast_rules;
mod checked;
mod chosen_items;
mod clock_sums;
mod condition;
mod day_sums;
mod decimals;
mod digests;
mod dimensions;
mod distinct_values;
mod domains;
mod element_marks;
mod enums;
mod extreme_arguments;
mod extremes;
mod fitted;
mod float_key;
mod googlesql;
mod interval;
mod interval_template;
mod interval_totals;
mod joined_arrays;
mod json;
mod json_operators;
mod literals;
mod long_chains;
mod math;
mod moment;
mod moment_parts;
mod now;
mod null_arrays;
mod number_template;
mod of_bytes;
mod one_nan;
mod operators;
mod order_keys;
mod overlaps;
mod pattern_lists;
mod percentiles;
mod precision;
mod quantified;
mod query_keys;
mod quotients;
mod regexps;
mod rounding;
mod row_bucket;
mod row_counts;
mod rows_by_place;
mod scales;
mod series;
mod server_side;
mod set_key;
mod shifts;
mod similar;
mod single_value;
mod sized;
mod sliding;
mod string_agg;
mod strings;
mod sums;
mod syntax;
mod template;
mod template_letters;
mod text_input;
mod text_limits;
mod time_sums;
mod to_char;
mod truncation;
mod truth;
mod types;
mod unknown;
mod uuid;
mod value_marks;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry as _;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::optimizer::analyzer::function_rewrite::ApplyFunctionRewrites;
use datafusion::prelude::SessionContext;

pub(crate) use addresses::{
    KEY as ADDRESS_KEY, OVERLAPS as NETWORKS_OVERLAP, READ_CIDR, READ_INET,
    WITHIN as WITHIN_NETWORK, WITHIN_OR_EQUAL as WITHIN_OR_EQUAL_NETWORK, address_of_type,
    address_type_name, of_one_kind, read as read_address,
};
pub use addresses::{address_bytes, address_of_bytes, address_text, shown_addresses};
pub use array_agg::TYPE_KEY;
pub(crate) use array_agg::gathers_for;
pub(crate) use array_comparisons::mark_array_comparisons;
pub(crate) use array_parts::{ARRAY_WITH_PART, LAST_PLACE, SLICE_BOUND};
use arrays::EXTENT;
pub(crate) use assigned_value::{
    MARK as ASSIGNED_VALUE, can_be_assigned, check_assignment, check_default, type_of,
};
pub(crate) use auspex_storage::type_name;
pub(crate) use beside_days::{noted_day, with_moment};
pub(crate) use bits::{READ as READ_BITS, READ_VARYING as READ_VARYING_BITS};
pub(crate) use case_marks::{literal_text, read_once, with_mark};
pub(crate) use cast_keys::{CAST_KEY, mark_cast_keys};
use cast_rules::CastRules;
pub(crate) use checked::{always_fits, chain_of_name, is_chain, whole_numbers};
pub(crate) use condition::{CONDITION, condition};
use dimensions::FLAT;
pub(crate) use distinct_values::{arguments as distinct_arguments, distinct_by_keys};
pub(crate) use domains::{in_domain, spelt_in_domain};
pub(crate) use enums::{
    POSITION as ENUM_POSITION, READ as READ_ENUM, enum_of, enum_of_type, enum_type_name,
    is_call as is_enum_call, label_of, meant as enum_call,
};
pub(crate) use extreme_arguments::extreme_by_key;
pub(crate) use fitted::{WHOLE as AS_WHOLE, assigned, half_away_each, read_beside};
pub(crate) use float_key::{FLOAT_KEY, float_key, spelt_float_key};
pub(crate) use interval::{length as interval_length, parse as parse_interval};
use json::MarkedArrays;
pub use json::ROW_TYPE_KEY;
pub use json::jsonb_text;
pub(crate) use json::{JSONB_WITH_PART, TYPED_ROW, WHOLE_ROW, reads_texts, remarked, stands_for};
pub(crate) use literals::{exact_fraction, forget_digits, is_fraction, type_numbers};
pub(crate) use moment::{TIMESTAMP, timestamptz};
use operators::Operators;
pub(crate) use order_keys::{Key, KeyOf, key_of, keyed, keys_of, no_operator};
pub(crate) use precision::CLOCKS_OF_DIGITS;
pub(crate) use quotients::of_settled_types;
pub(crate) use rounding::{half_away, half_to_even, is_round};
pub(crate) use row_bucket::row_bucket;
pub(crate) use rows_by_place::check_row_width;
pub(crate) use series::SERIES;
pub(crate) use set_key::set_key;
pub(crate) use single_value::{MAYBE_VALUE, maybe_value, only_value, single_value};
pub(crate) use sized::{Growth, growth};
pub use syntax::has_aggregate;
pub(crate) use syntax::{
    all_are, as_value, call as function_call, change_own, each_own, gives_rows, is_compared_with,
    number_text, of_one_column, record_document, record_member, refuse_wide, rewrite, row_fields,
    too_many_names, unmark as unmark_values, unsupported_subquery, value_column,
};
pub use text_input::{
    ArrayItem, holds_numerics, numeric_in_full, numerics_in_full, read_text, read_texts,
    rounded_numeric, split_array, zone_abbreviations,
};
pub(crate) use text_input::{
    FILE_TEXTS, check_text, in_full, is_bytes, planned_type, read_array, reader_of, type_beside,
    type_in_full, type_read_by,
};
pub(crate) use text_limits::{AS_BPCHAR, AS_VARCHAR, spelt_within};
pub(crate) use types::Types;
pub(crate) use unknown::is_written_text;
pub(crate) use uuid::READ as READ_UUID;
pub use uuid::uuid_text;

/// A function of the planner, reaching further.
type Reaching = fn(Arc<ScalarUDF>) -> ScalarUDF;

/// Adds the functions and operators to a context.
pub(crate) fn install(context: &mut SessionContext) -> Result<()> {
    let mut functions: Vec<ScalarUDF> = Vec::new();
    for function in families() {
        functions.push(function.build());
    }
    functions.push(server_side::pg_sleep());
    functions.extend([json::whole_row(), json::typed_row()]);
    functions.push(only_value().as_ref().clone());
    functions.push(maybe_value().as_ref().clone());
    functions.push(set_key::function());
    functions.push(condition().as_ref().clone());
    functions.extend(fitted::functions());
    functions.push(assigned_value::function());
    functions.push(now::function());
    functions.push(uuid::random());
    functions.push(auspex_storage::uuid_of_bytes());
    functions.push(auspex_storage::texts_within());
    functions.extend(rounding::functions());
    for function in &functions {
        context.register_udf(Arc::new(function.clone()))?;
    }
    let state = context.state();
    for function in json::keeping(&|name| state.scalar_functions().get(name).cloned()) {
        context.register_udf(Arc::new(function))?;
    }
    let state = context.state();
    for function in sized::functions(&|name| state.scalar_functions().get(name).cloned()) {
        context.register_udf(Arc::new(function))?;
    }
    let state = context.state();
    for function in of_bytes::functions(&|name| state.scalar_functions().get(name).cloned()) {
        context.register_udf(function)?;
    }
    let reaching: [(&str, Reaching); 2] = [
        ("date_trunc", truncation::date_trunc),
        ("date_bin", bins::date_bin),
    ];
    for (name, with_far_times) in reaching {
        let planned = context.state().scalar_functions().get(name).cloned();
        if let Some(planned) = planned {
            context.register_udf(Arc::new(with_far_times(planned)))?;
        }
    }
    for function in array_extremes::functions() {
        context.register_udf(function)?;
    }
    let state = context.state();
    let known = |name: &str| state.scalar_functions().get(name).cloned();
    for function in googlesql::safe_functions(&known) {
        context.register_udf(Arc::new(function))?;
    }
    for function in all_aggregates() {
        context.register_udaf(Arc::new(function))?;
    }
    for function in shifts::functions() {
        context.register_udwf(Arc::new(function))?;
    }
    // Once before types are coerced, which single expressions see alone, and once after.
    context.register_function_rewrite(Arc::new(bits::ReadBits))?;
    context.register_function_rewrite(Arc::new(addresses::OfAddresses))?;
    context.register_function_rewrite(Arc::new(CastRules::WRITTEN))?;
    context.register_function_rewrite(Arc::new(fitted::ClientClock))?;
    let coerced = ApplyFunctionRewrites::new(vec![
        Arc::new(CastRules::ADDED),
        Arc::new(fitted::ClientClock),
    ]);
    context.add_analyzer_rule(Arc::new(coerced));
    let functions = functions.into_iter().map(Arc::new).collect();
    context.register_expr_planner(Arc::new(Operators::new(functions)))
}

/// All functions over groups of rows.
fn all_aggregates() -> impl Iterator<Item = AggregateUDF> {
    aggregates::functions()
        .into_iter()
        .chain(googlesql::aggregates())
        .chain(extremes::functions())
        .chain(sliding::functions())
        .chain([
            sums::function(),
            array_agg::function(),
            averages::function(),
            percentiles::function(),
            single_value().as_ref().clone(),
            distinct_by_keys().as_ref().clone(),
        ])
}

/// The functions that are described rather than written out.
fn families() -> impl Iterator<Item = call::Function> {
    [
        moment::functions(),
        moment_parts::functions(),
        overlaps::functions(),
        interval::functions(),
        clock_sums::functions(),
        day_sums::functions(),
        time_sums::functions(),
        to_char::functions(),
        precision::functions(),
        truncation::functions(),
        math::functions(),
        scales::functions(),
        strings::functions(),
        similar::functions(),
        arrays::functions(),
        array_parts::functions(),
        joined_arrays::functions(),
        json::functions(),
        googlesql::functions(),
        quantified::functions(),
        pattern_lists::functions(),
        uuid::functions(),
        addresses::functions(),
        enums::functions(),
        domains::functions(),
        order_keys::functions(),
        float_key::functions(),
        extreme_arguments::functions(),
        quotients::functions(),
        dimensions::functions(),
        series::functions(),
        row_counts::functions(),
        bytes::functions(),
        digests::functions(),
        bits::functions(),
        text_limits::functions(),
    ]
    .into_iter()
    .flatten()
}

/// Planners that come before the planner's own, which would plan every array and every comparison of two, however long.
pub(crate) fn first_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let functions = arrays::functions()
        .into_iter()
        .chain(joined_arrays::functions())
        .chain(dimensions::functions())
        .map(|function| function.build());
    let functions = functions.map(Arc::new).collect();
    vec![
        Arc::new(long_chains::LongChains),
        Arc::new(MarkedArrays),
        Arc::new(of_bytes::Parts),
        Arc::new(operators::Lists(Operators::new(functions))),
    ]
}
