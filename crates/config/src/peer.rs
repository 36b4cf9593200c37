//! The address of a peer: a host name or an IP address, and a port. It is stored as a name and not
//! resolved, because its addresses may change later.

use std::{fmt, net::SocketAddr};

use serde::{Deserialize, Serialize};

use crate::consistency::is_host_and_port;

/// The address of a peer, as `host:port`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct PeerAddress(String);

impl PeerAddress {
    /// The fault of an address that is not `host:port`, with its key.
    pub(crate) fn fault(&self, key: &str) -> Option<String> {
        let address = &self.0;
        (!is_host_and_port(address)).then(|| {
            format!(
                "{key} is {address:?}, must be host:port with a host name or an IP address and a port of 1 to 65535"
            )
        })
    }

    /// The address, if it is not a name.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        self.0.parse().ok()
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_or_an_ip_address_with_a_port() {
        for good in ["wallet.payments.svc:17061", "localhost:1", "10.0.0.1:65535", "[::1]:17061", "fisc_1.svc.:17062"] {
            assert_eq!(PeerAddress(good.into()).fault("wallet"), None, "{good}");
        }
        for bad in ["", "wallet", "wallet:", ":17061", "wallet:0", "wallet:65536", "http://wallet:1", "a b:1", "::1:1"]
        {
            let fault = PeerAddress(bad.into()).fault("wallet").unwrap();
            assert!(fault.starts_with(&format!("wallet is {bad:?}, must be host:port")), "{fault}");
        }
        assert_eq!(PeerAddress("wallet:1".into()).socket_address(), None);
        let address = SocketAddr::from(([127, 0, 0, 1], 7));
        assert_eq!(PeerAddress::from(address).socket_address(), Some(address));
    }
}
