//! Tests `twqr pay` when it is interrupted, when its standard streams are pipes, and when its
//! results cannot be written. Every payment that was answered must have a complete line in the
//! results.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use twqr_lab::launch::command;
use twqr_wire::pos::{
    CancelRequest, CancelResponse, PayRequest, PayResponse, PayStreamRequest, PayStreamResponse, QueryRequest,
    QueryResponse, RefundRequest, RefundResponse, WatchOrderRequest, WatchOrderResponse,
    pos_service_server::{PosService, PosServiceServer},
};

/// Approves every payment after a pause, and counts them. A payment of 1 TWD is never answered.
struct FakePosServer {
    pause: Duration,
    paid: Arc<AtomicUsize>,
}

fn unimplemented_call<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("only payments are answered"))
}

#[tonic::async_trait]
impl PosService for FakePosServer {
    type PayStreamStream = tokio_stream::Empty<Result<PayStreamResponse, Status>>;
    type WatchOrderStream = tokio_stream::Empty<Result<WatchOrderResponse, Status>>;

    async fn pay(&self, request: Request<PayRequest>) -> Result<Response<PayResponse>, Status> {
        let request = request.into_inner();
        // A payment that has begun is paid, whether or not its caller still waits.
        self.paid.fetch_add(1, Ordering::SeqCst);
        if request.trade_amount == 1 {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(self.pause).await;
        Ok(Response::new(PayResponse {
            merchant_trade_no: request.merchant_trade_no,
            status_code: "000".to_owned(),
            remark: "x".repeat(300),
            ..PayResponse::default()
        }))
    }

    async fn pay_stream(
        &self,
        _: Request<Streaming<PayStreamRequest>>,
    ) -> Result<Response<Self::PayStreamStream>, Status> {
        unimplemented_call()
    }

    async fn query(&self, _: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        unimplemented_call()
    }

    async fn refund(&self, _: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        unimplemented_call()
    }

    async fn cancel(&self, _: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        unimplemented_call()
    }

    async fn watch_order(&self, _: Request<WatchOrderRequest>) -> Result<Response<Self::WatchOrderStream>, Status> {
        unimplemented_call()
    }
}

/// A server whose answers take `pause`; returns its endpoint and the number of payments it has
/// received.
async fn start_server(pause: Duration) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let paid = Arc::new(AtomicUsize::new(0));
    let service = PosServiceServer::new(FakePosServer { pause, paid: paid.clone() });
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    (endpoint, paid)
}

fn request(number: usize, amount: i64) -> String {
    format!(
        "{{\"MerchantID\":\"M1\",\"MerchantTradeNo\":\"T{number}\",\"CardToken\":\"22abcdefghijklmnop\",\
         \"TradeAmount\":{amount}}}\n"
    )
}

fn requests(count: usize) -> String {
    (0..count).map(|number| request(number, 120)).collect()
}

fn pay(folder: &Path, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_twqr"));
    command.current_dir(folder).args(["pay", "--endpoint", endpoint]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Parses every line; an incomplete one fails the test.
fn parse_lines(text: &str) -> Vec<serde_json::Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is incomplete: {text:?}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_pay_leaves_a_complete_line_for_each_payment() {
    for (wanted, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("requests"), requests(1_000)).unwrap();
        let (endpoint, paid) = start_server(Duration::from_millis(300)).await;
        let arguments = ["--file", "requests", "--out", "results", "--concurrency", "20"];
        let mut child = pay(folder.path(), &endpoint, &arguments).spawn().unwrap();
        until("payments", || paid.load(Ordering::SeqCst) > 50);
        signal(&child, wanted);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let results = parse_lines(&fs::read_to_string(folder.path().join("results")).unwrap());
        assert_eq!(results.len(), paid.load(Ordering::SeqCst), "{wanted:?}");
        assert!(results.len() < 1_000, "it sent new payments after the signal");
        assert!(results.iter().all(|line| line["StatusCode"] == "000"), "{wanted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_wait_and_unanswered_payments_are_in_the_results() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("requests"), request(0, 120) + &request(1, 1)).unwrap();
    let (endpoint, paid) = start_server(Duration::ZERO).await;
    let arguments = ["--file", "requests", "--out", "results"];
    let mut child = pay(folder.path(), &endpoint, &arguments).spawn().unwrap();
    until("both payments", || paid.load(Ordering::SeqCst) == 2);
    signal(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None, "it must wait for the payment in flight");
    signal(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let results = parse_lines(&fs::read_to_string(folder.path().join("results")).unwrap());
    let unanswered = results.iter().find(|line| line["MerchantTradeNo"] == "T1").unwrap();
    assert_eq!((results.len(), &unanswered["Error"]["Code"]), (2, &"CANCELLED".into()), "{results:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_pay_although_standard_input_is_still_open() {
    let folder = tempfile::tempdir().unwrap();
    let (endpoint, paid) = start_server(Duration::ZERO).await;
    let mut command = pay(folder.path(), &endpoint, &["--file", "-", "--out", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(format!("\u{feff}{}", requests(2).replace('\n', "\r\n")).as_bytes()).unwrap();
    // The answers arrive although the input has not ended.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let results = [lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()].join("\n") + "\n";
    assert!(parse_lines(&results).iter().all(|line| line["StatusCode"] == "000"), "{results}");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!((paid.load(Ordering::SeqCst), folder.path().read_dir().unwrap().count()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pay_stops_sending_when_its_results_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("requests"), requests(2_000)).unwrap();
    let (endpoint, paid) = start_server(Duration::from_millis(50)).await;
    for out in ["-", "/dev/full"] {
        paid.store(0, Ordering::SeqCst);
        let arguments = ["--file", "requests", "--out", out, "--concurrency", "4"];
        let mut child = pay(folder.path(), &endpoint, &arguments).spawn().unwrap();
        // Closes the reading end of the results.
        drop(child.stdout.take());
        let mut error = String::new();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{error}");
        assert!(error.contains("cannot be written") && !error.contains("panicked"), "{error}");
        assert!(paid.load(Ordering::SeqCst) < 100, "{out}: it continued to send");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_that_is_the_file_of_the_results_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requests");
    fs::write(&file, requests(1)).unwrap();
    let (endpoint, _) = start_server(Duration::ZERO).await;
    let appending = || fs::OpenOptions::new().append(true).open(&file).unwrap();
    let mut by_name = pay(folder.path(), &endpoint, &["--file", "-", "--out", "requests"]);
    by_name.stdin(fs::File::open(&file).unwrap());
    let mut by_redirection = pay(folder.path(), &endpoint, &["--file", "requests", "--out", "-"]);
    by_redirection.stdout(appending());
    for command in [&mut by_name, &mut by_redirection] {
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains("the same file as --file"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), requests(1));
    }
}
