//! Texts of messages that are not UTF-8, which pgwire's decoder would replace silently.
//!
//! In: the bytes of a message; out: what is wrong, if one of its texts is. Changes nothing.

/// What is wrong with the texts of a query or parse message; `None` also for any other message, and for one that has not
/// arrived as a whole.
pub(super) fn fault_of(received: &[u8]) -> Option<String> {
    let (kind, rest) = received.split_first()?;
    let length = rest.first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let body = rest.get(4..length)?;
    match kind {
        b'Q' => wrong(cstring(body)?.0),
        b'P' => {
            let (name, rest) = cstring(body)?;
            wrong(name).or_else(|| wrong(cstring(rest)?.0))
        }
        _ => None,
    }
}

/// A text up to its zero byte, and what follows.
fn cstring(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn wrong(text: &[u8]) -> Option<String> {
    let at = std::str::from_utf8(text).err()?.valid_up_to();
    let rest = &text[at..];
    // As many bytes as the first one announces.
    let announced = match rest.first()? {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    let shown: Vec<String> = rest
        .iter()
        .take(announced)
        .map(|byte| format!("0x{byte:02x}"))
        .collect();
    Some(format!(
        "invalid byte sequence for encoding \"UTF8\": {}",
        shown.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    #[test]
    fn wrong_bytes_are_named() {
        let fault = |bytes: Vec<u8>| fault_of(&bytes);
        let said = |bytes: &str| {
            let message = format!("invalid byte sequence for encoding \"UTF8\": {bytes}");
            Some(message)
        };
        assert_eq!(
            fault(message(b'Q', "SELECT 'ä\u{fffd}'\0".as_bytes())),
            None
        );
        assert_eq!(fault(message(b'Q', b"SELECT '\xff'\0")), said("0xff"));
        assert_eq!(fault(message(b'Q', b"SELECT '\xe4'\0")), said("0xe4 0x27"));
        assert_eq!(
            fault(message(b'P', b"a\0SELECT '\xc3(\0\0\0")),
            said("0xc3 0x28")
        );
        // Parameters of other messages are looked at where they are decoded, parts of messages not at all.
        assert_eq!(fault(message(b'd', b"\xff\0")), None);
        assert_eq!(fault(message(b'Q', b"\xff\0")[..6].to_vec()), None);
    }
}
