//! Slows down who guesses passwords.
//!
//! In: failures and successes of clients; out: how long one has to wait. Bounded: whoever invents names or addresses makes
//! the oldest entries go, not the memory grow.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Wrong passwords of a user from an address before it has to wait.
const FREE_OF_USER: u32 = 5;
/// Wrong passwords of all users from an address before it has to wait.
const FREE_OF_ADDRESS: u32 = 100;
/// The first wait; each further wrong password doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// After so long without a wrong password all is forgotten.
const MEMORY: Duration = Duration::from_secs(600);
/// How many users and addresses are remembered.
const MAX_ENTRIES: usize = 10_000;

/// An address, with a user or for all of them.
type Key = (IpAddr, Option<u64>);

/// The wrong passwords of the last minutes.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    failures: Mutex<BTreeMap<Key, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// How long is still to wait.
    fn wait(&self, free: u32, now: Instant) -> Option<Duration> {
        let doublings = self.count.checked_sub(free)?;
        let wait = FIRST_WAIT
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(LONGEST_WAIT);
        wait.checked_sub(now.duration_since(self.last))
            .filter(|left| !left.is_zero())
    }
}

impl Throttle {
    /// How long a client has to wait before a password of it is looked at.
    pub(crate) fn wait(&self, address: IpAddr, user: &str) -> Option<Duration> {
        self.wait_at(address, user, Instant::now())
    }

    fn wait_at(&self, address: IpAddr, user: &str, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let [of_user, of_address] = keys(address, user);
        let of_user = failures
            .get(&of_user)
            .and_then(|found| found.wait(FREE_OF_USER, now));
        let of_address = failures.get(&of_address);
        let of_address = of_address.and_then(|found| found.wait(FREE_OF_ADDRESS, now));
        of_user.max(of_address)
    }

    /// A password was wrong.
    pub(crate) fn failed(&self, address: IpAddr, user: &str) {
        self.failed_at(address, user, Instant::now());
    }

    fn failed_at(&self, address: IpAddr, user: &str, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(address, user) {
            if failures.len() >= MAX_ENTRIES && !failures.contains_key(&key) {
                forget(&mut failures, now);
            }
            let entry = failures.entry(key).or_insert(Failures {
                count: 0,
                last: now,
            });
            if now.duration_since(entry.last) > MEMORY {
                entry.count = 0;
            }
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
        }
    }

    /// A password was right.
    pub(crate) fn succeeded(&self, address: IpAddr, user: &str) {
        let [of_user, _] = keys(address, user);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&of_user);
    }
}

fn keys(address: IpAddr, user: &str) -> [Key; 2] {
    let address = network(address);
    let mut hasher = DefaultHasher::new();
    user.hash(&mut hasher);
    [(address, Some(hasher.finish())), (address, None)]
}

/// An address, or of version 6 the network of it: one machine has 2^64 addresses there.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

/// Makes room: what is old, else the oldest half.
fn forget(failures: &mut BTreeMap<Key, Failures>, now: Instant) {
    failures.retain(|_, found| now.duration_since(found.last) <= MEMORY);
    if failures.len() >= MAX_ENTRIES {
        let mut times: Vec<Instant> = failures.values().map(|found| found.last).collect();
        times.sort();
        let middle = times[times.len() / 2];
        failures.retain(|_, found| found.last > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn waits_double_and_end() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..FREE_OF_USER - 1 {
            throttle.failed_at(HERE, "ada", start);
        }
        assert_eq!(throttle.wait_at(HERE, "ada", start), None);
        throttle.failed_at(HERE, "ada", start);
        assert_eq!(throttle.wait_at(HERE, "ada", start), Some(FIRST_WAIT));
        assert_eq!(throttle.wait_at(HERE, "ada", start + FIRST_WAIT), None);
        throttle.failed_at(HERE, "ada", start);
        assert_eq!(throttle.wait_at(HERE, "ada", start), Some(FIRST_WAIT * 2));
        assert_eq!(throttle.wait_at(HERE, "bob", start), None, "another user");
        for _ in 0..10_000 {
            throttle.failed_at(HERE, "ada", start);
        }
        assert_eq!(throttle.wait_at(HERE, "ada", start), Some(LONGEST_WAIT));
        assert_eq!(
            throttle.wait_at(HERE, "bob", start),
            Some(LONGEST_WAIT),
            "the address"
        );
        throttle.failed_at(HERE, "ada", start + MEMORY * 2);
        assert_eq!(
            throttle.wait_at(HERE, "ada", start + MEMORY * 2),
            None,
            "forgotten"
        );
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for idx in 0..FREE_OF_USER {
            throttle.failed_at(address(&format!("2001:db8:0:1::{idx}")), "ada", start);
        }
        let wait = |text: &str| throttle.wait_at(address(text), "ada", start);
        assert_eq!(wait("2001:db8:0:1:ffff::9"), Some(FIRST_WAIT));
        assert_eq!(wait("2001:db8:0:2::1"), None);
        throttle.failed_at(address("::ffff:192.0.2.1"), "bob", start);
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn a_right_password_ends_the_waiting() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for _ in 0..20 {
            throttle.failed_at(HERE, "ada", start);
        }
        throttle.succeeded(HERE, "ada");
        assert_eq!(throttle.wait_at(HERE, "ada", start), None);
    }

    #[test]
    fn invented_names_take_no_memory() {
        let throttle = Throttle::default();
        let start = Instant::now();
        for idx in 0..2 * MAX_ENTRIES as u64 {
            let now = start + Duration::from_millis(idx);
            throttle.failed_at(HERE, &format!("user{idx}"), now);
        }
        assert!(throttle.failures.lock().unwrap().len() <= MAX_ENTRIES);
    }
}
