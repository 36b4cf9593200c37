//! Tests of `twqr-lab backend check` against the simulator: each kind of issuer, and faults that it
//! must notice.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, sync::Arc};

use tempfile::TempDir;
use twqr_lab::{
    backend_check::{BackendReport, CheckOptions, Holds, Idempotent, check},
    launch::ReservedAddresses,
};
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_simulator::{IssuerKind, Script, Settings};

use Holds::{No, NotShown, Yes};

/// What the simulator's accounts have at first.
const BALANCE: i64 = 1_000_000;

/// A simulator with a ledger of its own, until it is dropped.
struct Served {
    wallet: SocketAddr,
    fisc: SocketAddr,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Served {
    fn start(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [wallet, fisc] = ReservedAddresses::default().reserve().unwrap();
        let stop = CancellationToken::new();
        let settings = Settings {
            wallet_address: wallet,
            fisc_address: fisc,
            http_address: None,
            data_dir: folder.path().to_owned(),
            script,
        };
        let context = Context { clock: Arc::new(SystemClock), shutdown: stop.clone(), health: Health::default() };
        tokio::spawn(async move { twqr_simulator::run(settings, context).await.unwrap() });
        Self { wallet, fisc, stop, _folder: folder }
    }

    /// Checks the wallet, or the issuer with this institution code.
    async fn check(&self, institution: &str) -> BackendReport {
        let address = if institution.is_empty() { self.wallet } else { self.fisc };
        let options = CheckOptions {
            institution: institution.to_owned(),
            balance: Some(BALANCE),
            answer_ms: 1_000,
            send_within_ms: 2_000,
            window_ms: 500,
            clock_skew_ms: 10,
            ..CheckOptions::of(format!("http://{address}"))
        };
        let mut tries = 0;
        loop {
            match check(&options).await {
                // The simulator needs a moment to listen.
                Err(error) if tries < 100 && error.to_string().contains("cannot reach") => tries += 1,
                checked => return checked.unwrap(),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

fn script(text: &str) -> Script {
    Script::parse(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_issuer_has_the_verdict_of_its_kind() {
    let check_kind = |(name, kind): (&'static str, IssuerKind)| async move {
        let served = Served::start(Script { kind: Some(kind), ..Script::default() });
        let (wallet, other) = tokio::join!(served.check(""), served.check("391"));
        for (report, issuer) in [(wallet, "wallet"), (other, "391")] {
            // Idempotent for charges; for refunds; refuses late charges; refuses late reversals; a
            // repeated charge and a repeated refund move no money; refused charges stay refused.
            let expected = match kind {
                IssuerKind::Plain => [No, No, No, No, No, No, NotShown],
                IssuerKind::RefusesLate => [No, No, Yes, Yes, No, No, No],
                IssuerKind::Idempotent => [Yes, Yes, Yes, Yes, Yes, Yes, Yes],
                IssuerKind::IdempotentCharges => [Yes, No, Yes, Yes, Yes, No, Yes],
                IssuerKind::IdempotentRefunds => [No, Yes, Yes, Yes, No, Yes, No],
                IssuerKind::ForgetsRefusals => [No, No, Yes, Yes, Yes, Yes, No],
                IssuerKind::ForgetsReversals => [No, Yes, Yes, Yes, Yes, Yes, Yes],
            };
            let holds = |check| report.findings.holds(check).unwrap();
            let seen = [
                report.idempotent_charges,
                report.idempotent_refunds,
                holds("late-charge"),
                holds("late-reversal"),
                holds("repeat-charge-money"),
                holds("repeat-refund-money"),
                holds("refused-charge-stays"),
            ];
            assert_eq!(seen, expected, "{name}, {issuer}:\n{report}");
            assert!(report.keeps_contract, "{name}, {issuer}:\n{report}");
            let expected = kind.is_idempotent_for_charges() && kind.is_idempotent_for_refunds();
            assert_eq!(report.allows(&[Idempotent::Charges, Idempotent::Refunds]), expected, "{name}, {issuer}");
        }
    };
    futures::future::join_all(IssuerKind::ALL.map(check_kind)).await;
}
