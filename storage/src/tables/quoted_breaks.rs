//! Whether a CSV file can be divided at its line breaks: it can if none of them stands inside quotes.
//!
//! The bytes of a file flow in, piece by piece; an answer flows out. A doubled quote opens and closes, so quotes
//! alternate.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};

use crate::error::Result;

/// How much is looked at in one piece.
const PIECE_BYTES: u64 = 8 << 20;
/// How many pieces are fetched at a time.
const PIECES_IN_FLIGHT: usize = 4;

/// Looks through a file.
pub(crate) async fn has_quoted_breaks(
    store: &Arc<dyn ObjectStore>,
    file: &ObjectMeta,
    quote: u8,
) -> Result<bool> {
    let starts = (0..file.size).step_by(PIECE_BYTES as usize);
    let mut pieces = futures::stream::iter(starts)
        .map(|start| {
            let range = start..file.size.min(start + PIECE_BYTES);
            let (store, location) = (Arc::clone(store), file.location.clone());
            async move { store.get_range(&location, range).await }
        })
        .buffered(PIECES_IN_FLIGHT);
    let mut quoted = false;
    while let Some(piece) = pieces.try_next().await? {
        if has_quoted_break(&piece, quote, &mut quoted) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `quoted` says whether the text before ended inside quotes, and then whether this one does.
fn has_quoted_break(text: &[u8], quote: u8, quoted: &mut bool) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memchr(quote, rest) {
        if *quoted && memchr::memchr(b'\n', &rest[..at]).is_some() {
            return true;
        }
        *quoted = !*quoted;
        rest = &rest[at + 1..];
    }
    *quoted && memchr::memchr(b'\n', rest).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_reach_over_pieces() {
        for (text, expected) in [
            ("a,b\n1,2\n", false),
            ("a,b\n\"1\",\"x\"\"y\"\n", false),
            ("a,b\n1,\"x\ny\"\n", true),
            ("", false),
            ("\"\n", true),
        ] {
            for cut in 0..text.len() {
                let mut quoted = false;
                let (first, second) = text.as_bytes().split_at(cut);
                let found = has_quoted_break(first, b'"', &mut quoted)
                    || has_quoted_break(second, b'"', &mut quoted);
                assert_eq!(found, expected, "{text:?} cut at {cut}");
            }
        }
    }
}
