//! An address with its mask: read as PostgreSQL reads `inet` and `cidr`, written in its one form.
//!
//! In: texts, bytes and keys; out: addresses, and the same of them. Knows nothing of columns.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Which addresses: PostgreSQL's numbers of them tell their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// The number of bits.
    pub(super) fn width(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// An address and how many of its bits are the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) family: Family,
    /// Its bits, the last one being the lowest.
    pub(super) bits: u128,
    pub(super) n_bits: u8,
}

impl Address {
    /// Reads an `inet`, whose mask may be left out.
    pub(super) fn inet(text: &str) -> Option<Address> {
        match text.contains(':') {
            true => v6(text),
            false => v4(text, octets),
        }
    }

    /// Reads a `cidr`, whose last octets may be left out, and whose mask is told by the class of the network then. It may have
    /// bits beyond its mask.
    pub(super) fn cidr(text: &str) -> Option<Address> {
        match text.contains(':') {
            true => v6(text),
            false => v4(text, network_octets),
        }
    }

    /// The bits that the mask covers.
    pub(super) fn mask(self) -> u128 {
        self.all() & !self.host_mask()
    }

    /// The bits that it does not cover.
    pub(super) fn host_mask(self) -> u128 {
        let all = self.all();
        all.checked_shr(u32::from(self.n_bits)).unwrap_or_default()
    }

    fn all(self) -> u128 {
        u128::MAX >> (128 - self.family.width())
    }

    /// The same with no bits beyond its mask.
    pub(super) fn network(self) -> Address {
        self.with_bits(self.bits & self.mask())
    }

    /// Another address with the same mask.
    pub(super) fn with_bits(self, bits: u128) -> Address {
        Address { bits, ..self }
    }

    /// The same address with a mask of so many bits; `None`: it has not as many.
    pub(super) fn with_mask(self, n_bits: u8) -> Option<Address> {
        (n_bits <= self.family.width()).then_some(Address { n_bits, ..self })
    }

    /// Whether an address belongs to this network, which may be as small as it.
    pub(super) fn holds(self, other: Address) -> bool {
        self.family == other.family
            && self.n_bits <= other.n_bits
            && (self.bits ^ other.bits) & self.mask() == 0
    }

    /// The address without its mask.
    pub(super) fn host(self) -> String {
        match self.family {
            // Lossless: such an address has 32 bits.
            Family::V4 => Ipv4Addr::from_bits(self.bits as u32).to_string(),
            Family::V6 => v6_text(self.bits),
        }
    }

    /// Its one form, by which it is stored and compared.
    pub(super) fn text(self) -> String {
        format!("{}/{}", self.host(), self.n_bits)
    }

    /// A network without the octets that its mask does not reach; `None`: it is none of four octets.
    pub(super) fn short_text(self) -> Option<String> {
        if self.family == Family::V6 {
            return None;
        }
        let octets = (self.bits as u32).to_be_bytes();
        let n_shown = usize::from(self.n_bits.div_ceil(8)).max(1);
        let shown = octets.iter().take(n_shown).map(u8::to_string);
        let shown: Vec<String> = shown.collect();
        Some(format!("{}/{}", shown.join("."), self.n_bits))
    }

    /// A text in the order of addresses: that of their families, networks, masks and bits.
    pub(super) fn key(self) -> String {
        let (family, width) = match self.family {
            Family::V4 => ('4', 8),
            Family::V6 => ('6', 32),
        };
        let (network, n_bits, bits) = (self.network().bits, self.n_bits, self.bits);
        format!("{family}{network:0width$x}{n_bits:02x}{bits:0width$x}")
    }

    /// The address of such a text.
    pub(super) fn of_key(key: &str) -> Option<Address> {
        let (family, width) = match key.chars().next()? {
            '4' => (Family::V4, 8),
            _ => (Family::V6, 32),
        };
        let n_bits = u8::from_str_radix(key.get(1 + width..3 + width)?, 16).ok()?;
        let bits = u128::from_str_radix(key.get(3 + width..)?, 16).ok()?;
        Some(Address {
            family,
            bits,
            n_bits,
        })
    }

    /// PostgreSQL's binary form, but for what tells a `cidr`: the family, the mask, and so many bytes.
    pub(super) fn bytes(self, is_cidr: u8) -> Vec<u8> {
        let n_bytes = self.family.width() / 8;
        let family = match self.family {
            Family::V4 => FAMILY_V4,
            Family::V6 => FAMILY_V6,
        };
        let bits = self.bits.to_be_bytes();
        let mut bytes = vec![family, self.n_bits, is_cidr, n_bytes];
        bytes.extend(&bits[bits.len() - usize::from(n_bytes)..]);
        bytes
    }

    /// The address of such bytes.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Address> {
        let (&[family, n_bits, _, n_bytes], bits) = bytes.split_first_chunk()?;
        let family = match family {
            FAMILY_V4 => Family::V4,
            FAMILY_V6 => Family::V6,
            _ => return None,
        };
        let is_whole = usize::from(n_bytes) == bits.len() && n_bytes == family.width() / 8;
        let address = Address {
            family,
            bits: bits
                .iter()
                .fold(0, |bits, byte| (bits << 8) | u128::from(*byte)),
            n_bits: 0,
        };
        address.with_mask(n_bits).filter(|_| is_whole)
    }
}

/// PostgreSQL's numbers of the families, wherever it runs.
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 3;

/// What is written of an address of four octets.
struct Written {
    octets: Vec<u8>,
    /// The mask that they tell where none is written.
    told: Option<u8>,
    /// The longest mask that they may have.
    longest: u8,
}

fn v4(text: &str, written: fn(&str) -> Option<Written>) -> Option<Address> {
    let (octets, mask) = match text.split_once('/') {
        Some((octets, mask)) => (octets, Some(mask)),
        None => (text, None),
    };
    let written = written(octets)?;
    let n_bits = match mask {
        Some(mask) => number(mask, written.longest)?,
        None => written.told?,
    };
    let mut all = [0; 4];
    let shown = all.get_mut(..written.octets.len())?;
    shown.copy_from_slice(&written.octets);
    let address = Address {
        family: Family::V4,
        bits: u128::from(u32::from_be_bytes(all)),
        n_bits: 0,
    };
    address.with_mask(n_bits)
}

/// Up to four octets of an `inet`, all of them without a mask, which reaches into none that is not written. As PostgreSQL, it
/// takes a point behind the last one.
fn octets(text: &str) -> Option<Written> {
    let octets = decimals(text.strip_suffix('.').unwrap_or(text))?;
    // Lossless: there are at most four.
    let n_octets = octets.len() as u8;
    Some(Written {
        told: (n_octets == 4).then_some(32),
        longest: (n_octets * 8 + 7).min(32),
        octets,
    })
}

fn decimals(text: &str) -> Option<Vec<u8>> {
    let octets = text.split('.').map(|octet| number(octet, u8::MAX));
    let octets: Vec<u8> = octets.collect::<Option<_>>()?;
    (octets.len() <= 4).then_some(octets)
}

/// Up to four octets of a `cidr`, or their hexadecimal digits.
fn network_octets(text: &str) -> Option<Written> {
    let octets = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => hexadecimals(digits)?,
        None => decimals(text)?,
    };
    let first = *octets.first()?;
    // Lossless: there are at most four.
    let n_written = octets.len() as u8 * 8;
    let of_class = match first {
        240.. => 32,
        224.. => 8,
        192.. => 24,
        128.. => 16,
        _ => 8,
    };
    let n_bits = of_class.max(n_written);
    let is_multicast = n_bits == 8 && first == 224;
    Some(Written {
        told: Some(if is_multicast { 4 } else { n_bits }),
        longest: 32,
        octets,
    })
}

fn hexadecimals(digits: &str) -> Option<Vec<u8>> {
    let values = digits.chars().map(|c| c.to_digit(16));
    let values: Vec<u32> = values.collect::<Option<_>>()?;
    let octet = |pair: &[u32]| match *pair {
        // Lossless: two digits are a byte.
        [high, low] => ((high << 4) | low) as u8,
        ref one => (one.first().copied().unwrap_or_default() << 4) as u8,
    };
    let octets: Vec<u8> = values.chunks(2).map(octet).collect();
    (1..=4).contains(&octets.len()).then_some(octets)
}

/// A decimal number that is not greater than another.
fn number(digits: &str, greatest: u8) -> Option<u8> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let value = digits.trim_start_matches('0');
    let value: u8 = match is_number.then_some(value)? {
        "" => 0,
        value => value.parse().ok()?,
    };
    (value <= greatest).then_some(value)
}

fn v6(text: &str) -> Option<Address> {
    let (written, n_bits) = match text.split_once('/') {
        // As in PostgreSQL, the bits of a mask have no zeros before them.
        Some((_, mask)) if mask.len() > 1 && mask.starts_with('0') => return None,
        Some((written, mask)) => (written, number(mask, 128)?),
        None => (text, 128),
    };
    let address: Ipv6Addr = written.parse().ok()?;
    Some(Address {
        family: Family::V6,
        bits: address.to_bits(),
        n_bits,
    })
}

/// The eight words, of which the first longest run of zeros is left out, and the last two are four octets in addresses that
/// stand for shorter ones.
fn v6_text(bits: u128) -> String {
    let words = Ipv6Addr::from_bits(bits).segments();
    let (start, len) = longest_zeros(&words);
    let is_embedded = start == 0 && (len == 6 || (len == 5 && words[5] == 0xffff));
    let mut text = String::with_capacity(40);
    for (idx, word) in words.iter().enumerate() {
        if (start..start + len).contains(&idx) {
            if idx == start {
                text.push(':');
            }
            continue;
        }
        if idx > 0 {
            text.push(':');
        }
        if idx == 6 && is_embedded {
            // Lossless: the last 32 bits.
            text.push_str(&Ipv4Addr::from_bits(bits as u32).to_string());
            return text;
        }
        // Writing to a text cannot fail.
        let _ = write!(text, "{word:x}");
    }
    if len > 0 && start + len == words.len() {
        text.push(':');
    }
    text
}

/// Where the first longest run of zeros begins, and how long it is; 0 where none is of two words.
fn longest_zeros(words: &[u16; 8]) -> (usize, usize) {
    let mut longest = (0, 0);
    let mut n_zeros = 0;
    for (idx, word) in words.iter().enumerate() {
        n_zeros = if *word == 0 { n_zeros + 1 } else { 0 };
        if n_zeros > longest.1 {
            longest = (idx + 1 - n_zeros, n_zeros);
        }
    }
    if longest.1 < 2 { (0, 0) } else { longest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_postgresql_reads_them() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1/32")),
            ("10.0.0.1/24", Some("10.0.0.1/24")),
            ("010.0.0.1", Some("10.0.0.1/32")),
            ("10/8", Some("10.0.0.0/8")),
            ("10.1.2.3.", Some("10.1.2.3/32")),
            ("::", Some("::/128")),
            ("2001:DB8:0:0:1::/64", Some("2001:db8:0:0:1::/64")),
            ("::ffff:10.0.0.1", Some("::ffff:10.0.0.1/128")),
            ("::10.0.0.1/96", Some("::10.0.0.1/96")),
            ("1:0:0:2:0:0:0:3", Some("1:0:0:2::3/128")),
            ("1:0:2:3:4:5:6:7", Some("1:0:2:3:4:5:6:7/128")),
            ("1.2./24", None),
            ("1.2.3./24", Some("1.2.3.0/24")),
            ("10.1/24", None),
            ("10.1/23", Some("10.1.0.0/23")),
            ("10.0.0", None),
            ("10.0.0.256", None),
            ("10.0.0.1/33", None),
            ("10.0.0.1/", None),
            (" 10.0.0.1", None),
            ("::1/129", None),
            ("::1/064", None),
            ("", None),
        ] {
            let found = Address::inet(text).map(Address::text);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn networks_have_the_masks_of_their_classes() {
        for (text, expected) in [
            ("10", Some("10.0.0.0/8")),
            ("10.1.2", Some("10.1.2.0/24")),
            ("192.168", Some("192.168.0.0/24")),
            ("172", Some("172.0.0.0/16")),
            ("224", Some("224.0.0.0/4")),
            ("240.1", Some("240.1.0.0/32")),
            ("10/24", Some("10.0.0.0/24")),
            ("0x0a01", Some("10.1.0.0/16")),
            ("0xa", Some("160.0.0.0/16")),
            ("10.1.2.3.", None),
        ] {
            let found = Address::cidr(text).map(Address::text);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn keys_are_in_the_order_of_addresses() {
        let ascending = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.0.1/8",
            "10.0.0.0/16",
            "10.0.0.0/32",
            "10.0.0.1/32",
            "10.1.0.0/16",
            "192.168.0.1/32",
            "::/0",
            "::1/128",
            "2001:db8::/32",
        ];
        let addresses = ascending.map(|text| Address::inet(text).unwrap());
        let keys = addresses.map(Address::key);
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        for (address, key) in addresses.into_iter().zip(&keys) {
            assert_eq!(Address::of_key(key), Some(address));
            assert_eq!(Address::of_bytes(&address.bytes(0)), Some(address));
        }
        assert_eq!(Address::of_bytes(&[2, 33, 0, 4, 1, 2, 3, 4]), None);
        assert_eq!(Address::of_bytes(&[2, 32, 0, 4, 1, 2, 3]), None);
        assert_eq!(Address::of_bytes(&[2, 32]), None);
    }

    #[test]
    fn networks_hold_addresses() {
        let of = |text| Address::inet(text).unwrap();
        assert!(of("10.0.0.0/8").holds(of("10.200.0.1")));
        assert!(of("10.9.9.9/8").holds(of("10.0.0.0/8")));
        assert!(!of("10.0.0.0/16").holds(of("10.0.0.0/8")));
        assert!(of("0.0.0.0/0").holds(of("1.2.3.4")) && !of("0.0.0.0/0").holds(of("::1")));
        assert_eq!(of("10.0.0.1/0").mask(), 0);
        assert_eq!(of("::1/128").host_mask(), 0);
        assert_eq!(of("10.1.2.3/20").network().text(), "10.1.0.0/20");
        assert_eq!(of("10.1.0.0/12").short_text().unwrap(), "10.1/12");
    }
}
