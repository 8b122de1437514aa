//! Avro files that are read with an eye on their blocks.
//!
//! A store flows in, one flows out whose whole files fail if they end within a block or a block's mark is not the file's:
//! the reader would take such an end for the end of the rows. They fail, too, if the rows of a block do not fill it (see
//! `avro_rows`).

use std::io::{Read, Seek};
use std::sync::Arc;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore, Result as StoreResult};

use crate::stores::{Layer, Layered};
use crate::tables::avro_rows::Rows;
use crate::tables::located::Place;
use crate::tables::whole_look::{Content, looked};

pub(super) const MAGIC: &[u8; 4] = b"Obj\x01";
/// What a header has its schema under, and how its blocks are compressed.
pub(super) const SCHEMA_KEY: &[u8] = b"avro.schema";
const CODEC_KEY: &[u8] = b"avro.codec";
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
}

#[async_trait]
impl Layer for BlockWatch {
    fn below(&self, _: &Path) -> StoreResult<&dyn ObjectStore> {
        Ok(&self.inner)
    }

    async fn get(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let is_whole = options.range.is_none() && !options.head;
        let got = self.inner.get_opts(path, options).await?;
        match is_whole {
            true => looked(&self.place, path, got, look_at_blocks).await,
            false => Ok(got),
        }
    }
}

fn look_at_blocks(mut file: &mut dyn Content, length: u64) -> Result<(), String> {
    fault(&mut file, length).map_or(Ok(()), |fault| Err(fault.to_owned()))
}

/// What is wrong with the blocks of a file; what the reader itself will refuse is not looked for.
fn fault(file: &mut (impl Read + Seek), length: u64) -> Option<&'static str> {
    const ENDS: &str = "it ends within a block: the file is not complete";
    let mut magic = [0; 4];
    if length < 4 || file.read_exact(&mut magic).is_err() || &magic != MAGIC {
        return None;
    }
    let Some((mark, rows)) = header(file) else {
        return Some("it ends within its header: the file is not complete");
    };
    loop {
        let at = file.stream_position().ok()?;
        if at >= length {
            return (at > length).then_some(ENDS);
        }
        let Some((n_rows, n_bytes)) = number(file).zip(number(file)) else {
            return Some(ENDS);
        };
        let Ok(n_bytes) = u64::try_from(n_bytes) else {
            return Some("a block has no size: the file is damaged");
        };
        let at = file.stream_position().ok()?;
        if at.checked_add(n_bytes).is_none_or(|end| end > length) {
            return Some(ENDS);
        }
        let mut block = Vec::new();
        if file.take(n_bytes).read_to_end(&mut block).is_err() {
            return Some(ENDS);
        }
        let mut found = [0; MARK_BYTES];
        if file.read_exact(&mut found).is_err() {
            return Some(ENDS);
        }
        if found != mark {
            return Some("a block does not end with the file's mark: the file is damaged");
        }
        if rows.as_ref().is_some_and(|rows| !rows.fill(n_rows, &block)) {
            return Some("the rows of a block do not fill it: the file is damaged");
        }
    }
}

/// The mark behind the header's map of names and values, and the rows that it tells of.
fn header(file: &mut (impl Read + Seek)) -> Option<([u8; MARK_BYTES], Option<Rows>)> {
    let (mut schema, mut codec) = (Vec::new(), Vec::new());
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
        for _ in 0..n_entries {
            let (key, value) = (part(file)?, part(file)?);
            match key.as_slice() {
                SCHEMA_KEY => schema = value,
                CODEC_KEY => codec = value,
                _ => {}
            }
        }
    }
    let mut mark = [0; MARK_BYTES];
    file.read_exact(&mut mark).ok()?;
    Some((mark, Rows::of(&schema, &codec)))
}

/// Bytes behind their number.
fn part(file: &mut impl Read) -> Option<Vec<u8>> {
    let n_bytes = u64::try_from(number(file)?).ok()?;
    let mut part = Vec::new();
    file.take(n_bytes).read_to_end(&mut part).ok()?;
    (part.len() as u64 == n_bytes).then_some(part)
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
    use std::io::Cursor;

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
    fn blocks_with_bytes_behind_their_rows_are_told() {
        let schema =
            br#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "string"}]}"#;
        let mut header = MAGIC.to_vec();
        header.extend([2, 22]);
        header.extend(SCHEMA_KEY);
        header.extend([
            ((schema.len() * 2) & 0x7f) as u8 | 0x80,
            (schema.len() >> 6) as u8,
        ]);
        header.extend(schema);
        header.push(0);
        header.extend([7; MARK_BYTES]);
        let with_rows = |n_rows: u8| {
            // Two texts of one byte.
            let block = [n_rows * 2, 8, 2, b'a', 2, b'b'];
            [&header[..], &block, &[7; MARK_BYTES]].concat()
        };
        assert_eq!(found(&with_rows(2)), None);
        assert!(found(&with_rows(1)).unwrap().contains("do not fill"));
        assert!(found(&with_rows(3)).unwrap().contains("do not fill"));
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
