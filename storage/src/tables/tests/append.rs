//! An append whose files several machines write: each has the tables opened by itself.

use super::managed::rows;
use super::*;

/// How many data files lie in a table's folder.
fn n_files(f: &Fixture, id: &str) -> usize {
    let entries = std::fs::read_dir(f.path(&format!("tables/{id}"))).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_str().unwrap().ends_with(".parquet"))
        .count()
}

#[tokio::test]
async fn files_of_other_machines_show_in_one_commit() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    let other = open(f.path("")).await;
    let shape = f.tables.shape("a").await.unwrap();
    let append = f.tables.begin_append("a", &shape).await.unwrap();
    // It does not disturb that others commit meanwhile.
    f.append("a", rows(vec![numbers(10..11)])).await.unwrap();
    let mut written = Vec::new();
    for (tables, range) in [(&other, 3..5), (&f.tables, 0..3), (&other, 0..0)] {
        let stream = rows(vec![numbers(range)]);
        let joined = tables.join_append("a", append.version()).await.unwrap();
        let files = joined.write_one(stream, Arc::default(), 2).await.unwrap();
        let text = serde_json::to_string(&files).unwrap();
        written.push(serde_json::from_str(&text).unwrap());
    }
    assert_eq!(n_files(&f, "a"), 3);
    assert_eq!(f.managed("a", COUNT).await, counted(1, 10));
    let n_rows = append.show(written, &Arc::default()).await.unwrap();
    assert_eq!(n_rows, 5);
    assert_eq!(f.managed("a", COUNT).await, counted(6, 20));
    let version = f.tables.snapshot(&managed("a")).await.unwrap().version;
    assert_eq!(version, Some(2));
}

#[tokio::test]
async fn files_for_another_definition_go() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    let shape = f.tables.shape("a").await.unwrap();
    let append = f.tables.begin_append("a", &shape).await.unwrap();
    let files = append.write_one(rows(vec![numbers(0..3)]), Arc::default(), 1);
    let written = vec![files.await.unwrap()];
    assert_eq!(n_files(&f, "a"), 1);
    let mut wider = shape.clone();
    wider.set_property("owner", "somebody");
    let rewrite = f.tables.rewrite("a").await.unwrap();
    let redefined = rewrite.redefine(&wider, None, TableOperation::Properties);
    redefined.await.unwrap();
    let error = append.show(written, &Arc::default()).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    assert_eq!(n_files(&f, "a"), 0);
    let error = f.tables.begin_append("a", &shape).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    let error = f.tables.join_append("b", 0).await.unwrap_err();
    assert_eq!(error.sqlstate(), "42P01");
}
