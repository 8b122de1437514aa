//! Avro files that are read with an eye on their blocks.
//!
//! A store flows in, one flows out whose whole files fail if they end within a block or a block's mark is not the file's:
//! the reader would take such an end for the end of the rows. Looks at sizes and marks only; decodes nothing.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetOptions, GetResult, GetResultPayload, ObjectStore,
    Result as StoreResult,
};

use crate::error::Error;
use crate::stores::{Layer, Layered};
use crate::tables::located::Place;

pub(super) const MAGIC: &[u8; 4] = b"Obj\x01";
/// The mark between blocks.
const MARK_BYTES: usize = 16;

/// The store of one scan of Avro files.
#[derive(Debug)]
pub(crate) struct BlockWatch {
    inner: Arc<dyn ObjectStore>,
    place: Place,
}

impl BlockWatch {
    pub(crate) fn over(inner: Arc<dyn ObjectStore>, place: &Place) -> Arc<dyn ObjectStore> {
        let place = place.clone();
        Arc::new(Layered::new(Self { inner, place }))
    }

    fn torn(&self, path: &Path, reason: &'static str) -> StoreError {
        let error = Error::BadFile {
            file: self.place.url(path.as_ref()),
            format: self.place.format,
            reason: reason.to_owned(),
        };
        StoreError::Generic {
            store: "avro",
            source: Box::new(error),
        }
    }
}

#[async_trait]
impl Layer for BlockWatch {
    fn below(&self, _: &Path) -> StoreResult<&dyn ObjectStore> {
        Ok(&self.inner)
    }

    async fn get(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let is_whole = options.range.is_none() && !options.head;
        let got = self.inner.get_opts(path, options).await?;
        if !is_whole {
            return Ok(got);
        }
        let (meta, range, attributes) =
            (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let (payload, fault) = match got.payload {
            GetResultPayload::File(file, place) => {
                let look = move || (fault_of_file(&file), file);
                let looked = tokio::task::spawn_blocking(look).await;
                let (fault, file) = looked.map_err(|error| StoreError::Generic {
                    store: "avro",
                    source: Box::new(error),
                })?;
                (GetResultPayload::File(file, place), fault)
            }
            GetResultPayload::Stream(_) => {
                let bytes = got.bytes().await?;
                let fault = fault(&mut Cursor::new(&bytes), bytes.len() as u64);
                let whole = futures::stream::once(async move { Ok(bytes) }).boxed();
                (GetResultPayload::Stream(whole), fault)
            }
        };
        match fault {
            Some(reason) => Err(self.torn(path, reason)),
            None => Ok(GetResult {
                payload,
                meta,
                range,
                attributes,
            }),
        }
    }
}

fn fault_of_file(file: &File) -> Option<&'static str> {
    let length = file.metadata().ok()?.len();
    let found = fault(&mut BufReader::new(file), length);
    // The reader begins where the file stands.
    let mut file = file;
    file.seek(SeekFrom::Start(0)).ok()?;
    found
}

/// What is wrong with the blocks of a file; what the reader itself will refuse is not looked for.
fn fault(file: &mut (impl Read + Seek), length: u64) -> Option<&'static str> {
    const ENDS: &str = "it ends within a block: the file is not complete";
    let mut magic = [0; 4];
    if length < 4 || file.read_exact(&mut magic).is_err() || &magic != MAGIC {
        return None;
    }
    let Some(mark) = mark_behind_header(file) else {
        return Some("it ends within its header: the file is not complete");
    };
    loop {
        let at = file.stream_position().ok()?;
        if at >= length {
            return (at > length).then_some(ENDS);
        }
        let Some((_, n_bytes)) = number(file).zip(number(file)) else {
            return Some(ENDS);
        };
        if n_bytes < 0 || file.seek(SeekFrom::Current(n_bytes)).is_err() {
            return Some("a block has no size: the file is damaged");
        }
        let mut found = [0; MARK_BYTES];
        if file.read_exact(&mut found).is_err() {
            return Some(ENDS);
        }
        if found != mark {
            return Some("a block does not end with the file's mark: the file is damaged");
        }
    }
}

/// The mark behind the header's map of names and values.
fn mark_behind_header(file: &mut (impl Read + Seek)) -> Option<[u8; MARK_BYTES]> {
    loop {
        let mut n_entries = number(file)?;
        if n_entries == 0 {
            break;
        }
        // A negative count is followed by the size of the entries.
        if n_entries < 0 {
            n_entries = n_entries.checked_neg()?;
            number(file)?;
        }
        for _ in 0..n_entries.checked_mul(2)? {
            let n_bytes = number(file).filter(|n_bytes| *n_bytes >= 0)?;
            file.seek(SeekFrom::Current(n_bytes)).ok()?;
        }
    }
    let mut mark = [0; MARK_BYTES];
    file.read_exact(&mut mark).ok()?;
    Some(mark)
}

/// A number in Avro's form: seven bits a byte, the sign in the lowest bit.
pub(super) fn number(file: &mut impl Read) -> Option<i64> {
    let mut bits = 0_u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        file.read_exact(&mut byte).ok()?;
        bits |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Some((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one entry, then blocks of these sizes.
    fn file(blocks: &[usize]) -> Vec<u8> {
        let mark = [7; MARK_BYTES];
        let mut bytes = MAGIC.to_vec();
        bytes.extend([2, 2, b'k', 2, b'v', 0]);
        bytes.extend(mark);
        for n_bytes in blocks {
            bytes.extend([2, (*n_bytes * 2) as u8]);
            bytes.extend(vec![1; *n_bytes]);
            bytes.extend(mark);
        }
        bytes
    }

    fn found(bytes: &[u8]) -> Option<&'static str> {
        fault(&mut Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn whole_files_pass_and_torn_ones_are_told() {
        for blocks in [&[][..], &[5], &[5, 9, 1]] {
            assert_eq!(found(&file(blocks)), None);
        }
        let whole = file(&[5, 9]);
        let header = file(&[]).len();
        let first = file(&[5]).len();
        for length in 5..whole.len() {
            let is_whole = [header, first].contains(&length);
            assert_eq!(found(&whole[..length]).is_none(), is_whole, "{length}");
        }
        let mut damaged = whole.clone();
        damaged[whole.len() - 1] = 0;
        assert!(found(&damaged).unwrap().contains("mark"));
        assert_eq!(found(b"no avro"), None);
    }
}
