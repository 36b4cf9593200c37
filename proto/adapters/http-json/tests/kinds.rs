//! What `twqr-lab backend check` says of the adapter in front of each kind of HTTP backend: the
//! simulator's HTTP form, with the configuration of `example.toml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use twqr_http_json_adapter::{config::AdapterConfig, run};
use twqr_lab::{
    backend_check::{BackendReport, CheckOptions, Holds, check},
    launch::ReservedAddresses,
};
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_simulator::{IssuerKind, Script, Settings};

use Holds::{No, Yes};

/// Checks the adapter in front of issuers of this kind; `late` is what it does after `send_by`.
async fn verdict(kind: IssuerKind, late: &str) -> BackendReport {
    let folder = tempfile::tempdir().unwrap();
    let [adapter, http, wallet, fisc] = ReservedAddresses::default().reserve().unwrap();
    let stop = CancellationToken::new();
    let context = || Context { clock: Arc::new(SystemClock), shutdown: stop.clone(), health: Health::default() };
    let settings = Settings {
        wallet_address: wallet,
        fisc_address: fisc,
        http_address: Some(http),
        tls: None,
        data_dir: folder.path().to_owned(),
        script: Script { kind: Some(kind), ..Script::default() },
    };
    let text = include_str!("../example.toml").replace("late = \"forward\"", &format!("late = \"{late}\""));
    let config = AdapterConfig::parse(&text).unwrap();
    let backend = twqr_http_json_adapter::config::Backend { address: http, ..config.backend };
    let config = AdapterConfig { listen: adapter, backend, ..config };
    tokio::spawn(twqr_simulator::run(settings, context()));
    tokio::spawn(run(config, context()));
    let options = CheckOptions {
        institution: "391".to_owned(),
        balance: Some(1_000_000),
        answer_ms: 2_500,
        send_within_ms: 2_000,
        window_ms: 500,
        clock_skew_ms: 10,
        ..CheckOptions::of(format!("http://{adapter}"))
    };
    while tokio::net::TcpStream::connect(http).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut tries = 0;
    let report = loop {
        match check(&options).await {
            // Simulator and adapter need a moment to listen.
            Err(_) if tries < 100 => tries += 1,
            checked => break checked.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    stop.cancel();
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn the_adapter_promises_what_its_backend_keeps() {
    // What follows for the policy's flags for charges and refunds; whether late charges are
    // refused, and late repeats get the first result.
    let expected = [
        (IssuerKind::Idempotent, "forward", [Yes, Yes, Yes, Yes]),
        // Only the backend knows the first result, so the adapter alone cannot be idempotent.
        (IssuerKind::Idempotent, "refuse", [No, No, Yes, No]),
        (IssuerKind::IdempotentCharges, "forward", [Yes, No, Yes, Yes]),
        (IssuerKind::ForgetsRefusals, "forward", [No, No, Yes, Yes]),
        (IssuerKind::RefusesLate, "forward", [No, No, Yes, No]),
        // A backend that cannot refuse late calls is helped by the adapter.
        (IssuerKind::Plain, "forward", [No, No, No, Yes]),
        (IssuerKind::Plain, "refuse", [No, No, Yes, No]),
    ];
    let checks = expected.into_iter().map(|(kind, late, expected)| async move {
        let report = verdict(kind, late).await;
        let holds = |check| report.findings.holds(check).unwrap();
        let seen =
            [report.idempotent_charges, report.idempotent_refunds, holds("late-charge"), holds("late-repeat-charge")];
        assert_eq!(seen, expected, "{kind:?}, {late}:\n{report}");
        assert!(report.keeps_contract, "{kind:?}, {late}:\n{report}");
    });
    join_all(checks).await;
}
