//! How many streams of settlement entries a caller may have open, and that they end with its
//! credential and its role, with a real tracker and clients that do not read.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub, dead_code, reason = "a test fails by panicking")]

#[path = "support/payments.rs"]
mod payments;
#[path = "support/reasons.rs"]
mod reasons;
#[path = "support/role_callers.rs"]
mod role_callers;
#[path = "support/tracker.rs"]
mod tracker;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use reasons::reason_of;
use role_callers::{by, caller};
use tonic::{Code, Status, Streaming, transport::Endpoint};
use tracker::{BEGAN_MS, STATES, open_journal, paid, payment, state};
use twqr_access::AccessSettings;
use twqr_callers::{Caller, Role};
use twqr_journal::Journal;
use twqr_service::{BoundSocket, CancellationToken, Context, Health, SystemClock};
use twqr_tracker::Settings;
use twqr_wire::{
    convert::caller_out,
    ops::{
        ChangeCallerRequest, ListSettlementRequest, ListSettlementResponse,
        operator_service_client::OperatorServiceClient,
    },
};

const GREEDY: u8 = 1;
const CALM: u8 = 2;
const APPROVER: u8 = 3;
const DEMOTED: u8 = 4;
/// More entries than all buffers between the tracker and a client that does not read.
const ORDERS: i64 = 15_000;
/// The bound of one caller.
const STREAMS_MAX: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_a_bounded_number_of_settlement_streams_that_end_with_its_key_and_role() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    for from in (0..ORDERS).step_by(2_500) {
        let states = (from..from + 2_500).map(|n| state(payment(n, paid()), 10)).collect();
        journal.append(STATES, states).await.unwrap();
    }
    let callers = vec![
        caller("greedy", GREEDY, Role::Viewer),
        caller("calm", CALM, Role::Viewer),
        caller("approver", APPROVER, Role::Approver),
        caller("demoted", DEMOTED, Role::Viewer),
    ];
    let access = AccessSettings { required: true, callers, ..AccessSettings::default() };
    let settings = Settings { database: folder.path().join("read-model.sqlite"), policy_wait_ms: 10_000, access };
    let shutdown = CancellationToken::new();
    let context = Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: Health::default() };
    let socket = BoundSocket::on_loopback("operators").unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", socket.address())).unwrap();
    let running = tokio::spawn(twqr_tracker::run(socket, settings, journal, context));
    // A small window, so that a stream that is not read stays open.
    let client = OperatorServiceClient::new(endpoint.initial_stream_window_size(65_535).connect_lazy());
    let open = async |seed| -> Result<Streaming<ListSettlementResponse>, Status> {
        let request = ListSettlementRequest { from_ms: BEGAN_MS, to_ms: i64::MAX, ..Default::default() };
        Ok(client.clone().list_settlement(by(seed, request)).await?.into_inner())
    };
    let mut streams = Vec::new();
    while streams.len() < STREAMS_MAX {
        match open(GREEDY).await {
            Ok(stream) => streams.push(stream),
            Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(status) => panic!("stream {}: {status:?}", streams.len()),
        }
    }
    let refused = open(GREEDY).await.unwrap_err();
    assert_eq!((refused.code(), reason_of(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"));
    let mut calm = open(CALM).await.unwrap();
    streams.pop();
    while let Err(refused) = open(GREEDY).await.map(|stream| streams.push(stream)) {
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let demoted = Caller { roles: BTreeSet::new(), ..caller("demoted", DEMOTED, Role::Viewer) };
    let mut to_end = vec![(open(DEMOTED).await.unwrap(), (Code::PermissionDenied, "NOT_PERMITTED"))];
    to_end.extend(streams.into_iter().map(|stream| (stream, (Code::Unauthenticated, "CREDENTIAL_REFUSED"))));
    for (name, caller) in [("greedy", None), ("demoted", Some(caller_out(&demoted)))] {
        let (who, why) = ("alice".to_owned(), "leaked".to_owned());
        let change = ChangeCallerRequest { name: name.into(), expected_version: 0, caller, who, why };
        client.clone().change_caller(by(APPROVER, change)).await.unwrap();
    }
    for (mut stream, expected) in to_end {
        let mut entries = 0;
        let end = loop {
            match stream.message().await {
                Ok(Some(_)) => entries += 1,
                Ok(None) => panic!("the stream looks complete after {entries} entries"),
                Err(status) => break status,
            }
        };
        assert_eq!((end.code(), reason_of(&end).as_str()), expected, "{end:?}");
        assert!(entries < ORDERS, "{entries}: {end:?}");
    }
    let mut entries = 0;
    while calm.message().await.unwrap().is_some() {
        entries += 1;
    }
    assert_eq!(entries, ORDERS);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}
