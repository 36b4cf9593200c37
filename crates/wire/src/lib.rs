//! The generated protobuf, and the only conversions between it and the domain types. Other crates
//! read and write log records as domain values; the structs of prost are private, except for the
//! messages of the three gRPC APIs, which their servers and clients need.

pub mod convert;
pub mod hops;
mod redacted;
pub mod trace;

/// The generated code. Its documentation is in `proto/`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::wildcard_enum_match_arm,
    reason = "generated"
)]
mod generated {
    pub mod pos {
        pub mod v1 {
            tonic::include_proto!("twqr.pos.v1");
        }
    }
    pub mod bus {
        pub mod v1 {
            tonic::include_proto!("twqr.bus.v1");
        }
    }
    pub mod backend {
        pub mod v1 {
            tonic::include_proto!("twqr.backend.v1");
        }
    }
    pub mod ops {
        pub mod v1 {
            tonic::include_proto!("twqr.ops.v1");
        }
    }
}

/// The issuers' API, which the workers call and the simulator serves (`proto/twqr/backend/v1`).
pub use generated::backend::v1 as backend;
/// The messages of the log records (`proto/twqr/bus/v1`), private to this crate.
use generated::bus::v1 as bus;
/// The messages of the operators' API (`proto/twqr/ops/v1`).
pub use generated::ops::v1 as ops;
/// The messages of the public API (`proto/twqr/pos/v1`).
pub use generated::pos::v1 as pos;

/// The descriptors of the public API, for gRPC reflection.
pub const POS_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pos.bin"));

/// The descriptors of the operators' API, for gRPC reflection.
pub const OPS_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ops.bin"));

/// The version of every record format in `bus`.
pub const RECORD_VERSION: u32 = 1;
