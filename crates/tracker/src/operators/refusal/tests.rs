//! Each reason of the contract with its code and its details, errors that had no reason, and the
//! table of all reasons for readers.

use std::{collections::BTreeSet, env, fs};

use twqr_wire::pos::RefusalReason;

use super::*;

const CONTRACT: &str = include_str!("../../../../../proto/twqr/ops/v1/ops.proto");
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/operators-errors.md");

fn reasons() -> Vec<OperatorRefusalReason> {
    (1..100).filter_map(|number| OperatorRefusalReason::try_from(number).ok()).collect()
}

#[test]
fn every_refusal_has_its_reason_and_says_whether_to_retry() {
    let after = Duration::from_secs(90);
    for reason in reasons() {
        for (refused, delay) in [
            (refuse(reason, "text"), Duration::from_millis(RETRY_AFTER_MS)),
            (refuse_with_metadata(reason, "text".to_owned(), ("version", 7)), Duration::from_millis(RETRY_AFTER_MS)),
        ] {
            let (code, is_retryable) = rule(reason);
            let info = refused.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {refused:?}"));
            assert_eq!((refused.code(), refused.message(), reason_of(&refused)), (code, "text", Some(reason)));
            assert_eq!(info.metadata["retryable"], is_retryable.to_string());
            assert_eq!(info.metadata["charged"], "no");
            let told = refused.get_details_retry_info().and_then(|retry| retry.retry_delay);
            assert_eq!(told, is_retryable.then_some(delay), "{refused:?}");
        }
    }
    let conflict =
        refuse_with_metadata(OperatorRefusalReason::VersionConflict, "text".to_owned(), ("newest_version", 7));
    assert_eq!(conflict.get_details_error_info().unwrap().metadata["newest_version"], "7");
    let early = refuse_with_delay(OperatorRefusalReason::ClosingTooEarly, "text".to_owned(), after);
    assert_eq!(early.get_details_retry_info().unwrap().retry_delay, Some(after));
}

#[test]
fn a_refusal_of_fields_names_each_of_them() {
    let refused =
        invalid_arguments(vec![FieldViolation::new("who", "is long"), FieldViolation::new("why", "is empty")]);
    assert_eq!(refused.message(), "who is long; why is empty");
    assert_eq!(reason_of(&refused), Some(OperatorRefusalReason::FieldViolations));
    let named: Vec<String> = refused
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|violation| format!("{} {}", violation.field, violation.description))
        .collect();
    assert_eq!(named, ["who is long", "why is empty"]);
}

#[test]
fn an_error_without_a_reason_gets_one_and_shows_no_part_of_the_request() {
    use OperatorRefusalReason as Reason;
    for (status, reason, code) in [
        (Status::internal("SECRET"), Reason::Undecodable, Code::InvalidArgument),
        (Status::out_of_range("SECRET"), Reason::TooLarge, Code::InvalidArgument),
        (Status::unimplemented("SECRET"), Reason::Compressed, Code::InvalidArgument),
        (Status::cancelled("SECRET"), Reason::InternalError, Code::Internal),
        (Status::not_found("SECRET"), Reason::InternalError, Code::Internal),
        (refuse(Reason::InternalError, "x"), Reason::InternalError, Code::Internal),
        (invalid("who", "is long"), Reason::FieldViolations, Code::InvalidArgument),
    ] {
        let explained = explained(status);
        assert_eq!((reason_of(&explained), explained.code()), (Some(reason), code), "{explained:?}");
        assert!(!explained.message().contains("SECRET"), "{explained:?}");
    }
    // Another domain's reason is none of ours.
    let details = ErrorDetails::with_error_info("NOT_FOUND", "example.com", HashMap::new());
    let foreign = explained(Status::with_error_details(Code::NotFound, "x", details));
    assert_eq!(reason_of(&foreign), Some(Reason::InternalError));
}

#[test]
fn calls_are_counted_by_the_codes_with_which_they_end() {
    let is_counted = |reason: &OperatorRefusalReason| *reason != OperatorRefusalReason::UnknownMethod;
    let ends = reasons().into_iter().filter(is_counted).map(|reason| rule(reason).0).chain([Code::Ok]);
    let ends: BTreeSet<i32> = ends.map(i32::from).collect();
    assert_eq!(crate::metrics::CODES.map(i32::from).into_iter().collect::<BTreeSet<_>>(), ends);
}

#[test]
fn reasons_that_both_contracts_have_share_names_and_numbers() {
    for reason in reasons().into_iter().filter(|reason| (*reason as i32) < 40) {
        let name = reason.as_str_name().trim_start_matches(REASON_PREFIX);
        let shared = RefusalReason::from_str_name(&format!("REFUSAL_REASON_{name}"));
        assert_eq!(shared.map(|shared| shared as i32), Some(reason as i32), "{name}");
    }
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
fn each_reason_says_whether_and_how_to_retry() {
    for reason in reasons() {
        let (name, (_, is_retryable)) = (reason.as_str_name(), rule(reason));
        let meaning = meaning(name);
        let [says, contradicts] =
            if is_retryable { [". Retryable: ", "Not retry"] } else { [". Not retryable: ", "Retry"] };
        assert!(meaning.split_once(says).is_some_and(|(_, advice)| !advice.is_empty()), "{name} needs {says:?}");
        assert!(!meaning.contains(contradicts), "{name} contradicts the tracker");
    }
}

fn table() -> String {
    let head = "# Why a call of the operators' API is refused\n\n\
                `make proto-errors` writes this table from `twqr/ops/v1/ops.proto` and the tracker. No call of\n\
                this API moves money. *Again*: whether a program may send the same request again by itself;\n\
                google.rpc.RetryInfo says when.\n\n\
                | reason | gRPC code | again | meaning |\n|---|---|---|---|\n";
    let row = |reason: OperatorRefusalReason| {
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
