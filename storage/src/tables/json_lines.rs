//! Where in a file of JSON lines the first line stands that cannot be read.
//!
//! A file that failed flows in, the number of a line flows out. The reader's own errors name no line, so the file is read
//! once more, line by line; that costs something only where a statement has failed already.

use std::sync::Arc;

use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::tables::json_array::json_text;
use crate::tables::json_rows::{JsonRows, RowReader};
use crate::tables::plain_bytes::{body, plain};

/// The number of the first line that is no row; `None`, too, for an array, whose elements are not its lines.
pub(crate) async fn first_bad_line(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    compression: FileCompressionType,
    rows: &JsonRows,
) -> Option<u64> {
    let whole = body(store.get(path).await.ok()?.payload);
    let mut text = json_text(plain(whole, compression)).await.ok()?;
    if text.is_array {
        return None;
    }
    text.lines = rows.prepared(text.lines);
    let mut reader = rows.reader(1).ok()?;
    let mut line = Vec::new();
    let mut number = 0;
    while let Some(piece) = text.lines.next().await {
        for part in piece.ok()?.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                number += 1;
                if !is_readable(&line, &mut reader) {
                    return Some(number);
                }
                line.clear();
            }
        }
    }
    (!is_readable(&line, &mut reader)).then_some(number + 1)
}

fn is_readable(line: &[u8], reader: &mut RowReader) -> bool {
    let is_whole = reader.decode(line).is_ok_and(|n| n == line.len());
    is_whole && reader.flush().is_ok()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn lines_are_counted_from_one() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("a.ndjson");
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let rows = JsonRows::new(schema, false);
        for (text, expected) in [
            ("{\"a\": 1}\n\n{\"a\": }\n", Some(3)),
            ("{\"a\": 1}\n{\"a\": \"x\"}", Some(2)),
            ("{\"a\": 1}\n{\"a\": 1.5}", Some(2)),
            ("{\"a\": 1}\n{\"a\": 2", Some(2)),
            ("\u{feff}{\"a\": 1}\n", None),
            ("[{\"a\": 1},\n{\"a\": \"x\"}]", None),
        ] {
            store.put(&path, text.to_owned().into()).await.unwrap();
            let plain = FileCompressionType::UNCOMPRESSED;
            let found = first_bad_line(&store, &path, plain, &rows).await;
            assert_eq!(found, expected, "{text}");
        }
    }
}
