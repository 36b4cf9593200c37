//! Which of a merchant's keys count is changed while real processes run, like every rule: with a
//! version, by whom and why, and back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../ingress/tests/support/post.rs"]
mod post;
#[path = "support/system.rs"]
mod system;

use post::{inquiry_text, payment_text, post, refund_text, signed};
use system::System;

/// What M1 is told by StatusCode when it signs with a key: a payment, its repeat, an inquiry, a
/// refund of nothing, a cancel of nothing.
async fn told(system: &System, key: &str, number: &str) -> String {
    let cancel = payment_text(&format!("{number}-cancel"));
    let mut codes = Vec::new();
    for (operation, text) in [
        ("Payment", payment_text(number)),
        ("Payment", payment_text(number)),
        ("Inquiry", inquiry_text(number, "P")),
        ("Refund", refund_text(&format!("{number}-refund"))),
        ("Cancel", cancel),
    ] {
        let told = post(system.pos_http(), &format!("/Pos/{operation}"), &signed(&text, key)).await;
        codes.push(told.status_code());
    }
    codes.join(" ")
}

const ALL: &str = "000 000 000 916 916";
const NONE: &str = "904 904 904 904 904";

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_rules_no_longer_count_signs_nothing() {
    let system = System::start().await;
    system.write("keys.toml", "[keys.M1]\n2026-01 = \"old\"\n2026-07 = \"new\"\n");
    for _ in 0..200 {
        if told(&system, "old", "T0").await == ALL {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let first = system.get();
    assert_eq!([told(&system, "old", "T1").await, told(&system, "new", "T2").await], [ALL, ALL], "no rule: both count");

    let newer = format!("{first}\n[[merchants]]\nid = \"M1\"\nkeys = [\"2026-07\"]\n");
    let newer = system.write("newer.toml", &newer);
    let diff = system.run(&["diff", &newer]);
    assert!(diff.out.contains("+ merchant M1") && diff.out.contains("2026-07"), "{}{}", diff.out, diff.error);
    assert_eq!(system.apply(&newer, "1").code, 0);
    let second = system.get();
    assert!(second.contains("keys = [\"2026-07\"]"), "{second}");
    assert_eq!(told(&system, "old", "T3").await, NONE);
    assert_eq!(told(&system, "old", "T1").await, NONE, "nor does it hear what it heard before");
    assert_eq!(told(&system, "new", "T3").await, ALL, "nothing was there under that number");
    assert_eq!(told(&system, "new", "T1").await, ALL);

    let back = system.run(&["rollback", "--to", "1", "--expect", "2", "--who", "bob", "--why", "too early"]);
    assert_eq!(back.code, 0, "{}", back.error);
    system.get();
    assert_eq!(told(&system, "old", "T4").await, ALL);
}
