//! External tables: files and folders as they are now, their options, and what may not be read.

use datafusion::arrow::datatypes::DataType;
use datafusion::parquet::arrow::ArrowWriter;

use std::collections::BTreeMap;

use url::Url;

use super::*;
use crate::catalog::{ExternalFormat, columns_of};

fn external(fixture: &Fixture, path: &str, format: ExternalFormat) -> ExternalTableDefinition {
    let location = Url::from_file_path(fixture.path(path)).unwrap().to_string();
    ExternalTableDefinition {
        location,
        further_locations: vec![],
        format,
        options: BTreeMap::new(),
        schema: None,
        partition_columns: vec![],
    }
}

fn entry(definition: ExternalTableDefinition) -> CatalogEntry {
    CatalogEntry::new("public", "e", Definition::ExternalTable(definition))
}

#[tokio::test]
async fn files_are_read_by_their_names() {
    let f = fixture().await;
    f.write_parquet("a.parquet", "SELECT 1 AS x, 'é' AS y")
        .await;
    f.write("a.csv", "x,y\n1,é\n");
    f.write("a.tsv", "x\ty\n1\té\n");
    f.write("a.ndjson", "{\"x\": 1, \"y\": \"é\"}\n");
    f.write("a.json", " [{\"x\": 1, \"y\": \"é\"}]");
    f.write("b c%20.csv", "x,y\n1,é\n");
    for file in [
        "a.parquet",
        "a.csv",
        "a.tsv",
        "a.ndjson",
        "a.json",
        "b c%20.csv",
    ] {
        let shown = f.file(file, "SELECT x, y FROM t").await;
        assert!(shown.contains("| 1 | é |"), "{file}:\n{shown}");
    }
}

#[tokio::test]
async fn damaged_files_are_told() {
    let f = fixture().await;
    let schema = r#"{"type":"record","name":"r","fields":[{"name":"i","type":"long"}]}"#;
    let mut avro = b"Obj\x01\x02\x16avro.schema".to_vec();
    // A length of two bytes, seven bits each.
    let length = schema.len() * 2;
    avro.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
    avro.extend(schema.as_bytes());
    avro.push(0);
    let mark = [9; 16];
    avro.extend(mark);
    for number in [1_u8, 2] {
        avro.extend([2, 2, number * 2]);
        avro.extend(mark);
    }
    f.write("whole.avro", &avro);
    let count = f.file("whole.avro", "SELECT count(*) AS n, sum(i) AS s FROM t");
    assert_eq!(count.await, counted(2, 3));
    f.write("torn.avro", &avro[..avro.len() - 7]);
    f.write("footer.parquet", "PAR1hello worldPAR1");
    let state = f.session.state();
    let torn = f.tables.file_provider("torn.avro", &state).await.unwrap();
    let torn = f.session.read_table(torn).unwrap().collect().await;
    for (file, reason, error) in [
        (
            "torn.avro",
            "it ends within a block",
            torn.unwrap_err().to_string(),
        ),
        (
            "footer.parquet",
            "damaged",
            f.file_error("footer.parquet").await.to_string(),
        ),
    ] {
        assert!(
            error.contains(file) && error.contains(reason),
            "{file}: {error}"
        );
    }
}

#[tokio::test]
async fn folders_are_read_as_one_table() {
    let f = fixture().await;
    f.write_parquet("p/a.parquet", "SELECT 1 AS i").await;
    f.write_parquet("p/sub/b.parquet", "SELECT 2 AS i").await;
    f.write("c/a.csv", "i\n1\n");
    f.write("c/b.csv", "i\n2\n");
    f.write("c/README.txt", "not data");
    f.write("n/a.json", "{\"i\": 1}\n{\"i\": 2}\n");
    for folder in ["p", "c", "n/"] {
        let count = f
            .file(folder, "SELECT count(*) AS n, sum(i) AS s FROM t")
            .await;
        assert_eq!(count, counted(2, 3), "{folder}");
    }
    // New files show at the next statement, and what writers hide does not.
    f.write_parquet("p/c.parquet", "SELECT 4 AS i").await;
    f.write_parquet("p/_old/d.parquet", "SELECT 100 AS i").await;
    f.write_parquet("p/.e.parquet", "SELECT 100 AS i").await;
    assert_eq!(f.file("p", COUNT).await, counted(3, 7));
    std::fs::remove_file(f.path("p/a.parquet")).unwrap();
    assert_eq!(f.file("p", COUNT).await, counted(2, 6));
    let snapshot = f.tables.file_snapshot("p").await.unwrap();
    let paths: Vec<&str> = snapshot
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(paths, ["c.parquet", "sub/b.parquet"]);
    assert_eq!(
        (snapshot.format.as_str(), snapshot.version),
        ("parquet", None)
    );
    assert!(snapshot.files[0].e_tag.is_some());
}

#[tokio::test]
async fn partitions_are_columns() {
    let f = fixture().await;
    f.write_parquet("h/year=2025/kind=a/x.parquet", "SELECT 1 AS i")
        .await;
    f.write_parquet("h/year=2026/kind=b/y.parquet", "SELECT 2 AS i")
        .await;
    let shown = f
        .file("h", "SELECT i, year + 1 AS next, kind FROM t ORDER BY i")
        .await;
    assert!(shown.contains("| 1 | 2026 | a    |"), "{shown}");
    let pruned = f.file("h", "SELECT i FROM t WHERE year = 2026").await;
    assert!(
        pruned.contains("| 2 |") && !pruned.contains("| 1 |"),
        "{pruned}"
    );
    // The schema that CREATE EXTERNAL TABLE keeps gives the same table again.
    let mut kept = f.tables.file_definition("h").await.unwrap();
    let state = f.session.state();
    let inferred = f.tables.external_provider(&kept, &state).await.unwrap();
    let schema = inferred.schema();
    kept.schema = Some(columns_of(&schema));
    kept.partition_columns = vec!["year".into(), "kind".into()];
    let provider = f.tables.provider(&entry(kept), &state).await.unwrap();
    assert_eq!(columns_of(&provider.schema()), columns_of(&schema));
    f.write_parquet("h/loose.parquet", "SELECT 3 AS i").await;
    let error = f.file_error("h").await;
    assert!(matches!(&error, Error::MixedPartitions { .. }), "{error:?}");
    f.write("root/a.csv", "i\n1\n");
    f.write("root/k=1/a.csv", "i\n1\n");
    let error = f.file_error("root").await.to_string();
    assert!(
        error.contains("\"a.csv\"") && error.contains("(k)"),
        "{error}"
    );
    f.write("letters/a.csv", "i\n1\n");
    f.write("letters/B.CSV", "i\n2\n");
    assert_eq!(f.file("letters", COUNT).await, counted(2, 3));
}

#[tokio::test]
async fn a_partition_that_is_null_passes_no_comparison() {
    let f = fixture().await;
    f.write_parquet("h/k=5/x.parquet", "SELECT 1 AS i").await;
    f.write_parquet("h/k=__HIVE_DEFAULT_PARTITION__/y.parquet", "SELECT 2 AS i")
        .await;
    for (filter, count) in [
        ("k < 10", counted(1, 1)),
        ("k <> 0", counted(1, 1)),
        ("NOT (k > 7)", counted(1, 1)),
        ("k IS NULL", counted(1, 2)),
        ("k = 5 OR k IS NULL", counted(2, 3)),
    ] {
        let query = format!("{COUNT} WHERE {filter}");
        assert_eq!(f.file("h", &query).await, count, "{filter}");
    }
}

#[tokio::test]
async fn structs_of_several_files_have_the_fields_of_all() {
    let f = fixture().await;
    f.write_parquet("s/a.parquet", "SELECT named_struct('x', 1) AS s")
        .await;
    f.write_parquet("s/b.parquet", "SELECT named_struct('y', 'b', 'x', 2) AS s")
        .await;
    let query = "SELECT s['x'] AS x, s['y'] AS y FROM t ORDER BY x";
    let shown = f.file("s", query).await;
    assert!(
        shown.contains("| 1 |   |") && shown.contains("| 2 | b |"),
        "{shown}"
    );
}

#[tokio::test]
async fn no_column_of_a_file_is_lost_behind_another() {
    let f = fixture().await;
    let numbers = || -> ArrayRef { Arc::new(Int64Array::from(vec![1])) };
    let field = || Field::new("x", DataType::Int64, true);
    let schema = Arc::new(Schema::new(vec![field(), field()]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![numbers(), numbers()]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    f.write("twice.parquet", writer.into_inner().unwrap());
    let error = f.file_error("twice.parquet").await;
    let text = error.to_string();
    assert_eq!(error.sqlstate(), "XX001");
    assert!(
        text.contains("twice.parquet") && text.contains("\"x\" appears more than once"),
        "{text}"
    );
}

#[tokio::test]
async fn csv_options_are_obeyed() {
    let f = fixture().await;
    f.write("a.data", "1;'x;y';NA\n2;'it\\'s';3\n");
    let mut definition = external(&f, "a.data", ExternalFormat::Csv);
    for (option, value) in [
        ("header", "false"),
        ("delimiter", ";"),
        ("quote", "'"),
        ("escape", "\\"),
        ("null", "NA"),
    ] {
        definition.options.insert(option.into(), value.into());
    }
    let state = f.session.state();
    let provider = f
        .tables
        .provider(&entry(definition.clone()), &state)
        .await
        .unwrap();
    assert_eq!(provider.schema().field(2).data_type(), &DataType::Int64);
    let shown = f.show("SELECT * FROM t", Ok(provider)).await;
    assert!(shown.contains("| x;y      |          |"), "{shown}");
    assert!(shown.contains("| it's     | 3        |"), "{shown}");
    // Declared columns rename and retype those of the file.
    definition.schema = Some(columns_of(&Schema::new(vec![
        Field::new("id", DataType::Utf8, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("number", DataType::Float64, true),
    ])));
    let provider = f.tables.provider(&entry(definition), &state).await;
    let shown = f.show("SELECT id, number FROM t", provider).await;
    assert!(shown.contains("| 2  | 3.0    |"), "{shown}");
}

#[tokio::test]
async fn quoted_line_breaks_and_compression_are_read() {
    let f = fixture().await;
    f.write("a.csv", "x,y\n1,\"two\nlines\"\n2,b\n");
    let shown = f.file("a.csv", "SELECT count(*) AS n FROM t").await;
    assert!(shown.contains("| 2 |"), "{shown}");
    let rows = f.session.sql("SELECT 5 AS i").await.unwrap();
    let target = f.path("z.csv.gz");
    rows.write_csv(
        target.to_str().unwrap(),
        DataFrameWriteOptions::new().with_single_file_output(true),
        Some(datafusion::common::config::CsvOptions {
            compression: datafusion::common::parsers::CompressionTypeVariant::GZIP,
            has_header: Some(true),
            ..Default::default()
        }),
    )
    .await
    .unwrap();
    assert_eq!(f.file("z.csv.gz", COUNT).await, counted(1, 5));
}

#[tokio::test]
async fn a_bad_location_is_a_clear_error() {
    let f = fixture().await;
    std::fs::create_dir_all(f.path("empty")).unwrap();
    f.write("mixed/a.csv", "x\n1\n");
    f.write("mixed/b.parquet", "");
    f.write("zero.csv", "");
    f.write("torn/a.avro", "");
    f.write("notes.txt", "hello");
    f.write(
        "bad.parquet",
        "this is not parquet, though long enough to have a footer",
    );
    f.write("delta/_delta_log/00000000000000000000.json", "{}");
    f.write("delta/x.parquet", "");
    for (path, code) in [
        ("none.csv", "58P01"),
        ("empty", "58P01"),
        ("mixed", "22023"),
        ("zero.csv", "42P16"),
        ("torn", "XX001"),
        ("torn/a.avro", "XX001"),
        ("notes.txt", "22023"),
        ("../x.csv", "42501"),
        ("catalog", "42501"),
        ("s3://bucket/x.csv", "42501"),
        ("ftp://host/x.csv", "0A000"),
    ] {
        let error = f.file_error(path).await;
        assert_eq!(error.sqlstate(), code, "{path}: {error}");
    }
    let error = f.file_error("empty").await;
    assert!(
        error
            .to_string()
            .contains("/warehouse/empty/\" holds no data files")
    );
    let error = f.file_error("bad.parquet").await;
    assert!(matches!(error, Error::BadFile { .. }), "{error:?}");
    assert!(
        error.to_string().contains("/warehouse/bad.parquet\""),
        "{error}"
    );
    // The format of a mixed folder can be said.
    let mixed = external(&f, "mixed", ExternalFormat::Csv);
    let mixed = f.tables.provider(&entry(mixed), &f.session.state()).await;
    assert!(f.show("SELECT * FROM t", mixed).await.contains("| 1 |"));
}

#[tokio::test]
async fn links_in_a_folder_do_not_escape() {
    let f = fixture().await;
    std::fs::write(f.dir.path().join("secret.csv"), "x\n1\n").unwrap();
    f.write("d/a.csv", "x\n1\n");
    std::os::unix::fs::symlink(f.dir.path().join("secret.csv"), f.path("d/b.csv")).unwrap();
    assert_eq!(f.file_error("d").await.sqlstate(), "42501");
    std::fs::remove_file(f.path("d/b.csv")).unwrap();
    std::fs::create_dir(f.dir.path().join("outside")).unwrap();
    std::fs::write(f.dir.path().join("outside/c.csv"), "x\n1\n").unwrap();
    std::os::unix::fs::symlink(f.dir.path().join("outside"), f.path("d/out")).unwrap();
    assert_eq!(f.file_error("d").await.sqlstate(), "42501");
    // A link to a folder above itself leads nowhere.
    std::fs::remove_file(f.path("d/out")).unwrap();
    std::os::unix::fs::symlink(f.dir.path(), f.path("d/up")).unwrap();
    let shown = f.file("d", "SELECT x FROM t").await;
    assert_eq!(shown.matches("| 1 |").count(), 1, "{shown}");
}

#[tokio::test]
async fn what_is_no_longer_allowed_is_refused() {
    let f = fixture().await;
    let outside = f.dir.path().join("outside.csv");
    std::fs::write(&outside, "x\n1\n").unwrap();
    let mut definition = external(&f, "x", ExternalFormat::Csv);
    definition.location = Url::from_file_path(&outside).unwrap().to_string();
    let state = f.session.state();
    let error = f
        .tables
        .provider(&entry(definition.clone()), &state)
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate(), "42501");
    let warehouse = Warehouse::open(f.path("").to_str().unwrap()).await.unwrap();
    let allowed = [f.dir.path().to_str().unwrap().to_owned()];
    let locations = Arc::new(Locations::new(&warehouse, &allowed).unwrap());
    let tables = Tables::new(warehouse, locations);
    tables.provider(&entry(definition), &state).await.unwrap();
}

#[tokio::test]
async fn line_breaks_inside_quotes_are_found() {
    let f = fixture().await;
    for (text, expected) in [
        ("a,b\n1,2\n", false),
        ("a,b\n\"1\",\"x\"\"y\"\n", false),
        ("a,b\n1,\"x\ny\"\n", true),
        ("", false),
        ("\"\n", true),
    ] {
        f.write("data/a.csv", text);
        let url = Url::from_file_path(f.path("data/a.csv").canonicalize().unwrap()).unwrap();
        let found = f
            .tables
            .has_quoted_breaks(&url, &BTreeMap::new())
            .await
            .unwrap();
        assert_eq!(found, expected, "{text:?}");
    }
}

#[tokio::test]
async fn blank_lines_are_rows_of_files_of_one_column() {
    let f = fixture().await;
    let state = f.session.state();
    for (text, expected) in [
        ("i\n1\n\n4\n", counted(3, 5)),
        ("\ni\n\n\n5\n\n", counted(4, 5)),
        ("i,x\n1,a\n\n4,b\n", counted(2, 5)),
    ] {
        f.write("a.csv", text);
        for may_divide in [false, true] {
            let mut definition = external(&f, "a.csv", ExternalFormat::Csv);
            let breaks = (!may_divide).to_string();
            let option = "newlines_in_values".to_owned();
            definition.options.insert(option, breaks);
            let provider = f.tables.provider(&entry(definition), &state).await;
            let shown = f.show(COUNT, provider).await;
            assert_eq!(shown, expected, "{text:?}, divided: {may_divide}");
        }
    }
    // The columns that folders name are not those of the files, also where a definition keeps them.
    f.write("h/k=1/a.csv", "i\n1\n\n4\n");
    let mut definition = external(&f, "h", ExternalFormat::Csv);
    let provider = f.tables.provider(&entry(definition.clone()), &state).await;
    let columns = columns_of(&provider.as_ref().unwrap().schema());
    assert_eq!(columns.len(), 2);
    assert_eq!(f.show(COUNT, provider).await, counted(3, 5));
    definition.schema = Some(columns);
    definition.partition_columns = vec!["k".into()];
    let provider = f.tables.provider(&entry(definition), &state).await;
    assert_eq!(f.show(COUNT, provider).await, counted(3, 5));
}

/// A file of two row groups, whose second has a NULL, with what Parquet calls a uuid.
fn write_uuids(path: &std::path::Path) {
    use datafusion::parquet::column::writer::ColumnWriter;
    use datafusion::parquet::data_type::FixedLenByteArray;
    use datafusion::parquet::file::properties::WriterProperties;
    use datafusion::parquet::file::writer::SerializedFileWriter;
    use datafusion::parquet::schema::parser::parse_message_type;

    let message = "message m {
        optional fixed_len_byte_array(16) id (UUID);
        optional fixed_len_byte_array(16) hash;
    }";
    let schema = Arc::new(parse_message_type(message).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let properties = Arc::new(WriterProperties::new());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    for (first, levels) in [(0x0a_u8, [1, 1]), (0xb0, [1, 0])] {
        let mut group = writer.next_row_group().unwrap();
        while let Some(mut column) = group.next_column().unwrap() {
            let n_values = levels.iter().filter(|level| **level == 1).count();
            let value = |i: usize| FixedLenByteArray::from(vec![first + i as u8; 16]);
            let values: Vec<FixedLenByteArray> = (0..n_values).map(value).collect();
            match column.untyped() {
                ColumnWriter::FixedLenByteArrayColumnWriter(column) => {
                    column.write_batch(&values, Some(&levels), None).unwrap()
                }
                _ => unreachable!("both columns are of fixed lengths"),
            };
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

#[tokio::test]
async fn uuids_of_files_are_texts() {
    let f = fixture().await;
    f.write("uuids.parquet", "");
    write_uuids(&f.path("uuids.parquet"));
    let state = f.session.state();
    let table = f.tables.file_provider("uuids.parquet", &state).await;
    let schema = table.unwrap().schema();
    assert!(crate::tables::is_uuid(schema.field(0)));
    assert_eq!(schema.field(1).data_type(), &DataType::Binary);
    let [low, next, high] = ["0a", "0b", "b0"].map(|byte| {
        let part = |n: usize| byte.repeat(n);
        format!(
            "{}-{}-{}-{}-{}",
            part(4),
            part(2),
            part(2),
            part(2),
            part(6)
        )
    });
    for (condition, expected) in [
        (format!("id = '{low}'"), vec![&low]),
        (format!("id = '{}'", low.to_uppercase()), vec![]),
        (
            format!("id > '{low}' AND id IS NOT NULL"),
            vec![&next, &high],
        ),
        (format!("id IN ('{high}', '{low}')"), vec![&low, &high]),
        (
            format!("id BETWEEN '{low}' AND '{next}'"),
            vec![&low, &next],
        ),
        (format!("id <> '{low}'"), vec![&next, &high]),
        ("id < 'b'".to_owned(), vec![&low, &next]),
        ("id LIKE 'b0%'".to_owned(), vec![&high]),
    ] {
        let query = format!("SELECT id FROM t WHERE {condition} ORDER BY id");
        let shown = f.file("uuids.parquet", &query).await;
        let found: Vec<&str> = shown.lines().filter(|line| line.contains('-')).collect();
        let found = found.iter().filter(|line| line.starts_with("| "));
        let found: Vec<String> = found
            .map(|line| line.trim_matches(['|', ' ']).to_owned())
            .collect();
        assert_eq!(
            found,
            expected.into_iter().cloned().collect::<Vec<_>>(),
            "{condition}"
        );
    }
    let all = f
        .file(
            "uuids.parquet",
            "SELECT count(*) AS n, min(id) AS low FROM t",
        )
        .await;
    assert!(all.contains("| 4 |") && all.contains(&low), "{all}");
}
