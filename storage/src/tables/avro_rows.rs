//! The rows of an Avro block, which must fill it.
//!
//! The schema and the codec of a file flow in, and blocks; whether the rows that a block counts are its very bytes flows
//! out. The reader would look for the rest of a block for ever. Values are passed over; nothing is made of them.

use async_compression::tokio::bufread::{BzDecoder, DeflateDecoder, XzDecoder, ZstdDecoder};
use futures::executor::block_on;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::tables::avro_watch::number;

/// How deep values may be nested; the schema of a list of such may name itself.
const MAX_DEPTH: usize = 256;
/// The checksum behind a block of Snappy.
const CHECKSUM_BYTES: usize = 4;

/// How values of a schema follow each other.
#[derive(Debug)]
pub(super) struct Rows {
    row: Shape,
    /// The types that have names.
    named: Vec<(String, Option<Shape>)>,
    codec: Codec,
}

#[derive(Debug)]
enum Shape {
    /// So many bytes.
    Bytes(usize),
    Number,
    /// A number of bytes and the bytes.
    Text,
    Array(Box<Shape>),
    Map(Box<Shape>),
    Union(Vec<Shape>),
    Record(Vec<Shape>),
    /// The place of a type among those with names.
    Named(usize),
}

#[derive(Debug, Clone, Copy)]
enum Codec {
    None,
    Deflate,
    Snappy,
    Zstandard,
    Bzip2,
    Xz,
}

impl Rows {
    /// Of the schema and codec in a header; `None`: they are none that is known here.
    pub(super) fn of(schema: &[u8], codec: &[u8]) -> Option<Self> {
        let codec = match codec {
            b"" | b"null" => Codec::None,
            b"deflate" => Codec::Deflate,
            b"snappy" => Codec::Snappy,
            b"zstandard" => Codec::Zstandard,
            b"bzip2" => Codec::Bzip2,
            b"xz" => Codec::Xz,
            _ => return None,
        };
        let schema = serde_json::from_slice(schema).ok()?;
        let mut named = Vec::new();
        let row = shape(&mut named, &schema, "")?;
        Some(Self { row, named, codec })
    }

    /// Whether so many rows are all that a block holds.
    pub(super) fn fill(&self, n_rows: i64, block: &[u8]) -> bool {
        let held;
        let mut bytes = match self.held(block) {
            None => return false,
            Some(None) => block,
            Some(Some(decompressed)) => {
                held = decompressed;
                &held
            }
        };
        self.skip_all(&self.row, n_rows, &mut bytes, 0).is_some() && bytes.is_empty()
    }

    /// What a block holds, if it is compressed; outer `None`: nothing that can be read.
    fn held(&self, block: &[u8]) -> Option<Option<Vec<u8>>> {
        let held = match self.codec {
            Codec::None => return Some(None),
            Codec::Deflate => read(DeflateDecoder::new(block)),
            Codec::Zstandard => read(ZstdDecoder::new(block)),
            Codec::Bzip2 => read(BzDecoder::new(block)),
            Codec::Xz => read(XzDecoder::new(block)),
            Codec::Snappy => {
                let n_bytes = block.len().checked_sub(CHECKSUM_BYTES)?;
                let held = snap::raw::Decoder::new().decompress_vec(&block[..n_bytes]);
                held.ok()
            }
        };
        held.map(Some)
    }

    /// Passes over so many values.
    fn skip_all(&self, shape: &Shape, n: i64, bytes: &mut &[u8], depth: usize) -> Option<()> {
        for _ in 0..u64::try_from(n).ok()? {
            let before = bytes.len();
            self.skip(shape, bytes, depth)?;
            if bytes.len() == before {
                // Values without bytes, as of null, are so all.
                break;
            }
        }
        Some(())
    }

    fn skip(&self, shape: &Shape, bytes: &mut &[u8], depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        match shape {
            Shape::Bytes(n_bytes) => pass(bytes, *n_bytes),
            Shape::Number => number(bytes).map(|_| ()),
            Shape::Text => {
                let n_bytes = usize::try_from(number(bytes)?).ok()?;
                pass(bytes, n_bytes)
            }
            Shape::Record(fields) => {
                let mut fields = fields.iter();
                fields.try_for_each(|field| self.skip(field, bytes, depth + 1))
            }
            Shape::Union(branches) => {
                let branch = usize::try_from(number(bytes)?).ok()?;
                self.skip(branches.get(branch)?, bytes, depth + 1)
            }
            Shape::Array(element) => self.skip_blocks(element, false, bytes, depth),
            Shape::Map(value) => self.skip_blocks(value, true, bytes, depth),
            Shape::Named(at) => self.skip(self.named.get(*at)?.1.as_ref()?, bytes, depth + 1),
        }
    }

    /// Passes over the elements of an array, or the keys and values of a map.
    fn skip_blocks(
        &self,
        element: &Shape,
        has_keys: bool,
        bytes: &mut &[u8],
        depth: usize,
    ) -> Option<()> {
        loop {
            let mut n = number(bytes)?;
            if n == 0 {
                return Some(());
            }
            let mut end = None;
            // A negative count is followed by the size of the elements, which a reader may skip by it.
            if n < 0 {
                n = n.checked_neg()?;
                let n_bytes = usize::try_from(number(bytes)?).ok()?;
                end = Some(bytes.len().checked_sub(n_bytes)?);
            }
            if has_keys {
                for _ in 0..n {
                    self.skip(&Shape::Text, bytes, depth + 1)?;
                    self.skip(element, bytes, depth + 1)?;
                }
            } else {
                self.skip_all(element, n, bytes, depth + 1)?;
            }
            if end.is_some_and(|end| end != bytes.len()) {
                return None;
            }
        }
    }
}

/// All that a decoder reads of bytes that are in memory, so that it never waits.
fn read(mut decoder: impl AsyncRead + Unpin) -> Option<Vec<u8>> {
    let mut held = Vec::new();
    block_on(decoder.read_to_end(&mut held)).ok()?;
    Some(held)
}

fn pass(bytes: &mut &[u8], n_bytes: usize) -> Option<()> {
    *bytes = bytes.get(n_bytes..)?;
    Some(())
}

/// The shape of a type; names without a namespace are of `space`.
fn shape(named: &mut Vec<(String, Option<Shape>)>, found: &Value, space: &str) -> Option<Shape> {
    let parts = match found {
        Value::String(name) => return of_name(named, name, space),
        Value::Array(branches) => {
            let mut branches = branches.iter();
            let shapes: Option<_> = branches.try_fold(Vec::new(), |mut shapes, branch| {
                shapes.push(shape(named, branch, space)?);
                Some(shapes)
            });
            return shapes.map(Shape::Union);
        }
        Value::Object(parts) => parts,
        _ => return None,
    };
    let Some(Value::String(kind)) = parts.get("type") else {
        return shape(named, parts.get("type")?, space);
    };
    match kind.as_str() {
        "array" => Some(Shape::Array(Box::new(shape(
            named,
            parts.get("items")?,
            space,
        )?))),
        "map" => Some(Shape::Map(Box::new(shape(
            named,
            parts.get("values")?,
            space,
        )?))),
        "record" | "error" | "enum" | "fixed" => {
            let name = parts.get("name")?.as_str()?;
            let own_space = parts.get("namespace").and_then(Value::as_str);
            let name = full_name(name, own_space.unwrap_or(space));
            let space = name
                .rsplit_once('.')
                .map_or("", |(space, _)| space)
                .to_owned();
            let at = named.len();
            named.push((name, None));
            let defined = match kind.as_str() {
                "enum" => Shape::Number,
                "fixed" => Shape::Bytes(usize::try_from(parts.get("size")?.as_u64()?).ok()?),
                _ => {
                    let mut shapes = Vec::new();
                    for field in parts.get("fields")?.as_array()? {
                        shapes.push(shape(named, field.get("type")?, &space)?);
                    }
                    Shape::Record(shapes)
                }
            };
            named.get_mut(at)?.1 = Some(defined);
            Some(Shape::Named(at))
        }
        name => of_name(named, name, space),
    }
}

fn of_name(named: &[(String, Option<Shape>)], name: &str, space: &str) -> Option<Shape> {
    Some(match name {
        "null" => Shape::Bytes(0),
        "boolean" => Shape::Bytes(1),
        "float" => Shape::Bytes(4),
        "double" => Shape::Bytes(8),
        "int" | "long" => Shape::Number,
        "bytes" | "string" => Shape::Text,
        name => {
            let full = full_name(name, space);
            let place = |name: &str| named.iter().position(|(known, _)| known == name);
            Shape::Named(place(&full).or_else(|| place(name))?)
        }
    })
}

fn full_name(name: &str, space: &str) -> String {
    match name.contains('.') || space.is_empty() {
        true => name.to_owned(),
        false => format!("{space}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(fields: &Value) -> Rows {
        let schema = json!({"type": "record", "name": "r", "namespace": "n", "fields": fields});
        Rows::of(schema.to_string().as_bytes(), b"null").unwrap()
    }

    fn field(shape: &Value) -> Value {
        json!([{"name": "a", "type": shape}])
    }

    #[test]
    fn rows_of_each_type_fill_their_block() {
        let fixed = json!({"type": "fixed", "size": 3, "name": "f"});
        let cases: &[(Value, &[u8])] = &[
            (json!("null"), &[]),
            (json!("boolean"), &[1]),
            (json!({"type": "int", "logicalType": "date"}), &[0x80, 1]),
            (json!("float"), &[0; 4]),
            (json!({"type": {"type": "double"}}), &[0; 8]),
            (json!("string"), &[4, b'a', b'b']),
            (json!(fixed), &[1, 2, 3]),
            (json!([fixed, "null", "f"]), &[4, 1, 2, 3]),
            (json!([fixed, "n.f"]), &[2, 1, 2, 3]),
            (json!({"type": "enum", "name": "e", "symbols": ["x"]}), &[0]),
            (json!({"type": "array", "items": "long"}), &[4, 1, 1, 0]),
            (
                json!({"type": "array", "items": "long"}),
                &[3, 4, 1, 1, 2, 1, 0],
            ),
            (
                json!({"type": "array", "items": "null"}),
                &[0xfe, 0xff, 0xff, 0x7f, 0],
            ),
            (json!({"type": "map", "values": "int"}), &[2, 2, b'k', 1, 0]),
            // A list whose rest is such a list.
            (json!(["null", "r"]), &[2, 2, 0]),
        ];
        for (shape, value) in cases {
            let rows = rows(&field(shape));
            let two = [*value, *value].concat();
            assert!(rows.fill(2, &two), "{shape}");
            let more = [&two[..], &[0]].concat();
            assert!(!rows.fill(2, &more), "{shape}");
            if !two.is_empty() {
                assert!(!rows.fill(2, &two[..two.len() - 1]), "{shape}");
            }
        }
    }

    #[test]
    fn damaged_rows_fill_no_block() {
        let fills = |shape: Value, n, block: &[u8]| rows(&field(&shape)).fill(n, block);
        assert!(!fills(json!("string"), -1, &[]));
        assert!(!fills(json!("string"), 1, &[3]));
        assert!(!fills(json!(["null", "int"]), 1, &[4]));
        // The size of the elements is not theirs.
        assert!(!fills(
            json!({"type": "array", "items": "int"}),
            1,
            &[1, 4, 1, 0]
        ));
        assert!(!fills(json!(["null", "r"]), 1, &[2; 2000]));
    }

    #[test]
    fn compressed_blocks_are_looked_into() {
        let schema =
            br#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "string"}]}"#;
        let held = b"\x02a\x04bc";
        let snappy = snap::raw::Encoder::new().compress_vec(held).unwrap();
        let snappy = [&snappy[..], &[0; 4]].concat();
        // One stored block of deflate.
        let deflate = [&[1, 5, 0, 0xfa, 0xff][..], held].concat();
        for (codec, block) in [(&b"snappy"[..], snappy), (&b"deflate"[..], deflate)] {
            let rows = Rows::of(schema, codec).unwrap();
            assert!(rows.fill(2, &block));
            assert!(!rows.fill(1, &block));
            assert!(!rows.fill(2, &block[..3]));
        }
        assert!(Rows::of(schema, b"other").is_none());
        assert!(Rows::of(br#""nobody""#, b"null").is_none());
    }
}
