//! Whether a message has the form of its kind, before the library reads it.
//!
//! In: a whole message as it came; out: nothing, or what is wrong with it. The library trusts the counts and lengths in
//! a message, and leaves what stands behind its end to the next one. What a message says is not judged here.

use super::client_encoding::Untranslatable;
use super::encoding::fault_of;
use crate::sqlstate::Failure;

/// Bytes of a message before its body: its kind and its length, which counts itself.
const HEAD: usize = 5;

/// The longest messages with statements, values and rows, and the longest others, in bytes: as of the library, which takes
/// no longer ones, and of PostgreSQL.
const LARGE: u32 = 0x3fff_fffe;
const SMALL: u32 = 10_000;

/// A message that cannot be answered as what it is, though the next one can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    kind: u8,
    wrong: Wrong,
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wrong {
    /// A count or a length leads beyond its end.
    Short,
    /// There are bytes behind what belongs to it.
    Long,
    /// A text has no end.
    Unterminated,
    /// A text is none in its encoding, as the message says.
    Encoding(&'static str, String),
    /// It calls a function by its number, which only PostgreSQL has.
    FunctionCall,
    /// There is no memory for it.
    NoRoom,
}

impl Malformed {
    /// A message that there is no memory for, and that was not kept.
    pub(super) fn no_room(kind: u8) -> Malformed {
        let wrong = Wrong::NoRoom;
        Malformed { kind, wrong }
    }

    /// A message with a text that is none in the client's encoding.
    pub(super) fn untranslatable(kind: u8, wrong: &Untranslatable) -> Malformed {
        let wrong = Wrong::Encoding(wrong.sqlstate(), wrong.to_string());
        Malformed { kind, wrong }
    }

    /// Whether it belongs to the extended protocol, in which everything behind it is skipped until the client syncs.
    pub(super) fn is_skipped_behind(&self) -> bool {
        matches!(self.kind, b'P' | b'B' | b'D' | b'E' | b'C' | b'H')
    }

    /// Whether it is a sync.
    pub(super) fn is_sync(&self) -> bool {
        self.kind == b'S'
    }

    /// In PostgreSQL's words.
    pub(super) fn failure(&self) -> Failure {
        match &self.wrong {
            Wrong::Short => Failure::protocol("insufficient data left in message"),
            Wrong::Long => Failure::protocol("invalid message format"),
            Wrong::Unterminated => Failure::protocol("invalid string in message"),
            Wrong::Encoding(sqlstate, message) => Failure::error(sqlstate, message.clone()),
            Wrong::FunctionCall => {
                let message = "function calls by number are not supported";
                Failure::error("0A000", message).with_hint("Call the function in a SELECT.")
            }
            Wrong::NoRoom => {
                let message = "out of memory: there is no room for the message";
                Failure::error("53200", message).with_hint("Send less at a time, as with COPY.")
            }
        }
    }
}

/// The message that a client's bytes begin with, head included; `None`: more bytes are needed, or its length is none.
pub(super) fn first_message(input: &[u8]) -> Option<&[u8]> {
    let (_, length) = head(input)?;
    input.get(..length)
}

/// The kind of the message that a client's bytes begin with, and its length, head included.
pub(super) fn head(input: &[u8]) -> Option<(u8, usize)> {
    let length = u32::from_be_bytes(input.get(1..HEAD)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?.checked_add(1)?;
    Some((*input.first()?, length))
}

/// Whether the length that a message tells is one of its kind: it counts its own four bytes. `true` before it is there.
pub(super) fn has_length(input: &[u8]) -> bool {
    let Some(([kind], length)) = input.split_first_chunk() else {
        return true;
    };
    let longest = match kind {
        b'Q' | b'P' | b'B' | b'F' | b'd' => LARGE,
        _ => SMALL,
    };
    length
        .first_chunk()
        .is_none_or(|length| (4..=longest).contains(&u32::from_be_bytes(*length)))
}

/// Whether clients send messages of a kind.
pub(super) fn is_known(kind: u8) -> bool {
    b"QPBDCEHSFXpdcf".contains(&kind)
}

/// Checks a whole message, head included.
pub(super) fn check(message: &[u8]) -> Result<(), Malformed> {
    let kind = message.first().copied().unwrap_or_default();
    let mut body = Body(message.get(HEAD..).unwrap_or_default());
    let checked = match kind {
        b'Q' => body.text(),
        b'P' => parse(&mut body),
        b'B' => bind(&mut body),
        b'D' | b'C' => body.skip(1).and_then(|()| body.text()),
        b'E' => body.text().and_then(|()| body.skip(4)),
        b'H' | b'S' => Ok(()),
        b'F' => Err(Wrong::FunctionCall),
        // Of others the library knows what to do, or that it does not know them.
        _ => return Ok(()),
    };
    let wrong = match checked {
        Err(wrong) => wrong,
        Ok(()) if !body.0.is_empty() => Wrong::Long,
        Ok(()) => match fault_of(message) {
            Some(wrong) => Wrong::Encoding("22021", wrong),
            None => return Ok(()),
        },
    };
    Err(Malformed { kind, wrong })
}

/// Name, text, and a number for each parameter type.
fn parse(body: &mut Body<'_>) -> Result<(), Wrong> {
    body.text()?;
    body.text()?;
    let n_types = body.count()?;
    body.skip(4 * n_types)
}

/// Portal, statement, formats of the parameters, the parameters with their lengths, formats of the result.
fn bind(body: &mut Body<'_>) -> Result<(), Wrong> {
    body.text()?;
    body.text()?;
    let n_formats = body.count()?;
    body.skip(2 * n_formats)?;
    for _ in 0..body.count()? {
        match i32::from_be_bytes(body.take()?) {
            // NULL.
            -1 => {}
            length => body.skip(usize::try_from(length).map_err(|_| Wrong::Short)?)?,
        }
    }
    let n_formats = body.count()?;
    body.skip(2 * n_formats)
}

/// What is left of a message.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn skip(&mut self, n_bytes: usize) -> Result<(), Wrong> {
        self.0 = self.0.get(n_bytes..).ok_or(Wrong::Short)?;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let bytes = *self.0.first_chunk::<N>().ok_or(Wrong::Short)?;
        self.skip(N)?;
        Ok(bytes)
    }

    /// Counts have no sign.
    fn count(&mut self) -> Result<usize, Wrong> {
        Ok(usize::from(u16::from_be_bytes(self.take()?)))
    }

    /// A text and the zero behind it.
    fn text(&mut self) -> Result<(), Wrong> {
        let end = self.0.iter().position(|byte| *byte == 0);
        self.skip(end.ok_or(Wrong::Unterminated)? + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn wrong(kind: u8, body: &[u8]) -> Option<Wrong> {
        check(&message(kind, body)).err().map(|found| found.wrong)
    }

    #[test]
    fn messages_of_clients_pass() {
        for (kind, body) in [
            (b'Q', &b"SELECT 1\0"[..]),
            (b'P', b"s\0SELECT $1\0\0\x01\0\0\0\x17"),
            (
                b'B',
                b"\0s\0\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01",
            ),
            (b'D', b"S\0"),
            (b'E', b"\0\0\0\0\0"),
            (b'S', b""),
            (b'd', b"anything"),
        ] {
            assert_eq!(wrong(kind, body), None, "{}", kind as char);
        }
    }

    #[test]
    fn counts_and_lengths_stay_within() {
        assert_eq!(wrong(b'B', b"\0\0\xff\xff"), Some(Wrong::Short));
        assert_eq!(wrong(b'B', b"\0\0\0\0\xff\xff"), Some(Wrong::Short));
        let long = b"\0\0\0\0\0\x01\x7f\xff\xff\xffx\0\0";
        assert_eq!(wrong(b'B', long), Some(Wrong::Short));
        let negative = b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0";
        assert_eq!(wrong(b'B', negative), Some(Wrong::Short));
        assert_eq!(wrong(b'P', b"\0SELECT 1\0\xff\xff"), Some(Wrong::Short));
        assert_eq!(wrong(b'Q', b"SELECT 1"), Some(Wrong::Unterminated));
        assert_eq!(wrong(b'Q', b"SELECT 1\0x\0"), Some(Wrong::Long));
        assert_eq!(wrong(b'S', b"x"), Some(Wrong::Long));
        assert_eq!(wrong(b'F', b""), Some(Wrong::FunctionCall));
    }

    #[test]
    fn a_message_ends_where_its_length_says() {
        let two = [message(b'Q', b"a\0"), message(b'S', b"")].concat();
        assert_eq!(first_message(&two).map(<[u8]>::len), Some(7));
        assert_eq!(first_message(&two[..6]), None);
        assert!(has_length(&two) && has_length(b"Q\0\0"));
        assert!(!has_length(b"Q\0\0\0\x03"));
        assert!(has_length(b"Q\x3f\xff\xff\xfe") && !has_length(b"Q\x3f\xff\xff\xff"));
        assert!(has_length(b"S\0\0\x27\x10") && !has_length(b"S\0\0\x27\x11"));
    }
}
