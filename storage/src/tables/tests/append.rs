//! An append whose files several machines write: each has the tables opened by itself.

use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::physical_plan::collect_partitioned;

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
        let files = joined.write_one(stream, Arc::default(), (2, None));
        let files = files.await.unwrap();
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

/// How many files a value has, and whose, says nothing of the partitions in which its rows are read.
#[tokio::test]
async fn a_scan_by_partition_reads_the_files_of_a_value_in_one() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    let mut shape = TableShape::new(stored_schema(&schema).unwrap().as_ref());
    shape.partition_columns = vec!["name".to_owned()];
    f.tables.create_managed("a", &shape).await.unwrap();
    for start in [0, 1, 0] {
        let batch = numbers(start..start + 2);
        f.append("a", rows(vec![batch])).await.unwrap();
    }
    let table = f.tables.provider_by_partition("a").await.unwrap();
    let mut state = f.session.state();
    let options = &mut state.config_mut().options_mut().execution;
    options.enable_file_stream_work_stealing = false;
    let scan = table.scan(&state, Some(&vec![0]), &[], None).await.unwrap();
    let partitions = collect_partitioned(scan, state.task_ctx()).await.unwrap();
    let values = |batches: &Vec<RecordBatch>| -> Vec<i64> {
        let columns = batches.iter().map(|batch| batch.column(0));
        let columns = columns.map(|column| column.as_primitive::<Int64Type>().values().to_vec());
        columns.flatten().collect()
    };
    let read: Vec<Vec<i64>> = partitions.iter().map(values).collect();
    assert_eq!(read, [vec![0, 0], vec![1, 1, 1], vec![2]]);
}

/// Of rows that come one partition after the other, the files of one are open at a time.
#[tokio::test]
async fn files_of_ordered_rows_end_with_their_partition() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    let mut shape = TableShape::new(stored_schema(&schema).unwrap().as_ref());
    shape.partition_columns = vec!["name".to_owned()];
    f.tables.create_managed("a", &shape).await.unwrap();
    let shape = f.tables.shape("a").await.unwrap();
    let append = f.tables.begin_append("a", &shape).await.unwrap();
    let stream = rows(vec![numbers(0..4), numbers(3..3), numbers(3..8)]);
    let files = append.write_one(stream, Arc::default(), (1, Some(1)));
    let files = files.await.unwrap();
    let told = serde_json::to_value(&files).unwrap();
    let told = told["adds"].as_array().unwrap().iter();
    let values: Vec<&str> = told
        .map(|file| file["partitionValues"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(values, ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"]);
    append.show(vec![files], &Arc::default()).await.unwrap();
    assert_eq!(f.managed("a", COUNT).await, counted(9, 31));
}

#[tokio::test]
async fn files_for_another_definition_go() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    let shape = f.tables.shape("a").await.unwrap();
    let append = f.tables.begin_append("a", &shape).await.unwrap();
    let files = append.write_one(rows(vec![numbers(0..3)]), Arc::default(), (1, None));
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
