//! Delta tables whose logs others wrote, by hand here: where their files may lie, and what is refused.

use std::collections::HashMap;

use datafusion::arrow::datatypes::DataType;
use datafusion::parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::*;

/// A file of the log, as text.
fn commit(actions: &[Value]) -> String {
    let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
    lines.join("\n")
}

fn mapped() -> Value {
    json!({"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "1"})
}

fn start(configuration: &Value) -> [Value; 2] {
    let is_mapped = configuration.get("delta.columnMapping.mode").is_some();
    let notes = match is_mapped {
        true => json!({"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "i"}),
        false => json!({}),
    };
    let schema = json!({"type": "struct", "fields": [
        {"name": "i", "type": "long", "nullable": true, "metadata": notes}]});
    let metadata = json!({"metaData": {
        "id": "t", "format": {"provider": "parquet", "options": {}},
        "schemaString": schema.to_string(), "partitionColumns": [],
        "configuration": configuration, "createdTime": 0}});
    let protocol = match is_mapped {
        true => json!({"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}),
        false => json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}}),
    };
    [protocol, metadata]
}

fn add(path: &str, bytes: u64) -> Value {
    json!({"add": {"path": path, "partitionValues": {}, "size": bytes, "modificationTime": 0,
        "dataChange": true, "stats": "{\"numRecords\":1}"}})
}

impl Fixture {
    /// A file with one row outside of all locations; its path and size.
    async fn outside(&self) -> (String, u64) {
        self.write_parquet("../outside/s.parquet", "SELECT 7 AS i")
            .await;
        let path = self.dir.path().canonicalize().unwrap();
        let path = path.join("outside/s.parquet");
        let bytes = std::fs::metadata(&path).unwrap().len();
        (path.to_str().unwrap().to_owned(), bytes)
    }

    fn write_log(&self, table: &str, actions: &[Value]) {
        let log = format!("{table}/_delta_log/00000000000000000000.json");
        self.write(&log, commit(actions));
    }

    /// The rows of a folder, or the code of the error.
    async fn rows_or_code(&self, folder: &str) -> String {
        let state = self.session.state();
        let table = match self.tables.file_provider(folder, &state).await {
            Ok(table) => table,
            Err(error) => return error.sqlstate().into(),
        };
        let rows = self.session.read_table(table).unwrap().collect().await;
        match rows {
            Ok(rows) => pretty_format_batches(&rows).unwrap().to_string(),
            Err(error) => Error::from(error).sqlstate().into(),
        }
    }
}

#[tokio::test]
async fn a_log_does_not_lead_outside() {
    let f = fixture().await;
    let (secret, bytes) = f.outside().await;
    let url = format!("file://{secret}");
    let encoded = "%2E%2E/%2E%2E/outside/s.parquet";
    let cases = [
        (json!({}), url.as_str()),
        (json!({}), "../../outside/s.parquet"),
        (mapped(), url.as_str()),
        (mapped(), secret.as_str()),
        (mapped(), "../../outside/s.parquet"),
        (mapped(), encoded),
        (mapped(), "x%3F/../../../outside/s.parquet"),
    ];
    for (i, (configuration, path)) in cases.into_iter().enumerate() {
        let table = format!("t{i}");
        let [protocol, metadata] = start(&configuration);
        f.write_log(&table, &[protocol, metadata, add(path, bytes)]);
        assert_eq!(f.rows_or_code(&table).await, "42501", "{path}");
    }
}

#[tokio::test]
async fn deletion_vectors_do_not_lead_outside() {
    let f = fixture().await;
    let (secret, _) = f.outside().await;
    f.write_parquet("v/a.parquet", "SELECT 1 AS i").await;
    let bytes = std::fs::metadata(f.path("v/a.parquet")).unwrap().len();
    let absolute = json!({"storageType": "p", "pathOrInlineDv": format!("file://{secret}"),
        "offset": 1, "sizeInBytes": 36, "cardinality": 1});
    let relative = json!({"storageType": "u", "offset": 1, "sizeInBytes": 36, "cardinality": 1,
        "pathOrInlineDv": "../../outside/ab^-aqEH.-t@S}K{vb[*k^"});
    for vector in [absolute, relative] {
        let [protocol, metadata] = start(&json!({"delta.enableDeletionVectors": "true"}));
        let mut file = add("a.parquet", bytes);
        file["add"]["deletionVector"] = vector;
        f.write_log("v", &[protocol, metadata, file]);
        assert_eq!(f.rows_or_code("v").await, "42501");
    }
}

#[tokio::test]
async fn rows_that_vectors_delete_are_gone() {
    let f = fixture().await;
    let rows = "SELECT * FROM (VALUES (1), (2), (3)) AS v(i)";
    for table in ["one", "two"] {
        for file in ["a", "b"] {
            f.write_parquet(&format!("{table}/{file}.parquet"), rows)
                .await;
        }
    }
    let bytes = |path: &str| std::fs::metadata(f.path(path)).unwrap().len();
    // The second row, by a bitmap that stands in the log.
    let vector = json!({"storageType": "i", "sizeInBytes": 34, "cardinality": 1,
        "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000005c8Xg0rr91"});
    let file = |table: &str, name: &str, has_vector: bool| {
        let name = format!("{name}.parquet");
        let mut file = add(&name, bytes(&format!("{table}/{name}")));
        file["add"]["stats"] = "{\"numRecords\":3}".into();
        if has_vector {
            file["add"]["deletionVector"] = vector.clone();
        }
        file
    };
    let configuration = json!({"delta.enableDeletionVectors": "true"});
    let [protocol, metadata] = start(&configuration);
    let one = file("one", "a", true);
    f.write_log("one", &[protocol.clone(), metadata.clone(), one]);
    let (first, second) = (file("two", "a", true), file("two", "b", false));
    f.write_log("two", &[protocol, metadata, first, second]);
    for (table, condition, expected) in [
        ("one", "true", &[1_i64, 3][..]),
        ("one", "i > 1", &[3]),
        ("one", "i = 2", &[]),
        ("two", "true", &[1, 1, 2, 3, 3]),
        ("two", "i = 2", &[2]),
    ] {
        let query = format!("SELECT i FROM t WHERE {condition} ORDER BY i");
        let shown = f.file(table, &query).await;
        let values = shown.lines().map(|line| line.trim_matches(['|', ' ']));
        let values: Vec<i64> = values.filter_map(|value| value.parse().ok()).collect();
        assert_eq!(values, expected, "{table}, {condition}:\n{shown}");
        let shown = f.file(table, "SELECT count(*) AS n FROM t").await;
        let n_rows = if table == "one" { 2 } else { 5 };
        assert!(shown.contains(&format!("| {n_rows} |")), "{shown}");
    }
}

#[tokio::test]
async fn files_of_others_within_the_locations_are_read() {
    let f = fixture().await;
    f.write_parquet("m/a b.parquet", "SELECT 7 AS i").await;
    let path = f.path("m/a b.parquet").canonicalize().unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    let elsewhere = Url::from_file_path(&path).unwrap();
    for (table, configuration, path) in [
        ("m", mapped(), "a%20b.parquet"),
        // As a shallow clone names the files of its source.
        ("clone", json!({}), elsewhere.as_str()),
    ] {
        let [protocol, metadata] = start(&configuration);
        f.write_log(table, &[protocol, metadata, add(path, bytes)]);
        let found = f.rows_or_code(table).await;
        assert!(found.contains("| 7 |"), "{table}: {found}");
    }
    // A log without the numbers of rows.
    let [protocol, metadata] = start(&mapped());
    let mut file = add("a%20b.parquet", bytes);
    file["add"]["stats"] = Value::Null;
    f.write_log("m", &[protocol, metadata, file]);
    for query in ["SELECT count(*) + 6 AS n FROM t", "SELECT 7 AS n FROM t"] {
        let found = f.file("m", query).await;
        assert!(found.contains("| 7 |"), "{query}: {found}");
    }
}

#[tokio::test]
async fn the_library_leaves_out_no_nan_and_no_long_decimal() {
    let f = fixture().await;
    let number = "arrow_cast('12345678901234567890123', 'Decimal128(38, 0)')";
    let rows = format!(
        "SELECT arrow_cast(column1, 'Float64') AS x, {number} AS y \
         FROM (VALUES ('1'), ('5'), ('NaN')) AS v"
    );
    f.write_parquet("n/a.parquet", &rows).await;
    let path = f.path("n/a.parquet").canonicalize().unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    let elsewhere = Url::from_file_path(&path).unwrap();
    let [protocol, mut metadata] = start(&json!({}));
    let schema = json!({"type": "struct", "fields": [
        {"name": "x", "type": "double", "nullable": true, "metadata": {}},
        {"name": "y", "type": "decimal(38,0)", "nullable": true, "metadata": {}}]});
    metadata["metaData"]["schemaString"] = schema.to_string().into();
    let statistics = r#"{"numRecords":3,"nullCount":{"x":0,"y":0},
        "minValues":{"x":1.0,"y":9223372036854775807},
        "maxValues":{"x":5.0,"y":9223372036854775807}}"#;
    for (table, path) in [("near", "a.parquet"), ("far", elsewhere.as_str())] {
        f.write_parquet("near/a.parquet", &rows).await;
        let mut file = add(path, bytes);
        file["add"]["stats"] = statistics.into();
        f.write_log(table, &[protocol.clone(), metadata.clone(), file]);
        for (condition, n_rows) in [
            ("x > 100", 1),
            ("x < 5", 1),
            ("x = 'NaN'", 1),
            (&format!("y = {number}"), 3),
            (&format!("y = {number} AND x >= 5"), 2),
        ] {
            let query = format!("SELECT count(*) AS n FROM t WHERE {condition}");
            let found = f.file(table, &query).await;
            assert!(
                found.contains(&format!("| {n_rows} |")),
                "{table}: {condition}: {found}"
            );
        }
    }
}

#[tokio::test]
async fn columns_known_by_ids_are_not_lost() {
    let f = fixture().await;
    for (name, found) in [("i", "| 7 |"), ("other", "0A000")] {
        let note = HashMap::from([("PARQUET:field_id".to_owned(), "1".to_owned())]);
        let field = Field::new(name, DataType::Int64, true).with_metadata(note);
        let schema = Arc::new(Schema::new(vec![field]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![numbers]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
        writer.write(&batch).unwrap();
        let file = writer.into_inner().unwrap();
        let bytes = file.len() as u64;
        f.write(&format!("{name}/a.parquet"), file);
        let by_id =
            json!({"delta.columnMapping.mode": "id", "delta.columnMapping.maxColumnId": "1"});
        let [protocol, metadata] = start(&by_id);
        f.write_log(name, &[protocol, metadata, add("a.parquet", bytes)]);
        let rows = f.rows_or_code(name).await;
        assert!(rows.contains(found), "{name}: {rows}");
    }
}

#[tokio::test]
async fn a_log_that_lies_about_its_files_is_found_out() {
    let f = fixture().await;
    let rows = "SELECT column1 AS i FROM (VALUES (1), (2)) AS v";
    f.write_parquet("l/a.parquet", rows).await;
    let bytes = std::fs::metadata(f.path("l/a.parquet")).unwrap().len();
    let statistics = |n, least, greatest| json!({"numRecords": n, "minValues": {"i": least}, "maxValues": {"i": greatest}});
    for (stats, reason) in [
        (statistics(2, 1, 2), None),
        // Bounds need not be those of the rows.
        (statistics(2, 0, 9), None),
        (json!({}), None),
        (
            statistics(77, 1, 2),
            Some("it has 2 rows, and 77 by the log"),
        ),
        (
            statistics(2, 50, 60),
            Some("column \"i\" has values beyond"),
        ),
        (statistics(2, 1, 1), Some("column \"i\" has values beyond")),
        (json!({"numRecords": 2, "nullCount": {"i": 0}}), None),
        (
            json!({"numRecords": 2, "nullCount": {"i": 2}}),
            Some("column \"i\" is NULL in 0 rows, and in 2 by the log"),
        ),
    ] {
        let _ = std::fs::remove_dir_all(f.path("l/_delta_log"));
        let [protocol, metadata] = start(&json!({}));
        let mut file = add("a.parquet", bytes);
        file["add"]["stats"] = stats.to_string().into();
        f.write_log("l", &[protocol, metadata, file]);
        let Some(reason) = reason else {
            assert_eq!(f.file("l", COUNT).await, counted(2, 3), "{stats}");
            continue;
        };
        let state = f.session.state();
        let table = f.tables.file_provider("l", &state).await.unwrap();
        let table = f.session.read_table(table).unwrap();
        // Also where the log alone would answer.
        let error = Error::from(table.count().await.unwrap_err());
        let text = error.to_string();
        assert_eq!(error.sqlstate(), "XX001");
        assert!(
            text.contains("l/a.parquet") && text.contains(reason),
            "{text}"
        );
    }
}

#[tokio::test]
async fn partitions_by_bytes_are_read_from_their_escapes() {
    let f = fixture().await;
    f.write_parquet("b/a.parquet", "SELECT 7 AS i").await;
    let bytes = std::fs::metadata(f.path("b/a.parquet")).unwrap().len();
    let [_, mut metadata] = start(&json!({"delta.enableChangeDataFeed": "true"}));
    let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}});
    let schema = json!({"type": "struct", "fields": [
        {"name": "i", "type": "long", "nullable": true, "metadata": {}},
        {"name": "k", "type": "binary", "nullable": true, "metadata": {}}]});
    metadata["metaData"]["schemaString"] = schema.to_string().into();
    metadata["metaData"]["partitionColumns"] = json!(["k"]);
    let mut file = add("a.parquet", bytes);
    file["add"]["partitionValues"] = json!({"k": "\\u0061\\u0062"});
    f.write_log("b", &[protocol, metadata, file]);
    let query = "SELECT sum(i) AS s FROM t WHERE k = arrow_cast('ab', 'Binary')";
    let found = f.file("b", query).await;
    assert!(found.contains("| 7 |"), "{found}");
    let changes = f.tables.changes(&external("b"), 0, None).await;
    let found = f.show(query, changes).await;
    assert!(found.contains("| 7 |"), "{found}");
}

/// Answers requests as plain web servers do; tells how many came.
async fn web_server() -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap_or(0);
            let is_head = request[..n].starts_with(b"HEAD") || request[..n].starts_with(b"GET");
            let status = match is_head {
                true => "404 Not Found",
                false => "501 Not Implemented",
            };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (format!("http://{address}/"), count)
}

#[tokio::test]
async fn web_servers_have_single_files() {
    let (root, count) = web_server().await;
    let dir = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::open(dir.path().to_str().unwrap()).await.unwrap();
    let locations = Locations::new(&warehouse, std::slice::from_ref(&root)).unwrap();
    let tables = Tables::new(warehouse, Arc::new(locations));
    let session = SessionContext::new();
    for (path, code) in [
        ("none.csv", "58P01"),
        ("*.csv", "0A000"),
        ("folder/", "0A000"),
    ] {
        let location = format!("{root}{path}");
        let found = tables.file_provider(&location, &session.state()).await;
        let error = found.map(|_| ()).unwrap_err();
        assert_eq!(error.sqlstate(), code, "{path}: {error}");
    }
    let delta = external(&format!("{root}folder/"));
    let found = tables.provider(&delta, &session.state()).await;
    assert_eq!(found.map(|_| ()).unwrap_err().sqlstate(), "0A000");
    assert!(count.load(std::sync::atomic::Ordering::SeqCst) <= 3);
}

fn external(url: &str) -> CatalogEntry {
    let definition = ExternalTableDefinition {
        location: url.into(),
        further_locations: vec![],
        format: crate::catalog::ExternalFormat::Delta,
        options: BTreeMap::new(),
        schema: None,
        partition_columns: vec![],
    };
    CatalogEntry::new("public", "e", Definition::ExternalTable(definition))
}

#[tokio::test]
async fn the_past_of_a_table_of_others_is_told() {
    let f = fixture().await;
    let mut shape = TableShape::new(&numbers(0..1).schema());
    shape.set_property("delta.enableChangeDataFeed", "true");
    f.tables.create_managed("t", &shape).await.unwrap();
    let batch = numbers(0..3);
    let schema = batch.schema();
    let rows = futures::stream::iter([Ok(batch)]);
    let rows = datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(schema, rows);
    f.append("t", Box::pin(rows)).await.unwrap();
    let entry = external("tables/t");
    let commits = f.tables.history(&entry).await.unwrap();
    let versions: Vec<u64> = commits.iter().map(|commit| commit.version).collect();
    assert_eq!(versions, [1, 0]);
    let detail = f.tables.detail(&entry).await.unwrap();
    assert_eq!((detail.format, detail.n_rows), ("delta", Some(3)));
    let changes = f.tables.changes(&entry, 1, None).await;
    assert_eq!(f.show(COUNT, changes).await, counted(3, 3));
    let state = f.session.state();
    let csv = "i\n1\n";
    f.write("a.csv", csv);
    let mut plain = external("a.csv");
    if let Definition::ExternalTable(definition) = &mut plain.definition {
        definition.format = crate::catalog::ExternalFormat::Csv;
    }
    f.tables.provider(&plain, &state).await.unwrap();
    let error = f.tables.history(&plain).await.unwrap_err();
    assert_eq!(error.sqlstate(), "42809");
}

#[tokio::test]
async fn a_log_is_kept_while_its_table_is_there() {
    let f = fixture().await;
    let Definition::ExternalTable(table) = external("k").definition else {
        panic!("no external table");
    };
    let mut logs = Vec::new();
    for i in [7, 8] {
        // The second time another table in the same folder.
        let name = format!("k/{i}.parquet");
        f.write_parquet(&name, &format!("SELECT {i} AS i")).await;
        let bytes = std::fs::metadata(f.path(&name)).unwrap().len();
        let [protocol, metadata] = start(&json!({}));
        f.write_log(
            "k",
            &[protocol, metadata, add(&format!("{i}.parquet"), bytes)],
        );
        for _ in 0..2 {
            let found = f.rows_or_code("k").await;
            assert!(found.contains(&format!("| {i} |")), "{found}");
            logs.push(f.tables.external.log(&table).await.unwrap().unwrap());
        }
    }
    assert!(Arc::ptr_eq(&logs[0], &logs[1]) && Arc::ptr_eq(&logs[2], &logs[3]));
    assert!(!Arc::ptr_eq(&logs[1], &logs[2]));
    // News of others are read.
    let file = add(
        "7.parquet",
        std::fs::metadata(f.path("k/7.parquet")).unwrap().len(),
    );
    f.write("k/_delta_log/00000000000000000001.json", commit(&[file]));
    assert_eq!(f.file("k", COUNT).await, counted(2, 15));
}

#[tokio::test]
async fn changes_do_not_lead_outside() {
    let f = fixture().await;
    let (secret, bytes) = f.outside().await;
    let url = format!("file://{secret}");
    for (i, path) in [url.as_str(), "../../outside/s.parquet", secret.as_str()]
        .into_iter()
        .enumerate()
    {
        let table = format!("c{i}");
        let [_, metadata] = start(&json!({"delta.enableChangeDataFeed": "true"}));
        let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 4}});
        let told = json!({"cdc": {"path": path, "partitionValues": {}, "size": bytes,
            "dataChange": false}});
        f.write_log(&table, &[protocol, metadata, told]);
        let changes = f.tables.changes(&external(&table), 0, None).await;
        let Ok(changes) = changes else { continue };
        let rows = f.session.read_table(changes).unwrap().collect().await;
        assert!(rows.is_err(), "{path}");
    }
}
