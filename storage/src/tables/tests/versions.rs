//! Versions by number and time: what the history says of them selects them.

use datafusion::arrow::datatypes::DataType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use serde_json::json;

use super::*;

fn rows(batch: RecordBatch) -> SendableRecordBatchStream {
    let schema = batch.schema();
    let batches = futures::stream::iter([Ok(batch)]);
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

async fn selects(f: &Fixture, entry: &CatalogEntry) {
    let commits = f.tables.history(entry).await.unwrap();
    assert!(commits.len() >= 3);
    for commit in commits {
        let version = VersionSpec::AtMs(commit.timestamp_ms);
        let (_, found) = f.tables.pinned_version(entry, version).await.unwrap();
        assert_eq!(found.version, Some(commit.version));
    }
}

#[tokio::test]
async fn the_time_of_a_version_selects_it() {
    let f = fixture().await;
    f.create("t", numbers(0..1).schema()).await.unwrap();
    for start in [0, 10, 20] {
        let batch = numbers(start..start + 10);
        f.append("t", rows(batch)).await.unwrap();
    }
    // Copies of a log lose the times of its files: all are of one moment, or in another order.
    let log = f.path("tables/t/_delta_log");
    for (number, seconds) in [(1, 100), (2, 100), (3, 50)] {
        let file = log.join(format!("{number:020}.json"));
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_modified(time).unwrap();
    }
    selects(&f, &managed("t")).await;
}

#[tokio::test]
async fn times_in_commits_count_more_than_those_of_files() {
    let f = fixture().await;
    f.create("t", numbers(0..1).schema()).await.unwrap();
    for start in [0, 10] {
        let batch = numbers(start..start + 10);
        f.append("t", rows(batch)).await.unwrap();
    }
    let log = f.path("tables/t/_delta_log");
    for number in 0..3 {
        let file = log.join(format!("{number:020}.json"));
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(|line| {
            let mut action: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(info) = action.get_mut("commitInfo") {
                info["inCommitTimestamp"] = json!(1_000_000 + number * 1000);
            }
            if let Some(metadata) = action.get_mut("metaData") {
                metadata["configuration"]["delta.enableInCommitTimestamps"] = json!("true");
            }
            if let Some(protocol) = action.get_mut("protocol") {
                *protocol = json!({"minReaderVersion": 1, "minWriterVersion": 7,
                    "writerFeatures": ["inCommitTimestamp"]});
            }
            action.to_string()
        });
        std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
    }
    let tables = open(f.path("")).await;
    let f = Fixture { tables, ..f };
    let entry = managed("t");
    selects(&f, &entry).await;
    let times = f.tables.history(&entry).await.unwrap().into_iter();
    let times: Vec<i64> = times.map(|commit| commit.timestamp_ms).collect();
    assert_eq!(times, [1_002_000, 1_001_000, 1_000_000]);
}

#[tokio::test]
async fn a_commit_that_was_emptied_is_no_commit() {
    let f = fixture().await;
    f.create("t", numbers(0..1).schema()).await.unwrap();
    for start in [0, 10] {
        let batch = numbers(start..start + 10);
        f.append("t", rows(batch)).await.unwrap();
    }
    for number in [1, 0] {
        let name = format!("{number:020}.json");
        f.write(&format!("tables/t/_delta_log/{name}"), "");
        let tables = open(f.path("")).await;
        let error = tables.shape("t").await.unwrap_err();
        assert_eq!(error.sqlstate(), "XX001", "{error}");
        assert!(error.to_string().contains(&name), "{error}");
    }
}

#[tokio::test]
async fn old_versions_of_strange_partitions_are_read() {
    let f = fixture().await;
    let schema = Schema::new(vec![
        Field::new("i", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]);
    let mut shape = TableShape::new(&schema);
    shape.partition_columns.push("name".into());
    f.tables.create_managed("t", &shape).await.unwrap();
    let names = ["New York", "a/b", "100%", "%2F..", "Zürich", "x+y:z?#"];
    let numbers = Int64Array::from_iter_values(0..names.len() as i64);
    let columns: [(&str, ArrayRef); 2] = [
        ("i", Arc::new(numbers)),
        ("name", Arc::new(StringArray::from(names.to_vec()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    f.append("t", rows(batch)).await.unwrap();
    let rewrite = f.tables.rewrite("t").await.unwrap();
    rewrite.truncate(false).await.unwrap();
    drop(rewrite);
    let entry = managed("t");
    let old = f.tables.pinned_version(&entry, VersionSpec::Number(1));
    let old = old.await.map(|(rows, _)| rows);
    assert_eq!(f.show(COUNT, old).await, counted(6, 15));
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(folder) else {
        return vec![];
    };
    let found = found.map(|entry| entry.unwrap().path());
    found
        .flat_map(|path| match path.is_dir() {
            true => walk(&path),
            false => vec![path],
        })
        .collect()
}

#[tokio::test]
async fn a_dropped_table_keeps_its_files_while_it_is_read() {
    let f = fixture().await;
    f.create("t", numbers(0..1).schema()).await.unwrap();
    for start in [0, 10] {
        let batch = numbers(start..start + 10);
        f.append("t", rows(batch)).await.unwrap();
    }
    let state = f.session.state();
    let table = f.tables.provider(&managed("t"), &state).await.unwrap();
    let frame = f.session.read_table(table).unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    drop(frame);
    let folder = f.path("tables/t");
    f.tables.remove_managed("t").await.unwrap();
    assert!(folder.exists());
    let read = datafusion::physical_plan::collect(plan, state.task_ctx());
    let n_rows: usize = read.await.unwrap().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(n_rows, 20);
    // The plan was the last that used the files; they go beside this test.
    let left = || walk(&folder);
    for _ in 0..100_000 {
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        if left().is_empty() {
            break;
        }
    }
    assert_eq!(left(), Vec::<PathBuf>::new());
    // Without readers they go at once.
    f.create("u", numbers(0..1).schema()).await.unwrap();
    f.tables.remove_managed("u").await.unwrap();
    assert!(!f.path("tables/u").exists());
}

#[tokio::test]
async fn hints_name_versions_that_can_be_read() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    let mut shape = TableShape::new(&schema);
    shape.set_property("delta.checkpointInterval", "3");
    f.tables.create_managed("t", &shape).await.unwrap();
    for start in 0..5 {
        f.append("t", rows(numbers(start..start + 1)))
            .await
            .unwrap();
    }
    let log = f.path("tables/t/_delta_log");
    // As the cleaning of a log leaves it: the first commit that is left stands before the checkpoint.
    std::fs::remove_file(log.join("00000000000000000000.json")).unwrap();
    let tables = open(f.path("")).await;
    let entry = managed("t");
    let error = tables.pinned_version(&entry, VersionSpec::Number(1)).await;
    let error = error.map(|_| ()).unwrap_err();
    assert_eq!(error.sqlstate(), "42704");
    let hint = error.hint().unwrap();
    assert!(
        hint.starts_with("Versions 2 (") && hint.contains(" to 5 ("),
        "{hint}"
    );
}
