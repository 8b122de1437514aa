//! Text files whose later rows are not like the first ones: nothing of a value is lost silently.

use std::fmt::Write as _;

use super::*;
use crate::catalog::ExternalTableDefinition;

/// The error of a query of a file, by options.
async fn failure(f: &Fixture, definition: ExternalTableDefinition, query: &str) -> Error {
    let state = f.session.state();
    let provider = f.tables.external_provider(&definition, &state).await;
    let _ = f.session.deregister_table("t").unwrap();
    let found = match provider {
        Ok(provider) => {
            f.session.register_table("t", provider).unwrap();
            let rows = f.session.sql(query).await.unwrap().collect().await;
            rows.map(|_| ()).map_err(Error::from)
        }
        Err(error) => Err(error),
    };
    found.unwrap_err()
}

async fn of_file(f: &Fixture, path: &str, options: &[(&str, &str)]) -> ExternalTableDefinition {
    let mut definition = f.tables.file_definition(path).await.unwrap();
    for (option, value) in options {
        definition.options.insert((*option).into(), (*value).into());
    }
    definition
}

/// Lines `from..to`, each by a pattern with `#` for its number.
fn lines(range: std::ops::Range<usize>, pattern: &str) -> String {
    range.fold(String::new(), |mut text, i| {
        let line = pattern.replace('#', &i.to_string());
        writeln!(text, "{line}").unwrap();
        text
    })
}

#[tokio::test]
async fn columns_that_begin_empty_keep_their_values() {
    let f = fixture().await;
    let text = format!(
        "a,b\n{}{}",
        lines(0..21_000, "#,"),
        lines(21_000..21_300, "#,#")
    );
    f.write("a.csv", text.replace(",\n", ",NA\n"));
    f.write("b.csv", &text);
    let count = "SELECT count(b) AS n, max(b) AS m FROM t";
    let state = f.session.state();
    let with_null = of_file(&f, "a.csv", &[("null", "NA")]).await;
    let shown = f.show(count, f.tables.external_provider(&with_null, &state).await);
    assert!(shown.await.contains("| 300 | 21299 |"));
    assert!(f.file("b.csv", count).await.contains("| 300 | 21299 |"));
    let text = lines(0..1200, "{\"a\": #, \"b\": null}") + &lines(0..300, "{\"b\": \"#\"}");
    f.write("c.ndjson", text);
    assert!(f.file("c.ndjson", count).await.contains("| 300 | 99 |"));
}

#[tokio::test]
async fn fractions_are_no_integers() {
    let f = fixture().await;
    f.write(
        "a.ndjson",
        lines(0..1200, "{\"a\": #}") + &lines(1200..1300, "{\"a\": #.5}"),
    );
    let max = "SELECT max(a) AS m FROM t";
    // The whole file is looked at.
    assert!(f.file("a.ndjson", max).await.contains("| 1299.5 |"));
    let few = of_file(&f, "a.ndjson", &[("sample_size", "1000")]).await;
    let error = failure(&f, few.clone(), max).await;
    assert_eq!(error.sqlstate(), "22P02", "{error}");
    assert!(
        error
            .to_string()
            .contains("/a.ndjson\" cannot be read: line 1201: "),
        "{error}"
    );
    let declared = ExternalTableDefinition {
        schema: Some(crate::catalog::columns_of(&Schema::new(vec![Field::new(
            "a",
            datafusion::arrow::datatypes::DataType::Int16,
            true,
        )]))),
        ..few
    };
    assert_eq!(failure(&f, declared, max).await.sqlstate(), "22P02");
}

#[tokio::test]
async fn late_keys_are_read_or_told() {
    let f = fixture().await;
    f.write(
        "a.ndjson",
        lines(0..2000, "{\"a\": #}") + "{\"a\": 1, \"late\": 7}\n",
    );
    let shown = f.file("a.ndjson", "SELECT sum(late) AS s FROM t").await;
    assert!(shown.contains("| 7 |"), "{shown}");
    let few = of_file(&f, "a.ndjson", &[("infer_rows", "10")]).await;
    let error = failure(&f, few, "SELECT * FROM t").await;
    assert!(
        error
            .to_string()
            .contains("line 2001: column 'late' does not occur"),
        "{error}"
    );
    // Lists and objects of several files have the elements and keys of all.
    f.write("d/a.ndjson", "{\"o\": {\"x\": 1}, \"l\": []}\n");
    f.write("d/b.ndjson", "{\"o\": {\"y\": \"z\"}, \"l\": [2]}\n");
    let shown = f
        .file("d", "SELECT max(o['y']) AS y, sum(l[1]) AS l FROM t")
        .await;
    assert!(shown.contains("| z | 2 |"), "{shown}");
}

#[tokio::test]
async fn dates_do_not_lose_their_time_of_day() {
    let f = fixture().await;
    f.write("a.csv", "d\n2026-01-01\n2026-01-02T10:00:00\n");
    let max = "SELECT max(d) AS d FROM t";
    assert!(f.file("a.csv", max).await.contains("2026-01-02T10:00:00"));
    for null in ["", "NA"] {
        let few = of_file(&f, "a.csv", &[("infer_rows", "1"), ("null", null)]).await;
        let error = failure(&f, few, max).await;
        assert_eq!(error.sqlstate(), "22P02");
        let reason = "'2026-01-02T10:00:00' as type 'Date32' for column 0 at line 3";
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn large_arrays_are_not_read_in_ranges() {
    let f = fixture().await;
    let elements = lines(0..20_000, "{\"i\": #},");
    f.write("a.json", format!("\u{feff}[\n{elements}{{\"i\": 1}}\n]\n"));
    f.session
        .state_ref()
        .write()
        .config_mut()
        .options_mut()
        .optimizer
        .repartition_file_min_size = 1;
    assert_eq!(f.file("a.json", COUNT).await, counted(20_001, 199_990_001));
}
