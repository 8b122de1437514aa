//! Where the texts stand in messages.
//!
//! In: a whole message, head included; out: the same with its texts in UTF-8, or in the client's encoding. Data rows and what a
//! COPY sends are not among them, nor the values of a bind message.

use bytes::BytesMut;

use super::{ClientEncoding, Untranslatable};
use crate::protocol::layout;

/// Bytes of a message before its body: its kind and its length, which counts itself.
const HEAD: usize = 5;
/// What follows the name of a column: numbers of its table, place, type, size, modifier and format.
const COLUMN_FACTS: usize = 18;

/// How many bytes stand before the texts of a client's message, and how many texts there are, each with a zero behind it.
fn received_texts(kind: u8) -> Option<(usize, usize)> {
    match kind {
        b'Q' | b'E' | b'f' => Some((0, 1)),
        b'P' | b'B' => Some((0, 2)),
        b'D' | b'C' => Some((1, 1)),
        _ => None,
    }
}

impl ClientEncoding {
    /// How many bytes a client's message may have once its texts are in UTF-8, and its parameters are.
    pub(in crate::protocol) fn received_length(self, message: &[u8]) -> usize {
        let has_texts = message.first().copied().and_then(received_texts).is_some();
        match has_texts && !message.is_ascii() {
            true => message.len() + self.growth(message),
            false => message.len(),
        }
    }

    /// A client's message with its texts in UTF-8; `None`: it is as it came, perhaps without the form of its kind.
    pub(in crate::protocol) fn received(
        self,
        message: &[u8],
    ) -> Result<Option<BytesMut>, Untranslatable> {
        let Some((&kind, body)) = message.first().zip(message.get(HEAD..)) else {
            return Ok(None);
        };
        let Some((n_before, n_texts)) = received_texts(kind) else {
            return Ok(None);
        };
        let ends = body.iter().enumerate().skip(n_before);
        let mut ends = ends.filter(|(_, byte)| **byte == 0);
        let Some((end, _)) = ends.nth(n_texts - 1) else {
            return Ok(None);
        };
        let (texts, rest) = body.split_at(end);
        let (before, texts) = texts.split_at(n_before);
        if texts.is_ascii() {
            return Ok(None);
        }
        let mut converted = BytesMut::with_capacity(message.len() + self.growth(texts));
        converted.extend_from_slice(&message[..HEAD]);
        converted.extend_from_slice(before);
        for character in self.characters(texts) {
            let mut bytes = [0; 4];
            converted.extend_from_slice(character?.encode_utf8(&mut bytes).as_bytes());
        }
        converted.extend_from_slice(rest);
        // Lossless: a message that would be longer was refused.
        let length = (converted.len() - 1) as u32;
        converted[1..HEAD].copy_from_slice(&length.to_be_bytes());
        Ok(Some(converted))
    }

    /// A message for the client with its texts in its encoding; `None`: it is as it was.
    pub(in crate::protocol) fn sent(self, message: &[u8]) -> Option<Vec<u8>> {
        let (&kind, body) = message.first().zip(message.get(HEAD..))?;
        let n_before = match kind {
            // The letters before their fields are ASCII.
            b'E' | b'N' | b'S' | b'C' => 0,
            // A notification begins with the number of a process.
            b'A' => 4,
            b'T' => return self.described(body).map(|body| framed(kind, &body)),
            _ => return None,
        };
        let (before, texts) = body.split_at_checked(n_before)?;
        if texts.is_ascii() {
            return None;
        }
        let mut converted = before.to_vec();
        self.encode_lossy(std::str::from_utf8(texts).ok()?, &mut converted);
        Some(framed(kind, &converted))
    }

    /// What a COPY sends as text, a line a message, in the client's encoding.
    pub(in crate::protocol) fn copied(self, messages: &[u8]) -> Result<Vec<u8>, Untranslatable> {
        let mut converted = Vec::with_capacity(messages.len());
        let mut rest = messages;
        while let Some((message, others)) =
            layout::first_message(rest).and_then(|message| rest.split_at_checked(message.len()))
        {
            let mut body = Vec::with_capacity(message.len());
            match std::str::from_utf8(&message[HEAD..]) {
                Ok(text) => self.encode(text, &mut body)?,
                Err(_) => body.extend_from_slice(&message[HEAD..]),
            }
            converted.extend(framed(message[0], &body));
            rest = others;
        }
        Ok(converted)
    }

    /// The description of rows, whose names were looked at before.
    fn described(self, body: &[u8]) -> Option<Vec<u8>> {
        let (count, mut rest) = body.split_at_checked(2)?;
        let mut converted = count.to_vec();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == 0)?;
            self.encode_lossy(std::str::from_utf8(&rest[..end]).ok()?, &mut converted);
            let (facts, others) = rest[end..].split_at_checked(1 + COLUMN_FACTS)?;
            converted.extend_from_slice(facts);
            rest = others;
        }
        Some(converted)
    }
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    // Lossless: no text is longer in another encoding than in UTF-8.
    let length = (body.len() + 4) as u32;
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latin() -> ClientEncoding {
        ClientEncoding::of("LATIN1").unwrap()
    }

    #[test]
    fn texts_of_clients_are_read() {
        let converted = |kind: u8, body: &[u8]| {
            let converted = latin().received(&framed(kind, body)).unwrap();
            converted.map(|message| message.to_vec())
        };
        let wanted = framed(b'Q', "SELECT 'é'\0".as_bytes());
        assert_eq!(converted(b'Q', b"SELECT '\xe9'\0"), Some(wanted));
        let wanted = framed(b'P', "é\0SELECT $1\0\0\x01\0\0\0\u{7f}".as_bytes());
        let body = b"\xe9\0SELECT $1\0\0\x01\0\0\0\x7f";
        assert_eq!(converted(b'P', body), Some(wanted));
        // What stands behind the texts is no text.
        assert_eq!(converted(b'B', b"\0\0\0\0\0\x01\0\0\0\x01\xe9\0\0"), None);
        assert_eq!(converted(b'Q', b"SELECT 1\0"), None);
        assert_eq!(converted(b'Q', b"\xe9"), None);
        assert_eq!(converted(b'd', b"\xe9\0"), None);
        let wanted = framed(b'D', "Sé\0".as_bytes());
        assert_eq!(converted(b'D', b"S\xe9\0"), Some(wanted));
        assert_eq!(latin().received(b"Q").unwrap(), None);
        assert_eq!(latin().received(b"D\0\0\0\x04").unwrap(), None);
        let length = |kind: u8, body: &[u8]| latin().received_length(&framed(kind, body));
        assert_eq!(length(b'Q', b"\xe9\xe9\0"), 5 + 5);
        assert_eq!(length(b'd', b"\xe9\xe9"), 5 + 2);
    }

    #[test]
    fn texts_for_clients_are_written() {
        let sent = |kind: u8, body: &[u8]| latin().sent(&framed(kind, body));
        let wanted = framed(b'E', b"SERROR\0M\xe9 ?\0\0");
        assert_eq!(sent(b'E', "SERROR\0Mé €\0\0".as_bytes()), Some(wanted));
        assert_eq!(sent(b'C', b"SELECT 1\0"), None);
        let process = b"\xff\xff\xff\xff";
        let body = [&process[..], "é\0\0".as_bytes()].concat();
        let wanted = framed(b'A', &[&process[..], b"\xe9\0\0"].concat());
        assert_eq!(sent(b'A', &body), Some(wanted));
        let lines = |line: &[u8]| [framed(b'd', b"a\n"), framed(b'd', line)].concat();
        let copied = latin().copied(&lines("é\n".as_bytes())).unwrap();
        assert_eq!(copied, lines(b"\xe9\n"));
        assert!(latin().copied(&lines("€\n".as_bytes())).is_err());
        let facts = [0xff; COLUMN_FACTS];
        let of_two = |name: &[u8]| {
            let columns = [&b"\0\x02a\0"[..], &facts, name, b"\0", &facts];
            framed(b'T', &columns.concat())
        };
        let described = latin().sent(&of_two("é".as_bytes()));
        assert_eq!(described, Some(of_two(b"\xe9")));
    }
}
