//! Texts of clients in other encodings than UTF-8, in which the server has all of them.
//!
//! In: bytes of a client, and texts for it; out: the same in UTF-8 and in its encoding, or what has no place there. Each character of
//! such an encoding is one byte. Code map: `messages` knows where texts stand in messages, `values` where they stand in values. For SQL_ASCII nothing is converted, as in PostgreSQL.

mod messages;
mod values;

use std::borrow::Cow;
use std::sync::LazyLock;

use auspex_planner::{NO_CHARACTER, SERVER_ENCODING, SINGLE_BYTE_ENCODINGS, SingleByteEncoding};

use crate::sqlstate::Failure;

/// The encodings of clients that are not UTF-8.
static ENCODINGS: LazyLock<Vec<Encoding>> = LazyLock::new(|| {
    let known = SINGLE_BYTE_ENCODINGS.iter();
    known.map(Encoding::of).collect()
});

/// An encoding of a client that is not UTF-8.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientEncoding(&'static Encoding);

#[derive(Debug)]
struct Encoding {
    name: &'static str,
    /// The characters of the bytes from 0x80 on.
    characters: Vec<char>,
    /// The same bytes by their characters, in the order of these.
    bytes: Vec<(char, u8)>,
}

impl Encoding {
    fn of(known: &SingleByteEncoding) -> Encoding {
        let n_others = 128_usize.saturating_sub(known.last.chars().count());
        let others = ('\u{80}'..='\u{ff}').take(n_others);
        let characters: Vec<char> = others.chain(known.last.chars()).collect();
        let mut bytes: Vec<(char, u8)> = characters.iter().copied().zip(0x80..=0xff).collect();
        bytes.retain(|(character, _)| *character != NO_CHARACTER);
        bytes.sort_unstable();
        Encoding {
            name: known.name,
            characters,
            bytes,
        }
    }
}

/// A character that one encoding has and the other lacks, in PostgreSQL's words.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "character with byte sequence {} in encoding \"{from}\" has no equivalent in encoding \"{to}\"",
    shown(.bytes)
)]
pub(super) struct Untranslatable {
    bytes: Vec<u8>,
    from: &'static str,
    to: &'static str,
}

impl Untranslatable {
    pub(super) fn sqlstate(&self) -> &'static str {
        "22P05"
    }
}

impl From<Untranslatable> for Failure {
    fn from(wrong: Untranslatable) -> Failure {
        Failure::error(wrong.sqlstate(), wrong.to_string())
    }
}

fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.iter().map(|byte| format!("0x{byte:02x}"));
    bytes.collect::<Vec<_>>().join(" ")
}

impl ClientEncoding {
    /// The encoding that the setting names; `None`: nothing is converted.
    pub(super) fn of(name: &str) -> Option<ClientEncoding> {
        let mut encodings = ENCODINGS.iter();
        encodings
            .find(|encoding| encoding.name == name)
            .map(ClientEncoding)
    }

    /// What its clients call it.
    pub(super) fn name(self) -> &'static str {
        self.0.name
    }

    /// The text of bytes.
    pub(super) fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, Untranslatable> {
        if bytes.is_ascii()
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return Ok(Cow::Borrowed(text));
        }
        let mut text = String::with_capacity(bytes.len() + self.growth(bytes));
        for character in self.characters(bytes) {
            text.push(character?);
        }
        Ok(Cow::Owned(text))
    }

    /// The characters of bytes.
    fn characters(self, bytes: &[u8]) -> impl Iterator<Item = Result<char, Untranslatable>> {
        bytes.iter().map(move |byte| {
            let character = self.character(*byte);
            character.ok_or_else(|| Untranslatable {
                bytes: vec![*byte],
                from: self.name(),
                to: SERVER_ENCODING,
            })
        })
    }

    /// How many bytes more the text of bytes has.
    fn growth(self, bytes: &[u8]) -> usize {
        let characters = bytes.iter().map(|byte| self.character(*byte));
        characters
            .flatten()
            .map(|character| character.len_utf8() - 1)
            .sum()
    }

    /// The character of a byte, if it is one.
    fn character(self, byte: u8) -> Option<char> {
        let Some(place) = byte.checked_sub(0x80) else {
            return Some(char::from(byte));
        };
        let character = self.0.characters.get(usize::from(place)).copied();
        character.filter(|character| *character != NO_CHARACTER)
    }

    /// Puts the bytes of a text.
    pub(super) fn encode(self, text: &str, out: &mut Vec<u8>) -> Result<(), Untranslatable> {
        out.reserve(text.len());
        for character in text.chars() {
            out.push(self.byte(character).ok_or_else(|| Untranslatable {
                bytes: character.to_string().into_bytes(),
                from: SERVER_ENCODING,
                to: self.name(),
            })?);
        }
        Ok(())
    }

    /// The same with a question mark for each character that it lacks, for messages that must be sent.
    fn encode_lossy(self, text: &str, out: &mut Vec<u8>) {
        let bytes = text.chars().map(|character| self.byte(character));
        out.extend(bytes.map(|byte| byte.unwrap_or(b'?')));
    }

    /// The byte of a character, if it has one.
    fn byte(self, character: char) -> Option<u8> {
        if character.is_ascii() {
            return u8::try_from(character).ok();
        }
        let bytes = &self.0.bytes;
        let place = bytes.binary_search_by_key(&character, |(known, _)| *known);
        place.ok().map(|place| bytes[place].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(name: &str) -> ClientEncoding {
        ClientEncoding::of(name).unwrap()
    }

    fn encoded(name: &str, text: &str) -> Result<Vec<u8>, Untranslatable> {
        let mut out = Vec::new();
        encoding(name).encode(text, &mut out).map(|()| out)
    }

    #[test]
    fn every_byte_is_its_character_or_none() {
        // So many characters PostgreSQL has of each that is not full.
        let of_few = [
            ("ISO_8859_6", 83),
            ("ISO_8859_7", 125),
            ("ISO_8859_8", 92),
            ("LATIN3", 121),
            ("WIN874", 97),
            ("WIN1250", 123),
            ("WIN1251", 127),
            ("WIN1252", 123),
            ("WIN1253", 111),
            ("WIN1254", 121),
            ("WIN1255", 105),
            ("WIN1257", 116),
            ("WIN1258", 119),
        ];
        for name in ["UTF8", "SQL_ASCII", "nothing"] {
            assert!(ClientEncoding::of(name).is_none());
        }
        for known in ENCODINGS.iter() {
            let few = of_few.iter().find(|(name, _)| *name == known.name);
            let wanted = few.map_or(128, |(_, n_characters)| *n_characters);
            assert_eq!(known.characters.len(), 128, "{}", known.name);
            assert_eq!(known.bytes.len(), wanted, "{}", known.name);
            for (_, byte) in &known.bytes {
                let text = encoding(known.name).decode(std::slice::from_ref(byte));
                assert_eq!(encoded(known.name, &text.unwrap()).unwrap(), [*byte]);
            }
        }
    }

    #[test]
    fn texts_go_both_ways() {
        for (name, text, bytes) in [
            ("LATIN1", "é\u{80}ÿ~", &b"\xe9\x80\xff~"[..]),
            ("LATIN5", "ğİé", b"\xf0\xdd\xe9"),
            ("LATIN9", "€é", b"\xa4\xe9"),
            ("WIN1252", "€é„", b"\x80\xe9\x84"),
            ("WIN1258", "€ơ", b"\x80\xf5"),
            ("KOI8R", "да", b"\xc4\xc1"),
            ("WIN866", "да", b"\xa4\xa0"),
        ] {
            assert_eq!(encoded(name, text).unwrap(), bytes, "{name}");
            assert_eq!(encoding(name).decode(bytes).unwrap(), text, "{name}");
        }
    }

    #[test]
    fn what_has_no_place_is_named() {
        let lacks = |name: &str, text: &str| encoded(name, text).unwrap_err();
        let message = "character with byte sequence 0xe2 0x82 0xac in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"";
        assert_eq!(lacks("LATIN1", "1 €").to_string(), message);
        assert_eq!(lacks("LATIN1", "1 €").sqlstate(), "22P05");
        for (name, text) in [("LATIN5", "ð"), ("WIN1252", "aж"), ("WIN1252", "\u{81}")] {
            lacks(name, text);
        }
        let mut out = Vec::new();
        encoding("WIN1252").encode_lossy("aжé", &mut out);
        assert_eq!(out, b"a?\xe9");
        let wrong = encoding("WIN1253").decode(b"ab\xaac").unwrap_err();
        let message = "character with byte sequence 0xaa in encoding \"WIN1253\" has no equivalent in encoding \"UTF8\"";
        assert_eq!(wrong.to_string(), message);
    }
}
