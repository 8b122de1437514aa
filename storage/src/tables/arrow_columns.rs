//! The columns of an Arrow file, which its footer tells: writers need not repeat them before the first batch, where a stream
//! has them, as polars does not.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::convert::fb_to_schema;
use datafusion::arrow::ipc::root_as_footer;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, Result as StoreResult};

use crate::tables::arrow_watch::{MAGIC, TAIL_BYTES, footer_bytes};

/// The columns that the footer of a file tells; `None`: it is a stream, or has no footer that can be read, which is told
/// where its rows are.
pub(crate) async fn of_footer(
    store: &dyn ObjectStore,
    file: &ObjectMeta,
) -> StoreResult<Option<SchemaRef>> {
    let path = &file.location;
    let Some(tail) = file.size.checked_sub(TAIL_BYTES as u64) else {
        return Ok(None);
    };
    let begin = store.get_range(path, 0..MAGIC.len() as u64).await?;
    if begin != MAGIC {
        return Ok(None);
    }
    let end = store.get_range(path, tail..file.size).await?;
    let Ok(n_bytes) = footer_bytes(&end, file.size) else {
        return Ok(None);
    };
    let footer = store.get_range(path, tail - n_bytes..tail).await?;
    let schema = root_as_footer(&footer).ok();
    let schema = schema.and_then(|footer| footer.schema());
    Ok(schema.map(|schema| Arc::new(fb_to_schema(schema))))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use datafusion::arrow::ipc::writer::{FileWriter, StreamWriter};
    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;

    fn rows() -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
        RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap()
    }

    async fn columns(bytes: Vec<u8>) -> Option<SchemaRef> {
        let (store, path) = (InMemory::new(), Path::from("f.arrow"));
        store.put(&path, bytes.into()).await.unwrap();
        let meta = store.head(&path).await.unwrap();
        of_footer(&store, &meta).await.unwrap()
    }

    #[tokio::test]
    async fn the_footer_tells_the_columns_whatever_stands_before_the_first_batch() {
        let rows = rows();
        let mut file = FileWriter::try_new(Vec::new(), &rows.schema()).unwrap();
        file.write(&rows).unwrap();
        let mut bytes = file.into_inner().unwrap();
        assert_eq!(columns(bytes.clone()).await, Some(rows.schema()));
        // The mark and the size of the message that repeats them stand behind the padding.
        let mark = bytes.windows(4).position(|part| part == [0xff; 4]).unwrap();
        bytes[mark..mark + 8].fill(0);
        assert_eq!(columns(bytes.clone()).await, Some(rows.schema()));
        let n_bytes = bytes.len();
        bytes[n_bytes - 9] = 0xff;
        assert_eq!(columns(bytes).await, None);
    }

    #[tokio::test]
    async fn streams_and_short_files_have_no_footer() {
        let rows = rows();
        let mut stream = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
        stream.write(&rows).unwrap();
        assert_eq!(columns(stream.into_inner().unwrap()).await, None);
        assert_eq!(columns(b"ARROW1".to_vec()).await, None);
    }
}
