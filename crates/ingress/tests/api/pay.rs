//! Pay and Query: results, repeats, conflicts, deadlines, and a log that fails.

use std::time::Duration;

use tonic::Code;
use tonic_types::StatusExt;
use twqr_wire::pos::{self, OrderStatus, PaymentType};

use crate::{
    World,
    journal::Fate,
    patient, request,
    router::{DECLINED, SILENT, UNKNOWN},
    settings,
};

const OTHER: &str = "IP345678901234567890";
const NOBODY: &str = "ZZ3456789012345678";

#[tokio::test]
async fn results_by_kind_and_the_query_that_agrees() {
    let world = World::new(patient()).await;
    for (number, token, amount, code, payment_type, extra3, status) in [
        ("paid", "22SECRETSECRETSECR", 100, "000", PaymentType::StoredValue, "", OrderStatus::Paid),
        ("other", OTHER, 100, "000", PaymentType::OtherIssuer, "391", OrderStatus::Paid),
        ("declined", "22SECRETSECRETSECR", DECLINED, "928", PaymentType::Unspecified, "", OrderStatus::Failed),
        ("no route", NOBODY, 100, "927", PaymentType::Unspecified, "", OrderStatus::Failed),
    ] {
        let request = pos::PayRequest { card_token: token.into(), ..request(number, amount) };
        let answer = world.pay(request.clone()).await.unwrap();
        assert_eq!((answer.status_code.as_str(), answer.payment_type()), (code, payment_type), "{number}");
        assert_eq!((answer.extra3.as_str(), answer.is_rep), (extra3, false), "{number}");
        assert_eq!((answer.trade_no.len(), answer.trade_time.len()), (25, 19), "{number}");
        let echoes = [&answer.store_id, &answer.gateway_trade_no, &answer.pos_id, &answer.extra1, &answer.extra2];
        assert_eq!(echoes, ["S1", "G1", "P1", "one", "two"], "{number}");
        let queried = world.query(number).await.unwrap();
        assert_eq!((queried.status_code.as_str(), queried.order_status), ("000", Some(status.into())), "{number}");
        assert_eq!(queried.payment, Some(answer.clone()), "{number}");
        let repeated = world.pay(request).await.unwrap();
        assert_eq!(repeated, pos::PayResponse { is_rep: true, ..answer }, "{number}");
    }
    let missing = world.query("never paid").await.unwrap();
    assert_eq!((missing.status_code.as_str(), missing.order_status, missing.payment), ("916", None, None));
}

#[tokio::test]
async fn a_known_answer_needs_no_record() {
    let world = World::new(patient()).await;
    world.pay(request("T1", 100)).await.unwrap();
    let before = world.journal.orders().len();
    let later = pos::PayRequest { send_time: "20250310090907".into(), pos_id: "P2".into(), ..request("T1", 100) };
    let repeated = world.pay(later).await.unwrap();
    assert_eq!((repeated.is_rep, repeated.pos_id.as_str(), repeated.status_code.as_str()), (true, "P2", "000"));
    assert_eq!(world.journal.orders().len(), before);
}

#[tokio::test]
async fn a_different_request_is_refused_and_names_the_fields() {
    let world = World::new(patient()).await;
    world.pay(request("T1", 100)).await.unwrap();
    type Change = fn(&mut pos::PayRequest);
    let changes: [(&str, Change); 4] = [
        ("StoreID", |r| r.store_id = "S2".into()),
        ("CardToken", |r| r.card_token = "22SECRETSECRETSECX".into()),
        ("TradeAmount", |r| r.trade_amount = 101),
        ("UnRedeem", |r| r.un_redeem = 1),
    ];
    for (field, change) in changes {
        let mut other = request("T1", 100);
        change(&mut other);
        let status = world.pay(other).await.unwrap_err();
        assert_eq!(status.code(), Code::AlreadyExists, "{field}");
        assert!(status.message().contains(field) && !format!("{status:?}").contains("SECRET"), "{status:?}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("DIFFERENT_REQUEST", "twqr.pos.v1"));
        assert_eq!(info.metadata["fields"], field);
    }
    let other_gateway = pos::PayRequest { gateway_trade_no: "G2".into(), ..request("T1", 100) };
    let answer = world.pay(other_gateway).await.unwrap();
    assert!(answer.is_rep && answer.gateway_trade_no == "G2", "the router does not compare GatewayTradeNo");
}

#[tokio::test]
async fn repeats_of_a_call_in_flight_join_it() {
    let world = World::new(patient()).await;
    let request = request("T1", SILENT);
    let first = world.pay(request.clone());
    let repeats = async {
        world.until_orders(1).await;
        let joined = futures::future::join_all((0..20).map(|_| world.pay(request.clone())));
        let approve = async {
            // A query is answered by the log in order, so the repeats before it on this connection have arrived.
            world.query("T1").await.unwrap();
            world.approve(&request);
        };
        futures::join!(joined, approve).0
    };
    let (first, repeats) = futures::join!(first, repeats);
    let first = first.unwrap();
    assert_eq!((first.status_code.as_str(), first.is_rep), ("000", false));
    for repeat in repeats {
        assert_eq!(repeat.unwrap(), pos::PayResponse { is_rep: true, ..first.clone() });
    }
    let pays = world.journal.orders().len();
    assert_eq!(pays, 3, "one payment, one query, one outcome");
}

#[tokio::test]
async fn at_the_deadline_it_is_in_progress_with_what_is_known() {
    let world = World::new(settings()).await;
    for (number, amount, known) in [("silent", SILENT, false), ("unknown", UNKNOWN, true)] {
        let answer = world.pay(request(number, amount)).await.unwrap();
        assert_eq!((answer.status_code.as_str(), answer.is_rep), ("982", false), "{number}");
        assert!(answer.status_desc.contains("in progress"), "{number}");
        assert_eq!(!answer.trade_no.is_empty(), known, "{number}");
        let queried = world.query(number).await.unwrap();
        assert_eq!(queried.order_status, Some(OrderStatus::InProgress.into()), "{number}");
        assert_eq!(queried.payment.unwrap().status_code, "982", "{number}");
        let repeated = world.pay(request(number, amount)).await.unwrap();
        assert_eq!((repeated.status_code.as_str(), repeated.is_rep), ("982", true), "{number}");
        assert_eq!(repeated.trade_no.len(), 25, "{number}: the router told the repeat the order's number");
        world.approve(&request(number, amount));
        let settled = world.pay(request(number, amount)).await.unwrap();
        assert_eq!((settled.status_code.as_str(), settled.is_rep), ("000", true), "{number}");
    }
}

#[tokio::test]
async fn a_joined_repeat_with_an_earlier_deadline_knows_what_the_first_call_knows() {
    let world = World::new(patient()).await;
    let first = tokio::spawn({
        let mut client = world.client.clone();
        async move { client.pay(request("T1", UNKNOWN)).await }
    });
    world.until_orders(2).await;
    world.query("T1").await.unwrap();
    let mut repeat = tonic::Request::new(request("T1", UNKNOWN));
    repeat.set_timeout(Duration::from_millis(600));
    let repeat = world.client.clone().pay(repeat).await.unwrap().into_inner();
    assert_eq!((repeat.status_code.as_str(), repeat.is_rep, repeat.trade_no.len()), ("982", true, 25));
    world.approve(&request("T1", UNKNOWN));
    assert_eq!(first.await.unwrap().unwrap().into_inner().trade_no, repeat.trade_no);
}

#[tokio::test]
async fn the_callers_own_deadline_is_kept() {
    let world = World::new(patient()).await;
    let mut payment = tonic::Request::new(request("T1", SILENT));
    payment.set_timeout(Duration::from_millis(500));
    let answer = world.client.clone().pay(payment).await.unwrap().into_inner();
    assert_eq!(answer.status_code, "982");
}

#[tokio::test]
async fn repeats_go_on_when_the_first_caller_is_gone() {
    let world = World::new(patient()).await;
    let first = tokio::spawn({
        let mut client = world.client.clone();
        async move { client.pay(request("T1", SILENT)).await }
    });
    world.until_orders(1).await;
    let joined = tokio::spawn({
        let mut client = world.client.clone();
        async move { client.pay(request("T1", SILENT)).await }
    });
    world.query("T1").await.unwrap();
    first.abort();
    world.until_orders(3).await;
    world.approve(&request("T1", SILENT));
    let joined = joined.await.unwrap().unwrap().into_inner();
    assert_eq!((joined.status_code.as_str(), joined.is_rep), ("000", true));
}

#[tokio::test]
async fn a_log_that_fails_is_never_a_failed_payment() {
    let world = World::new(settings()).await;
    let fate = |fate| *world.journal.fate.lock().unwrap() = fate;
    fate(Fate::WrittenUnknown);
    assert_eq!(world.pay(request("landed", 100)).await.unwrap().status_code, "000");
    fate(Fate::LostUnknown);
    let lost = world.pay(request("lost", 100)).await.unwrap();
    assert_eq!((lost.status_code.as_str(), lost.trade_no.as_str()), ("982", ""));
    let status = world.query("lost").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    fate(Fate::Refused);
    for status in [world.pay(request("refused", 100)).await.unwrap_err(), world.query("refused").await.unwrap_err()] {
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    }
    fate(Fate::Written);
    for number in ["lost", "refused"] {
        let answer = world.pay(request(number, 100)).await.unwrap();
        assert_eq!((answer.status_code.as_str(), answer.is_rep), ("000", false), "{number}");
    }
}
