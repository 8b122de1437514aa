//! JSON texts as lines: an object a line, also of a file that is one array.
//!
//! Bytes flow in, bytes flow out: of an array, each element on a line of its own. Nothing is parsed beyond brackets and
//! strings; what is between them is the reader's business.

use bytes::Bytes;
use datafusion::arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::tables::plain_bytes::{Body, first_of};

/// Lines of JSON.
pub(crate) struct JsonText {
    /// Whether they are the elements of an array, so that they say nothing of the lines of the file.
    pub(crate) is_array: bool,
    pub(crate) lines: BoxStream<'static, Result<Bytes>>,
}

/// The lines of a file from its start.
pub(crate) async fn json_text(body: Body) -> Result<JsonText> {
    let (first, body) = first_of(body).await?;
    let is_array = first == Some(b'[');
    let body = body.map_err(DataFusionError::from).boxed();
    let lines = match is_array {
        true => elements(body),
        false => body,
    };
    Ok(JsonText { is_array, lines })
}

/// The elements of an array, a line each.
fn elements(body: BoxStream<'static, Result<Bytes>>) -> BoxStream<'static, Result<Bytes>> {
    let state = (body, Array::default());
    futures::stream::try_unfold(state, |(mut body, mut array)| async move {
        match body.try_next().await? {
            Some(piece) => {
                let lines = array.feed(&piece)?;
                Ok(Some((Bytes::from(lines), (body, array))))
            }
            None if array.place == Place::Behind => Ok(None),
            None => Err(bad("the array does not end")),
        }
    })
    .boxed()
}

fn bad(what: &str) -> DataFusionError {
    ArrowError::JsonError(what.to_owned()).into()
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    Inside,
    String,
    /// Behind a backslash in a string.
    Escaped,
    Behind,
}

/// How far an array was read.
#[derive(Debug, Default)]
struct Array {
    place: Place,
    /// Brackets that are open within an element.
    depth: usize,
}

impl Array {
    fn feed(&mut self, piece: &[u8]) -> Result<Vec<u8>> {
        let mut lines = Vec::with_capacity(piece.len());
        for &byte in piece {
            match self.place {
                Place::Before if byte == b'[' => self.place = Place::Inside,
                Place::Before => {}
                Place::Inside => self.inside(byte, &mut lines),
                Place::String => {
                    lines.push(byte);
                    match byte {
                        b'"' => self.place = Place::Inside,
                        b'\\' => self.place = Place::Escaped,
                        _ => {}
                    }
                }
                Place::Escaped => {
                    lines.push(byte);
                    self.place = Place::String;
                }
                Place::Behind if byte.is_ascii_whitespace() => {}
                Place::Behind => return Err(bad("something follows the end of the array")),
            }
        }
        Ok(lines)
    }

    fn inside(&mut self, byte: u8, lines: &mut Vec<u8>) {
        match byte {
            b'"' => self.place = Place::String,
            b'{' | b'[' => self.depth += 1,
            b']' if self.depth == 0 => {
                self.place = Place::Behind;
                return lines.push(b'\n');
            }
            // What closes too much is left to the reader, which refuses it.
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' if self.depth == 0 => return lines.push(b'\n'),
            b'\n' | b'\r' => return lines.push(b' '),
            _ => {}
        }
        lines.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines_of(text: &str, n_bytes: usize) -> Result<String> {
        let pieces: Vec<_> = text.as_bytes().chunks(n_bytes).collect();
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(piece.to_vec().into()))
            .collect();
        let found = json_text(futures::stream::iter(pieces).boxed()).await?;
        let lines: Vec<Bytes> = found.lines.try_collect().await?;
        Ok(String::from_utf8(lines.concat()).unwrap())
    }

    #[tokio::test]
    async fn elements_become_lines_however_the_text_is_cut() {
        for (text, expected) in [
            ("{\"a\": [1]}\n", "{\"a\": [1]}\n"),
            ("\u{feff}{}", "{}"),
            ("[]", "\n"),
            (" [{\"a\": 1},\n{\"a\": 2}]\n", "{\"a\": 1}\n {\"a\": 2}\n"),
            ("[{\n\"a\": [1,\n2]}]", "{ \"a\": [1, 2]}\n"),
            (r#"[{"a": "],[\"\\"}]"#, "{\"a\": \"],[\\\"\\\\\"}\n"),
        ] {
            for n_bytes in 1..=text.len() {
                let lines = lines_of(text, n_bytes).await.unwrap();
                assert_eq!(lines, expected, "{text} by {n_bytes}");
            }
        }
        for torn in ["[{}", "[", "[{}] {}", "[\"]"] {
            assert!(lines_of(torn, 2).await.is_err(), "{torn}");
        }
    }
}
