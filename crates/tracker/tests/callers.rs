//! Tests of changes of callers in the operators' API, with a real tracker: versions, conflicts, and
//! faults of a request.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, dead_code, reason = "a test fails by panicking")]

#[path = "support/payments.rs"]
mod payments;
#[path = "support/tracker.rs"]
mod tracker;

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;
use tracker::{TestTracker, open_journal};
use twqr_access::{AccessSettings, CALLERS};
use twqr_journal::{Entry, Journal as _};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_service::{BoundSocket, CancellationToken, Context, Health, PartState, SystemClock};
use twqr_tracker::{HEALTH_PART, Settings};
use twqr_wire::ops::{
    ApiKey, Caller, CallerEntry, ChangeCallerRequest, ListCallersRequest,
    operator_service_client::OperatorServiceClient,
};

fn caller(seed: u8) -> Caller {
    let key = ApiKey { name: "k".into(), sha256: vec![seed; 32].into(), ..ApiKey::default() };
    Caller { keys: vec![key], merchants: vec!["M1".into()], operations: vec!["pay".into()], ..Caller::default() }
}

fn request(name: &str, expected_version: u64, caller: Option<Caller>) -> ChangeCallerRequest {
    ChangeCallerRequest { name: name.into(), expected_version, caller, who: "alice".into(), why: "a test".into() }
}

async fn change(tracker: &TestTracker, request: ChangeCallerRequest) -> Result<u64, Status> {
    send(tracker.client.clone(), request).await
}

async fn send(mut client: OperatorServiceClient<Channel>, request: ChangeCallerRequest) -> Result<u64, Status> {
    Ok(client.change_caller(request).await?.into_inner().version)
}

async fn list(tracker: &TestTracker) -> Vec<CallerEntry> {
    tracker.client.clone().list_callers(ListCallersRequest {}).await.unwrap().into_inner().callers
}

/// The newest version that a conflict names.
fn newest_of(conflict: &Status) -> String {
    let info = conflict.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {conflict:?}"));
    assert_eq!((conflict.code(), info.reason.as_str()), (Code::Aborted, "VERSION_CONFLICT"));
    info.metadata["newest_version"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_changes_on_one_version_one_is_taken_and_the_others_conflict() {
    let folder = tempfile::tempdir().unwrap();
    let tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    tracker_has_read_callers(&tracker).await;
    assert_eq!(change(&tracker, request("shop", 0, Some(caller(1)))).await.unwrap(), 1);
    for stale in [0, 7] {
        let refused = change(&tracker, request("shop", stale, Some(caller(2)))).await.unwrap_err();
        assert_eq!(newest_of(&refused), "1", "based on {stale}");
    }
    let changes = (10..18).map(|seed| send(tracker.client.clone(), request("shop", 1, Some(caller(seed)))));
    let results = changes.collect::<JoinSet<_>>().join_all().await;
    let (taken, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(taken.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [2]);
    assert_eq!(refused.len(), 7);
    assert!(refused.iter().all(|refused| newest_of(refused.as_ref().unwrap_err()) == "2"), "{refused:?}");
    assert_eq!(change(&tracker, request("shop", 2, None)).await.unwrap(), 3);
    let entries: Vec<_> =
        list(&tracker).await.into_iter().map(|entry| (entry.name, entry.version, entry.caller.is_some())).collect();
    assert_eq!(entries, [("shop".to_owned(), 3, false)], "a caller that was taken out keeps its version");
    tracker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_change_is_refused_with_all_its_faults_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    tracker_has_read_callers(&tracker).await;
    change(&tracker, request("shop", 0, Some(caller(1)))).await.unwrap();
    let unknown = Caller { operations: vec!["steal".into()], roles: vec!["owner".into()], ..caller(2) };
    for (faulty, fields) in [
        (request("", 0, Some(caller(2))), &["name"][..]),
        (ChangeCallerRequest { who: String::new(), why: String::new(), ..request("a", 0, None) }, &["who", "why"]),
        (request("a", 0, Some(unknown)), &["caller.operations[0]", "caller.roles[0]"]),
        // A key belongs to one caller.
        (request("a", 0, Some(caller(1))), &["caller"]),
    ] {
        let refused = change(&tracker, faulty).await.unwrap_err();
        let violations = refused.get_details_bad_request().unwrap_or_else(|| panic!("{refused:?}")).field_violations;
        let named: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!((refused.code(), named.as_slice()), (Code::InvalidArgument, fields), "{violations:?}");
    }
    assert_eq!(list(&tracker).await.len(), 1);
    tracker.close().await;
}

/// The record of a newer build about version 1 of the caller `shop`, which may do something that
/// this build does not know. It is written field by field, as in `twqr/bus/v1/callers.proto`.
fn newer() -> Entry {
    let operation = [b"\x2a\x06".as_slice(), b"settle"].concat();
    let caller = [&[0x22, 8], operation.as_slice()].concat();
    Entry::plain([b"\x08\x01\x12\x04shop\x18\x01".as_slice(), &caller].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_was_read_in_part_is_not_written_again_and_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), journal.clone()).await;
    tracker_has_read_callers(&tracker).await;
    journal.append(CALLERS, vec![newer()]).await.unwrap();
    while list(&tracker).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = change(&tracker, request("shop", 1, Some(caller(1)))).await.unwrap_err();
    let faults = refused.get_details_bad_request().unwrap().field_violations;
    assert_eq!(faults.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), ["name"]);
    assert!(faults[0].description.contains("cannot read in full"), "{faults:?}");
    assert_eq!(change(&tracker, request("shop", 1, None)).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_from_before_a_revocation_brings_no_key_back() {
    let folder = tempfile::tempdir().unwrap();
    let tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    tracker_has_read_callers(&tracker).await;
    change(&tracker, request("shop", 0, Some(caller(1)))).await.unwrap();
    change(&tracker, request("shop", 1, Some(caller(2)))).await.unwrap();
    for (version, name) in [(2, "shop"), (0, "other")] {
        let refused = change(&tracker, request(name, version, Some(caller(1)))).await.unwrap_err();
        assert!(refused.message().contains("has the key k, which was revoked"), "{refused:?}");
    }
    change(&tracker, request("shop", 2, None)).await.unwrap();
    let refused = change(&tracker, request("shop", 3, Some(caller(2)))).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "it was revoked with its caller");
    assert_eq!(change(&tracker, request("shop", 3, Some(caller(3)))).await.unwrap(), 4);
    tracker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_from_before_a_revocation_brings_no_certificate_back() {
    let folder = tempfile::tempdir().unwrap();
    let tracker = TestTracker::open(folder.path(), open_journal(folder.path())).await;
    tracker_has_read_callers(&tracker).await;
    let with = |name: &str| Caller { certificates: vec![name.into()], ..Caller::default() };
    change(&tracker, request("shop", 0, Some(with("old.example")))).await.unwrap();
    change(&tracker, request("shop", 1, Some(with("new.example")))).await.unwrap();
    for (version, name) in [(2, "shop"), (0, "other")] {
        let refused = change(&tracker, request(name, version, Some(with("old.example")))).await.unwrap_err();
        assert!(refused.message().contains("has the name old.example, which was revoked"), "{refused:?}");
    }
    assert_eq!(change(&tracker, request("shop", 2, Some(with("newest.example")))).await.unwrap(), 3);
    tracker.close().await;
}

#[tokio::test]
async fn the_operators_api_is_not_ready_before_it_has_read_who_may_call() {
    let folder = tempfile::tempdir().unwrap();
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
    let session = sim.session("tracker-0");
    session.pause();
    let (health, shutdown) = (Health::default(), CancellationToken::new());
    let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: health.clone() };
    let access = AccessSettings { required: true, ..AccessSettings::default() };
    let settings = Settings { database: folder.path().join("read-model.sqlite"), policy_wait_ms: 10_000, access };
    let socket = BoundSocket::on_loopback("operators").unwrap();
    let running = tokio::spawn(twqr_tracker::run(socket, settings, session.clone(), context));
    let until = async |state: PartState| {
        for _ in 0..1_000 {
            if health.report().get(HEALTH_PART) == Some(&state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the API is not {state:?} within 10 s: {:?}", health.report());
    };
    until(PartState::NotReady("the callers are being read".to_owned())).await;
    session.resume();
    until(PartState::Ready).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// Waits until callers can be listed.
async fn tracker_has_read_callers(tracker: &TestTracker) {
    while tracker.client.clone().list_callers(ListCallersRequest {}).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
