//! Generates the protobuf types and services from `proto/`, and the descriptor sets for gRPC
//! reflection. Needs no protoc: protox compiles the files. The public contract is compiled without
//! its annotations (`proto/standalone`), so that reflection serves only what can be read alone.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

/// The messages that contain a card token. `src/redacted.rs` implements Debug for them, without the
/// token.
const WITH_CARD_TOKEN: [&str; 5] = [
    "twqr.pos.v1.PayRequest",
    "twqr.pos.v1.CancelRequest",
    "twqr.bus.v1.ChargeTask",
    "twqr.bus.v1.DeadLetter",
    "twqr.backend.v1.Charge",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    // Not the whole folder: the clients in it are built there.
    println!("cargo::rerun-if-changed={}", root.join("twqr").display());
    println!("cargo::rerun-if-changed={}", root.join("standalone").display());
    let includes = [root.join("standalone"), root];
    // Every file except `bus/v1/layout.proto`: the Kafka journal does not depend on this crate, so
    // it reads and writes that record itself.
    let files = [
        "twqr/pos/v1/pos.proto",
        "twqr/bus/v1/callers.proto",
        "twqr/bus/v1/holds.proto",
        "twqr/bus/v1/hops.proto",
        "twqr/bus/v1/listings.proto",
        "twqr/bus/v1/order.proto",
        "twqr/bus/v1/orders.proto",
        "twqr/bus/v1/policy.proto",
        "twqr/bus/v1/tasks.proto",
        "twqr/bus/v1/states.proto",
        "twqr/bus/v1/replies.proto",
        "twqr/bus/v1/dead_letter.proto",
        "twqr/backend/v1/backend.proto",
        "twqr/backend/v1/ledger.proto",
        "twqr/ops/v1/listings.proto",
        "twqr/ops/v1/orders.proto",
        "twqr/ops/v1/policy.proto",
        "twqr/ops/v1/ops.proto",
    ];
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for (api, file) in [("pos", "twqr/pos/v1/pos.proto"), ("ops", "twqr/ops/v1/ops.proto")] {
        let descriptors = protox::compile([file], &includes)?;
        fs::write(out.join(format!("{api}.bin")), descriptors.encode_to_vec())?;
    }
    let descriptors = protox::compile(files, &includes)?;
    // Ordered maps, so that equal messages always encode to the same bytes.
    tonic_prost_build::configure().skip_debug(WITH_CARD_TOKEN).bytes(".").btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
