//! Where in a file of JSON lines the first line stands that cannot be read.
//!
//! A file that failed flows in, the number of a line flows out. The reader's own errors name no line, so the file is read
//! once more, line by line; that costs something only where a statement has failed already.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::json::ReaderBuilder;
use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

/// The number of the first line that is no object of these columns; `None` schema: that is no JSON.
pub(crate) async fn first_bad_line(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    schema: Option<&SchemaRef>,
) -> Option<u64> {
    let mut bytes = store.get(path).await.ok()?.into_stream();
    let mut line = Vec::new();
    let mut number = 0;
    while let Some(Ok(chunk)) = bytes.next().await {
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                number += 1;
                if !is_readable(&line, schema) {
                    return Some(number);
                }
                line.clear();
            }
        }
    }
    (!is_readable(&line, schema)).then_some(number + 1)
}

fn is_readable(line: &[u8], schema: Option<&SchemaRef>) -> bool {
    if line.trim_ascii().is_empty() {
        return true;
    }
    let Some(schema) = schema else {
        return serde_json::from_slice::<serde_json::Value>(line).is_ok();
    };
    let decoder = ReaderBuilder::new(Arc::clone(schema)).build_decoder();
    decoder.is_ok_and(|mut decoder| {
        decoder.decode(line).is_ok_and(|n| n == line.len()) && decoder.flush().is_ok()
    })
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
        for (text, syntax, types) in [
            ("{\"a\": 1}\n\n{\"a\": }\n", Some(3), Some(3)),
            ("{\"a\": 1}\n{\"a\": \"x\"}", None, Some(2)),
            ("{\"a\": 1}\n{\"a\": 2", Some(2), Some(2)),
            ("{\"a\": 1}\n", None, None),
        ] {
            store.put(&path, text.to_owned().into()).await.unwrap();
            assert_eq!(first_bad_line(&store, &path, None).await, syntax, "{text}");
            assert_eq!(
                first_bad_line(&store, &path, Some(&schema)).await,
                types,
                "{text}"
            );
        }
    }
}
