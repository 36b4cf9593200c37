//! TLS of a real system: payments continue while certificates are replaced, bad files change
//! nothing, and callers without a valid certificate are refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/secured.rs"]
mod secured;
#[path = "support/shown_metrics.rs"]
mod shown_metrics;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use secured::{connect, pay, start};
use shown_metrics::{until, until_shown};
use tonic::transport::Endpoint;
use twqr_config::Config;
use twqr_lab::launch::System;
use twqr_wire::pos::pos_service_client::PosServiceClient;

/// How many callers pay at once.
const CALLERS: u64 = 4;

/// Whether a caller can pay with the certificate of this name, or without one. With TLS 1.3 a
/// caller learns that its certificate is refused only when it reads.
async fn can_pay(system: &System, name: Option<&str>, number: &str) -> bool {
    match connect(system, name).await {
        Ok(mut client) => pay(&mut client, number).await.is_ok_and(|code| code == "000"),
        Err(_) => false,
    }
}

/// Waits until TLS has failed to begin for this reason at the public API. The series exists with 0
/// from the start.
async fn until_counted(system: &System, reason: &str) {
    let series = format!("twqr_tls_handshakes_failed_total{{listener=\"pos_grpc\",reason=\"{reason}\"}} ");
    let is_counted = |shown: &str| {
        let count = shown.lines().find_map(|line| line.strip_prefix(&*series));
        count.is_some_and(|count| count.parse::<f64>().unwrap() > 0.0)
    };
    until(system, &format!("{series}above 0"), is_counted).await;
}

/// Pays again and again until told to stop, each few payments on a new connection.
async fn pay_until(system: &System, caller: u64, stop: &AtomicBool, paid: &AtomicU64) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut client = connect(system, Some("client")).await.unwrap();
        for _ in 0..5 {
            number += 1;
            let code = pay(&mut client, &format!("T{caller}x{number}")).await.unwrap();
            assert_eq!(code, "000", "payment {number} of caller {caller}");
            paid.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payment_fails_while_certificates_are_replaced_and_strangers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut system = start(&folder.path().join("run"), Config::default()).await;
    let (stop, paid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers = futures::future::join_all((0..CALLERS).map(|caller| pay_until(&system, caller, &stop, &paid)));
    let changes = async {
        let authority = system.authority.as_ref().unwrap();
        let first = std::fs::read(authority.file("server.pem")).unwrap();
        authority.renew_servers().unwrap();
        for section in ["tls.grpc", "tls.operators"] {
            until_shown(&system, &format!("twqr_certificate_reloads_total{{section=\"{section}\",result=\"done\"}} 1"))
                .await;
        }
        // The old certificate with the new key.
        std::fs::write(authority.file("server.pem"), first).unwrap();
        until_shown(&system, "twqr_certificate_refused{section=\"tls.grpc\"} 1").await;
        assert!(can_pay(&system, Some("client"), "BESIDES").await, "the certificate before is in force");
        authority.renew_servers().unwrap();
        until_shown(&system, "twqr_certificate_refused{section=\"tls.grpc\"} 0").await;
        until_shown(&system, "twqr_certificate_days_left{certificate=\"tls.wallet.certificate_file\"}").await;
        let before = paid.load(Ordering::Relaxed);
        while paid.load(Ordering::Relaxed) < before + 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        authority.issue("expired", &["lab.example"], Some(2020)).unwrap();
        assert!(!can_pay(&system, None, "STRANGER1").await, "a caller without a certificate was let in");
        assert!(!can_pay(&system, Some("expired"), "STRANGER2").await, "an expired certificate was let in");
        let plain = Endpoint::from_shared(format!("http://{}", system.config.grpc)).unwrap();
        assert!(
            plain.connect().await.is_err() || {
                let mut client = PosServiceClient::new(plain.connect_lazy());
                pay(&mut client, "STRANGER3").await.is_err()
            }
        );
        for reason in ["no_certificate", "expired", "plaintext"] {
            until_counted(&system, reason).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(callers, changes);
    let log = system.log("up").unwrap();
    assert!(log.contains("is not the key of the certificate in") && !log.contains("PRIVATE"), "{log}");
    let build = system.build("up").unwrap();
    let check = system.run_command(build, &["config", "check"]).await.unwrap();
    assert!(check.contains("the configuration is valid"), "{check}");
    system.end().await;
}
