//! An issuer's announced maintenance on real processes, by the commands of the runbook: it is
//! announced while payments are possible, ends early, and touches no other issuer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/system.rs"]
mod system;

use system::System;

/// Codes of the issuer in maintenance, and of another one.
const ISSUER: &str = "389";
const ITS_TOKEN: &str = "P2ABCEFGHIJKLMNOPQ";
const OTHER_TOKEN: &str = "22abcdefghijklmnop";

/// The document with one maintenance window of the issuer, which has begun, up to this time.
fn with_maintenance(document: &str, to: &str) -> String {
    let mut policy: toml::Table = toml::from_str(document).unwrap();
    let issuers = policy.get_mut("issuers").and_then(toml::Value::as_array_mut).unwrap();
    let issuer = issuers
        .iter_mut()
        .filter_map(toml::Value::as_table_mut)
        .find(|one| one.get("institution").and_then(toml::Value::as_str) == Some(ISSUER));
    let window = format!("maintenance = [{{ from = \"2025-01-01T00:00:00Z\", to = \"{to}\" }}]");
    issuer.unwrap().extend(toml::from_str::<toml::Table>(&window).unwrap());
    toml::to_string(&policy).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_and_refunds_of_an_issuer_in_maintenance_are_refused_until_it_ends_early() {
    let system = System::start().await;
    let first = system.newest_policy();
    let paid = system.pay("T1", ITS_TOKEN).await;
    assert_eq!(paid.status_code, "000", "{}", paid.status_desc);

    let announced = system.write_file("announced.toml", &with_maintenance(&first, "2099-01-01T00:00:00Z"));
    assert_eq!(system.policy(&["validate", &announced]).code, 0);
    let diff = system.policy(&["diff", &announced]).stdout;
    assert!(diff.contains(&format!("issuer {ISSUER} maintenance")), "{diff}");
    assert_eq!(system.apply_policy(&announced, "1").code, 0);
    let second = system.newest_policy();
    let refused = system.pay("T2", ITS_TOKEN).await;
    assert_eq!(refused.status_code, "982", "{}", refused.status_desc);
    assert!(refused.status_desc.contains("announced maintenance"), "{}", refused.status_desc);
    assert_eq!(system.refund("R1", &paid.trade_no).await.status_code, "982");
    assert_eq!(system.pay("T3", OTHER_TOKEN).await.status_code, "000", "another issuer");

    let ended = system.write_file("ended.toml", &with_maintenance(&second, "2025-01-02T00:00:00Z"));
    assert_eq!(system.apply_policy(&ended, "2").code, 0);
    system.newest_policy();
    assert_eq!(system.pay("T2", ITS_TOKEN).await.status_code, "982", "a final answer stays");
    assert_eq!(system.pay("T4", ITS_TOKEN).await.status_code, "000");
    assert_eq!(system.refund("R2", &paid.trade_no).await.status_code, "000");
}
