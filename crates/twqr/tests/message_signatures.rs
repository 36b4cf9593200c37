//! Replays of signed requests against two ingresses and a router, over one log: each request is
//! accepted once, wherever and whenever it is sent again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../ingress/tests/support/message.rs"]
mod message;
#[path = "../../ingress/tests/support/post.rs"]
mod post;

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::Path,
    sync::Arc,
    time::Duration,
};

use post::{PosAnswer, inquiry_text, payment_text, post, refund_text, send, signed};
use tokio::task::JoinSet;
use twqr_ingress::{AdmissionSettings, HttpSettings, Sockets};
use twqr_journal::{
    Journal,
    embedded::{EmbeddedJournal, EmbeddedSettings},
};
use twqr_order::{Alphabet, Policy, Route, RouteTarget};
use twqr_router::ReferenceStore;
use twqr_service::{BoundSocket, CancellationToken, Clock as _, Context, Health, SystemClock};
use twqr_types::{Issuer, SignatureForm, StatusCode};

/// Two ingresses and a router. There is no worker: payments stay in progress.
struct System {
    ingresses: [SocketAddr; 2],
    shutdown: CancellationToken,
    services: JoinSet<()>,
}

impl System {
    async fn start(folder: &Path, protocol_version: u32) -> Self {
        let (shutdown, mut services, health) = (CancellationToken::new(), JoinSet::new(), Health::default());
        let one = NonZeroU32::MIN;
        let settings = EmbeddedSettings { dir: folder.join("journal"), shards: one, task_partitions: one };
        let embedded = EmbeddedJournal::open(settings).unwrap();
        let journal: Arc<dyn Journal> = embedded.clone();
        let context = |health: Health| Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health };
        let router = twqr_router::Settings {
            member: "router-0".into(),
            policy: policy(protocol_version),
            checkpoint_interval_ms: 20,
            standby: false,
            store: Arc::new(ReferenceStore::open(&folder.join("orders"), embedded).unwrap()),
        };
        let run = twqr_router::run(router, journal.clone(), context(health.clone()));
        services.spawn(async move { run.await.unwrap() });
        let mut ready = vec![health];
        let ingresses = ["ingress-0", "ingress-1"].map(|member| {
            let (grpc, http) = (BoundSocket::on_loopback("grpc").unwrap(), BoundSocket::on_loopback("http").unwrap());
            let (address, health) = (http.address(), Health::default());
            ready.push(health.clone());
            let sockets = Sockets { grpc, http: Some(http) };
            let run = twqr_ingress::run(sockets, settings_of(member, folder), journal.clone(), context(health));
            services.spawn(async move { run.await.unwrap() });
            address
        });
        services.spawn({
            let shutdown = shutdown.clone();
            async move {
                shutdown.cancelled().await;
                journal.close().await;
            }
        });
        for _ in 0..1_000 {
            if ready.iter().all(Health::is_ready) {
                let system = Self { ingresses, shutdown, services };
                system.until_the_policy_is_in_force().await;
                return system;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not ready within 10 s: {:?}", ready.iter().map(Health::report).collect::<Vec<_>>());
    }

    /// Waits until the shard has its first policy: a payment gets past the routes.
    async fn until_the_policy_is_in_force(&self) {
        for n in 0..500 {
            let text = payment_text(&format!("first-{n}"));
            let answer = post(self.ingresses[0], "/Pos/Payment", &signed(&text, "sign")).await;
            if !answer.text("StatusDesc").contains("no routes") {
                return;
            }
        }
        panic!("no policy was in force after 500 payments");
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.services.join_next().await {
            ended.unwrap();
        }
    }
}

fn policy(protocol_version: u32) -> Policy {
    let target = RouteTarget::Issuer(Issuer::Wallet);
    let route = Route { prefix: "22".into(), target, code_lengths: vec![18], alphabet: Alphabet::Printable };
    Policy { routes: vec![route], protocol_version, ..Policy::default() }
}

fn settings_of(member: &str, folder: &Path) -> twqr_ingress::Settings {
    // Each ingress has a file of its own: one may read while the other one's is written.
    let keys_file = folder.join(format!("keys-{member}.toml"));
    std::fs::write(&keys_file, format!("[keys.M1]\nS = \"sign\"\n{}\n", message::KEY_ENTRY)).unwrap();
    twqr_ingress::Settings {
        member: member.into(),
        http: Some(HttpSettings {
            keys_file: Some(keys_file),
            signature_forms: SignatureForm::ALL.to_vec(),
            send_time_window_s: None,
        }),
        answer_within_ms: 300,
        in_progress_code: StatusCode::FISC_ABNORMAL,
        calls_max: 1_000,
        admission: AdmissionSettings { delay: Duration::from_secs(1), limit_min: 256, limit_max: 256 },
        streams_max: 2,
        stream_in_flight_max: 8,
        repeats_size: NonZeroUsize::new(1_000).unwrap(),
        warm_rounds: 1,
        drain_within_ms: 500,
        connection_age: None,
        access: twqr_access::AccessSettings::default(),
        card_keys: twqr_card_keys::CardKeys::in_memory(SystemClock.now(), 1),
        fairness: twqr_ingress::FairnessSettings::default(),
    }
}

/// A signed request: what a replay sends again.
struct Signed {
    path: String,
    headers: String,
    body: String,
}

impl Signed {
    fn new(operation: &str, body: &str, nonce: &str) -> Self {
        let path = format!("/Pos/{operation}");
        Self { headers: message::headers(&path, body, nonce, 0), path, body: body.to_owned() }
    }

    async fn send(&self, to: SocketAddr) -> PosAnswer {
        send(to, &self.path, &self.headers, self.body.as_bytes()).await
    }

    async fn is_refused(&self, to: SocketAddr) {
        let answer = self.send(to).await;
        let expected = ("301".to_owned(), true);
        assert_eq!(
            (answer.status_code(), answer.text("StatusDesc").contains("nonce")),
            expected,
            "{}: {answer:?}",
            self.path
        );
    }
}

/// The TradeNo of a payment, once an inquiry shows it.
async fn trade_no_of(ingress: SocketAddr, number: &str) -> String {
    for _ in 0..50 {
        let answer = post(ingress, "/Pos/Inquiry", &signed(&inquiry_text(number, "P"), "sign")).await;
        if !answer.text("TradeNo").is_empty() {
            return answer.text("TradeNo");
        }
    }
    panic!("no inquiry showed the payment {number}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_refused_by_every_ingress_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start(folder.path(), 3).await;
    let [first, second] = system.ingresses;
    let mut accepted = Vec::new();
    let mut nonce = 0;
    let mut sign = |operation: &str, body: &str| {
        nonce += 1;
        Signed::new(operation, body, &format!("nonce-{nonce:010}"))
    };
    // All but the payment answer 982 at their deadline: nothing here has a result.
    let payment = sign("Payment", &payment_text("T1"));
    let answer = payment.send(first).await;
    assert_eq!(answer.status_code(), "982", "{answer:?}");
    accepted.push(payment);
    let trade_no = trade_no_of(first, "T1").await;
    let refund = refund_text("R1").replace("T0000000000000071KWWEVR61", &trade_no);
    for (operation, body) in [
        ("Payment", payment_text("T1")),
        ("Inquiry", inquiry_text("T1", "P")),
        ("Refund", refund),
        ("Inquiry", inquiry_text("R1", "R")),
        ("Cancel", payment_text("T1")),
        ("Cancel", payment_text("T2")),
    ] {
        let request = sign(operation, &body);
        let answer = request.send(second).await;
        assert_ne!(answer.status_code(), "301", "a request with a nonce of its own: {answer:?}");
        if operation == "Inquiry" {
            assert_eq!(request.send(first).await.status_code(), answer.status_code(), "an inquiry may be replayed");
            continue;
        }
        request.is_refused(second).await;
        request.is_refused(first).await;
        accepted.push(request);
    }
    for request in &accepted {
        request.is_refused(first).await;
        request.is_refused(second).await;
    }
    let again = Signed::new("Payment", &payment_text("T1"), "another nonce---");
    let repeated = again.send(first).await;
    assert_eq!(repeated.text("TradeNo"), trade_no, "a repeat that is signed anew is answered: {repeated:?}");
    accepted.push(again);
    system.stop().await;

    let system = System::start(folder.path(), 3).await;
    for request in &accepted {
        for ingress in system.ingresses {
            request.is_refused(ingress).await;
        }
    }
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_copies_that_arrive_at_once_one_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start(folder.path(), 3).await;
    let mut copies = JoinSet::new();
    for n in 0..20_usize {
        let to = system.ingresses[n % 2];
        let copy = Signed::new("Payment", &payment_text("T1"), "one nonce for all");
        copies.spawn(async move { copy.send(to).await.status_code() });
    }
    let mut codes = copies.join_all().await;
    codes.sort_unstable();
    let refused = codes.iter().filter(|code| *code == "301").count();
    assert_eq!((refused, codes[19].as_str()), (19, "982"), "{codes:?}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_protocol_version_3_message_signatures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let system = System::start(folder.path(), 2).await;
    let request = Signed::new("Payment", &payment_text("T1"), "0123456789abcdef");
    let answer = request.send(system.ingresses[0]).await;
    assert_eq!(answer.status_code(), "301", "{answer:?}");
    assert!(answer.text("StatusDesc").contains("protocol_version 3"), "{answer:?}");
    system.stop().await;
}
