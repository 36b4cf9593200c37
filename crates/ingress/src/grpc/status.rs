//! Refusals as gRPC errors, with the details that a caller's program can read: each has an
//! ErrorInfo with its reason, and says whether the request may be sent again.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use twqr_access::AccessRefusal;
use twqr_service::{NO_SUCH_METHOD, NO_SUCH_SERVICE, refusal_details};
use twqr_types::Violation;
use twqr_wire::pos::RefusalReason;

use crate::refusal::{KEY_REFUSED_TEXT, Limited, Opened, REPLAYED_TEXT, Refusal, conflict_text};

/// The domain of the error details.
const DOMAIN: &str = "twqr.pos.v1";
/// The prefix of the reasons' names in the contract.
const REASON_PREFIX: &str = "REFUSAL_REASON_";
/// The delay after which a caller may retry a call that was refused because of load or time, in ms.
const RETRY_AFTER_MS: u64 = 200;

/// Converts a refusal.
pub(super) fn status(refusal: &Refusal) -> Status {
    let details = details_of(refusal);
    Status::with_error_details(refusal.code(), text(refusal), details)
}

/// The text for people.
fn text(refusal: &Refusal) -> String {
    let text = match refusal {
        Refusal::Invalid(violations) => return violations.to_string(),
        Refusal::Conflict(fields) => return conflict_text(fields),
        Refusal::NotAccepted => {
            "the log did not take the request; nothing was accepted, retry with the same merchant_trade_no"
        }
        Refusal::KeyRefused => KEY_REFUSED_TEXT,
        Refusal::Replayed => REPLAYED_TEXT,
        Refusal::Access(refusal) => return format!("{}. Nothing was accepted", refusal.text()),
        Refusal::RateExceeded(of, after) => {
            let (of, ms) = (limited(*of), after.as_millis());
            return format!("{of} sends too many calls per second; nothing was accepted, send it again in {ms} ms");
        }
        Refusal::ConcurrencyExceeded(of, _) => {
            let of = limited(*of);
            return format!("{of} has too many calls in progress; nothing was accepted, send it again later");
        }
        Refusal::TooManyCalls => {
            "too many calls are pending; nothing was accepted, retry with the same merchant_trade_no"
        }
        Refusal::TooManyOpen(Opened::Stream) => {
            "this caller has too many payment streams open (fairness.caller_streams_max); nothing was accepted, send its \
             payments over those, or use Pay"
        }
        Refusal::TooManyOpen(Opened::Watch) => {
            "this caller has too many watches open (fairness.caller_watches_max); watch the order again later, or use Query"
        }
        Refusal::TooManyWatches => {
            "too many watches are open at this instance (a quarter of calls_max); watch the order again later, or use Query"
        }
        Refusal::TooManyWatchers => "too many callers watch this order already; use Query",
        Refusal::NoAnswer => "no answer in time; send the request again",
        Refusal::ShuttingDown => "this instance shuts down; watch the order again",
        Refusal::WrongClock => {
            "the clock of this instance is wrong; nothing was accepted, retry with the same merchant_trade_no"
        }
    };
    text.to_owned()
}

fn limited(of: Limited) -> &'static str {
    match of {
        Limited::Caller => "this caller",
        Limited::Merchant => "this merchant",
    }
}

/// The reason in the public contract.
fn reason(refusal: &Refusal) -> RefusalReason {
    match refusal {
        Refusal::Invalid(_) => RefusalReason::FieldViolations,
        Refusal::Conflict(_) => RefusalReason::OrderConflict,
        Refusal::KeyRefused => RefusalReason::KeyRefused,
        Refusal::Replayed => RefusalReason::Replayed,
        Refusal::Access(AccessRefusal::NotRead) => RefusalReason::CallersNotRead,
        Refusal::Access(AccessRefusal::NoCredential(_)) => RefusalReason::NoCredential,
        Refusal::Access(AccessRefusal::Denied(_)) => RefusalReason::CredentialRefused,
        Refusal::Access(AccessRefusal::Operation(_) | AccessRefusal::Merchant | AccessRefusal::Role(_)) => {
            RefusalReason::NotPermitted
        }
        Refusal::RateExceeded(..) => RefusalReason::RateExceeded,
        Refusal::ConcurrencyExceeded(..) => RefusalReason::ConcurrencyExceeded,
        Refusal::TooManyCalls => RefusalReason::TooBusy,
        Refusal::TooManyOpen(Opened::Stream) => RefusalReason::TooManyStreams,
        Refusal::TooManyOpen(Opened::Watch) | Refusal::TooManyWatches => RefusalReason::TooManyWatches,
        Refusal::TooManyWatchers => RefusalReason::TooManyWatchers,
        Refusal::NotAccepted => RefusalReason::NotAccepted,
        Refusal::NoAnswer => RefusalReason::NoAnswer,
        Refusal::ShuttingDown => RefusalReason::ShuttingDown,
        Refusal::WrongClock => RefusalReason::WrongClock,
    }
}

fn details_of(refusal: &Refusal) -> ErrorDetails {
    let metadata = if let Refusal::Conflict(fields) = refusal {
        HashMap::from([("fields".to_owned(), fields.join(", "))])
    } else {
        HashMap::new()
    };
    let mut details = details(reason(refusal), metadata);
    if let Refusal::RateExceeded(_, after) | Refusal::ConcurrencyExceeded(_, after) = refusal {
        details.set_retry_info(Some(*after));
    }
    if let Refusal::Invalid(violations) = refusal {
        for Violation { field, description } in violations.as_slice() {
            details.add_bad_request_violation(field.proto_name(), description);
        }
    }
    details
}

/// The gRPC code of a reason, and whether the same request may succeed later.
fn rule(reason: RefusalReason) -> (Code, bool) {
    match reason {
        RefusalReason::Unspecified => (Code::Unknown, false),
        RefusalReason::FieldViolations
        | RefusalReason::Undecodable
        | RefusalReason::TooLarge
        | RefusalReason::Compressed => (Code::InvalidArgument, false),
        RefusalReason::OrderConflict => (Code::AlreadyExists, false),
        RefusalReason::KeyRefused
        | RefusalReason::Replayed
        | RefusalReason::NoCredential
        | RefusalReason::CredentialRefused => (Code::Unauthenticated, false),
        RefusalReason::NotPermitted => (Code::PermissionDenied, false),
        RefusalReason::UnknownMethod => (Code::Unimplemented, false),
        RefusalReason::TooBusy
        | RefusalReason::RateExceeded
        | RefusalReason::ConcurrencyExceeded
        | RefusalReason::TooManyStreams
        | RefusalReason::TooManyWatches
        | RefusalReason::TooManyWatchers => (Code::ResourceExhausted, true),
        RefusalReason::NotAccepted
        | RefusalReason::NoAnswer
        | RefusalReason::ShuttingDown
        | RefusalReason::CallersNotRead
        | RefusalReason::WrongClock => (Code::Unavailable, true),
    }
}

/// The reason's details: with a delay if the request may be sent again.
fn details(reason: RefusalReason, metadata: HashMap<String, String>) -> ErrorDetails {
    let retry_after = rule(reason).1.then_some(Duration::from_millis(RETRY_AFTER_MS));
    refusal_details(DOMAIN, reason.as_str_name().trim_start_matches(REASON_PREFIX), retry_after, metadata)
}

fn refused(reason: RefusalReason, text: impl Into<String>) -> Status {
    Status::with_error_details(rule(reason).0, text, details(reason, HashMap::new()))
}

/// The error of a call of another service than those of the listener.
pub(crate) fn unknown_service() -> Status {
    refused(RefusalReason::UnknownMethod, format!("{NO_SUCH_SERVICE}. Nothing was accepted"))
}

/// The error of a call of a method that the service does not have.
pub(super) fn unknown_method() -> Status {
    refused(RefusalReason::UnknownMethod, format!("{NO_SUCH_METHOD}. Nothing was accepted"))
}

/// The error of a PayStream that is not opened.
pub(super) fn too_many_streams() -> Status {
    let text = "too many payment streams are open at this instance (streams_max); nothing was accepted, open one later, \
                or use Pay";
    refused(RefusalReason::TooManyStreams, text)
}

/// The last message of a PayStream at shutdown, after the answers of all requests that were taken.
pub(super) fn stream_shuts_down() -> Status {
    let text =
        "this instance shuts down; requests without an answer were not accepted, send them again over another stream";
    refused(RefusalReason::ShuttingDown, text)
}

/// The last message of a PayStream whose caller's credential is no longer accepted, after the
/// answers of all requests that were taken.
pub(super) fn stream_is_refused(refusal: AccessRefusal) -> Status {
    let end = "The stream ends here; requests without an answer were not accepted";
    refused(reason(&refusal.into()), format!("{}. {end}", refusal.text()))
}

/// The error of a request that cannot be decoded.
pub(super) fn undecodable(reason: RefusalReason) -> Status {
    refused(reason, format!("{}. Nothing was accepted", problem(reason)))
}

/// The last message of a PayStream after a request that cannot be decoded.
pub(super) fn stream_is_undecodable(reason: RefusalReason) -> Status {
    let end = "The stream ends here; this request and later ones, which have no answer, were not accepted";
    refused(reason, format!("{}. {end}", problem(reason)))
}

/// The fault of a request that cannot be decoded.
fn problem(reason: RefusalReason) -> &'static str {
    if reason == RefusalReason::TooLarge {
        "the request is larger than 64 KiB"
    } else if reason == RefusalReason::Compressed {
        "the request is compressed; send it uncompressed"
    } else {
        "the request is not a valid protobuf message of this method; every text must be UTF-8"
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use twqr_access::MissingCredential;
    use twqr_types::Violations;

    use super::*;

    const CONTRACT: &str = include_str!("../../../../proto/twqr/pos/v1/pos.proto");
    const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/errors.md");

    fn reasons() -> Vec<RefusalReason> {
        (1..100).filter_map(|number| RefusalReason::try_from(number).ok()).collect()
    }

    #[test]
    fn every_refusal_has_a_reason_with_its_code() {
        let refusals = [
            Refusal::Invalid(Violations::default()),
            Refusal::Conflict(vec!["TradeAmount".to_owned()]),
            Refusal::KeyRefused,
            Refusal::Replayed,
            AccessRefusal::NotRead.into(),
            AccessRefusal::NoCredential(MissingCredential::Both).into(),
            AccessRefusal::Denied(twqr_callers::Denial::UnknownKey).into(),
            AccessRefusal::Merchant.into(),
            Refusal::RateExceeded(Limited::Caller, Duration::from_millis(5)),
            Refusal::ConcurrencyExceeded(Limited::Merchant, Duration::from_millis(200)),
            Refusal::TooManyCalls,
            Refusal::TooManyOpen(Opened::Stream),
            Refusal::TooManyOpen(Opened::Watch),
            Refusal::TooManyWatches,
            Refusal::TooManyWatchers,
            Refusal::NotAccepted,
            Refusal::NoAnswer,
            Refusal::ShuttingDown,
            Refusal::WrongClock,
        ];
        let others = [RefusalReason::Undecodable, RefusalReason::TooLarge, RefusalReason::Compressed].map(undecodable);
        let ends = [
            too_many_streams(),
            stream_shuts_down(),
            stream_is_refused(AccessRefusal::Denied(twqr_callers::Denial::UnknownKey)),
            stream_is_undecodable(RefusalReason::TooLarge),
        ];
        let unknown = [unknown_service(), unknown_method()];
        let statuses = refusals.iter().map(status).chain(others).chain(ends).chain(unknown).collect::<Vec<_>>();
        for status in &statuses {
            let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
            let reason = RefusalReason::from_str_name(&format!("{REASON_PREFIX}{}", info.reason)).unwrap();
            let (code, is_retryable) = rule(reason);
            assert_eq!((status.code(), info.domain.as_str()), (code, DOMAIN));
            assert_eq!(info.metadata["retryable"], is_retryable.to_string());
            assert_eq!(info.metadata["charged"], "no");
            assert_eq!(status.get_details_retry_info().is_some(), is_retryable, "{status:?}");
        }
        let sent = |reason: &RefusalReason| {
            let name = reason.as_str_name().trim_start_matches(REASON_PREFIX);
            statuses.iter().any(|status| status.get_details_error_info().unwrap().reason == name)
        };
        let never: Vec<RefusalReason> = reasons().into_iter().filter(|reason| !sent(reason)).collect();
        assert!(never.is_empty(), "nothing refuses with {never:?}");
    }

    /// The comment on a value in the contract.
    fn meaning(name: &str) -> String {
        let mut comment: Vec<&str> = Vec::new();
        for line in CONTRACT.lines().map(str::trim) {
            match line.strip_prefix("// ") {
                Some(text) => comment.push(text),
                None if line.starts_with(&format!("{name} = ")) => return comment.join(" "),
                None => comment.clear(),
            }
        }
        panic!("{name} is not in the contract");
    }

    #[test]
    fn each_reason_says_whether_it_was_charged_and_whether_and_how_to_retry() {
        for reason in reasons() {
            let (name, (_, is_retryable)) = (reason.as_str_name(), rule(reason));
            let meaning = meaning(name);
            assert!(meaning.contains("charged"), "{name} does not say whether anything was charged");
            let [says, contradicts] =
                if is_retryable { [". Retryable: ", "Not retry"] } else { [". Not retryable: ", "Retry"] };
            assert!(meaning.split_once(says).is_some_and(|(_, advice)| !advice.is_empty()), "{name} needs {says:?}");
            assert!(!meaning.contains(contradicts), "{name} contradicts the ingress");
        }
    }

    fn table() -> String {
        let head = "# Why a call is refused\n\n\
                    `make proto-errors` writes this table from `twqr/pos/v1/pos.proto` and the ingress. In each row,\n\
                    nothing was charged, given back or cancelled by the refused request. *Again*: whether the same\n\
                    request may succeed later; google.rpc.RetryInfo says when.\n\n\
                    | reason | gRPC code | again | meaning |\n|---|---|---|---|\n";
        let row = |reason: RefusalReason| {
            let (code, is_retryable) = rule(reason);
            let name = reason.as_str_name();
            let again = if is_retryable { "yes" } else { "no" };
            let short = name.trim_start_matches(REASON_PREFIX);
            format!("| `{short}` | {code:?} | {again} | {} |\n", meaning(name))
        };
        head.to_owned() + &reasons().into_iter().map(row).collect::<String>()
    }

    #[test]
    fn the_table_of_errors_is_that_of_the_contract() {
        if env::var_os("TWQR_WRITE_ERRORS").is_some() {
            fs::write(TABLE, table()).unwrap();
        }
        assert_eq!(fs::read_to_string(TABLE).unwrap_or_default(), table(), "run make proto-errors");
    }

    #[test]
    fn the_service_config_retries_what_cannot_charge_twice() {
        let config: serde_json::Value =
            serde_json::from_str(include_str!("../../../../proto/service-config.json")).unwrap();
        let methods = config["methodConfig"].as_array().unwrap();
        let retried: Vec<_> = methods.iter().filter_map(|method| method.get("retryPolicy")).collect();
        assert_eq!(retried.len(), 1);
        assert_eq!(retried[0]["retryableStatusCodes"], serde_json::json!(["UNAVAILABLE"]));
        for method in methods {
            assert!(method.get("hedgingPolicy").is_none());
            for name in method["name"].as_array().unwrap() {
                assert_eq!(name["service"], "twqr.pos.v1.PosService");
                let Some(method) = name.get("method") else { continue };
                assert!(CONTRACT.contains(&format!("rpc {}(", method.as_str().unwrap())), "{method}");
            }
        }
    }
}
