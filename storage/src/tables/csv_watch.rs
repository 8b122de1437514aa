//! CSV files that are read with an eye on their quotes.
//!
//! A store flows in, one flows out whose whole files fail at their end if a quote was never closed: the reader would take
//! all lines behind it for one field. Compressed files come out of it plain, so that the same eye sees them. Texts for
//! NULL that stand in quotes come out of it marked, the same ones in a part of a file as in the whole; blank lines that are
//! rows come out filled.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes, BytesMut};
use datafusion::common::runtime::SpawnedTask;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use memchr::{memchr, memrchr};
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
const LOOK_BYTES: u64 = 4 << 20;
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
    let mut looks = pieces(store, file)
        .enumerate()
        .map(|(idx, piece)| {
            let n_before = idx as u64 * LOOK_BYTES;
            SpawnedTask::spawn(async move { piece.map(|piece| lines_of(piece, n_before, dialect)) })
        })
        .buffered(PIECES_IN_FLIGHT);
    let mut quotes = Quotes::new(dialect);
    while let Some(look) = looks.next().await {
        let (begun, lines) = look.map_err(failed)??;
        quotes.feed(&begun);
        // Lines were taken to begin outside of quotes, as the first one does. Each other does so if no break was inside.
        // Whether the last quote closes is seen when the file is read whole.
        if let (false, Some(lines)) = (quotes.has_breaks(), lines) {
            quotes = quotes.and(lines);
        }
        if quotes.has_breaks() {
            return Ok(true);
        }
    }
    match quotes.open() {
        Some(line) => Err(never_closed(place, &file.location, line)),
        None => Ok(false),
    }
}

/// What ends the line that began before a piece, and the quotes of the lines behind it, if one begins in the piece.
fn lines_of(piece: Bytes, n_before: u64, dialect: Dialect) -> (Bytes, Option<Quotes>) {
    let n_begun = match n_before {
        0 => Some(0),
        _ => memchr(b'\n', &piece).map(|at| at + 1),
    };
    let quotes = n_begun.map(|n_begun| {
        let mut quotes = Quotes::behind(dialect, n_before + n_begun as u64);
        quotes.feed(&piece[n_begun..]);
        quotes
    });
    (piece.slice(..n_begun.unwrap_or(piece.len())), quotes)
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
        let (text, columns) = (self.nulls.text.as_deref(), self.nulls.by_lines.clone());
        let watched = Watched {
            body,
            eye: match QuotedNulls::new(self.dialect, text, columns) {
                Some(nulls) => Eye::Nulls(nulls),
                None => Eye::Quotes(Quotes::new(self.dialect)),
            },
            blank_lines: self.nulls.blank_lines.clone(),
            is_read: false,
        };
        let (place, path) = (self.place.clone(), path.clone());
        futures::stream::try_unfold(watched, move |mut watched| {
            let (place, path) = (place.clone(), path.clone());
            async move {
                let piece = watched.next().await?;
                match (piece, watched.eye.open()) {
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
            held: BytesMut::new(),
            whole: BytesMut::new(),
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
    held: BytesMut,
    /// Lines before it that were read with it.
    whole: BytesMut,
    is_read: bool,
    /// Bytes before the wanted ones.
    n_before: u64,
    n_left: u64,
}

impl Lines {
    async fn next(&mut self) -> StoreResult<Option<Bytes>> {
        while self.n_left > 0 && !(self.is_read && self.whole.is_empty()) {
            let mut lines = match self.whole.is_empty() {
                true => self.begun_line().await?,
                false => std::mem::take(&mut self.whole),
            };
            self.nulls.mark(&mut lines);
            let lines = self.wanted(lines.freeze());
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
        Ok(None)
    }

    /// The line that was begun, up to its end. The lines behind it stay where they were read: copies of all bytes of a
    /// file would cost more than what is looked for in them.
    async fn begun_line(&mut self) -> StoreResult<BytesMut> {
        let mut line = std::mem::take(&mut self.held);
        while let Some(piece) = self.body.try_next().await? {
            let mut piece = piece
                .try_into_mut()
                .unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
            let Some(end) = memchr(b'\n', &piece) else {
                line.extend_from_slice(&piece);
                continue;
            };
            line.extend_from_slice(&piece.split_to(end + 1));
            let n_whole = memrchr(b'\n', &piece).map_or(0, |at| at + 1);
            self.held = BytesMut::from(&piece[n_whole..]);
            piece.truncate(n_whole);
            self.whole = piece;
            return Ok(line);
        }
        self.is_read = true;
        Ok(line)
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

/// What looks at the bytes of a file on their way.
enum Eye {
    /// At its quotes.
    Quotes(Quotes),
    /// At texts for NULL in them, too.
    Nulls(QuotedNulls),
}

impl Eye {
    /// What is to be read of the file when its next piece is there, or its end.
    fn seen(&mut self, piece: Option<Bytes>) -> Bytes {
        match (self, piece) {
            (Self::Quotes(quotes), piece) => {
                let piece = piece.unwrap_or_default();
                quotes.feed(&piece);
                piece
            }
            (Self::Nulls(nulls), Some(piece)) => nulls.feed(&piece).into(),
            (Self::Nulls(nulls), None) => nulls.end().into(),
        }
    }

    /// The line where a quote opened that has not closed, once the file has ended.
    fn open(&self) -> Option<u64> {
        match self {
            Self::Quotes(quotes) => quotes.open(),
            Self::Nulls(nulls) => nulls.open(),
        }
    }
}

/// A file on its way.
struct Watched {
    body: Body,
    eye: Eye,
    blank_lines: Option<BlankLines>,
    is_read: bool,
}

impl Watched {
    /// The next bytes as the reader is to see them.
    async fn next(&mut self) -> StoreResult<Option<Bytes>> {
        while !self.is_read {
            let piece = self.body.try_next().await?;
            self.is_read = piece.is_none();
            let seen = self.eye.seen(piece);
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

    fn place() -> Place {
        Place {
            root: url::Url::parse("memory:///").unwrap(),
            format: "CSV",
            is_ours: false,
            lease: None,
        }
    }

    #[tokio::test]
    async fn quotes_are_found_in_pieces() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let path = Path::from("t.csv");
        let lines = "a,\"b\"\"c\",5\"\n".repeat(LOOK_BYTES as usize / 6);
        let long = format!("x,\"{}\",z\n", "y,".repeat(LOOK_BYTES as usize));
        let found = async |text: String| {
            store.put(&path, text.into()).await.unwrap();
            let file = store.head(&path).await.unwrap();
            has_quoted_breaks(&store, &file, &place(), PLAIN).await
        };
        assert!(!found(format!("{lines}{long}{lines}")).await.unwrap());
        assert!(found(format!("{lines}1,\"\n\"\n")).await.unwrap());
        assert!(
            found(format!("{lines}{long}1,\"\n\"\n{lines}"))
                .await
                .unwrap()
        );
        let error = found(format!("{lines}{long}1,\"x")).await.unwrap_err();
        let line = lines.lines().count() + 2;
        let said = format!("the quote that opens at line {line} is never closed");
        assert!(error.to_string().contains(&said), "{error}");
    }

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
        let plain = FileCompressionType::UNCOMPRESSED;
        let store = QuoteWatch::over(below, &place(), PLAIN, plain, nulls);
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
