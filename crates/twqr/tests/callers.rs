//! Callers of real processes: keys are made, used and revoked by commands. This rehearses the
//! runbook `deploy/runbooks/revoke-a-key.md`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/system.rs"]
mod system;

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use system::{CommandOutput, System, command_with};
use tokio::time::timeout;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use twqr_callers::{ApiKey, Caller, CallerLimits, CallerName, MerchantScope, NewKey, Operation, Role};
use twqr_config::AccessConfig;
use twqr_lab::launch::connect;
use twqr_types::{KeyName, MerchantId};
use twqr_wire::pos::{
    PayRequest, PayResponse, WatchOrderRequest, WatchOrderResponse, pos_service_client::PosServiceClient,
};

const ADMIN: u8 = 1;
const SHOP: u8 = 2;

fn key_text(seed: u8) -> String {
    NewKey::of_random([seed; 32]).reveal().to_owned()
}

fn caller(name: &str, seed: u8, operations: &[Operation], roles: &[Role]) -> Caller {
    Caller {
        name: CallerName::parse(name.to_owned()).unwrap(),
        certificates: Vec::new(),
        keys: vec![ApiKey {
            name: KeyName::parse("first".to_owned()).unwrap(),
            hash: NewKey::of_random([seed; 32]).hash(),
            from: None,
            until: None,
        }],
        merchants: MerchantScope::Only(BTreeSet::from([MerchantId::parse("M1".to_owned()).unwrap()])),
        operations: operations.iter().copied().collect(),
        roles: roles.iter().copied().collect(),
        limits: CallerLimits::default(),
    }
}

fn access() -> AccessConfig {
    let callers = [
        caller("admin", ADMIN, &[], &[Role::Approver]),
        caller("shop", SHOP, &[Operation::Pay, Operation::Query, Operation::Watch], &[Role::Viewer]),
    ];
    let callers = callers.iter().map(Into::into).collect();
    AccessConfig { required: true, callers, ..AccessConfig::default() }
}

/// Runs `twqr callers` with the key of this seed.
fn callers(system: &System, seed: u8, arguments: &str) -> CommandOutput {
    let file = system.write_file(&format!("key-{seed}"), &key_text(seed));
    let whole: Vec<&str> = ["--api-key-file", &file, "callers"].into_iter().chain(arguments.split(' ')).collect();
    // The operators' API may begin later than the ingress.
    for _ in 0..200 {
        let output = command_with(&system.config_file(), &whole);
        if !output.stderr.contains("cannot reach") && !output.stderr.contains("have not been read yet") {
            return output;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the operators' API was not reached within 10 s");
}

fn by<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

async fn pay(system: &System, key: &str, number: &str) -> Result<PayResponse, Status> {
    pay_at(system.public_api(), key, number).await
}

async fn pay_at(ingress: SocketAddr, key: &str, number: &str) -> Result<PayResponse, Status> {
    let request = PayRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 100,
        ..PayRequest::default()
    };
    let mut client = PosServiceClient::new(connect(ingress).await.unwrap());
    client.pay(by(key, request)).await.map(tonic::Response::into_inner)
}

async fn watch(system: &System, key: &str, number: &str) -> Streaming<WatchOrderResponse> {
    let request = WatchOrderRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        inquiry_type: 1,
        keep_watching: true,
    };
    let mut client = PosServiceClient::new(connect(system.public_api()).await.unwrap());
    client.watch_order(by(key, request)).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_revoked_by_one_command_and_its_streams_end() {
    let mut system = System::start_with(access()).await;
    let health = HealthClient::new(connect(system.public_api()).await.unwrap());
    let checked = health.clone().check(HealthCheckRequest { service: String::new() }).await;
    assert!(checked.is_ok(), "health needs no key: {checked:?}");

    // A rotation: both keys are valid.
    let made = callers(&system, ADMIN, "key new shop second --who alice --why rotation");
    assert_eq!(made.code, 0, "{}", made.stderr);
    let second = made.stdout.trim().to_owned();
    for (key, number) in [(&key_text(SHOP), "T1"), (&second, "T2")] {
        let mut paid = pay(&system, key, number).await;
        for _ in 0..100 {
            if paid.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            paid = pay(&system, key, number).await;
        }
        assert_eq!(paid.unwrap().status_code, "000");
    }

    // The first key has leaked: it is revoked by one command.
    let before = callers(&system, ADMIN, "show shop").stdout;
    let mut watching = watch(&system, &key_text(SHOP), "T1").await;
    assert!(watching.message().await.unwrap().is_some());
    let revoked = callers(&system, ADMIN, "key revoke shop first --who alice --why leaked");
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    let ended = timeout(Duration::from_secs(5), watching.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert_eq!(pay(&system, &key_text(SHOP), "T3").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(pay(&system, &second, "T4").await.unwrap().status_code, "000");

    no_document_revives_or_revokes_a_key(&system, &before);

    // It stays revoked after a kill -9, although the configuration still has it.
    system.kill_and_restart().await;
    assert_eq!(pay(&system, &key_text(SHOP), "T5").await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(pay(&system, &second, "T6").await.unwrap().status_code, "000");

    let shown = callers(&system, ADMIN, "show shop").stdout;
    assert!(shown.contains("by admin (key first): alice") && shown.contains("leaked"), "{shown}");
    for text in [&shown, &system.log()] {
        assert!(!text.contains(&second) && !text.contains(&key_text(SHOP)), "a key is shown");
    }
}

/// Applies documents of the caller `shop`, whose first key was revoked: one from before that, and
/// one without its second key.
fn no_document_revives_or_revokes_a_key(system: &System, before: &str) {
    let old = system.write_file("old.toml", before);
    let (without_keys, _) = before.split_once("[[keys]]").unwrap();
    let without_keys = system.write_file("without-keys.toml", without_keys);
    let apply = |file: &str, flag: &str| callers(system, ADMIN, &format!("apply {file} --who alice --why again{flag}"));
    let refused = apply(&old, "");
    assert!(refused.code == 1 && refused.stderr.contains("the key first, which was revoked"), "{}", refused.stderr);
    let refused = apply(&without_keys, "");
    assert!(refused.code == 1 && refused.stderr.contains("omits keys or certificates of shop"), "{}", refused.stderr);
    assert!(refused.stderr.contains("second") && refused.stderr.contains("--revoke-missing"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_does_only_what_its_roles_allow() {
    let system = System::start_with(access()).await;
    assert_eq!(callers(&system, ADMIN, "list").code, 0);
    let none = command_with(&system.config_file(), &["callers", "list"]);
    assert!(none.code == 1 && none.stderr.contains("UNAUTHENTICATED"), "{}", none.stderr);
    let viewer = callers(&system, SHOP, "list");
    assert!(viewer.code == 0 && viewer.stdout.contains("shop version 0"), "{}{}", viewer.stdout, viewer.stderr);
    let viewer = callers(&system, SHOP, "remove admin --who mallory --why takeover");
    assert!(viewer.code == 1 && viewer.stderr.contains("the role approver"), "{}", viewer.stderr);
    let removed = callers(&system, ADMIN, "remove shop --who alice --why gone");
    assert_eq!(removed.code, 0, "{}", removed.stderr);
    let refused = callers(&system, SHOP, "list");
    assert!(refused.code == 1 && refused.stderr.contains("UNAUTHENTICATED"), "{}", refused.stderr);
    let conflict = callers(&system, ADMIN, "remove admin --expect 7 --who alice --why gone");
    assert_eq!(conflict.code, 3, "{}", conflict.stderr);
    assert_eq!(pay(&system, &key_text(ADMIN), "T1").await.unwrap_err().code(), Code::PermissionDenied);

    let (admin, from) = (r#""who":"admin (key first)""#, r#""from":"127.0.0.1""#);
    let shop = r#""who":"shop (key first)""#;
    for line in [
        ["calls were let in", r#""listener":"operators""#, admin, from, r#""method":"ListCallers""#],
        ["calls were refused", r#""reason":"no-credential""#, r#""who":"""#, from, r#""method":"ListCallers""#],
        ["calls were refused", r#""reason":"role""#, shop, from, r#""method":"ChangeCaller""#],
        ["calls were refused", r#""reason":"operation""#, admin, from, r#""method":"Pay""#],
    ] {
        system.until_logged(&line).await;
    }
}

/// Until an ingress has read a record, it may still accept the key: it follows the topic at once,
/// but a test has no other way to know when.
async fn until_refused(ingress: SocketAddr, key: &str) {
    for n in 0..200 {
        match pay_at(ingress, key, &format!("R{}-{n}", ingress.port())).await {
            Err(refused) if refused.code() == Code::Unauthenticated => return,
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    panic!("{ingress} still accepts the key after some seconds");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn a_key_is_revoked_at_every_ingress_on_a_broker() {
    let bootstrap = std::env::var("TWQR__KAFKA__BOOTSTRAP").unwrap();
    let system = System::start_on(Some(bootstrap), access()).await;
    let ingresses = system.ingresses();
    assert_eq!(ingresses.len(), 2);
    let made = callers(&system, ADMIN, "key new shop second --who alice --why rotation");
    assert_eq!(made.code, 0, "{}", made.stderr);
    for (n, ingress) in ingresses.iter().enumerate() {
        let paid = pay_at(*ingress, &key_text(SHOP), &format!("T{n}")).await;
        assert_eq!(paid.unwrap().status_code, "000");
    }
    let revoked = callers(&system, ADMIN, "key revoke shop first --who alice --why leaked");
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    for ingress in &ingresses {
        until_refused(*ingress, &key_text(SHOP)).await;
        let paid = pay_at(*ingress, made.stdout.trim(), &format!("S{}", ingress.port())).await;
        assert_eq!(paid.unwrap().status_code, "000");
    }
}
