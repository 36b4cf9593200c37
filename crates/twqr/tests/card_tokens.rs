//! No card token of both sample days is in anything that the system writes: logs, metrics, traces,
//! records of every topic, and the files of every process as they are on the disk.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;
#[path = "support/receiver.rs"]
mod receiver;

use std::{fs, path::Path, time::Duration};

use launched::{launch, payment};
use receiver::Received;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use twqr_config::{Config, PolicyDocument, TelemetryConfig};
use twqr_journal::embedded::EmbeddedJournal;
use twqr_lab::token_search::TokenSearch;
use twqr_loadgen::{
    full_api::{parse_line, play, settle},
    resolve, send_each,
};
use twqr_order::Policy;
use twqr_wire::pos::PayRequest;

/// How many payments are in flight at once.
const IN_FLIGHT: usize = 100;

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../load-tests/samples").join(name);
    fs::read_to_string(path).unwrap()
}

/// Every text that begins behind `"CardToken":"` in a sample, malformed lines included.
fn tokens(day: &str) -> impl Iterator<Item = String> {
    let behind = day.split("\"CardToken\":\"").skip(1);
    behind.filter_map(|rest| rest.split('"').next()).map(str::to_owned)
}

async fn metrics(config: &Config) -> Vec<u8> {
    let mut stream = tokio::net::TcpStream::connect(config.admin).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn no_card_token_of_the_sample_days_is_in_anything_that_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let (received, collector) = Received::over_grpc().await;
    let telemetry =
        TelemetryConfig { endpoint: format!("http://{collector}"), sample_ratio: 1.0, ..TelemetryConfig::default() };
    let script = folder.path().join("script.toml");
    fs::write(&script, sample("simulator.toml")).unwrap();
    let config = Config { telemetry, ..Config::default() };
    let mut system = launch(env!("CARGO_BIN_EXE_twqr"), &run, Some(&script), config).await;
    let (day, full_api_day) = (sample("day.jsonl"), sample("day-full-api.jsonl"));
    let mut search = TokenSearch::new(tokens(&day).chain(tokens(&full_api_day)));

    let requests: Vec<PayRequest> = day.lines().filter_map(|line| twqr_client::parse(line.as_bytes()).ok()).collect();
    let channel = system.channel().unwrap();
    let results = send_each(&channel, requests, IN_FLIGHT, || ()).await;
    let calls = full_api_day.lines().filter(|line| !line.is_empty()).map(|line| parse_line(line).unwrap()).collect();
    let played = play(&channel, calls, || ()).await;
    drop(resolve(&channel, &results, Duration::from_secs(20)).await);
    drop(settle(&channel, &played).await);
    let answers: Vec<_> = results.iter().map(|result| &result.answer).collect();
    let outcomes: Vec<_> = played.iter().map(|call| &call.outcome).collect();
    assert!(outcomes.len() > 500, "{} calls", outcomes.len());
    search.search("answers and errors", format!("{answers:?} {outcomes:?}").as_bytes());
    search.search("metrics", &metrics(&system.config).await);
    // The write-ahead log and tables as they are while it runs, and after it has ended.
    assert!(search.search_files(&run, "") > 10);
    let config = system.config.clone();
    system.end().await;
    drop(system);
    search.search_files(&run, "");
    let spans = received.spans().len();
    search.search("traces", &received.bytes());
    let journal = EmbeddedJournal::open(config.embedded(config.data_dir.join("journal"))).unwrap();
    let records = search.search_topics(&*journal).await.unwrap();
    let (found, searched) = search.finish();
    assert!(
        records > 5_000 && spans > 5_000 && searched > 10_000_000,
        "{records} records, {spans} spans, {searched} B"
    );
    assert!(found.is_empty(), "{found:#?}");
}

/// Before protocol version 3 tokens are in plain text: the search must notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_clear_is_found_in_the_log_and_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let config = Config::default();
    let policy = Policy { protocol_version: 2, ..config.policy().unwrap() };
    let config = Config { policy: PolicyDocument::from_policy(&policy), ..config };
    let mut system = launch(env!("CARGO_BIN_EXE_twqr"), &run, None, config).await;
    let token = "22abcdefghijklmnop".to_owned();
    let channel = system.channel().unwrap();
    // The ingress writes in plain text once a router has told it the version.
    let results = send_each(&channel, vec![payment("1", &token)], 1, || ()).await;
    assert!(results[0].answer.is_ok(), "{:?}", results[0].answer);
    let config = system.config.clone();
    system.end().await;
    drop(system);
    let (mut disk, mut log) = (TokenSearch::new([token.clone()]), TokenSearch::new([token]));
    disk.search_files(&run, "");
    let journal = EmbeddedJournal::open(config.embedded(config.data_dir.join("journal"))).unwrap();
    log.search_topics(&*journal).await.unwrap();
    let (disk, log) = (disk.finish().0, log.finish().0);
    assert!(log.len() >= 2, "the request and the task: {log:?}");
    assert!(!disk.is_empty());
}
