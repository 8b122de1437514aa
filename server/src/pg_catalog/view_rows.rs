//! Views as PostgreSQL's catalogs tell them: the rule that stands for each, and what its query names.
//!
//! In: what exists; out: rows. Tools that rename and drop tables, such as dbt, learn here which views go with a table.

use datafusion::error::Result;

use super::cells::Row;
use super::dependency_rows::dependency;
use super::objects::{Objects, number};
use auspex_planner::FactsKind;

/// The number of a view's rule.
fn rule(objects: &Objects, view: i32) -> i32 {
    objects.number("rule", &view.to_string())
}

/// The numbers of the views.
fn views(objects: &Objects) -> Result<Vec<i32>> {
    let known = objects.facts().objects()?;
    let views = known.iter().filter(|object| {
        matches!(
            object.kind,
            FactsKind::View | FactsKind::MaterializedView { .. }
        )
    });
    Ok(views.map(number).collect())
}

/// Rows of `pg_rewrite`.
pub(super) fn rules(objects: &Objects) -> Result<Vec<Row>> {
    let row = |view: i32| {
        vec![
            ("oid", rule(objects, view).into()),
            ("rulename", "_RETURN".into()),
            ("ev_class", view.into()),
            ("ev_type", "1".into()),
            ("ev_enabled", "O".into()),
            ("is_instead", true.into()),
        ]
    };
    Ok(views(objects)?.into_iter().map(row).collect())
}

/// Rows of `pg_depend`: each view's rule belongs to it, and stands on what its query names.
pub(super) fn dependencies(objects: &Objects) -> Result<Vec<Row>> {
    let row = |view: i32, on: i32, kind: &str| {
        let rule = ("pg_rewrite", rule(objects, view), 0);
        dependency(rule, ("pg_class", on, 0), kind)
    };
    let views = views(objects)?.into_iter();
    let mut rows: Vec<Row> = views.map(|view| row(view, view, "i")).collect();
    for (view, named) in objects.facts().named_by_views()? {
        // Lossless: entries count up from 16384.
        rows.push(row(view as i32, named as i32, "n"));
    }
    Ok(rows)
}
