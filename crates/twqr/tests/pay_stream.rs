//! PayStream of a whole system with a real process: the same answers and charges as Pay, also when
//! the process is killed or stopped while a stream is open.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use launched::{WALLET, kill_and_restart, launch, payment};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};
use twqr_config::Config;
use twqr_lab::{
    launch::{System, connect},
    short_times::with_short_times,
};
use twqr_loadgen::{audit, ledger, resolve, send_each};
use twqr_wire::{
    backend::ledger_entry::Kind,
    pos::{
        InquiryType, PayRequest, PayResponse, PayStreamRequest, PayStreamResponse, QueryRequest,
        pay_stream_response::Result as Answer, pos_service_client::PosServiceClient,
    },
};

/// The binary under test.
const TWQR: &str = env!("CARGO_BIN_EXE_twqr");

/// Starts a system with this latency of the wallet, in ms.
async fn start(latency_ms: u32) -> (tempfile::TempDir, System) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.toml");
    std::fs::write(&script, format!("[wallet]\nlatency_ms = {latency_ms}\n")).unwrap();
    let config = with_short_times(Config::default(), 2_000).unwrap();
    let system = launch(TWQR, &folder.path().join("system"), Some(&script), config).await;
    (folder, system)
}

/// A payment that the wallet approves.
fn approved(number: u64) -> PayRequest {
    payment(&number.to_string(), WALLET)
}

type Stream = (mpsc::Sender<PayStreamRequest>, Streaming<PayStreamResponse>);

async fn open(channel: Channel) -> Stream {
    let (requests, receiver) = mpsc::channel(1_000);
    let answers = PosServiceClient::new(channel).pay_stream(ReceiverStream::new(receiver)).await.unwrap();
    (requests, answers.into_inner())
}

/// A request whose number is the payment's.
fn request(payment: PayRequest) -> PayStreamRequest {
    let request_id = payment.merchant_trade_no.parse().unwrap();
    PayStreamRequest { request_id, payment: Some(payment), ..PayStreamRequest::default() }
}

/// The next answer with its number; absent at the end.
async fn next(answers: &mut Streaming<PayStreamResponse>) -> Result<Option<(u64, PayResponse)>, Status> {
    let Some(PayStreamResponse { request_id, result, .. }) = answers.message().await? else { return Ok(None) };
    match result.unwrap() {
        Answer::Response(response) => Ok(Some((request_id, response))),
        Answer::Refusal(refusal) => panic!("{request_id} was refused: {refusal:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streamed_payment_is_charged_once_and_answered_as_by_pay() {
    let (_folder, system) = start(5).await;
    let channel = connect(system.config.grpc).await.unwrap();
    let mut client = PosServiceClient::new(channel.clone());
    let (requests, mut answers) = open(channel).await;
    let cases = [
        ("22abcdefghijklmnop", "000"),
        ("P2abcdefghijklmnop", "000"),
        ("22D928efghijklmnop", "928"),
        ("P2NOCARDghijklmnop", "981"),
        ("99abcdefghijklmnop", "927"),
    ];
    for (number, (card_token, code)) in (0..).zip(cases) {
        let of = |number: u64| payment(&number.to_string(), card_token);
        let (streamed, unary) = (of(number), of(number + 100));
        requests.send(request(streamed.clone())).await.unwrap();
        let (_, first) = next(&mut answers).await.unwrap().unwrap();
        assert_eq!((first.status_code.as_str(), first.is_rep), (code, false));
        let repeat = client.pay(streamed).await.unwrap().into_inner();
        assert_eq!(repeat, PayResponse { is_rep: true, ..first }, "{code}");
        let first = client.pay(unary.clone()).await.unwrap().into_inner();
        requests.send(request(unary)).await.unwrap();
        let (_, repeat) = next(&mut answers).await.unwrap().unwrap();
        assert_eq!(repeat, PayResponse { is_rep: true, ..first }, "{code}");
    }
    drop(requests);
    assert_eq!(next(&mut answers).await.unwrap(), None);
    let mut charged: Vec<String> = ledger(connect(&system.config.wallet).await.unwrap())
        .await
        .unwrap()
        .into_iter()
        .filter(|entry| entry.kind() == Kind::Charged)
        .map(|entry| entry.merchant_trade_no)
        .collect();
    charged.sort();
    assert_eq!(charged, ["0", "1", "100", "101"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_in_the_middle_of_a_stream_repeats_are_charged_once() {
    let (_folder, mut system) = start(50).await;
    let channel = connect(system.config.grpc).await.unwrap();
    let (requests, mut answers) = open(channel.clone()).await;
    for number in 0..300 {
        requests.send(request(approved(number))).await.unwrap();
    }
    let mut answered = BTreeMap::new();
    while answered.len() < 20 {
        answered.extend(next(&mut answers).await.unwrap());
    }
    let (_, rest) = tokio::join!(kill_and_restart(&mut system), async {
        let mut rest = Vec::new();
        while let Ok(Some(answer)) = next(&mut answers).await {
            rest.push(answer);
        }
        rest
    });
    answered.extend(rest);
    assert!(answered.len() < 300, "the kill came too late");
    let results = send_each(&channel, (0..300).map(approved).collect(), 50, || ()).await;
    for (number, first) in &answered {
        let repeat = results[*number as usize].answer.as_ref().unwrap();
        let expected = if first.status_code == "000" { "000" } else { &repeat.status_code };
        assert_eq!((&repeat.trade_no, repeat.status_code.as_str()), (&first.trade_no, expected));
    }
    let orders = resolve(&channel, &results, Duration::from_secs(90)).await;
    let entries = ledger(connect(&system.config.wallet).await.unwrap()).await.unwrap();
    let found = audit(&results, &orders, &entries);
    assert!(found.is_clean() && orders.len() == 300, "{} orders, {found:#?}", orders.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_answers_what_it_took_from_a_stream_and_took_nothing_else() {
    let (_folder, mut system) = start(300).await;
    let channel = connect(system.config.grpc).await.unwrap();
    let (requests, mut answers) = open(channel.clone()).await;
    let sending = tokio::spawn({
        let requests = requests.clone();
        async move {
            let mut sent = 0;
            while requests.send(request(approved(sent))).await.is_ok() {
                sent += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            sent
        }
    });
    let first = next(&mut answers).await.unwrap().unwrap();
    let process = Pid::from_raw(system.id("up").unwrap().cast_signed()).unwrap();
    kill_process(process, Signal::TERM).unwrap();
    let mut answered = BTreeMap::from([first]);
    let end = loop {
        match next(&mut answers).await {
            Ok(answer) => answered.extend([answer.unwrap()]),
            Err(end) => break end,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert!(end.message().contains("shuts down"), "{end:?}");
    assert!(answered.values().all(|answer| answer.status_code == "000"), "{answered:?}");
    drop(requests);
    let sent = sending.await.unwrap();
    system.until_ended("up").await.unwrap();
    system.start_again("up").unwrap();
    system.until_ready().await.unwrap();
    let mut client = PosServiceClient::new(channel);
    let mut unknown = BTreeSet::new();
    for number in 0..sent {
        let query = QueryRequest {
            inquiry_type: InquiryType::Payment.into(),
            merchant_id: "M1".into(),
            merchant_trade_no: number.to_string(),
            ..QueryRequest::default()
        };
        if client.query(query).await.unwrap().into_inner().status_code == "916" {
            unknown.insert(number);
        }
    }
    let unanswered: BTreeSet<u64> = (0..sent).filter(|number| !answered.contains_key(number)).collect();
    assert_eq!(unknown, unanswered, "a request without an answer must not have been accepted");
    assert!(answered.len() > 1 && !unanswered.is_empty(), "{} answers", answered.len());
}
