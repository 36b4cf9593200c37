//! The metrics of a running system are those of `deploy/metrics.md`, in both directions; counters
//! exist with 0 before their first increase, also those of the issuers that a policy names; and no
//! label's value comes from a caller.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    process::Command,
    time::Duration,
};

use launched::launch;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Request;
use twqr_config::Config;
use twqr_lab::launch::{System, command, connect};
use twqr_wire::{
    hops::HOPS_HEADER,
    ops::{ListOrdersRequest, operator_service_client::OperatorServiceClient},
    pos::{PayRequest, RefundRequest, pos_service_client::PosServiceClient},
};

const TWQR: &str = env!("CARGO_BIN_EXE_twqr");
/// A code of the wallet, and one of an institution.
const CARD_TOKENS: [&str; 2] = ["22abcdefghijklmnop", "P2ABCEFGHIJKLMNOPQ"];
/// A route to an institution that the first policy does not name.
const NEW_INSTITUTION: &str = "008";
const NEW_ROUTE: &str = "\n[[routes]]\nprefix = \"QX\"\ninstitution = \"008\"\ncode_lengths = [20]\n";
/// Metrics that only appear with certificates, on Kafka, or once a broker has answered.
const ONLY_ELSEWHERE: [&str; 7] = [
    "twqr_certificate_days_left",
    "twqr_certificate_refused",
    "twqr_certificate_reloads_total",
    "twqr_clock_skew_seconds",
    "twqr_kafka_broker_up",
    "twqr_kafka_broker_rtt_seconds",
    "twqr_kafka_broker_errors_total",
];

/// A metric by its row in the table, or by a scrape: its type, and the names of its labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

fn table(text: &str) -> Metrics {
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|row| {
        let kind = row[2].split(',').next().unwrap().to_owned();
        let labels = row[3].split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
        (row[1].trim_matches('`').to_owned(), (kind, labels))
    })
    .collect()
}

/// The samples of a scrape: the name, the labels with their values, and the value.
fn samples(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (name, value) = label.split_once("=\"").unwrap();
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            });
            (name.to_owned(), labels.collect(), value.parse().unwrap())
        })
        .collect()
}

/// What a scrape shows: type and labels by metric. The parts of a histogram are one metric.
fn shown(text: &str) -> Metrics {
    let types = types(text);
    let mut shown = Metrics::new();
    for (name, labels, _) in samples(text) {
        let parts = ["_bucket", "_sum", "_count"];
        let histogram =
            parts.iter().filter_map(|part| name.strip_suffix(part)).find(|name| types.get(name) == Some(&"histogram"));
        let metric = histogram.unwrap_or(&name);
        let kind = types.get(metric).unwrap_or_else(|| panic!("{name} has no type"));
        let labels = labels.into_keys().filter(|label| label != "le").collect();
        let (known_kind, known) =
            shown.entry(metric.to_owned()).or_insert_with(|| ((*kind).to_owned(), labels)).clone();
        assert_eq!((known_kind.as_str(), known.len()), (*kind, known.len()), "{metric}");
    }
    shown
}

/// The type of each metric of a scrape.
fn types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// The series of counters and histograms of an issuer in a scrape, without that label.
fn series_of(text: &str, issuer: &str) -> BTreeSet<(String, BTreeMap<String, String>)> {
    let (mut series, types) = (BTreeSet::new(), types(text));
    for (name, mut labels, _) in samples(text) {
        if types.get(name.as_str()) != Some(&"gauge") && labels.remove("issuer").is_some_and(|of| of == issuer) {
            series.insert((name, labels));
        }
    }
    series
}

async fn scrape(admin: SocketAddr) -> String {
    let mut connection = TcpStream::connect(admin).await.unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

async fn start(folder: &Path) -> System {
    let keys = folder.join("keys.toml");
    std::fs::write(&keys, "[keys]\n").unwrap();
    let config = Config { merchant_keys_file: keys, ..Config::default() };
    launch(TWQR, &folder.join("run"), None, config).await
}

/// Pays with a code of each issuer at this merchant, asks for the hops, refunds a payment, and
/// lists the orders.
async fn use_it(system: &System, merchant: &str) {
    let mut client = PosServiceClient::new(connect(system.config.grpc).await.unwrap());
    for (number, card_token) in CARD_TOKENS.iter().enumerate() {
        let mut request = Request::new(PayRequest {
            merchant_id: merchant.into(),
            merchant_trade_no: format!("TRADE{number}"),
            card_token: (*card_token).into(),
            store_id: "STORE7".into(),
            trade_amount: 100,
            ..PayRequest::default()
        });
        request.metadata_mut().insert(HOPS_HEADER, "1".parse().unwrap());
        let paid = client.pay(request).await.unwrap().into_inner();
        assert_eq!(paid.status_code, "000", "{card_token}: {}", paid.status_desc);
        let refund = RefundRequest {
            merchant_id: merchant.into(),
            merchant_trade_no: format!("REFUND{number}"),
            trade_no: paid.trade_no,
            store_id: "STORE7".into(),
            trade_amount: 10,
            ..RefundRequest::default()
        };
        client.refund(refund).await.unwrap();
    }
    let mut operators = OperatorServiceClient::new(connect(system.config.operators).await.unwrap());
    operators.list_orders(ListOrdersRequest::default()).await.unwrap();
}

/// Runs `twqr policy` against this system; returns what it printed, or nothing if it failed.
fn policy(system: &System, arguments: &[&str]) -> Option<String> {
    let mut policy = command(TWQR);
    policy.arg("--config").arg(system.config_file()).arg("policy").args(arguments);
    let output = policy.output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Applies the first policy with [`NEW_ROUTE`].
async fn route_to_new_institution(system: &System, folder: &Path) {
    let file = folder.join("routed.toml");
    let file_name = file.to_str().unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    // The tracker may not have read the first policy yet.
    let first = loop {
        if let Some(first) = policy(system, &["get"]) {
            break first;
        }
        assert!(tokio::time::Instant::now() < deadline, "there is no policy");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    std::fs::write(&file, first + NEW_ROUTE).unwrap();
    policy(system, &["apply", file_name, "--expect", "1", "--who", "alice", "--why", "a test"]).unwrap();
}

fn committed_table() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/metrics.md");
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let printed = Command::new(TWQR).arg("metrics").output().unwrap();
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(committed_table() == printed, "run: target/debug/twqr metrics > deploy/metrics.md");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_system_shows_the_metrics_of_the_table_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;

    let fresh = samples(&scrape(system.config.admin).await);
    let zero = |name: &str, label: &str, value: &str| {
        let is_it = |(found, labels, at): &&(String, BTreeMap<String, String>, f64)| {
            found == name && (label.is_empty() || labels.get(label).is_some_and(|found| found == value)) && *at == 0.0
        };
        assert!(fresh.iter().any(|sample| is_it(&sample)), "{name} with {label}={value:?} is not 0 at the start");
    };
    zero("twqr_router_steps_total", "step", "contradicted");
    zero("twqr_ingress_calls_total", "code", "Unavailable");
    zero("twqr_ingress_calls_shed_total", "reason", "limit");
    zero("twqr_ingress_call_duration_seconds_count", "method", "Pay");
    zero("twqr_worker_circuit_opened_total", "issuer", "wallet");
    zero("twqr_router_outcomes_total", "issuer", "wallet");
    zero("twqr_router_payment_final_seconds_count", "issuer", "wallet");
    zero("twqr_tracker_calls_total", "code", "Unavailable");
    zero("twqr_worker_calls_not_made_total", "reason", "circuit_open");
    for name in [
        "twqr_router_dead_letters_total",
        "twqr_ingress_dead_letters_total",
        "twqr_tracker_dead_letters_total",
        "twqr_worker_dead_letters_total",
        "twqr_dead_letters_lost_total",
        "twqr_router_replies_lost_total",
        "twqr_router_records_ahead_total",
        "twqr_journal_append_failures_total",
        "twqr_tracker_read_model_failures_total",
        "twqr_tracker_due_records_total",
    ] {
        zero(name, "", "");
    }

    use_it(&system, "M1").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let known = table(&committed_table());
    loop {
        let shown = shown(&scrape(system.config.admin).await);
        for (name, metric) in &shown {
            assert_eq!(known.get(name), Some(metric), "{name} is not in deploy/metrics.md like this");
        }
        let is_shown = |name: &&String| shown.contains_key(*name) || ONLY_ELSEWHERE.contains(&name.as_str());
        let missing: Vec<_> = known.keys().filter(|name| !is_shown(name)).collect();
        if missing.is_empty() {
            break;
        }
        // Gauges of the tracker and of consumers are set once a second.
        assert!(tokio::time::Instant::now() < deadline, "in deploy/metrics.md, but not shown: {missing:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_issuer_of_a_policy_has_its_series_before_its_first_payment() {
    let folder = tempfile::tempdir().unwrap();
    let mut system = start(folder.path()).await;
    let fresh = scrape(system.config.admin).await;
    let types = types(&fresh);
    for (name, labels, value) in samples(&fresh) {
        let is_counted = labels.contains_key("issuer") && types.get(name.as_str()) != Some(&"gauge");
        assert!(!is_counted || value == 0.0, "{name} {labels:?} is {value}");
    }
    let of_wallet = series_of(&fresh, "wallet");
    let services: BTreeSet<_> = of_wallet.iter().filter_map(|(name, _)| name.split('_').nth(1)).collect();
    assert_eq!(services, BTreeSet::from(["router", "worker"]));
    let first = system.config.policy().unwrap();
    let named: BTreeSet<_> = first.named_issuers().map(|issuer| issuer.label().to_owned()).collect();
    assert!(named.len() > 2 && !named.contains(NEW_INSTITUTION), "{named:?}");
    for issuer in &named {
        assert_eq!(series_of(&fresh, issuer), of_wallet, "{issuer} at the start");
    }

    use_it(&system, "M1").await;
    let used = scrape(system.config.admin).await;
    for issuer in &named {
        assert_eq!(series_of(&used, issuer), of_wallet, "{issuer} after payments");
    }

    // Workers do not read the policy in force: their series begin with the first task.
    route_to_new_institution(&system, folder.path()).await;
    let changed = scrape(system.config.admin).await;
    let of_router: BTreeSet<_> =
        of_wallet.iter().filter(|(name, _)| name.starts_with("twqr_router_")).cloned().collect();
    assert_eq!(series_of(&changed, NEW_INSTITUTION), of_router, "once the policy names it");

    system.kill("up").await.unwrap();
    system.start_again("up").unwrap();
    system.until_ready().await.unwrap();
    let restarted = scrape(system.config.admin).await;
    assert_eq!(series_of(&restarted, NEW_INSTITUTION), of_router, "after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn merchants_make_no_series() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    use_it(&system, "MERCHANT0").await;
    // Gauges that are set once a second exist from then on.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let series =
        |text: &str| samples(text).into_iter().map(|(name, labels, _)| (name, labels)).collect::<BTreeSet<_>>();
    let before = series(&scrape(system.config.admin).await);
    for number in 1..=20 {
        use_it(&system, &format!("MERCHANT{number}")).await;
    }
    let text = scrape(system.config.admin).await;
    let new: Vec<_> = series(&text).difference(&before).cloned().collect();
    assert!(new.is_empty(), "20 merchants added series: {new:?}");
    for secret in ["MERCHANT", "TRADE0", "REFUND", "STORE7", CARD_TOKENS[0], "127.0.0.1"] {
        assert!(!text.contains(secret), "{secret} is in a metric");
    }
}
