//! The bytes of text files, whole and plain.
//!
//! What a store answers flows in, a stream of what was compressed flows out: all streams of a file that holds several,
//! one behind the other, and without the byte order mark. What the bytes mean is not known here.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;

use async_compression::tokio::bufread::{BzDecoder, GzipDecoder, XzDecoder, ZstdDecoder};
use bytes::Bytes;
use datafusion::common::parsers::CompressionTypeVariant as Variant;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{Error as StoreError, GetResultPayload, Result as StoreResult};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

/// The content of a file, piece by piece.
pub(crate) type Body = BoxStream<'static, StoreResult<Bytes>>;

/// How much is read in one piece.
const PIECE_BYTES: u64 = 1 << 20;
/// How much is decompressed in one piece.
const PLAIN_BYTES: usize = 1 << 18;
/// What a text may begin with that is no part of it.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The content of an answer about a whole file.
pub(crate) fn body(payload: GetResultPayload) -> Body {
    part(payload, 0..u64::MAX)
}

/// The content of an answer about some bytes of a file.
pub(crate) fn part(payload: GetResultPayload, bytes: Range<u64>) -> Body {
    match payload {
        GetResultPayload::Stream(body) => body,
        GetResultPayload::File(file, _) => pieces(file, bytes),
    }
}

/// What was compressed.
pub(crate) fn plain(body: Body, compression: FileCompressionType) -> Body {
    let variant = compression.get_variant();
    if *variant == Variant::UNCOMPRESSED {
        return body;
    }
    let reader = StreamReader::new(body.map_err(std::io::Error::other));
    // Writers append to a compressed file by putting another stream behind the last one.
    macro_rules! all_streams {
        ($decoder:ident) => {{
            let mut decoder = $decoder::new(reader);
            decoder.multiple_members(true);
            decoded(decoder)
        }};
    }
    match variant {
        Variant::BZIP2 => all_streams!(BzDecoder),
        Variant::XZ => all_streams!(XzDecoder),
        Variant::ZSTD => all_streams!(ZstdDecoder),
        Variant::GZIP | Variant::UNCOMPRESSED => all_streams!(GzipDecoder),
    }
}

fn decoded(reader: impl AsyncRead + Send + 'static) -> Body {
    let pieces = ReaderStream::with_capacity(reader, PLAIN_BYTES);
    pieces.map_err(failed).boxed()
}

/// The failure of a store that is none of a request.
pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Generic {
        store: "text",
        source: Box::new(error),
    }
}

/// The content of a file of this machine.
fn pieces(file: File, bytes: Range<u64>) -> Body {
    futures::stream::try_unfold((file, bytes), |(mut file, mut bytes)| async move {
        let read = move || {
            let n_bytes = PIECE_BYTES.min(bytes.end - bytes.start);
            let mut piece = Vec::with_capacity(n_bytes as usize);
            file.seek(SeekFrom::Start(bytes.start))?;
            let n_read = (&file).take(n_bytes).read_to_end(&mut piece)?;
            bytes.start += n_read as u64;
            Ok::<_, std::io::Error>((piece, (file, bytes)))
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(failed)?;
        let (piece, rest) = read.map_err(failed)?;
        Ok((!piece.is_empty()).then(|| (Bytes::from(piece), rest)))
    })
    .boxed()
}

/// The first byte of a text that is no white space, and the text without its byte order mark.
pub(crate) async fn first_of(mut body: Body) -> StoreResult<(Option<u8>, Body)> {
    let mut head = Bytes::new();
    loop {
        let text = without_mark(&head);
        let first = text
            .iter()
            .find(|byte| !byte.is_ascii_whitespace())
            .copied();
        let may_be_mark = head.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&head);
        let is_decided = first.is_some() && !may_be_mark;
        let next = match is_decided {
            true => None,
            false => body.try_next().await?,
        };
        match next {
            Some(piece) if head.is_empty() => head = piece,
            Some(piece) => head = [head, piece].concat().into(),
            None => {
                let head = head.slice_ref(text);
                let text = futures::stream::once(async move { Ok(head) }).chain(body);
                return Ok((first, text.boxed()));
            }
        }
    }
}

/// A text without the byte order mark that it may begin with.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(pieces: &[&[u8]]) -> Body {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(piece.to_vec().into()))
            .collect();
        futures::stream::iter(pieces).boxed()
    }

    async fn all_of(body: Body) -> Vec<u8> {
        let pieces: Vec<Bytes> = body.try_collect().await.unwrap();
        pieces.concat()
    }

    #[tokio::test]
    async fn marks_are_no_part_of_texts() {
        for (pieces, first, text) in [
            (&[&b"\xef\xbb\xbf [1]"[..]][..], Some(b'['), &b" [1]"[..]),
            (&[&b"\xef"[..], b"\xbb", b"\xbf{}"], Some(b'{'), b"{}"),
            (&[b"\n\n", b" {}"], Some(b'{'), b"\n\n {}"),
            (&[b"\xef\xbb"], Some(0xef), b"\xef\xbb"),
            (&[b" "], None, b" "),
            (&[], None, b""),
        ] {
            let (found, body) = first_of(body_of(pieces)).await.unwrap();
            assert_eq!(found, first, "{pieces:?}");
            assert_eq!(all_of(body).await, text, "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn all_streams_of_a_file_are_read() {
        for compression in [
            FileCompressionType::GZIP,
            FileCompressionType::BZIP2,
            FileCompressionType::XZ,
            FileCompressionType::ZSTD,
        ] {
            let mut file = Vec::new();
            for text in ["a\n", "b\n"] {
                let text = futures::stream::iter([Ok(Bytes::from(text))]).boxed();
                let packed = compression.convert_to_compress_stream(text).unwrap();
                let packed: Vec<Bytes> = packed.try_collect().await.unwrap();
                file.extend(packed.concat());
            }
            let text = all_of(plain(body_of(&[&file]), compression)).await;
            assert_eq!(text, b"a\nb\n", "{compression:?}");
            let torn = plain(body_of(&[&file[..file.len() - 6]]), compression);
            let torn: StoreResult<Vec<Bytes>> = torn.try_collect().await;
            assert!(torn.is_err(), "{compression:?}");
        }
    }
}
