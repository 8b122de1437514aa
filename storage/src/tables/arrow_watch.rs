//! Arrow files that are read with an eye on the sizes that they tell of themselves.
//!
//! A store flows in, one flows out whose files fail if a footer, a message or a buffer lies beyond its file, or if a
//! compressed buffer tells that it holds more than it can: the reader makes room for what it is told, which ends the
//! server where that is more than the machine has. Looks at metadata and sizes only; decodes nothing.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::ipc::{
    Block, Buffer, CompressionType, Message, root_as_footer, root_as_message,
};
use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, Result as StoreResult,
};

use crate::stores::{Layer, Layered};
use crate::tables::located::Place;
use crate::tables::whole_look::{Content, damaged, looked};

pub(super) const MAGIC: &[u8] = b"ARROW1";
/// The size of the footer and the mark behind it.
pub(super) const TAIL_BYTES: usize = 10;
/// What stands before the size of a message, since 0.15 of the format.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// The size that stands before a compressed buffer.
const SIZE_BYTES: u64 = 8;
/// What a reader calls scans of streams.
const STREAM: &str = "arrow_stream";

const NO_FOOTER: &str =
    "it has no footer: the file is not complete, or it is a stream among files with footers";
const BAD_FOOTER: &str = "its footer cannot be read: the file is damaged";
const ENDS: &str = "it ends within a message: the file is not complete";
const BAD_MESSAGE: &str = "a message cannot be read: the file is damaged";
const BEYOND: &str = "a part lies beyond its end: the file is damaged or not complete";

/// The store of one scan of Arrow files.
#[derive(Debug)]
pub(crate) struct SizeWatch {
    inner: Arc<dyn ObjectStore>,
    place: Place,
    /// Whether the files are streams of messages without a footer.
    is_stream: bool,
    /// How long the metadata is of the blocks that footers told of, by file and offset.
    metadata: Mutex<BTreeMap<(Path, u64), u64>>,
}

impl SizeWatch {
    /// The store of a scan, which is called `file_type` by its reader.
    pub(crate) fn over(
        inner: Arc<dyn ObjectStore>,
        place: &Place,
        file_type: &str,
    ) -> Arc<dyn ObjectStore> {
        Arc::new(Layered::new(Self {
            inner,
            place: place.clone(),
            is_stream: file_type == STREAM,
            metadata: Mutex::default(),
        }))
    }

    /// The end of a file: the size of its footer, then the footer itself.
    async fn footer(&self, path: &Path, got: GetResult) -> StoreResult<GetResult> {
        let (meta, range, attributes) =
            (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let bytes = got.bytes().await?;
        let found = match bytes.len().checked_sub(TAIL_BYTES) {
            None | Some(0) => footer_bytes(&bytes, meta.size).map(|_| ()),
            Some(n_bytes) => self.note_blocks(path, &bytes[..n_bytes], meta.size),
        };
        found.map_err(|reason| damaged(&self.place, path, reason))?;
        Ok(GetResult {
            payload: GetResultPayload::Stream(
                futures::stream::once(async move { Ok(bytes) }).boxed(),
            ),
            meta,
            range,
            attributes,
        })
    }

    fn note_blocks(&self, path: &Path, footer: &[u8], length: u64) -> Result<(), String> {
        let blocks = blocks(footer, length)?;
        let mut known = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, n_metadata) in blocks {
            known.insert((path.clone(), place.start), n_metadata);
        }
        Ok(())
    }

    fn metadata_at(&self, path: &Path, start: u64) -> u64 {
        let known = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
        // A block that no footer told of has no metadata, which is an error.
        known.get(&(path.clone(), start)).copied().unwrap_or(0)
    }
}

#[async_trait]
impl Layer for SizeWatch {
    fn below(&self, _: &Path) -> StoreResult<&dyn ObjectStore> {
        Ok(&self.inner)
    }

    async fn get(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let (range, is_head) = (options.range.clone(), options.head);
        let got = self.inner.get_opts(path, options).await?;
        match range {
            _ if is_head => Ok(got),
            None if self.is_stream => looked(&self.place, path, got, look_at_messages).await,
            None => looked(&self.place, path, got, look_at_blocks).await,
            Some(GetRange::Suffix(_)) => self.footer(path, got).await,
            Some(_) => Ok(got),
        }
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let parts = self.inner.get_ranges(path, ranges).await?;
        for (range, part) in ranges.iter().zip(&parts) {
            let n_metadata = self.metadata_at(path, range.start);
            let place = 0..part.len() as u64;
            let found = look_at_block(&mut Cursor::new(part), place, n_metadata);
            found.map_err(|reason| damaged(&self.place, path, reason))?;
        }
        Ok(parts)
    }
}

/// A store whose files are streams of bytes, those of the machine, too.
///
/// Of a stream the library reads the first message for the columns of a file; of a file it takes the first bytes for a
/// size where the footer is not what it looked for.
#[derive(Debug)]
pub(crate) struct AsStreams(Arc<dyn ObjectStore>);

impl AsStreams {
    pub(crate) fn over(inner: &Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Layered::new(Self(Arc::clone(inner))))
    }
}

#[async_trait]
impl Layer for AsStreams {
    fn below(&self, _: &Path) -> StoreResult<&dyn ObjectStore> {
        Ok(&self.0)
    }

    async fn get(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let got = self.0.get_opts(path, options).await?;
        let (meta, range, attributes) =
            (got.meta.clone(), got.range.clone(), got.attributes.clone());
        Ok(GetResult {
            payload: GetResultPayload::Stream(got.into_stream()),
            meta,
            range,
            attributes,
        })
    }
}

/// Looks at a file with a footer.
fn look_at_blocks(mut file: &mut dyn Content, length: u64) -> Result<(), String> {
    let tail = length.checked_sub(TAIL_BYTES as u64).ok_or(NO_FOOTER)?;
    let n_bytes = footer_bytes(&part(&mut file, tail..length)?, length)?;
    let footer = part(&mut file, tail - n_bytes..tail)?;
    for (place, n_metadata) in blocks(&footer, length)? {
        look_at_block(&mut file, place, n_metadata)?;
    }
    Ok(())
}

/// How long a footer is of which these are the last bytes of its file.
pub(super) fn footer_bytes(tail: &[u8], length: u64) -> Result<u64, String> {
    let (size, magic) = tail.split_first_chunk::<4>().ok_or(NO_FOOTER)?;
    if magic != MAGIC {
        return Err(NO_FOOTER.to_owned());
    }
    let n_bytes = i32::from_le_bytes(*size);
    let room = length.saturating_sub(TAIL_BYTES as u64);
    let known = u64::try_from(n_bytes).ok().filter(|n| *n <= room);
    known.ok_or_else(|| format!("its footer has {n_bytes} bytes of {length}: the file is damaged"))
}

/// Where the blocks of a file lie, and how long their metadata is.
fn blocks(footer: &[u8], length: u64) -> Result<Vec<(Range<u64>, u64)>, String> {
    let footer = root_as_footer(footer).map_err(|_| BAD_FOOTER)?;
    let lists = [footer.dictionaries(), footer.recordBatches()];
    let blocks = lists.into_iter().flatten().flat_map(|list| list.iter());
    let placed = blocks.map(|block| place_of(block, length).ok_or_else(|| BEYOND.to_owned()));
    placed.collect()
}

fn place_of(block: &Block, length: u64) -> Option<(Range<u64>, u64)> {
    let start = u64::try_from(block.offset()).ok()?;
    let n_metadata = u64::try_from(block.metaDataLength()).ok()?;
    let n_body = u64::try_from(block.bodyLength()).ok()?;
    let end = start.checked_add(n_metadata)?.checked_add(n_body)?;
    (end <= length).then_some((start..end, n_metadata))
}

/// Looks at a message and its body.
fn look_at_block(
    file: &mut (impl Read + Seek),
    place: Range<u64>,
    n_metadata: u64,
) -> Result<(), String> {
    let body = place.start + n_metadata..place.end;
    let metadata = part(file, place.start..body.start)?;
    let skipped = match metadata.starts_with(&CONTINUATION) {
        true => 8,
        false => 4,
    };
    let message = metadata.get(skipped..).map(root_as_message);
    let message = message.and_then(Result::ok).ok_or(BAD_MESSAGE)?;
    look_at_buffers(file, &message, &body)
}

/// Looks at a stream of messages.
fn look_at_messages(mut file: &mut dyn Content, length: u64) -> Result<(), String> {
    let within = |start: u64, n_bytes: i64| -> Result<Range<u64>, String> {
        let n_bytes = u64::try_from(n_bytes).map_err(|_| BAD_MESSAGE)?;
        let end = start.checked_add(n_bytes).filter(|end| *end <= length);
        Ok(start..end.ok_or(ENDS)?)
    };
    let mut at = 0;
    // The end of a stream need not be marked.
    while at < length {
        let mut size = part(&mut file, within(at, 4)?)?;
        if size == CONTINUATION {
            at += 4;
            size = part(&mut file, within(at, 4)?)?;
        }
        at += 4;
        let size = size.first_chunk().copied().map(i32::from_le_bytes);
        let size = size.ok_or(ENDS)?;
        if size == 0 {
            break;
        }
        let metadata = within(at, i64::from(size))?;
        let body_start = metadata.end;
        let metadata = part(&mut file, metadata)?;
        let message = root_as_message(&metadata).map_err(|_| BAD_MESSAGE)?;
        let body = within(body_start, message.bodyLength())?;
        look_at_buffers(&mut file, &message, &body)?;
        at = body.end;
    }
    Ok(())
}

/// Looks at the buffers of a message, all of which lie in its body.
fn look_at_buffers(
    file: &mut (impl Read + Seek),
    message: &Message<'_>,
    body: &Range<u64>,
) -> Result<(), String> {
    let of_dictionary = || message.header_as_dictionary_batch()?.data();
    let batch = message.header_as_record_batch().or_else(of_dictionary);
    let Some(batch) = batch else {
        return Ok(());
    };
    let codec = batch.compression().map(|compression| compression.codec());
    for buffer in batch.buffers().into_iter().flatten() {
        let place = buffer_in(buffer, body).ok_or(BEYOND)?;
        let n_bytes = place.end - place.start;
        let Some(codec) = codec.filter(|_| n_bytes > 0) else {
            continue;
        };
        let Some(n_compressed) = n_bytes.checked_sub(SIZE_BYTES) else {
            return Err(BEYOND.to_owned());
        };
        let size = part(file, place.start..place.start + SIZE_BYTES)?;
        let size = size.first_chunk().copied().map(i64::from_le_bytes);
        // A negative size means that the buffer is not compressed.
        let n_held = size.and_then(|size| u64::try_from(size).ok());
        if let Some(n_held) = n_held.filter(|n| *n > most_held(codec, n_compressed)) {
            return Err(format!(
                "a buffer of {n_bytes} bytes tells that it holds {n_held}: the file is damaged"
            ));
        }
    }
    Ok(())
}

fn buffer_in(buffer: &Buffer, body: &Range<u64>) -> Option<Range<u64>> {
    let start = body
        .start
        .checked_add(u64::try_from(buffer.offset()).ok()?)?;
    let end = start.checked_add(u64::try_from(buffer.length()).ok()?)?;
    (end <= body.end).then_some(start..end)
}

/// How many bytes can be held by so many compressed ones.
fn most_held(codec: CompressionType, n_compressed: u64) -> u64 {
    // No buffer of a batch is so large, and the reader can make room for it: what is not written takes no memory.
    const MOST: u64 = 1 << 36;
    let ratio = match codec {
        // A byte lengthens a match by 255 bytes.
        CompressionType::LZ4_FRAME => 255,
        // Four bytes are a block of 128 KiB of the same byte.
        _ => 32 << 10,
    };
    n_compressed.saturating_mul(ratio).min(MOST)
}

/// Bytes that lie within the file.
fn part(file: &mut (impl Read + Seek), place: Range<u64>) -> Result<Vec<u8>, String> {
    let n_bytes = usize::try_from(place.end - place.start).map_err(|_| BEYOND)?;
    let mut bytes = vec![0; n_bytes];
    let found = file.seek(SeekFrom::Start(place.start));
    let read = found.and_then(|_| file.read_exact(&mut bytes));
    read.map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::Int32Type;
    use datafusion::arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

    use super::*;

    fn rows() -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let words: DictionaryArray<Int32Type> = (0..1000).map(|i| ["a", "b"][i % 2]).collect();
        let words: ArrayRef = Arc::new(words);
        RecordBatch::try_from_iter([("x", numbers), ("w", words)]).unwrap()
    }

    fn written(codec: Option<CompressionType>, is_stream: bool) -> Vec<u8> {
        let options = IpcWriteOptions::default().try_with_compression(codec);
        let (options, rows) = (options.unwrap(), rows());
        if is_stream {
            let writer = StreamWriter::try_new_with_options(Vec::new(), &rows.schema(), options);
            let mut writer = writer.unwrap();
            writer.write(&rows).unwrap();
            writer.write(&rows).unwrap();
            return writer.into_inner().unwrap();
        }
        let writer = FileWriter::try_new_with_options(Vec::new(), &rows.schema(), options);
        let mut writer = writer.unwrap();
        writer.write(&rows).unwrap();
        writer.write(&rows).unwrap();
        writer.into_inner().unwrap()
    }

    fn found(bytes: &[u8], is_stream: bool) -> Result<(), String> {
        let length = bytes.len() as u64;
        match is_stream {
            true => look_at_messages(&mut Cursor::new(bytes), length),
            false => look_at_blocks(&mut Cursor::new(bytes), length),
        }
    }

    /// The file with another number in the place of the size before the numbers.
    fn with_size(bytes: &[u8], size: i64) -> Vec<u8> {
        let known = 8000_i64.to_le_bytes();
        let at = bytes.windows(8).position(|part| part == known).unwrap();
        let mut changed = bytes.to_vec();
        changed[at..at + 8].copy_from_slice(&size.to_le_bytes());
        changed
    }

    #[test]
    fn whole_files_pass_and_torn_ones_are_told() {
        let codecs = [
            None,
            Some(CompressionType::LZ4_FRAME),
            Some(CompressionType::ZSTD),
        ];
        for codec in codecs {
            for is_stream in [false, true] {
                let bytes = written(codec, is_stream);
                assert_eq!(found(&bytes, is_stream), Ok(()), "{codec:?}");
                let torn = &bytes[..bytes.len() - bytes.len() / 3];
                assert!(found(torn, is_stream).is_err(), "{codec:?}");
            }
        }
        for start in [&b"ARROW1\0\0"[..], b"\xff\xff\xff\xff\xff\xff\xff\x7f1234"] {
            assert_eq!(found(start, false).unwrap_err(), NO_FOOTER);
            assert_eq!(found(start, true).unwrap_err(), ENDS);
        }
        let footer = [&written(None, false)[..], b"\xff\xff\xff\x7fARROW1"].concat();
        assert!(found(&footer, false).unwrap_err().contains("2147483647"));
    }

    #[test]
    fn sizes_that_no_buffer_holds_are_told() {
        for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
            for is_stream in [false, true] {
                let bytes = written(Some(codec), is_stream);
                for size in [1 << 61, 1 << 40, i64::MAX] {
                    let error = found(&with_size(&bytes, size), is_stream).unwrap_err();
                    assert!(error.contains(&size.to_string()), "{error}");
                }
                for size in [-1, 0, 8001] {
                    assert_eq!(found(&with_size(&bytes, size), is_stream), Ok(()));
                }
            }
        }
    }

    #[tokio::test]
    async fn parts_of_files_are_looked_at() {
        use object_store::ObjectStoreExt as _;
        use object_store::memory::InMemory;

        let whole = written(Some(CompressionType::LZ4_FRAME), false);
        for (bytes, is_whole) in [(with_size(&whole, 1 << 61), false), (whole, true)] {
            let (path, length) = (Path::from("a.arrow"), bytes.len() as u64);
            let files = InMemory::new();
            files.put(&path, bytes.clone().into()).await.unwrap();
            let place = Place {
                root: url::Url::parse("memory:///").unwrap(),
                format: "arrow",
                is_ours: false,
                lease: None,
            };
            let store = SizeWatch::over(Arc::new(files), &place, "arrow");
            assert_eq!(store.get(&path).await.is_ok(), is_whole);
            let end = |n: u64| GetOptions::new().with_range(Some(GetRange::Suffix(n)));
            let tail = store.get_opts(&path, end(10)).await.unwrap();
            let n_bytes = footer_bytes(&tail.bytes().await.unwrap(), length).unwrap();
            let footer = store.get_opts(&path, end(10 + n_bytes)).await.unwrap();
            let footer = footer.bytes().await.unwrap();
            let blocks = blocks(&footer[..n_bytes as usize], length).unwrap();
            let ranges: Vec<Range<u64>> = blocks.into_iter().map(|(place, _)| place).collect();
            assert_eq!(store.get_ranges(&path, &ranges).await.is_ok(), is_whole);
        }
    }
}
