//! `[admin]`: metrics and health over HTTP.

use std::net::SocketAddr;

use super::{setting::Any, table::table};

table! {
    /// Metrics (/metrics) and health (/healthz, /readyz) over HTTP, without authentication.
    Admin {
        /// Where it listens.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 9090)), Any("an IP address and a port");
        /// Whether `listen` may be an address that other machines reach.
        expose: bool = false, Any("true or false");
    }
}
