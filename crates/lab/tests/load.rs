//! `twqr-lab load` against a small server in this process: exit codes, the files of a report, and
//! that a false answer is found. Whole systems are played with `make load`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    fs,
    path::Path,
    pin::Pin,
    process::{Output, Stdio},
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt};
use tokio::process::Command;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use twqr_lab::launch::command;
use twqr_wire::pos::{
    CancelRequest, CancelResponse, OrderStatus, PayRefusal, PayRequest, PayResponse, PayStreamRequest,
    PayStreamResponse, QueryRequest, QueryResponse, RefundRequest, RefundResponse, WatchOrderRequest,
    WatchOrderResponse, pay_stream_response,
    pos_service_server::{PosService, PosServiceServer},
};

/// A server that takes every payment, remembers it for inquiries, and cancels it.
#[derive(Clone, Default)]
struct SmallServer {
    /// Inquiries answer another amount than the payment did.
    contradicts: bool,
    /// Cancels succeed, but inquiries say that the payment is still paid.
    forgets_cancels: bool,
    /// How often each payment was cancelled.
    cancels: Arc<Mutex<HashMap<String, u32>>>,
    orders: Arc<Mutex<HashMap<String, PayResponse>>>,
}

impl SmallServer {
    fn answer(&self, request: PayRequest) -> Result<PayResponse, Status> {
        if request.un_redeem > request.trade_amount {
            return Err(Status::invalid_argument("un_redeem"));
        }
        let answer = PayResponse {
            status_code: "000".into(),
            trade_no: "T".into(),
            debit_amount: request.trade_amount,
            ..PayResponse::default()
        };
        self.orders.lock().unwrap().insert(request.merchant_trade_no, answer.clone());
        Ok(answer)
    }
}

fn absent<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this server takes payments and cancels only"))
}

#[tonic::async_trait]
impl PosService for SmallServer {
    type PayStreamStream = Pin<Box<dyn Stream<Item = Result<PayStreamResponse, Status>> + Send>>;
    type WatchOrderStream = futures::stream::Empty<Result<WatchOrderResponse, Status>>;

    async fn pay(&self, request: Request<PayRequest>) -> Result<Response<PayResponse>, Status> {
        self.answer(request.into_inner()).map(Response::new)
    }

    async fn pay_stream(
        &self,
        requests: Request<Streaming<PayStreamRequest>>,
    ) -> Result<Response<Self::PayStreamStream>, Status> {
        let server = self.clone();
        let answers = requests.into_inner().map(move |request| {
            let PayStreamRequest { request_id, payment, .. } = request?;
            let result = match server.answer(payment.unwrap_or_default()) {
                Ok(response) => pay_stream_response::Result::Response(response),
                Err(status) => pay_stream_response::Result::Refusal(PayRefusal {
                    code: status.code().into(),
                    ..PayRefusal::default()
                }),
            };
            Ok(PayStreamResponse { request_id, result: Some(result), hops: String::new() })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryResponse>, Status> {
        let stored = self.orders.lock().unwrap().get(&request.get_ref().merchant_trade_no).cloned();
        let Some(mut payment) = stored else {
            return Ok(Response::new(QueryResponse { status_code: "916".into(), ..QueryResponse::default() }));
        };
        payment.debit_amount += i64::from(self.contradicts);
        let cancels = self.cancels.lock().unwrap().get(&request.get_ref().merchant_trade_no).copied();
        let is_cancelled = !self.forgets_cancels && cancels.unwrap_or_default() > 1;
        if is_cancelled {
            payment.status_code = "812".into();
        }
        let status = if is_cancelled { OrderStatus::FullyRefunded } else { OrderStatus::Paid };
        Ok(Response::new(QueryResponse {
            status_code: "000".into(),
            order_status: Some(status.into()),
            payment: Some(payment),
            ..QueryResponse::default()
        }))
    }

    async fn refund(&self, _: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        absent()
    }

    /// The first cancel is in progress, and the next one succeeds.
    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelResponse>, Status> {
        let mut cancels = self.cancels.lock().unwrap();
        let count = cancels.entry(request.into_inner().merchant_trade_no).or_default();
        *count += 1;
        let (code, desc) =
            if *count == 1 { ("982", "the cancel is in progress; query it") } else { ("000", "success") };
        Ok(Response::new(CancelResponse {
            status_code: code.into(),
            status_desc: desc.into(),
            ..CancelResponse::default()
        }))
    }

    async fn watch_order(&self, _: Request<WatchOrderRequest>) -> Result<Response<Self::WatchOrderStream>, Status> {
        absent()
    }
}

/// Long enough that payments are answered, and so can be cancelled, while others start.
const CANCEL_S: u32 = 4;

/// A machine that other work shares must not make these runs invalid: the limits are wide.
const SCENARIO: &str = "kind = \"hold\"
rate = 60
[mix]
pay = 8
inquiry = 1
invalid = 1
cancel = 1
grpc_stream = 0.5
[client]
settle_s = 2
[validity]
start_lag_p99_ms = 60000.0
generator_cpu_share = 1.0
others_cpu_share = 1.0
";

async fn play(server: SmallServer, seconds: u32, thresholds: &str, folder: &Path) -> Output {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Server::builder().add_service(PosServiceServer::new(server));
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let serving = tokio::spawn(service.serve_with_incoming(incoming));
    let phase = format!("thresholds = {thresholds}\n[[phase]]\nseconds = {seconds}\n");
    fs::write(folder.join("small.toml"), format!("{phase}{SCENARIO}")).unwrap();
    let mut command = Command::from(command(env!("CARGO_BIN_EXE_twqr-lab")));
    command.current_dir(folder).args(["load", "small.toml", "--dir", "report", "--endpoints"]);
    let output = command.arg(format!("http://{address}")).stdin(Stdio::null()).output().await.unwrap();
    serving.abort();
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_run_is_valid_and_writes_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = play(SmallServer::default(), 1, "[\"errors == 0\", \"not_paid == 0\"]", folder.path()).await;
    let printed = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{printed}{error}");
    let verdict = printed.lines().next().unwrap();
    // A machine that is too busy to measure the generator's CPU is named there too.
    assert!(verdict.starts_with("VALID (not checked: "), "{printed}");
    assert!(verdict.ends_with("the system's durability settings, the issuers' ledger)"), "{printed}");
    assert!(printed.trim_end().ends_with("report: report/report.html"), "{printed}");
    let file = |name: &str| fs::read(folder.path().join("report").join(name)).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&file("summary.json")).unwrap();
    assert_eq!(summary["reconciliation"]["matched"], summary["reconciliation"]["orders"]);
    assert!(summary["answered"]["count"].as_u64().unwrap() > 20, "{summary}");
    let channels = summary["channels"].as_array().unwrap();
    let names: Vec<_> = channels.iter().map(|channel| channel["channel"].as_str().unwrap()).collect();
    assert_eq!(names, ["grpc", "grpc_stream"], "{summary}");
    for (name, begin) in
        [("report.html", "<!doctype html>"), ("intervals.hlog", "#"), ("answered.hgrm", "       Value")]
    {
        assert!(String::from_utf8(file(name)).unwrap().starts_with(begin), "{name}");
    }
    assert!(!file("final.hgrm").is_empty() && !file("scenario.toml").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_progress_is_sent_again_until_its_result_is_known_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let output = play(SmallServer::default(), CANCEL_S, "[]", folder.path()).await;
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let server = SmallServer { forgets_cancels: true, ..SmallServer::default() };
    let output = play(server, CANCEL_S, "[]", folder.path()).await;
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{printed}");
    assert!(printed.contains("mismatch: cancelled, but not reversed"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_threshold_and_a_contradiction_have_their_own_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let output = play(SmallServer::default(), 1, "[\"errors == 0\", \"achieved_share >= 1.5\"]", folder.path()).await;
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.contains("threshold achieved_share >= 1.5: MISSED"), "{printed}");
    let server = SmallServer { contradicts: true, ..SmallServer::default() };
    let output = play(server, 1, "[\"errors == 0\"]", folder.path()).await;
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{printed}");
    assert!(printed.starts_with("INVALID: the audit failed: "), "{printed}");
    assert!(printed.contains("mismatch: answered debit"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_flood_that_cannot_be_caused_makes_a_run_invalid() {
    let folder = tempfile::tempdir().unwrap();
    for (action, limits) in [("flood", ""), ("flood-caller", "calls_per_s = 8\ncalls_max = 1\n")] {
        let fault = format!("[[fault]]\nat_s = 0\naction = \"{action}\"\nrate = 9\n{limits}");
        let output = play(SmallServer::default(), 1, &format!("[]\n{fault}"), folder.path()).await;
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(3), "{action}: {printed}");
        let reason = "INVALID: a planned fault could not be caused: a flood of 9 calls per second";
        assert!(printed.starts_with(reason), "{action}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_comparisons_fails_if_the_slowdown_is_not_found_or_rounds_can_show_nothing() {
    for (rounds, slowdown, code, text) in [
        ("7", "1.5", 0, "\"false_alarms\":0,\"found\":1"),
        ("7", "1.0", 2, "\"holds\":false"),
        ("6", "1.5", 1, "--rounds 7 is the least"),
    ] {
        let mut command = Command::from(command(env!("CARGO_BIN_EXE_twqr-lab")));
        command.args(["load", "prove-compare", "--comparisons", "1", "--rounds", rounds, "--slowdown", slowdown]);
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(printed.contains(text), "{printed}");
    }
}
