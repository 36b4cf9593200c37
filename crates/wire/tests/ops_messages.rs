//! The operators' API has messages of its own, which stay readable for tools that know those of the
//! log: each message has the numbers, names and types of the log's message of this name.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, path::PathBuf};

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, MessageDescriptor};

/// The fields that only the log has: addresses of callers, what a card token is compared by, and
/// the nonces of signed requests.
const LOG_ONLY: [&str; 6] =
    ["subscribers", "remembering", "card_token_digest", "card_token_macs", "nonces", "reply_to"];
/// The packages of both.
const LOG: &str = "twqr.bus.v1.";
const OPERATORS: &str = "twqr.ops.v1.";

fn pool(file: &str) -> DescriptorPool {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    DescriptorPool::from_file_descriptor_set(protox::compile([file], [root]).unwrap()).unwrap()
}

/// Each field's name with its number and type; a message or an enum is shown by its name alone.
fn fields(message: &MessageDescriptor) -> BTreeMap<String, String> {
    let shape = |field: FieldDescriptor| {
        let kind = field.kind();
        let message = kind.as_message().filter(|_| !field.is_map()).map(|inner| inner.full_name().to_owned());
        let named = message.or_else(|| kind.as_enum().map(|inner| inner.full_name().to_owned()));
        let kind = named.unwrap_or_else(|| format!("{kind:?}")).replace(LOG, "").replace(OPERATORS, "");
        let shape = format!("{} {kind} {:?} {}", field.number(), field.cardinality(), field.supports_presence());
        (field.name().to_owned(), shape)
    };
    message.fields().map(shape).collect()
}

fn values(values: &EnumDescriptor) -> BTreeMap<i32, String> {
    values.values().map(|value| (value.number(), value.name().to_owned())).collect()
}

#[test]
fn the_operators_api_has_no_message_of_the_log() {
    let files = pool("twqr/ops/v1/ops.proto");
    let foreign: Vec<String> =
        files.files().map(|file| file.name().to_owned()).filter(|name| name.contains("bus")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn a_message_that_has_the_name_of_one_of_the_log_is_read_like_it() {
    let (log, operators) = (pool("twqr/bus/v1/orders.proto"), pool("twqr/ops/v1/ops.proto"));
    let mut compared = 0;
    for message in operators.all_messages() {
        let Some(name) = message.full_name().strip_prefix(OPERATORS) else { continue };
        let Some(logged) = log.get_message_by_name(&format!("{LOG}{name}")) else { continue };
        if logged.is_map_entry() {
            continue;
        }
        let mut expected = fields(&logged);
        expected.retain(|field, _| !LOG_ONLY.contains(&field.as_str()));
        assert_eq!(fields(&message), expected, "{name}");
        compared += 1;
    }
    for kinds in operators.all_enums() {
        let Some(name) = kinds.full_name().strip_prefix(OPERATORS) else { continue };
        let Some(logged) = log.get_enum_by_name(&format!("{LOG}{name}")) else { continue };
        assert_eq!(values(&kinds), values(&logged), "{name}");
        compared += 1;
    }
    assert!(compared > 35, "{compared} messages and enums have the same name");
}
