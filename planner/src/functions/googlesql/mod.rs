//! GoogleSQL's functions: those that PostgreSQL lacks, under their own names; and under `googlesql.` those by whose
//! name PostgreSQL means something else.
//!
//! In: columns of any type; out: one column. Code map: `calendar` adds, cuts and counts units of time, `moments` makes
//! dates and times, `time_text` writes and reads them by format; `numbers`, `texts`, `patterns`, `printf`, `casts`, `generate`, `places`
//! are what their names say; `fingerprint` is FarmHash; `quantiles` are aggregates; `safe` turns failures into NULL.
//! Forms that are other expressions (IF, COUNTIF, units) are spelt anew in `syntax::googlesql`.

mod calendar;
mod casts;
mod fingerprint;
mod generate;
mod moments;
mod numbers;
mod patterns;
mod places;
mod printf;
mod quantiles;
mod safe;
mod texts;
mod time_text;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

use super::call::Function;
pub(super) use fingerprint::fingerprint64;
pub(super) use quantiles::aggregates;
pub(super) use safe::is_safe;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let families = [
        calendar::functions(),
        casts::functions(),
        fingerprint::functions(),
        generate::functions(),
        moments::functions(),
        numbers::functions(),
        patterns::functions(),
        places::functions(),
        printf::functions(),
        texts::functions(),
        time_text::functions(),
    ];
    families.into_iter().flatten().collect()
}

/// `safe.f` for each function that may fail and is known.
pub(super) fn safe_functions(known: &dyn Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    safe::functions(known)
}
