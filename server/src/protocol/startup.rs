//! What a startup message asks for: a version of the protocol, and settings.
//!
//! In: the message; out: the version that is spoken, with what the client is told if it is another one, and names with
//! values. Who is let in is decided by `login`.

use std::ops::RangeInclusive;

use pgwire::messages::ProtocolVersion;
use pgwire::messages::startup::{NegotiateProtocolVersion, Startup};

/// What options of the protocol begin with; none is known.
const PROTOCOL_OPTION: &str = "_pq_.";
/// What a first message has in the place of a version that asks for something else, as for encryption.
const REQUEST: u16 = 1234;
/// The lengths that a first message may have.
const LENGTHS: RangeInclusive<u32> = 8..=10_000;

/// Why the version that a startup message has is not spoken; `None` if it is, or of what is no whole startup message.
pub(super) fn unsupported_version(received: &[u8]) -> Option<String> {
    let (length, rest) = received.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length);
    let [a, b, c, d] = *rest.first_chunk::<4>()?;
    let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let is_whole = LENGTHS.contains(&length) && received.len() >= length as usize;
    (is_whole && major != 3 && major != REQUEST).then(|| {
        format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")
    })
}

/// The version that is spoken: the newest one that is not above the client's, which is told so where that is not the one
/// that it asked for, or where it asked for options of the protocol.
pub(super) fn settled_version(
    startup: &Startup,
) -> (ProtocolVersion, Option<NegotiateProtocolVersion>) {
    let (major, minor) = (startup.protocol_number_major, startup.protocol_number_minor);
    // There is no 3.1.
    let version = match minor {
        0 | 1 => ProtocolVersion::PROTOCOL3_0,
        _ => ProtocolVersion::PROTOCOL3_2,
    };
    let options = startup.parameters.keys();
    let options: Vec<String> = options
        .filter(|name| name.starts_with(PROTOCOL_OPTION))
        .cloned()
        .collect();
    let is_as_asked = version.version_number() == (major, minor) && options.is_empty();
    let told = NegotiateProtocolVersion::new(version.into(), options);
    (version, (!is_as_asked).then_some(told))
}

/// The settings that a startup message carries, those of `options` (`-c name=value`) included.
pub(super) fn startup_settings(startup: &Startup) -> Vec<(String, String)> {
    let own = [
        "user",
        "database",
        "options",
        "replication",
        "client_encoding",
    ];
    let direct = startup
        .parameters
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()) && !name.starts_with(PROTOCOL_OPTION))
        .map(|(name, value)| (name.clone(), value.clone()));
    let options = startup
        .parameters
        .get("options")
        .map(String::as_str)
        .unwrap_or_default();
    let words: Vec<String> = split_options(options);
    let mut settings: Vec<(String, String)> = direct.collect();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--") {
            Some(assignment) => Some(assignment.to_owned()),
            None if word == "-c" => words.next(),
            None => word.strip_prefix("-c").map(ToOwned::to_owned),
        };
        if let Some((name, value)) = assignment.as_deref().and_then(|text| text.split_once('=')) {
            settings.push((name.replace('-', "_"), value.to_owned()));
        }
    }
    settings
}

/// Words between white space; a backslash keeps the character behind it.
fn split_options(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, words.last_mut()) {
            ('\\', Some(word)) => word.extend(chars.next()),
            (c, Some(word)) if !c.is_whitespace() => word.push(c),
            (_, _) => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_from_parameters_and_options() {
        let mut startup = Startup::default();
        for (name, value) in [
            ("user", "ada"),
            ("TimeZone", "Europe/Berlin"),
            (
                "options",
                r"-c seed=7 --statement-timeout=5s -csearch_path=a\ b",
            ),
        ] {
            startup.parameters.insert(name.to_owned(), value.to_owned());
        }
        let settings = startup_settings(&startup);
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            settings,
            [
                ("TimeZone", "Europe/Berlin"),
                ("seed", "7"),
                ("statement_timeout", "5s"),
                ("search_path", "a b"),
            ]
        );
    }

    #[test]
    fn versions_and_options_that_are_not_known_are_told() {
        let told = |major, minor, option: Option<&str>| {
            let mut startup = Startup::new();
            startup.protocol_number_major = major;
            startup.protocol_number_minor = minor;
            if let Some(name) = option {
                startup.parameters.insert(name.to_owned(), String::new());
            }
            let (version, told) = settled_version(&startup);
            let told = told.map(|told| (told.newest_minor_protocol, told.unsupported_options));
            (version.version_number().1, told)
        };
        assert_eq!(told(3, 0, Some("user")), (0, None));
        assert_eq!(told(3, 2, None), (2, None));
        assert_eq!(told(3, 1, None), (0, Some((0x3_0000, vec![]))));
        assert_eq!(told(3, 9999, None), (2, Some((0x3_0002, vec![]))));
        let options = vec!["_pq_.x".to_owned()];
        assert_eq!(told(3, 0, Some("_pq_.x")), (0, Some((0x3_0000, options))));
    }

    #[test]
    fn other_versions_are_told_from_requests_and_parts() {
        let told = |length: u32, version: u32, rest: &[u8]| {
            let head = [length.to_be_bytes(), version.to_be_bytes()].concat();
            unsupported_version(&[&head, rest].concat())
        };
        let message = "unsupported frontend protocol 4.1: server supports 3.0 to 3.2";
        assert_eq!(told(9, 0x4_0001, b"\0").as_deref(), Some(message));
        assert!(told(8, 0x2_0000, b"").is_some());
        let ssl_request = 80_877_103;
        for (length, version) in [
            (8, 0x3_0000),
            (8, ssl_request),
            (9, 0x4_0000),
            (7, 0x4_0000),
        ] {
            assert_eq!(told(length, version, b""), None, "{length} {version}");
        }
        assert_eq!(unsupported_version(b"\0\0\0"), None);
    }
}
