//! What a running system shows at `/metrics`.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use twqr_lab::launch::{System, admin_page};

/// How long a change of the files may take until it is noticed, in looks of 200 ms.
const LOOKS_MAX: u32 = 150;

/// What `/metrics` shows.
async fn metrics(system: &System) -> String {
    admin_page(system.config.admin, "/metrics").await.unwrap()
}

/// Waits until `/metrics` shows these series.
pub async fn until_shown(system: &System, series: &str) {
    until(system, series, |shown| shown.contains(series)).await;
}

/// Waits until what `/metrics` shows meets a condition; `awaited` names it in the failure.
pub async fn until(system: &System, awaited: &str, is_met: impl Fn(&str) -> bool) {
    for _ in 0..LOOKS_MAX {
        if is_met(&metrics(system).await) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{awaited} is not shown:\n{}\n{}", metrics(system).await, system.log("up").unwrap());
}
