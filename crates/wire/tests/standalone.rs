//! The public contract without annotations, `proto/standalone`, is the contract: everything but the
//! annotations and their imports is equal. Our services and clients are built from it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use prost_types::{FieldOptions, FileDescriptorProto, MessageOptions};

const FILE: &str = "twqr/pos/v1/pos.proto";

/// The contract as it is read from a folder, without its comments. Protox drops the annotations,
/// for they are extensions of protobuf's own options.
fn contract(folder: &str) -> FileDescriptorProto {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto").join(folder);
    let files = protox::compile([FILE], [root]).unwrap().file;
    let mut contract = files.into_iter().find(|file| file.name() == FILE).unwrap();
    contract.source_code_info = None;
    contract
}

/// Removes the imports of annotations, and the options in which nothing is left.
fn without_annotations(mut contract: FileDescriptorProto) -> FileDescriptorProto {
    contract.dependency.retain(|file| file.starts_with("google/protobuf/"));
    for message in &mut contract.message_type {
        message.options.take_if(|options| *options == MessageOptions::default());
        for field in &mut message.field {
            field.options.take_if(|options| *options == FieldOptions::default());
        }
    }
    contract
}

#[test]
fn the_contract_without_annotations_is_the_same_contract() {
    let (annotated, standalone) = (contract("."), contract("standalone"));
    assert_ne!(annotated.dependency, standalone.dependency);
    assert_eq!(standalone, without_annotations(annotated), "run make proto-standalone");
}
