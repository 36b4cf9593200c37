//! The configuration, typed and checked as a whole before a port opens, and the policy documents:
//! the rules by which orders are decided, as operators write them in TOML.

mod access;
mod admission;
mod config;
mod consistency;
mod kafka;
mod listings;
mod peer;
mod policy;
mod renamed;
mod settlement;
mod source;
mod telemetry;
mod tls;

pub use access::{AccessConfig, CallerDocument, CallerListener, FairnessConfig, parse_time};
pub use admission::AdmissionConfig;
pub use config::Config;
pub use kafka::KafkaConfig;
pub use listings::{listing_line, read_listings};
pub use peer::PeerAddress;
pub use policy::{PolicyDocument, changes, list_faults, parse_policy, read_policy};
pub use settlement::SettlementConfig;
pub use source::{parse_table, typed};
pub use telemetry::{TelemetryConfig, TelemetryProtocol};
pub use tls::{ClientCertificates, ListenerTls, PeerTls, TlsConfig};
