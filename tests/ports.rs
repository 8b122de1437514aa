//! Ports for the servers of tests that must know them before these listen.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The ports that are given out lie below those that the system takes for connections: one of these could take a port after
/// it was found free, and before a server listens on it.
const FIRST: u32 = 10_000;
const N_PORTS: u32 = 20_000;

/// A port that nothing listens on, another one with each call.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes of tests that run beside one another begin at different places.
    let start = std::process::id() % N_PORTS * 101;
    let next = || {
        let port = FIRST + (start + GIVEN.fetch_add(1, Ordering::Relaxed)) % N_PORTS;
        u16::try_from(port).unwrap()
    };
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (0..N_PORTS).map(|_| next()).find(is_free).unwrap()
}
