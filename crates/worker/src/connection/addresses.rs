//! Chooses the address of each new connection to a backend. The backend's name is resolved again
//! for each connection, so that a broken connection is replaced by one to a running backend. The
//! addresses of the name are used in turn, so that the connections are spread over them. A
//! connection keeps one address for its whole life.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use rand::Rng;

/// Finds the addresses of a name.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// Returns the addresses that the name has now, in any order.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The resolver of the operating system.
#[derive(Debug)]
pub(crate) struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// The addresses of one backend.
#[derive(Debug)]
pub(crate) struct Addresses {
    host: String,
    port: u16,
    resolver: Arc<dyn Resolver>,
    /// The number of the next connection. The first one is chosen at random, so that workers that
    /// start together do not all connect to the same address.
    turn: AtomicUsize,
}

impl Addresses {
    /// `host` is a name, or an IP address; one of version 6 may stand in brackets.
    pub(crate) fn new(host: &str, port: u16, resolver: Arc<dyn Resolver>) -> Self {
        let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let turn = AtomicUsize::new(rand::rng().random_range(0..=usize::from(u16::MAX)));
        Self { host: ipv6.unwrap_or(host).to_owned(), port, resolver, turn }
    }

    /// The address for the next connection.
    pub(crate) async fn next(&self) -> io::Result<SocketAddr> {
        let mut addresses = self.resolver.resolve(&self.host, self.port).await?;
        addresses.sort_unstable();
        addresses.dedup();
        let none = || io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", self.host));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(addresses.len()).ok_or_else(none)?;
        addresses.get(at).copied().ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::{Mutex, PoisonError},
    };

    use super::*;

    /// A name whose addresses a test changes.
    #[derive(Debug, Default)]
    struct ChangingName(Mutex<Vec<SocketAddr>>);

    impl ChangingName {
        fn set(&self, last: &[u8]) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = last.iter().copied().map(address).collect();
        }
    }

    #[async_trait]
    impl Resolver for ChangingName {
        async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            assert_eq!((host, port), ("wallet.payments.svc", 7));
            Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
        }
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 7))
    }

    #[tokio::test]
    async fn the_addresses_that_a_name_has_now_take_turns() {
        let name = Arc::new(ChangingName::default());
        let addresses = Addresses::new("wallet.payments.svc", 7, name.clone());
        let error = addresses.next().await.unwrap_err().to_string();
        assert_eq!(error, "wallet.payments.svc has no address");
        for last in [&[1, 2, 3][..], &[3, 2, 2], &[4]] {
            name.set(last);
            let expected: BTreeSet<SocketAddr> = last.iter().copied().map(address).collect();
            let mut seen = BTreeSet::new();
            for _ in 0..expected.len() {
                seen.insert(addresses.next().await.unwrap());
            }
            assert_eq!(seen, expected);
        }
    }

    #[tokio::test]
    async fn an_ip_address_is_its_own_address() {
        for (host, expected) in [("127.0.0.1", "127.0.0.1:7"), ("[::1]", "[::1]:7"), ("::1", "[::1]:7")] {
            let addresses = Addresses::new(host, 7, Arc::new(SystemResolver));
            assert_eq!(addresses.next().await.unwrap().to_string(), expected);
        }
    }
}
