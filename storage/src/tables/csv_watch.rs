//! CSV files that are read with an eye on their quotes.
//!
//! A store flows in, one flows out whose whole files fail at their end if a quote was never closed: the reader would take
//! all lines behind it for one field. Compressed files come out of it plain, so that the same eye sees them. Texts for
//! NULL that stand in quotes come out of it marked, the same ones in a part of a file as in the whole; blank lines that are
//! rows come out filled.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use memchr::memrchr;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, Result as StoreResult,
};

use crate::error::{Error, Result};
use crate::stores::{Layer, Layered};
use crate::tables::csv_blank_lines::BlankLines;
use crate::tables::csv_nulls::{Columns, LineNulls, QuotedNulls};
use crate::tables::csv_quotes::{Dialect, Quotes};
use crate::tables::located::Place;
use crate::tables::plain_bytes::{Body, body, failed, part, plain};

/// How much is looked at in one piece.
const LOOK_BYTES: u64 = 8 << 20;
/// How many pieces are fetched at a time.
const PIECES_IN_FLIGHT: usize = 4;
/// How much is read at once before some bytes to find the beginning of their line.
const BEFORE_BYTES: u64 = 16 << 10;
/// A field of two quotes and what ends it, but for its first byte.
const BEHIND_BYTES: u64 = 2;

/// Whether a line break of a file stands inside quotes, so that it cannot be divided at its line breaks.
///
/// Errors: `BadFile` if a quote never closes.
pub(crate) async fn has_quoted_breaks(
    store: &Arc<dyn ObjectStore>,
    file: &ObjectMeta,
    place: &Place,
    dialect: Dialect,
) -> Result<bool> {
    let mut pieces = pieces(store, file);
    let mut quotes = Quotes::new(dialect);
    while let Some(piece) = pieces.try_next().await? {
        quotes.feed(&piece);
        // Whether the last one closes is seen when the file is read whole.
        if quotes.has_breaks() {
            return Ok(true);
        }
    }
    match quotes.open() {
        Some(line) => Err(never_closed(place, &file.location, line)),
        None => Ok(false),
    }
}

/// Whether a file has a quoted text for NULL, so that its bytes change on their way and it cannot be divided.
pub(crate) async fn has_quoted_nulls(
    store: &Arc<dyn ObjectStore>,
    file: &ObjectMeta,
    dialect: Dialect,
    null_text: &str,
) -> Result<bool> {
    let Some(mut nulls) = QuotedNulls::new(dialect, Some(null_text), None) else {
        return Ok(false);
    };
    let mut pieces = pieces(store, file);
    while let Some(piece) = pieces.try_next().await? {
        nulls.feed(&piece);
        if nulls.n_marked() > 0 {
            return Ok(true);
        }
    }
    nulls.end();
    Ok(nulls.n_marked() > 0)
}

/// The bytes of a file in their order.
fn pieces(
    store: &Arc<dyn ObjectStore>,
    file: &ObjectMeta,
) -> BoxStream<'static, StoreResult<Bytes>> {
    let (store, file) = (Arc::clone(store), file.clone());
    let starts = (0..file.size).step_by(LOOK_BYTES as usize);
    futures::stream::iter(starts)
        .map(move |start| {
            let range = start..file.size.min(start + LOOK_BYTES);
            let (store, location) = (Arc::clone(&store), file.location.clone());
            async move { store.get_range(&location, range).await }
        })
        .buffered(PIECES_IN_FLIGHT)
        .boxed()
}

fn never_closed(place: &Place, path: &Path, line: u64) -> Error {
    Error::BadFile {
        file: place.url(path.as_ref()),
        format: place.format,
        reason: format!("the quote that opens at line {line} is never closed"),
    }
}

/// The store of one scan of CSV files.
#[derive(Debug)]
pub(crate) struct QuoteWatch {
    inner: Arc<dyn ObjectStore>,
    place: Place,
    dialect: Dialect,
    compression: FileCompressionType,
    nulls: NullTexts,
}

/// What means NULL in files unless it is quoted.
#[derive(Debug, Clone, Default)]
pub(crate) struct NullTexts {
    /// The text; `None`: quotes make no difference.
    pub(crate) text: Option<Arc<str>>,
    /// The only columns in which they do, if lines are records, so that each can be looked at alone.
    pub(crate) by_lines: Columns,
    /// The beginning of a file whose blank lines mean it, too; `None`: they are no rows.
    pub(crate) blank_lines: Option<BlankLines>,
}

impl QuoteWatch {
    pub(crate) fn over(
        inner: Arc<dyn ObjectStore>,
        place: &Place,
        dialect: Dialect,
        compression: FileCompressionType,
        nulls: NullTexts,
    ) -> Arc<dyn ObjectStore> {
        Arc::new(Layered::new(Self {
            inner,
            place: place.clone(),
            dialect,
            compression,
            nulls,
        }))
    }

    fn watched(&self, path: &Path, body: Body) -> Body {
        let watched = Watched {
            body,
            quotes: Quotes::new(self.dialect),
            nulls: QuotedNulls::new(
                self.dialect,
                self.nulls.text.as_deref(),
                self.nulls.by_lines.clone(),
            ),
            blank_lines: self.nulls.blank_lines.clone(),
            is_read: false,
        };
        let (place, path) = (self.place.clone(), path.clone());
        futures::stream::try_unfold(watched, move |mut watched| {
            let (place, path) = (place.clone(), path.clone());
            async move {
                let piece = watched.next().await?;
                match (piece, watched.quotes.open()) {
                    (Some(piece), _) => Ok(Some((piece, watched))),
                    (None, Some(line)) => Err(failed(never_closed(&place, &path, line))),
                    (None, None) => Ok(None),
                }
            }
        })
        .boxed()
    }
}

impl QuoteWatch {
    /// Some bytes of a file, in which the same are marked as in the whole file.
    async fn marked_part(
        &self,
        path: &Path,
        options: GetOptions,
        wanted: Range<u64>,
    ) -> StoreResult<GetResult> {
        // A line is read from its beginning, and a field that begins in these bytes up to what stands behind it.
        let start = self.line_start(path, wanted.start).await?;
        let end = wanted.end.saturating_add(BEHIND_BYTES);
        let options = GetOptions {
            range: Some(GetRange::Bounded(start..end)),
            ..options
        };
        let got = self.inner.get_opts(path, options).await?;
        let range = wanted.start..wanted.end.min(got.range.end);
        let lines = Lines {
            body: part(got.payload, got.range),
            nulls: LineNulls::new(self.dialect, self.nulls.by_lines.clone()),
            held: Vec::new(),
            is_read: false,
            n_before: wanted.start - start,
            n_left: range.end.saturating_sub(range.start),
        };
        let lines = futures::stream::try_unfold(lines, |mut lines| async move {
            let piece = lines.next().await?;
            Ok(piece.map(|piece| (piece, lines)))
        });
        Ok(GetResult {
            payload: GetResultPayload::Stream(lines.boxed()),
            meta: got.meta,
            range,
            attributes: got.attributes,
        })
    }

    /// Where the line begins that a byte belongs to.
    async fn line_start(&self, path: &Path, byte: u64) -> StoreResult<u64> {
        let mut end = byte;
        while end > 0 {
            let start = end.saturating_sub(BEFORE_BYTES);
            let before = self.inner.get_range(path, start..end).await?;
            if let Some(at) = memrchr(b'\n', &before) {
                return Ok(start + at as u64 + 1);
            }
            end = start;
        }
        Ok(0)
    }
}

/// Lines on their way, of which some bytes are wanted.
struct Lines {
    body: Body,
    nulls: LineNulls,
    /// The beginning of a line whose end is not read yet.
    held: Vec<u8>,
    is_read: bool,
    /// Bytes before the wanted ones.
    n_before: u64,
    n_left: u64,
}

impl Lines {
    async fn next(&mut self) -> StoreResult<Option<Bytes>> {
        while self.n_left > 0 && !(self.is_read && self.held.is_empty()) {
            let piece = self.body.try_next().await?;
            self.is_read = piece.is_none();
            let piece = piece.unwrap_or_default();
            let n_whole = match self.is_read {
                true => 0,
                false => memrchr(b'\n', &piece).map_or(0, |at| at + 1),
            };
            let (whole, rest) = piece.split_at(n_whole);
            let mut lines = match (whole.is_empty(), self.is_read) {
                (true, false) => {
                    self.held.extend_from_slice(rest);
                    continue;
                }
                _ => std::mem::replace(&mut self.held, rest.to_vec()),
            };
            lines.extend_from_slice(whole);
            self.nulls.mark(&mut lines);
            let lines = self.wanted(lines.into());
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
        Ok(None)
    }

    /// Those of the next bytes that are wanted.
    fn wanted(&mut self, mut lines: Bytes) -> Bytes {
        let n_before = self.n_before.min(lines.len() as u64);
        self.n_before -= n_before;
        lines.advance(n_before as usize);
        let n_bytes = self.n_left.min(lines.len() as u64);
        self.n_left -= n_bytes;
        lines.truncate(n_bytes as usize);
        lines
    }
}

/// A file on its way.
struct Watched {
    body: Body,
    quotes: Quotes,
    nulls: Option<QuotedNulls>,
    blank_lines: Option<BlankLines>,
    is_read: bool,
}

impl Watched {
    /// The next bytes as the reader is to see them.
    async fn next(&mut self) -> StoreResult<Option<Bytes>> {
        while !self.is_read {
            let piece = self.body.try_next().await?;
            if let Some(piece) = &piece {
                self.quotes.feed(piece);
            }
            self.is_read = piece.is_none();
            let seen = match (&mut self.nulls, piece) {
                (Some(nulls), Some(piece)) => nulls.feed(&piece).into(),
                (Some(nulls), None) => nulls.end().into(),
                (None, piece) => piece.unwrap_or_default(),
            };
            let seen = match &mut self.blank_lines {
                Some(lines) => lines.filled(seen),
                None => seen,
            };
            if !seen.is_empty() {
                return Ok(Some(seen));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Layer for QuoteWatch {
    fn below(&self, _: &Path) -> StoreResult<&dyn ObjectStore> {
        Ok(&self.inner)
    }

    async fn get(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        if let (Some(GetRange::Bounded(wanted)), Some(_), false) =
            (&options.range, &self.nulls.by_lines, options.head)
        {
            let wanted = wanted.clone();
            return self.marked_part(path, options, wanted).await;
        }
        let is_whole = options.range.is_none() && !options.head;
        let got = self.inner.get_opts(path, options).await?;
        if !is_whole {
            return Ok(got);
        }
        let (meta, range, attributes) = (got.meta, got.range, got.attributes);
        let text = plain(body(got.payload), self.compression);
        Ok(GetResult {
            payload: GetResultPayload::Stream(self.watched(path, text)),
            meta,
            range,
            attributes,
        })
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    const PLAIN: Dialect = Dialect {
        delimiter: b',',
        quote: b'"',
        escape: None,
        comment: None,
    };

    #[tokio::test]
    async fn parts_of_a_file_are_marked_as_the_whole() {
        let lines = [
            "a,b,c\n",
            "\"\",\"\",\"\"\r\n",
            "\"x,\"\",\",1,\"\"\n",
            ",,\n",
            "\"\",2,\"y\"\n",
            "z,\"\",\"\"",
        ];
        let text = lines.concat();
        let below: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("t.csv");
        below.put(&path, text.clone().into()).await.unwrap();
        let nulls = NullTexts {
            text: Some("".into()),
            by_lines: Some(Arc::from([true, false, true])),
            blank_lines: None,
        };
        let place = Place {
            root: url::Url::parse("memory:///").unwrap(),
            format: "CSV",
            is_ours: false,
            _lease: None,
        };
        let plain = FileCompressionType::UNCOMPRESSED;
        let store = QuoteWatch::over(below, &place, PLAIN, plain, nulls);
        let whole = store.get(&path).await.unwrap().bytes().await.unwrap();
        let shown = String::from_utf8(whole.to_vec()).unwrap();
        let expected = "a,b,c\n!!,\"\",!!\r\n\"x,\"\",\",1,!!\n,,\n!!,2,\"y\"\nz,\"\",!!";
        assert_eq!(shown.replace('\0', "!"), expected);
        let n_bytes = text.len() as u64;
        for start in 0..n_bytes {
            for end in start + 1..=n_bytes {
                let part = store.get_range(&path, start..end).await.unwrap();
                let same = whole.slice(start as usize..end as usize);
                assert_eq!(part, same, "{start}..{end}");
            }
        }
    }
}
