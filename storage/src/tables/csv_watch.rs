//! CSV files that are read with an eye on their quotes.
//!
//! A store flows in, one flows out whose whole files fail at their end if a quote was never closed: the reader would take
//! all lines behind it for one field. Compressed files come out of it plain, so that the same eye sees them. Texts for
//! NULL that stand in quotes come out of it marked.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    GetOptions, GetResult, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    Result as StoreResult,
};

use crate::error::{Error, Result};
use crate::stores::{Layer, Layered};
use crate::tables::csv_nulls::QuotedNulls;
use crate::tables::csv_quotes::{Dialect, Quotes};
use crate::tables::located::Place;
use crate::tables::plain_bytes::{Body, body, failed, plain};

/// How much is looked at in one piece.
const LOOK_BYTES: u64 = 8 << 20;
/// How many pieces are fetched at a time.
const PIECES_IN_FLIGHT: usize = 4;

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
    let Some(mut nulls) = QuotedNulls::new(dialect, Some(null_text)) else {
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
    null_text: Option<Arc<str>>,
}

impl QuoteWatch {
    pub(crate) fn over(
        inner: Arc<dyn ObjectStore>,
        place: &Place,
        dialect: Dialect,
        compression: FileCompressionType,
        null_text: Option<&Arc<str>>,
    ) -> Arc<dyn ObjectStore> {
        Arc::new(Layered::new(Self {
            inner,
            place: place.clone(),
            dialect,
            compression,
            null_text: null_text.cloned(),
        }))
    }

    fn watched(&self, path: &Path, body: Body) -> Body {
        let watched = Watched {
            body,
            quotes: Quotes::new(self.dialect),
            nulls: QuotedNulls::new(self.dialect, self.null_text.as_deref()),
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

/// A file on its way.
struct Watched {
    body: Body,
    quotes: Quotes,
    nulls: Option<QuotedNulls>,
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
