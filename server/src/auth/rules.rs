//! The rules that decide how a client must prove who it is: the first that fits counts.
//!
//! In: the tables `[[hba]]` of the configuration; out: a method for a client. They are PostgreSQL's `pg_hba.conf` as TOML.

use std::net::IpAddr;

use toml::{Table, Value};

use super::Peer;

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Not at all.
    Trust,
    /// By a password that never crosses the wire.
    Scram,
    /// By a certificate with the role's name.
    Certificate,
    /// It is not let in.
    Reject,
}

/// Which connections a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Any,
    Encrypted,
    Plain,
}

/// Where clients are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    Loopback,
    Network { address: IpAddr, prefix: u8 },
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HbaRule {
    transport: Transport,
    databases: Vec<String>,
    users: Vec<String>,
    place: Place,
    method: Method,
}

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The rules are no array of tables.
    #[error("\"hba\" must be an array of tables, got {found}")]
    NoTables {
        /// The type found.
        found: &'static str,
    },
    /// A rule lacks a field.
    #[error("rule {number} of \"hba\" has no \"{field}\"")]
    Missing {
        /// The rule, the first being 1.
        number: usize,
        /// The field.
        field: &'static str,
    },
    /// A rule has a field that means nothing.
    #[error("unknown field \"{field}\" in rule {number} of \"hba\"")]
    Unknown {
        /// The rule, the first being 1.
        number: usize,
        /// The field.
        field: String,
    },
    /// A field has a value that means nothing.
    #[error("invalid \"{field}\" in rule {number} of \"hba\": {value}, expected {expected}")]
    Invalid {
        /// The rule, the first being 1.
        number: usize,
        /// The field.
        field: &'static str,
        /// The value found.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// What a client asks for.
pub(crate) struct Wants<'a> {
    pub(crate) user: &'a str,
    pub(crate) database: &'a str,
    /// Whether the user is a member of a role.
    pub(crate) is_member: &'a dyn Fn(&str) -> bool,
}

/// The rules without a configuration: this machine is trusted, any other place needs a password.
pub fn default_rules() -> Vec<HbaRule> {
    let rule = |place, method| HbaRule {
        transport: Transport::Any,
        databases: vec!["all".to_owned()],
        users: vec!["all".to_owned()],
        place,
        method,
    };
    vec![
        rule(Place::Loopback, Method::Trust),
        rule(Place::Anywhere, Method::Scram),
    ]
}

/// The method of the first rule that fits; `None` lets nobody in.
pub(crate) fn decide(rules: &[HbaRule], peer: &Peer, wants: &Wants<'_>) -> Option<Method> {
    let Some(address) = peer.address else {
        // In this process, whoever could be asked has the warehouse in hand.
        return Some(Method::Trust);
    };
    let fits = |rule: &&HbaRule| {
        rule.fits_transport(peer)
            && rule.place.holds(address.ip())
            && rule
                .databases
                .iter()
                .any(|name| name == "all" || name == wants.database)
            && rule.users.iter().any(|name| fits_user(name, wants))
    };
    rules.iter().find(fits).map(|rule| rule.method)
}

/// A name, `all`, or `+group` for the members of a group.
fn fits_user(name: &str, wants: &Wants<'_>) -> bool {
    match name.strip_prefix('+') {
        Some(group) => (wants.is_member)(group),
        None => name == "all" || name == wants.user,
    }
}

impl HbaRule {
    fn fits_transport(&self, peer: &Peer) -> bool {
        match self.transport {
            Transport::Any => true,
            Transport::Encrypted => peer.is_encrypted,
            Transport::Plain => !peer.is_encrypted,
        }
    }

    /// Whether it lets somebody in from another machine who proves nothing.
    pub(crate) fn trusts_strangers(&self) -> bool {
        self.method == Method::Trust && self.place != Place::Loopback && !self.place.is_loopback()
    }

    /// Whether it asks for a certificate.
    pub(crate) fn needs_certificates(&self) -> bool {
        self.method == Method::Certificate
    }
}

impl Place {
    fn holds(self, ip: IpAddr) -> bool {
        // A client of IPv4 that comes over a socket of IPv6 is still one of IPv4.
        let ip = ip.to_canonical();
        match self {
            Place::Anywhere => true,
            Place::Loopback => ip.is_loopback(),
            Place::Network { address, prefix } => match (address, ip) {
                (IpAddr::V4(net), IpAddr::V4(ip)) => {
                    let shift = 32 - u32::from(prefix);
                    u32::from(net).checked_shr(shift) == u32::from(ip).checked_shr(shift)
                }
                (IpAddr::V6(net), IpAddr::V6(ip)) => {
                    let shift = 128 - u32::from(prefix);
                    u128::from(net).checked_shr(shift) == u128::from(ip).checked_shr(shift)
                }
                _ => false,
            },
        }
    }

    fn is_loopback(self) -> bool {
        match self {
            Place::Network { address, prefix } => address.is_loopback() && prefix >= 8,
            place => place == Place::Loopback,
        }
    }

    fn read(text: &str) -> Option<Place> {
        match text {
            "all" => return Some(Place::Anywhere),
            "loopback" | "localhost" => return Some(Place::Loopback),
            _ => {}
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Place::Network { address, prefix })
    }
}

/// Reads the tables `[[hba]]` of a text in TOML.
pub fn hba_rules(text: &str) -> Result<Vec<HbaRule>, RuleError> {
    let table: Table = text
        .parse()
        .map_err(|_| RuleError::NoTables { found: "no TOML" })?;
    Ok(read_rules(&table)?.unwrap_or_default())
}

/// Reads the rules of a configuration; `None` if it has none.
pub(crate) fn read_rules(table: &Table) -> Result<Option<Vec<HbaRule>>, RuleError> {
    let Some(value) = table.get("hba") else {
        return Ok(None);
    };
    let found = value.type_str();
    let items = value.as_array().ok_or(RuleError::NoTables { found })?;
    let rule = |(idx, item): (usize, &Value)| {
        let found = item.type_str();
        let table = item.as_table().ok_or(RuleError::NoTables { found })?;
        read_rule(idx + 1, table)
    };
    items
        .iter()
        .enumerate()
        .map(rule)
        .collect::<Result<_, _>>()
        .map(Some)
}

fn read_rule(number: usize, table: &Table) -> Result<HbaRule, RuleError> {
    const FIELDS: [&str; 5] = ["type", "database", "user", "address", "method"];
    if let Some(field) = table.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        let field = field.clone();
        return Err(RuleError::Unknown { number, field });
    }
    let invalid = |field, value: &Value, expected| RuleError::Invalid {
        number,
        field,
        value: value.to_string(),
        expected,
    };
    let transport = match table.get("type") {
        None => Transport::Any,
        Some(value) => match value.as_str() {
            Some("host") => Transport::Any,
            Some("hostssl") => Transport::Encrypted,
            Some("hostnossl") => Transport::Plain,
            _ => return Err(invalid("type", value, "host, hostssl or hostnossl")),
        },
    };
    let names = |field: &'static str| match table.get(field) {
        None => Ok(vec!["all".to_owned()]),
        Some(Value::String(name)) if !name.is_empty() => Ok(vec![name.clone()]),
        Some(value) => {
            let names = value.as_array().and_then(|items| {
                let texts = items
                    .iter()
                    .map(|item| item.as_str().map(ToOwned::to_owned));
                texts.collect::<Option<Vec<String>>>()
            });
            // Without a name the rule would fit nobody.
            let names = names.filter(|names| !names.is_empty());
            names.ok_or_else(|| invalid(field, value, "a name or an array of at least one name"))
        }
    };
    let place = match table.get("address") {
        None => Place::Anywhere,
        Some(value) => value.as_str().and_then(Place::read).ok_or_else(|| {
            invalid(
                "address",
                value,
                "all, loopback, an IP address or a network such as 10.0.0.0/8",
            )
        })?,
    };
    let field = "method";
    let method = table
        .get(field)
        .ok_or(RuleError::Missing { number, field })?;
    let method = match method.as_str() {
        Some("trust") => Method::Trust,
        Some("scram" | "scram-sha-256") => Method::Scram,
        Some("cert") => Method::Certificate,
        Some("reject") => Method::Reject,
        _ => return Err(invalid(field, method, "trust, scram, cert or reject")),
    };
    Ok(HbaRule {
        transport,
        databases: names("database")?,
        users: names("user")?,
        place,
        method,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Vec<HbaRule>, RuleError> {
        read_rules(&text.parse().unwrap()).map(Option::unwrap_or_default)
    }

    fn method(rules: &[HbaRule], address: &str, user: &str, is_encrypted: bool) -> Option<Method> {
        let peer = Peer {
            address: Some(format!("{address}:1").parse().unwrap()),
            is_encrypted,
            ..Peer::default()
        };
        let is_member = |group: &str| user == "ada" && group == "analysts";
        let wants = Wants {
            user,
            database: "postgres",
            is_member: &is_member,
        };
        decide(rules, &peer, &wants)
    }

    #[test]
    fn only_this_machine_is_trusted_by_default() {
        let rules = default_rules();
        for (address, expected) in [
            ("127.0.0.1", Method::Trust),
            ("127.9.9.9", Method::Trust),
            ("[::1]", Method::Trust),
            ("[::ffff:127.0.0.1]", Method::Trust),
            ("10.0.0.7", Method::Scram),
            ("[2001:db8::1]", Method::Scram),
            ("0.0.0.0", Method::Scram),
        ] {
            assert_eq!(
                method(&rules, address, "postgres", false),
                Some(expected),
                "{address}"
            );
        }
        assert!(!rules.iter().any(HbaRule::trusts_strangers));
        let nowhere = Wants {
            user: "x",
            database: "postgres",
            is_member: &|_| false,
        };
        assert_eq!(
            decide(&rules, &Peer::default(), &nowhere),
            Some(Method::Trust)
        );
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = rules(
            r#"
            [[hba]]
            user = "eve"
            method = "reject"
            [[hba]]
            type = "hostssl"
            address = "10.0.0.0/8"
            user = ["+analysts", "bob"]
            method = "cert"
            [[hba]]
            type = "hostnossl"
            address = "10.1.0.0/16"
            method = "reject"
            [[hba]]
            address = "10.0.0.0/8"
            method = "scram"
            [[hba]]
            database = "other"
            method = "trust"
            "#,
        )
        .unwrap();
        for (address, user, is_encrypted, expected) in [
            ("10.2.0.1", "eve", true, Some(Method::Reject)),
            ("10.2.0.1", "ada", true, Some(Method::Certificate)),
            ("10.2.0.1", "bob", true, Some(Method::Certificate)),
            ("10.2.0.1", "carl", true, Some(Method::Scram)),
            ("10.2.0.1", "ada", false, Some(Method::Scram)),
            ("10.1.0.1", "ada", false, Some(Method::Reject)),
            ("11.0.0.1", "ada", true, None),
            ("[::1]", "ada", true, None),
        ] {
            let found = method(&rules, address, user, is_encrypted);
            assert_eq!(found, expected, "{address} {user} {is_encrypted}");
        }
    }

    #[test]
    fn networks_have_edges() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.168.1.7", "192.168.1.7", "192.168.1.8"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ] {
            let place = Place::read(network).unwrap();
            assert!(place.holds(inside.parse().unwrap()), "{network}");
            assert!(!place.holds(outside.parse().unwrap()), "{network}");
        }
        assert!(
            Place::read("0.0.0.0/0")
                .unwrap()
                .holds("1.2.3.4".parse().unwrap())
        );
        for wrong in ["", "10.0.0.0/33", "host.example", "10.0.0/8", "::1/129"] {
            assert_eq!(Place::read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_rule_that_means_nothing_is_named() {
        for (text, message) in [
            ("hba = 3", "\"hba\" must be an array of tables, got integer"),
            (
                "[[hba]]\nuser = \"a\"",
                "rule 1 of \"hba\" has no \"method\"",
            ),
            (
                "[[hba]]\nmethod = \"trust\"\nusers = 1",
                "unknown field \"users\" in rule 1 of \"hba\"",
            ),
            (
                "[[hba]]\nmethod = \"trust\"\nuser = []",
                "invalid \"user\" in rule 1 of \"hba\": [], expected a name or an array of at least one name",
            ),
            (
                "[[hba]]\nmethod = \"md5\"",
                "invalid \"method\" in rule 1 of \"hba\": \"md5\", expected trust, scram, cert or reject",
            ),
            (
                "[[hba]]\nmethod = \"trust\"\naddress = \"somewhere\"",
                "invalid \"address\" in rule 1 of \"hba\": \"somewhere\", expected all, loopback, an IP \
                 address or a network such as 10.0.0.0/8",
            ),
        ] {
            assert_eq!(rules(text).unwrap_err().to_string(), message);
        }
    }
}
