//! Tests of the policy's rule that lists a merchant's accepted keys: it is changed and rolled back
//! while real processes run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../ingress/tests/support/post.rs"]
mod post;
#[path = "support/system.rs"]
mod system;

use post::{inquiry_text, payment_text, post, refund_text, signed};
use system::System;
use tonic::Code;
use twqr_wire::pos::{PayRequest, pos_service_client::PosServiceClient};

/// Sends five requests of M1, signed with this key, and returns their StatusCodes: a payment, its
/// repeat, an inquiry, a refund and a cancel of payments that do not exist.
async fn status_codes(system: &System, key: &str, merchant_trade_no: &str) -> String {
    let cancel = payment_text(&format!("{merchant_trade_no}-cancel"));
    let mut codes = Vec::new();
    for (operation, text) in [
        ("Payment", payment_text(merchant_trade_no)),
        ("Payment", payment_text(merchant_trade_no)),
        ("Inquiry", inquiry_text(merchant_trade_no, "P")),
        ("Refund", refund_text(&format!("{merchant_trade_no}-refund"))),
        ("Cancel", cancel),
    ] {
        let answer = post(system.pos_http(), &format!("/Pos/{operation}"), &signed(&text, key)).await;
        codes.push(answer.status_code());
    }
    codes.join(" ")
}

/// The StatusCodes if the key is accepted.
const ACCEPTED: &str = "000 000 000 916 916";
/// The StatusCodes if the key is refused.
const REFUSED: &str = "904 904 904 904 904";

/// The log has the calls above: those that were let in and those that were refused.
async fn log_says_who_called(system: &System) {
    let (from, who) = (r#""from":"127.0.0.1""#, r#""who":"merchant M1 (key 2026-01)""#);
    system
        .until_logged(&["calls were let in", r#""listener":"pos_http""#, who, from, r#""method":"http_Payment""#])
        .await;
    system
        .until_logged(&["calls were refused", r#""reason":"signature""#, who, from, r#""method":"http_Cancel""#])
        .await;
}

/// Requests that are refused because of what they ask are in the log, without what they contain.
async fn log_says_what_was_refused(system: &System) {
    const TOKEN: &str = "22abcdefghijklmnop";
    let other_amount = payment_text("T1").replace("120", "121");
    let token_as_merchant = payment_text("T1").replace(r#":"M1""#, &format!(r#":"{TOKEN}""#));
    for (body, code) in [
        ("{".to_owned(), "905"),
        (signed(&payment_text("T1").replace("120", "-1"), "old"), "940"),
        (signed(&other_amount, "old"), "804"),
        (signed(&token_as_merchant, "old"), "904"),
    ] {
        assert_eq!(post(system.pos_http(), "/Pos/Payment", &body).await.status_code(), code);
    }
    let mut client = PosServiceClient::connect(format!("http://{}", system.public_api())).await.unwrap();
    let request = PayRequest { merchant_id: TOKEN.to_owned(), card_token: TOKEN.to_owned(), ..PayRequest::default() };
    assert_eq!(client.pay(request).await.unwrap_err().code(), Code::InvalidArgument);
    let merchant = "merchant M1 (key 2026-01)";
    for (listener, method, reason, who) in [
        ("pos_http", "http_Payment", "unparsable", ""),
        ("pos_http", "http_Payment", "invalid-fields", merchant),
        ("pos_http", "http_Payment", "conflict", merchant),
        ("pos_http", "http_Refund", "no-such-order", merchant),
        ("pos_http", "http_Payment", "signature", ""),
        ("grpc", "Pay", "invalid-fields", ""),
    ] {
        let fields =
            [("listener", listener), ("method", method), ("reason", reason), ("who", who), ("from", "127.0.0.1")];
        let fields = fields.map(|(name, value)| format!("\"{name}\":\"{value}\""));
        let texts: Vec<&str> = ["calls were refused"].into_iter().chain(fields.iter().map(String::as_str)).collect();
        system.until_logged(&texts).await;
    }
    assert!(!system.log().contains(TOKEN), "a card token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_policy_no_longer_accepts_is_refused_for_every_request() {
    let system = System::start().await;
    system.write_file("keys.toml", "[keys.M1]\n2026-01 = \"old\"\n2026-07 = \"new\"\n");
    for _ in 0..200 {
        if status_codes(&system, "old", "T0").await == ACCEPTED {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let first = system.newest_policy();
    assert_eq!(
        [status_codes(&system, "old", "T1").await, status_codes(&system, "new", "T2").await],
        [ACCEPTED, ACCEPTED],
        "without a rule every key is accepted"
    );

    let newer = format!("{first}\n[[merchants]]\nid = \"M1\"\nkeys = [\"2026-07\"]\n");
    let newer = system.write_file("newer.toml", &newer);
    let diff = system.policy(&["diff", &newer]);
    assert!(diff.stdout.contains("+ merchant M1") && diff.stdout.contains("2026-07"), "{}{}", diff.stdout, diff.stderr);
    assert_eq!(system.apply_policy(&newer, "1").code, 0);
    let second = system.newest_policy();
    assert!(second.contains("keys = [\"2026-07\"]"), "{second}");
    assert_eq!(status_codes(&system, "old", "T3").await, REFUSED);
    assert_eq!(status_codes(&system, "old", "T1").await, REFUSED, "not even a repeat is answered");
    assert_eq!(status_codes(&system, "new", "T3").await, ACCEPTED, "the refused payment left no order");
    assert_eq!(status_codes(&system, "new", "T1").await, ACCEPTED);

    let rollback = system.policy(&["rollback", "--to", "1", "--expect", "2", "--who", "bob", "--why", "too early"]);
    assert_eq!(rollback.code, 0, "{}", rollback.stderr);
    system.newest_policy();
    assert_eq!(status_codes(&system, "old", "T4").await, ACCEPTED);
    log_says_who_called(&system).await;
    log_says_what_was_refused(&system).await;
}
