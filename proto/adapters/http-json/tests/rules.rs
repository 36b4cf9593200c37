//! The adapter's rules, against a backend that answers in every bad way: what is unknown stays
//! unknown, nothing is sent twice, and nothing is sent after `send_by`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use twqr_http_json_adapter::{
    config::{AdapterConfig, Backend},
    run,
};
use twqr_lab::launch::ReservedAddresses;
use twqr_service::{CancellationToken, Clock, Context, Health, SystemClock};
use twqr_wire::backend::{
    Charge, ExchangeRequest, ExchangeResponse, Inquiry, Refund, Reversal, backend_service_client::BackendServiceClient,
    exchange_request::Call, exchange_response::Answer, inquiry::Subject,
};

/// What the backend does with a request.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// Answers with this status and body.
    Answers(u16, &'static str),
    /// Closes the connection without an answer.
    Closes,
    /// Leaves the request without an answer.
    Keeps,
    /// Answers only after the adapter has given the request up.
    AnswersLate,
}

/// An approval as the example's backend writes it.
const DONE: &str = r#"{"result":"0000","method":"8","paid":"100.00","points":{"used":"0.00"},"storeDiscount":"0.00"}"#;

/// A backend that does the same with every request, and keeps what it received.
struct BadBackend {
    address: SocketAddr,
    received: Arc<AtomicUsize>,
    last: Arc<Mutex<String>>,
}

impl BadBackend {
    async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (received, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
        let (count, kept) = (received.clone(), last.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, does, count.clone(), kept.clone()));
            }
        });
        Self { address, received, last }
    }
}

async fn serve(mut stream: TcpStream, does: Does, count: Arc<AtomicUsize>, last: Arc<Mutex<String>>) {
    while let Some(request) = read_request(&mut stream).await {
        count.fetch_add(1, Ordering::SeqCst);
        *last.lock().unwrap() = request;
        match does {
            Does::Answers(status, body) => answer(&mut stream, status, body).await,
            Does::Closes => return,
            Does::Keeps => std::future::pending().await,
            Does::AnswersLate => {
                tokio::time::sleep(Duration::from_millis(ANSWER_MS * 2)).await;
                answer(&mut stream, 200, DONE).await;
            }
        }
    }
}

async fn answer(stream: &mut TcpStream, status: u16, body: &str) {
    let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(text.as_bytes()).await;
}

/// Reads a head and its body; `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse::<usize>().unwrap() {
                return Some(text);
            }
        }
        let mut part = [0; 4_096];
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&part[..count]);
    }
}

/// How long the adapter waits for an answer, in ms.
const ANSWER_MS: u64 = 150;

/// The adapter in front of a backend.
struct Adapter {
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Adapter {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Adapter {
    fn start(backend: SocketAddr, late: &str) -> Self {
        let [address] = ReservedAddresses::default().reserve().unwrap();
        let text = include_str!("../example.toml").replace("late = \"forward\"", &format!("late = \"{late}\""));
        let config = AdapterConfig::parse(&text).unwrap();
        let backend = Backend { address: backend, answer_ms: ANSWER_MS, ..config.backend };
        let config = AdapterConfig { listen: address, backend, ..config };
        let stop = CancellationToken::new();
        let context = Context { clock: Arc::new(SystemClock), shutdown: stop.clone(), health: Health::default() };
        tokio::spawn(run(config, context));
        Self { address, stop }
    }

    /// Makes the calls on one stream; returns an answer for each, by call id.
    async fn call(&self, calls: Vec<Call>) -> Vec<Answer> {
        let mut client = loop {
            match BackendServiceClient::connect(format!("http://{}", self.address)).await {
                Ok(client) => break client,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let count = calls.len();
        let requests = calls.into_iter().zip(0..).map(|(call, call_id)| ExchangeRequest {
            call_id,
            institution: "391".to_owned(),
            call: Some(call),
        });
        let requests: Vec<ExchangeRequest> = requests.collect();
        let mut stream = client.exchange(tokio_stream::iter(requests)).await.unwrap().into_inner();
        let mut answers: Vec<Option<Answer>> = vec![None; count];
        while let Some(ExchangeResponse { call_id, answer }) = stream.message().await.unwrap() {
            let earlier = answers[call_id as usize].replace(answer.unwrap());
            assert!(earlier.is_none(), "call {call_id} has two answers");
        }
        answers.into_iter().map(Option::unwrap).collect()
    }
}

fn charge(send_by_ms: i64) -> Call {
    Call::Charge(Charge {
        trade_no: "T1".into(),
        merchant_trade_no: "P1".into(),
        card_token: "IPsecret".into(),
        trade_amount: 100,
        send_by_ms,
        ..Charge::default()
    })
}

fn refund(send_by_ms: i64) -> Call {
    let numbers = Refund { refund_trade_no: "R1".into(), trade_no: "T1".into(), ..Refund::default() };
    Call::Refund(Refund { trade_amount: 100, send_by_ms, ..numbers })
}

fn reversal(send_by_ms: i64) -> Call {
    Call::Reversal(Reversal { trade_no: "T1".into(), trade_amount: 100, send_by_ms, ..Reversal::default() })
}

fn inquiry() -> Call {
    Call::Inquiry(Inquiry { trade_no: "T1".into(), subject: Subject::Charge.into() })
}

/// A letter for each answer: A approved, B refunded, V reversed, D declined, U trade unknown, ?
/// undecided.
fn letters(answers: &[Answer]) -> String {
    let letter = |answer: &Answer| match answer {
        Answer::Approved(_) => 'A',
        Answer::Refunded(_) => 'B',
        Answer::Reversed(_) => 'V',
        Answer::Declined(_) => 'D',
        Answer::TradeUnknown(_) => 'U',
        Answer::Undecided(_) => '?',
    };
    answers.iter().map(letter).collect()
}

fn now() -> i64 {
    SystemClock.now().0
}

#[tokio::test]
async fn only_an_answer_that_the_table_knows_decides_anything() {
    // A charge, a refund, a reversal and an inquiry about a charge get this answer.
    for (does, expected) in [
        (Does::Answers(200, DONE), "ABVA"),
        (Does::Answers(200, r#"{"result":"928","message":"too low"}"#), "DDDD"),
        (Does::Answers(400, r#"{"result":"928"}"#), "DDDD"),
        (Does::Answers(200, r#"{"result":"4040"}"#), "???U"),
        (Does::Answers(200, r#"{"result":"2020"}"#), "????"),
        // Unknown codes, failed servers, and bodies that say nothing.
        (Does::Answers(200, r#"{"result":"9999"}"#), "????"),
        (Does::Answers(500, DONE), "????"),
        (Does::Answers(503, r#"{"result":"928"}"#), "????"),
        (Does::Answers(404, "not found"), "????"),
        (Does::Answers(302, ""), "????"),
        (Does::Answers(200, "{}"), "????"),
        (Does::Answers(200, r#"{"result":"0000"}"#), "??V?"),
        (Does::Answers(200, r#"{"result":"0000","method":"2","paid":"100.00"}"#), "??V?"),
        (
            Does::Answers(
                200,
                r#"{"result":"0000","method":"8","paid":"99.50","points":{"used":"0.00"},"storeDiscount":"0.00"}"#,
            ),
            "??V?",
        ),
        (Does::Closes, "????"),
        (Does::Keeps, "????"),
        (Does::AnswersLate, "????"),
    ] {
        let backend = BadBackend::start(does).await;
        let adapter = Adapter::start(backend.address, "forward");
        let later = now() + 60_000;
        let answers = adapter.call(vec![charge(later), refund(later), reversal(later), inquiry()]).await;
        assert_eq!(letters(&answers), expected, "{does:?}: {answers:?}");
        assert_eq!(backend.received.load(Ordering::SeqCst), 4, "each call is one request: {does:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_after_send_by_unless_the_backend_refuses_it_itself() {
    for (late, expected, requests) in [("refuse", "DDD", 0), ("forward", "ABV", 3)] {
        let backend = BadBackend::start(Does::Answers(200, DONE)).await;
        let adapter = Adapter::start(backend.address, late);
        let past = now() - 1;
        let answers = adapter.call(vec![charge(past), refund(past), reversal(past)]).await;
        assert_eq!(letters(&answers), expected, "{late}: {answers:?}");
        assert_eq!(backend.received.load(Ordering::SeqCst), requests, "{late}");
    }
}

#[tokio::test]
async fn a_backend_that_is_not_there_leaves_every_call_unknown() {
    let [nowhere] = ReservedAddresses::default().reserve().unwrap();
    let adapter = Adapter::start(nowhere, "refuse");
    let later = now() + 60_000;
    let answers = adapter.call(vec![charge(later), inquiry()]).await;
    assert_eq!(letters(&answers), "??", "{answers:?}");
}

#[tokio::test]
async fn a_call_of_a_later_contract_is_undecided() {
    let backend = BadBackend::start(Does::Answers(200, DONE)).await;
    let adapter = Adapter::start(backend.address, "refuse");
    let inquiry = Call::Inquiry(Inquiry { trade_no: "T1".into(), subject: 99 });
    assert_eq!(letters(&adapter.call(vec![inquiry]).await), "?");
    assert_eq!(backend.received.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_request_has_the_names_of_the_backend_and_our_number_as_its_key() {
    let backend = BadBackend::start(Does::Answers(200, DONE)).await;
    let adapter = Adapter::start(backend.address, "forward");
    adapter.call(vec![charge(1_234)]).await;
    let request = backend.last.lock().unwrap().clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /api/pay HTTP/1.1\r\n"), "{head}");
    for line in ["host: bank.example", "x-channel: TWQR", "idempotency-key: T1", "content-type: application/json"] {
        assert!(head.to_lowercase().contains(&line.to_lowercase()), "{line} is missing: {head}");
    }
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "channel": "TWQR", "orderNo": "T1", "issuer": "391", "shop": "", "code": "IPsecret",
            "amount": "100.00", "noPoints": "0.00", "note": "", "validUntil": 1234,
            "order": {"no": "P1", "store": "", "storeName": "", "till": ""},
        })
    );
}

#[test]
fn a_wrong_configuration_is_refused_with_the_key_at_fault() {
    let example = include_str!("../example.toml");
    for (from, to, expected) in [
        ("orderNo = \"trade_no\"\nissuer", "issuer", "calls.charge.fields has no TradeNo"),
        ("validUntil = \"send_by\"\n\"order.no\"", "\"order.no\"", "calls.charge.fields must have send_by"),
        ("code = \"result\"", "code = \"\"", "answer.code is missing"),
        ("in_flight_max = 256", "in_flight_max = 0", "backend.in_flight_max is 0"),
        ("time = \"unix-ms\"", "odd = 1\ntime = \"unix-ms\"", "odd"),
        ("path = \"/api/refund\"", "path = \"api/refund\"", "calls.refund.path is \"api/refund\""),
        ("\"undecided\"", "\"failed\"", "failed"),
        ("listen = \"127.0.0.1:17090\"", "", "missing field `listen`"),
        ("listen = \"127.0.0.1", "listen = \"0.0.0.0", "listen is 0.0.0.0:17090, where other machines reach"),
        ("listen = \"127.0.0.1", "listen = \"[::ffff:10.0.0.1]", "set insecure = true"),
    ] {
        let text = example.replacen(from, to, 1);
        assert_ne!(text, example, "{from:?} is not in the example");
        let error = AdapterConfig::parse(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let open =
        example.replacen("127.0.0.1:17090", "0.0.0.0:17090", 1).replacen("insecure = false", "insecure = true", 1);
    assert!(AdapterConfig::parse(&open).unwrap().insecure);
}

#[test]
fn neither_an_error_nor_debug_output_shows_a_secret_of_the_configuration() {
    let example = include_str!("../example.toml");
    let headers = "headers = { \"X-Channel\" = \"TWQR\" }";
    // A text without an end ends with its line, so the parser misses the rest of the table later.
    for (faulty, line) in [
        ("headers = { \"X-Api-Key\" = \"SECRET }", "line 16: "),
        ("headers = { \"X-Api-Key\" = SECRET }", "line 14: "),
        ("headers = \"SECRET\"", "line 14: "),
        ("headers = { \"X-Api-Key\" = [\"SECRET\"] }", "line 14: "),
    ] {
        let text = example.replacen(headers, faulty, 1);
        let error = AdapterConfig::parse(&text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(line) && !shown.contains("SECRET"), "{shown}");
    }
    let config = AdapterConfig::parse(&example.replacen("\"TWQR\"", "\"SECRET\"", 1)).unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("X-Channel") && !shown.contains("SECRET"), "{shown}");
}
