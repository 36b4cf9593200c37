//! The annotations of the public contract say what an ingress refuses. For each field of each
//! request, values on both sides of every limit are checked twice: by the annotations, as
//! Protovalidate reads them, and by the ingress. Both must agree.

mod verdicts;

use std::{collections::BTreeMap, num::NonZeroU16, path::PathBuf, sync::LazyLock};

use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};
use regex::Regex;
use twqr_types::{ShardCount, ShardId, TradeNo, UnixMs};

use super::*;
use crate::validation::{parse_inquiry, parse_pay, parse_refund};

/// The fields that may have any value, with the reason.
const UNLIMITED: [(&str, &str); 5] = [
    ("request_id", "the caller's own number, which is only repeated"),
    ("timeout_ms", "any deadline; the server's own bound holds, too"),
    ("hops", "yes or no"),
    ("traceparent", "a malformed one is ignored, for a trace must not cost a payment"),
    ("keep_watching", "yes or no"),
];

/// Texts that the patterns of the two times allow although there is no such day: a pattern cannot
/// know the calendar, so here the ingress is stricter.
const NO_SUCH_DAY: [(&str, &str); 4] = [
    ("pos_trade_time", "2026/02/30 10:00:00"),
    ("pos_trade_time", "2100/02/29 10:00:00"),
    ("send_time", "20260230100000"),
    ("send_time", "20260431100000"),
];

/// Texts with which every text field is tried, beside those made from its limits.
const TEXTS: [&str; 24] = [
    "2026/11/28 10:00:00",
    "2024/02/29 23:59:59",
    "2000/01/01 00:00:00",
    "2199/12/31 23:59:59",
    "1999/12/31 23:59:59",
    "2200/01/01 00:00:00",
    "2026/00/10 10:00:00",
    "2026/13/10 10:00:00",
    "2026/11/00 10:00:00",
    "2026/12/32 10:00:00",
    "2026/11/28 24:00:00",
    "2026/11/28 10:60:00",
    "2026/11/28 10:00:60",
    "2026/11/28 10:00:00\n",
    "2026-11-28 10:00:00",
    "２０２６/11/28 10:00:00",
    "20261128100000",
    "21991231235959",
    "22000101000000",
    "20261328100000",
    "20261128240000",
    "20261128106000",
    "20261128100060",
    "T0000000000000071KWWEVR61",
];

/// Checks a message as the ingress does; returns the names of the fields that it refuses.
fn refused_by_ingress(message: &DynamicMessage) -> Vec<&'static str> {
    let bytes = message.encode_to_vec();
    let bytes = bytes.as_slice();
    let result = match message.descriptor().name() {
        "PayRequest" => parse_pay(raw_pay(PayRequest::decode(bytes).unwrap())).map(drop),
        "CancelRequest" => parse_pay(raw_cancel(CancelRequest::decode(bytes).unwrap())).map(drop),
        "PayStreamRequest" => {
            let payment = PayStreamRequest::decode(bytes).unwrap().payment;
            parse_pay(raw_pay(payment.unwrap_or_default())).map(drop)
        }
        "RefundRequest" => {
            let shards = ShardCount(NonZeroU16::new(8).unwrap());
            parse_refund(raw_refund(RefundRequest::decode(bytes).unwrap()), shards).map(drop)
        }
        "QueryRequest" => {
            let request = QueryRequest::decode(bytes).unwrap();
            let inquiry_type = messages::inquiry_type(request.inquiry_type());
            parse_inquiry(raw_query(request), inquiry_type).map(drop)
        }
        "WatchOrderRequest" => {
            let request = WatchOrderRequest::decode(bytes).unwrap();
            let inquiry_type = messages::inquiry_type(request.inquiry_type());
            parse_inquiry(raw_watch(request), inquiry_type).map(drop)
        }
        other => panic!("say here how an ingress checks {other}"),
    };
    match result {
        Ok(()) => Vec::new(),
        Err(Refusal::Invalid(violations)) => violations.as_slice().iter().map(|bad| bad.field.proto_name()).collect(),
        Err(other) => panic!("{other:?}"),
    }
}

/// The contract with its annotations.
static CONTRACT: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut compiler = protox::Compiler::new([root]).unwrap();
    compiler.include_imports(true).open_file("twqr/pos/v1/pos.proto").unwrap();
    compiler.descriptor_pool()
});

/// The messages that callers send.
fn requests() -> BTreeMap<String, MessageDescriptor> {
    let service = CONTRACT.get_service_by_name("twqr.pos.v1.PosService").unwrap();
    service.methods().map(|method| (method.input().name().to_owned(), method.input())).collect()
}

/// A message that every limit allows.
fn valid(message: &MessageDescriptor) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let value = match field.name() {
            "merchant_id" | "merchant_trade_no" => Value::String("N1".to_owned()),
            "card_token" => Value::String("22ABCDEFGHIJKLMNOP".to_owned()),
            "trade_no" => Value::String(TradeNo::new(ShardId(0), 7, UnixMs(0)).to_string()),
            "trade_amount" => Value::I64(i32::MAX.into()),
            "inquiry_type" => Value::EnumNumber(1),
            "payment" => Value::Message(valid(field.kind().as_message().unwrap())),
            _ => continue,
        };
        filled.set_field(&field, value);
    }
    filled
}

/// The annotations of one field.
struct Annotations {
    /// Whether the field is required; absent if that is not stated, exactly once.
    is_required: Option<bool>,
    /// The limits: the name of each rule with its value, such as `string.max_len`.
    rules: Vec<(String, Value)>,
    /// That of `string.pattern`.
    pattern: Option<Regex>,
}

impl Annotations {
    fn of(field: &FieldDescriptor) -> Self {
        let extension = |name| field.parent_pool().get_extension_by_name(name).unwrap();
        let options = field.options();
        let behaviors = options.get_extension(&extension("google.api.field_behavior")).into_owned();
        let behaviors: Vec<i32> = behaviors.as_list().unwrap().iter().filter_map(Value::as_enum_number).collect();
        let is_required = match behaviors[..] {
            [1] => Some(false),
            [2] => Some(true),
            _ => None,
        };
        let limits = options.get_extension(&extension("buf.validate.field")).into_owned();
        let mut rules = Vec::new();
        for (rule, value) in limits.as_message().unwrap().fields() {
            match value.as_message() {
                None => rules.push((rule.name().to_owned(), value.clone())),
                Some(of_type) => {
                    let named = |(inner, value): (FieldDescriptor, &Value)| {
                        (format!("{}.{}", rule.name(), inner.name()), value.clone())
                    };
                    rules.extend(of_type.fields().map(named));
                }
            }
        }
        let pattern = rules.iter().find(|(name, _)| name == "string.pattern");
        let pattern = pattern.map(|(_, pattern)| Regex::new(pattern.as_str().unwrap()).unwrap());
        Self { is_required, rules, pattern }
    }

    /// Whether a field may have this value; absent for a message that is not there.
    fn allow(&self, field: &FieldDescriptor, value: Option<&Value>) -> bool {
        self.rules.iter().all(|(name, limit)| match (name.as_str(), limit, value) {
            ("required", Value::Bool(true), value) => value.is_some(),
            ("string.min_len", Value::U64(min), Some(Value::String(text))) => text.chars().count() as u64 >= *min,
            ("string.max_len", Value::U64(max), Some(Value::String(text))) => text.chars().count() as u64 <= *max,
            ("string.pattern", _, Some(Value::String(text))) => self.pattern.as_ref().unwrap().is_match(text),
            ("int64.gte", Value::I64(min), Some(Value::I64(number))) => number >= min,
            ("int64.lte", Value::I64(max), Some(Value::I64(number))) => number <= max,
            ("enum.defined_only", Value::Bool(true), Some(Value::EnumNumber(number))) => {
                field.kind().as_enum().is_some_and(|values| values.get_value(*number).is_some())
            }
            ("enum.not_in", Value::List(refused), Some(Value::EnumNumber(number))) => {
                !refused.contains(&Value::I32(*number))
            }
            (name, limit, value) => panic!("{}: no test of the rule {name} {limit:?} {value:?}", field.full_name()),
        })
    }

    /// The lengths or numbers around each limit.
    fn around(&self) -> impl Iterator<Item = i64> {
        let limit = |(_, limit): &(String, Value)| limit.as_i64().or_else(|| limit.as_u64().map(u64::cast_signed));
        self.rules.iter().filter_map(limit).flat_map(|at| [at - 1, at, at + 1])
    }

    /// Values with which a field is tried.
    #[allow(clippy::wildcard_enum_match_arm, reason = "a field of another kind needs values here first")]
    fn candidates(&self, field: &FieldDescriptor) -> Vec<Option<Value>> {
        match field.kind() {
            Kind::String => self.texts().into_iter().map(|text| Some(Value::String(text))).collect(),
            Kind::Int64 => {
                [i64::MIN, 0, i64::MAX].into_iter().chain(self.around()).map(|n| Some(Value::I64(n))).collect()
            }
            Kind::Enum(_) => [i32::MIN, -1, 0, 1, 2, 3, 4].into_iter().map(|n| Some(Value::EnumNumber(n))).collect(),
            Kind::Message(message) => vec![None, Some(Value::Message(valid(&message)))],
            kind => panic!("no values to try a field of {kind:?} with"),
        }
    }

    fn texts(&self) -> Vec<String> {
        let lengths = self.around().filter_map(|length| usize::try_from(length).ok());
        let long = lengths.flat_map(|length| ["a".repeat(length), "店".repeat(length)]);
        let others = ['\u{2028}', '\u{feff}', '\u{e000}', '\u{3000}', '店', '𠮷', '\u{10ffff}'];
        let characters = ('\0'..='\u{250}').chain(others).map(|character| format!("a{character}b"));
        long.chain(characters).chain(TEXTS.map(str::to_owned)).chain([String::new()]).collect()
    }
}

/// Tries a field of a valid message with a value; returns the fields that the ingress then refuses.
fn tried(message: &MessageDescriptor, field: &FieldDescriptor, value: Option<&Value>) -> Vec<&'static str> {
    let mut tried = valid(message);
    match value {
        Some(value) => tried.set_field(field, value.clone()),
        None => tried.clear_field(field),
    }
    refused_by_ingress(&tried)
}

#[test]
fn an_ingress_refuses_what_the_annotations_forbid_and_nothing_else() {
    let mut count = 0;
    for message in requests().values() {
        assert_eq!(refused_by_ingress(&valid(message)), [""; 0], "{}", message.name());
        for field in message.fields() {
            let annotations = Annotations::of(&field);
            if annotations.rules.is_empty() {
                continue;
            }
            for value in annotations.candidates(&field) {
                let refused = tried(message, &field, value.as_ref());
                let is_allowed = annotations.allow(&field, value.as_ref());
                assert_eq!(refused.is_empty(), is_allowed, "{} = {value:?}: {refused:?}", field.full_name());
                if !is_allowed && field.kind().as_message().is_none() {
                    assert_eq!(refused, [field.name()], "{} = {value:?}", field.full_name());
                }
                count += 1;
            }
        }
    }
    assert!(count > 10_000, "only {count} values were tried");
}

#[test]
fn every_field_says_whether_it_is_required_and_what_its_limits_are() {
    for message in requests().values() {
        for field in message.fields() {
            let (name, annotations) = (field.full_name(), Annotations::of(&field));
            let empty = (field.kind().as_message().is_none()).then(|| field.default_value());
            let is_required = !tried(message, &field, empty.as_ref()).is_empty();
            assert_eq!(annotations.is_required, Some(is_required), "field_behavior of {name}");
            let is_unlimited = UNLIMITED.iter().any(|(unlimited, _)| *unlimited == field.name());
            assert_eq!(annotations.rules.is_empty(), is_unlimited, "{name} needs a limit, or a reason in UNLIMITED");
        }
    }
}

#[test]
fn only_days_that_do_not_exist_are_refused_beyond_the_annotations() {
    let requests = requests();
    for (name, text) in NO_SUCH_DAY {
        for message in requests.values() {
            let Some(field) = message.get_field_by_name(name) else { continue };
            let value = Some(Value::String(text.to_owned()));
            assert!(Annotations::of(&field).allow(&field, value.as_ref()), "{name} = {text}: move it to TEXTS");
            assert_eq!(tried(message, &field, value.as_ref()), [name], "{text}");
        }
    }
}

#[test]
fn the_limit_between_two_fields_is_that_of_the_ingress() {
    for message in requests().values() {
        let rules = message.parent_pool().get_extension_by_name("buf.validate.message").unwrap();
        let rules = message.options().get_extension(&rules).into_owned();
        let rules = rules.as_message().unwrap().get_field_by_name("cel").unwrap().into_owned();
        let expression = |rule: &Value| {
            let expression = rule.as_message().unwrap().get_field_by_name("expression").unwrap().into_owned();
            expression.as_str().unwrap().to_owned()
        };
        let expressions: Vec<String> = rules.as_list().unwrap().iter().map(expression).collect();
        if message.get_field_by_name("un_redeem").is_none() {
            assert_eq!(expressions, [""; 0], "{}", message.name());
            continue;
        }
        assert_eq!(expressions, ["this.un_redeem <= this.trade_amount"], "{}", message.name());
        for (un_redeem, trade_amount) in [(99_i64, 100_i64), (100, 100), (101, 100)] {
            let mut request = valid(message);
            request.set_field_by_name("trade_amount", Value::I64(trade_amount));
            request.set_field_by_name("un_redeem", Value::I64(un_redeem));
            let is_allowed = un_redeem <= trade_amount;
            assert_eq!(refused_by_ingress(&request).is_empty(), is_allowed, "{un_redeem} of {trade_amount}");
        }
    }
}
