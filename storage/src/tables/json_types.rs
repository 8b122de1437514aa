//! The columns that JSON files have, from their rows.
//!
//! Lines flow in, one at a time; a schema flows out: a column for each key, of a type that holds the values of all lines
//! that were seen. Scalars of several types are text, as are integers that no type holds; what was always NULL has no
//! type yet.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use futures::TryStreamExt as _;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::tables::json_array::{JsonText, json_text};
use crate::tables::json_integers::with_quoted_integers;
use crate::tables::plain_bytes::Body;
use crate::tables::sample::Sample;

/// What is known of the rows of a file.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) schema: Schema,
    /// Whether there are rows that were not looked at.
    pub(crate) is_sampled: bool,
}

/// The columns of a file, or why it has none and the line that says so.
pub(crate) async fn json_columns(
    body: Body,
    sample: Sample,
) -> std::result::Result<Found, (Option<u64>, DataFusionError)> {
    let nowhere = |error| (None, error);
    let JsonText {
        is_array,
        mut lines,
    } = json_text(body).await.map_err(nowhere)?;
    let mut rows = Rows::default();
    let at_line = |rows: &Rows| (!is_array).then_some(rows.n_lines);
    while let Some(piece) = lines.try_next().await.map_err(nowhere)? {
        let fed = rows.feed(&piece, sample);
        if !fed.map_err(|error| (at_line(&rows), error))? {
            return Ok(rows.found(true));
        }
    }
    let ended = rows.end();
    ended.map_err(|error| (at_line(&rows), error))?;
    Ok(rows.found(false))
}

/// The rows so far.
#[derive(Debug, Default)]
struct Rows {
    keys: Keys,
    /// The start of a line whose end has not come yet.
    rest: Vec<u8>,
    n_lines: u64,
    n_rows: usize,
    n_bytes: usize,
}

impl Rows {
    /// Looks at the lines of a piece; whether more are wanted.
    fn feed(&mut self, piece: &Bytes, sample: Sample) -> Result<bool> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if sample.is_enough(self.n_rows, self.n_bytes) {
                return Ok(false);
            }
            self.n_bytes += part.len();
            if !part.ends_with(b"\n") {
                self.rest.extend_from_slice(part);
                continue;
            }
            match self.rest.is_empty() {
                true => self.look_at(part)?,
                false => {
                    let mut line = std::mem::take(&mut self.rest);
                    line.extend_from_slice(part);
                    self.look_at(&line)?;
                }
            }
        }
        Ok(true)
    }

    fn end(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.rest);
        match line.is_empty() {
            true => Ok(()),
            false => self.look_at(&line),
        }
    }

    fn look_at(&mut self, line: &[u8]) -> Result<()> {
        self.n_lines += 1;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        self.n_rows += 1;
        let line = with_quoted_integers(line);
        let mut json = serde_json::Deserializer::from_slice(&line);
        let looked = Row(&mut self.keys).deserialize(&mut json);
        let looked = looked.and_then(|()| json.end());
        looked.map_err(|error| {
            let reason = match error.is_data() {
                // Where in its line a value stands is not said of other faults either.
                true => without_place(&error.to_string()).to_owned(),
                false => format!("Not valid JSON: {error}"),
            };
            ArrowError::JsonError(reason).into()
        })
    }

    fn found(&self, is_sampled: bool) -> Found {
        Found {
            schema: Schema::new(self.keys.fields()),
            is_sampled,
        }
    }
}

fn without_place(reason: &str) -> &str {
    reason
        .rsplit_once(" at line ")
        .map_or(reason, |(reason, _)| reason)
}

/// What values of one place have in common.
#[derive(Debug, Default)]
enum Seen {
    /// None, or NULL.
    #[default]
    Nothing,
    Boolean,
    Integer,
    Double,
    /// Texts by which floats are written that are no JSON numbers.
    NotFinite,
    Text,
    List(Box<Seen>),
    Object(Keys),
}

impl Seen {
    fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "NULL",
            Self::Boolean => "a boolean",
            Self::Integer | Self::Double => "a number",
            Self::NotFinite | Self::Text => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    fn add<E: serde::de::Error>(&mut self, scalar: Self) -> std::result::Result<(), E> {
        let both = match (&*self, &scalar) {
            (Self::List(_) | Self::Object(_), _) => return Err(mixed(self, scalar.name())),
            (Self::Nothing, _) => scalar,
            (Self::Boolean, Self::Boolean) => return Ok(()),
            (Self::Integer, Self::Integer) => return Ok(()),
            (Self::NotFinite, Self::NotFinite) => return Ok(()),
            (
                Self::Integer | Self::Double | Self::NotFinite,
                Self::Integer | Self::Double | Self::NotFinite,
            ) => Self::Double,
            _ => Self::Text,
        };
        *self = both;
        Ok(())
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::NotFinite | Self::Text => DataType::Utf8,
            Self::Nothing => DataType::Null,
            Self::List(elements) => {
                DataType::List(Arc::new(Field::new_list_field(elements.data_type(), true)))
            }
            Self::Object(keys) => DataType::Struct(keys.fields()),
        }
    }
}

fn mixed<E: serde::de::Error>(seen: &Seen, found: &str) -> E {
    let seen = seen.name();
    E::custom(format!("one key has {found} here and {seen} before"))
}

/// The keys of objects, in the order of their first appearance.
#[derive(Debug, Default)]
struct Keys {
    seen: Vec<(String, Seen)>,
    places: HashMap<String, usize>,
}

impl Keys {
    fn fields(&self) -> Fields {
        let field = |(key, seen): &(String, Seen)| Field::new(key, seen.data_type(), true);
        self.seen.iter().map(field).collect()
    }

    /// The place of a key, which stands at `expected` if objects have the same keys in the same order.
    fn place(&mut self, key: &str, expected: usize) -> usize {
        if self
            .seen
            .get(expected)
            .is_some_and(|(known, _)| known == key)
        {
            return expected;
        }
        if let Some(place) = self.places.get(key) {
            return *place;
        }
        let place = self.seen.len();
        self.places.insert(key.to_owned(), place);
        self.seen.push((key.to_owned(), Seen::Nothing));
        place
    }

    fn look_at<'de, A: MapAccess<'de>>(
        &mut self,
        mut object: A,
    ) -> std::result::Result<(), A::Error> {
        let mut expected = 0;
        loop {
            let key = Key {
                keys: self,
                expected,
            };
            let Some(place) = object.next_key_seed(key)? else {
                return Ok(());
            };
            object.next_value_seed(Value(&mut self.seen[place].1))?;
            expected = place + 1;
        }
    }
}

struct Key<'a> {
    keys: &'a mut Keys,
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> std::result::Result<usize, E> {
        Ok(self.keys.place(key, self.expected))
    }
}

/// Looks at one row, which is an object.
struct Row<'a>(&'a mut Keys);

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> std::result::Result<(), A::Error> {
        self.0.look_at(object)
    }
}

/// Looks at one value.
struct Value<'a>(&'a mut Seen);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> std::result::Result<(), E> {
        self.0.add(Seen::Boolean)
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> std::result::Result<(), E> {
        self.0.add(Seen::Integer)
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> std::result::Result<(), E> {
        self.0.add(Seen::Integer)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> std::result::Result<(), E> {
        self.0.add(Seen::Double)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<(), E> {
        self.0.add(match text {
            "NaN" | "Infinity" | "-Infinity" => Seen::NotFinite,
            _ => Seen::Text,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        if matches!(self.0, Seen::Nothing) {
            *self.0 = Seen::List(Box::default());
        }
        let Seen::List(elements) = self.0 else {
            return Err(mixed(self.0, "a list"));
        };
        while list.next_element_seed(Value(elements))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> std::result::Result<(), A::Error> {
        if matches!(self.0, Seen::Nothing) {
            *self.0 = Seen::Object(Keys::default());
        }
        match self.0 {
            Seen::Object(keys) => keys.look_at(object),
            seen => Err(mixed(seen, "an object")),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    async fn found(
        text: &str,
        sample: Sample,
    ) -> std::result::Result<Found, (Option<u64>, DataFusionError)> {
        // Cut anywhere.
        let pieces: Vec<_> = text.as_bytes().chunks(7).collect();
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(piece.to_vec().into()))
            .collect();
        json_columns(futures::stream::iter(pieces).boxed(), sample).await
    }

    async fn types(text: &str) -> Vec<(String, String)> {
        let found = found(text, Sample::rows(usize::MAX)).await.unwrap();
        assert!(!found.is_sampled);
        let fields = found.schema.fields().iter();
        fields
            .map(|field| (field.name().clone(), field.data_type().to_string()))
            .collect()
    }

    #[tokio::test]
    async fn a_type_holds_all_values() {
        for (values, expected) in [
            ("1, null, 2", "Int64"),
            ("1, 2.5", "Float64"),
            ("2.5, 1", "Float64"),
            ("true, false", "Boolean"),
            ("1, \"two\"", "Utf8"),
            ("1.5, \"NaN\"", "Float64"),
            ("\"-Infinity\", 1, \"NaN\"", "Float64"),
            ("\"NaN\", \"Infinity\"", "Utf8"),
            ("\"NaN\", 1, \"x\"", "Utf8"),
            ("true, 1", "Utf8"),
            ("null, null", "Null"),
            ("1, 18446744073709551615", "Utf8"),
            ("1, 123456789012345678901", "Utf8"),
            ("-9223372036854775809, 1", "Utf8"),
            ("1, 1e300", "Float64"),
        ] {
            let rows = values
                .split(", ")
                .map(|value| format!("{{\"a\": {value}}}\n"));
            let text: String = rows.collect();
            assert_eq!(
                types(&text).await,
                [("a".into(), expected.into())],
                "{values}"
            );
        }
    }

    #[tokio::test]
    async fn keys_come_in_the_order_of_their_first_appearance() {
        let text =
            "\u{feff}{\"b\": 1}\n\n{\"a\": [], \"b\": 2}\n{\"c\": {\"x\": null}, \"a\": [1]}";
        let found = found(text, Sample::rows(usize::MAX)).await.unwrap();
        let names: Vec<_> = found
            .schema
            .fields()
            .iter()
            .map(|f| f.name().clone())
            .collect();
        assert_eq!(names, ["b", "a", "c"]);
        let element = |data_type| Arc::new(Field::new_list_field(data_type, true));
        assert_eq!(
            *found.schema.field(1).data_type(),
            DataType::List(element(DataType::Int64))
        );
        let inner: Fields = vec![Field::new("x", DataType::Null, true)].into();
        assert_eq!(*found.schema.field(2).data_type(), DataType::Struct(inner));
        assert_eq!(types("[{\"a\": 1},\n {\n\"a\": 2}]").await[0].1, "Int64");
    }

    #[tokio::test]
    async fn what_is_no_column_is_told_with_its_line() {
        for (text, line, reason) in [
            ("{\"a\": 1}\n\n{\"a\": }\n", 3, "Not valid JSON: "),
            ("{\"a\": 1}\n{\"a\": 1", 2, "Not valid JSON: "),
            ("{\"a\": 1}\n5\n", 2, "expected an object"),
            (
                "{\"a\": 1}\n{\"a\": [1]}",
                2,
                "one key has a list here and a number before",
            ),
            (
                "{\"a\": {}}\n{\"a\": 1}",
                2,
                "one key has a number here and an object before",
            ),
        ] {
            let (found, error) = found(text, Sample::rows(usize::MAX)).await.unwrap_err();
            assert_eq!(found, Some(line), "{text}");
            assert!(error.to_string().contains(reason), "{error}");
        }
        let (line, _) = found("[{}\n, 5]", Sample::rows(usize::MAX))
            .await
            .unwrap_err();
        assert_eq!(line, None);
    }

    #[tokio::test]
    async fn a_sample_is_so_many_rows() {
        let text = "{\"a\": 1}\n{\"b\": 1}\n";
        let first = found(text, Sample::rows(1)).await.unwrap();
        assert!(first.is_sampled);
        assert_eq!(first.schema.fields().len(), 1);
        let both = found(text, Sample::rows(2)).await.unwrap();
        assert_eq!((both.is_sampled, both.schema.fields().len()), (false, 2));
    }
}
