//! Who is let in, by what, and until when.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::atomic::{AtomicI64, Ordering},
};

use tonic::codegen::http::{self, HeaderValue};
use twqr_callers::{CallerChange, CallerLimits, CallerName, MerchantScope, NewKey};
use twqr_journal::{Entry, Journal};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_service::{CancellationToken, Health, PeerCertificate};
use twqr_types::{KeyName, UnixMs};
use twqr_wire::convert::encode_caller_change;

use super::*;
use crate::{CALLERS, CallersFollower};

/// The address of every connection.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::Relaxed))
    }
}

fn caller(seed: u8, until: Option<UnixMs>) -> Caller {
    let key = ApiKey {
        name: KeyName::parse("k".to_owned()).unwrap(),
        hash: NewKey::of_random([seed; 32]).hash(),
        from: None,
        until,
    };
    Caller {
        name: CallerName::parse("shop".to_owned()).unwrap(),
        certificates: vec!["pos.example".into()],
        keys: vec![key],
        merchants: MerchantScope::All,
        operations: BTreeSet::from([Operation::Pay]),
        roles: BTreeSet::from([Role::Operator]),
        limits: CallerLimits::default(),
    }
}

struct Stage {
    sim: Sim,
    access: Access,
    clock: Arc<SetClock>,
    view: CallersView,
}

/// An access whose follower runs on a journal with these faults.
fn stage(configured: Caller, faults: Faults) -> Stage {
    stage_of(vec![configured], faults)
}

fn stage_of(configured: Vec<Caller>, faults: Faults) -> Stage {
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, faults, 7);
    let (follower, view) = CallersFollower::new(sim.session("ingress-0"), &Health::default(), configured);
    tokio::spawn(follower.run());
    let clock = Arc::new(SetClock(AtomicI64::new(1)));
    Stage { sim, access: Access::callers("grpc", view.clone(), clock.clone()), clock, view }
}

fn header(text: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::header::AUTHORIZATION, HeaderValue::from_bytes(text.as_bytes()).unwrap())])
}

fn key(seed: u8) -> HeaderMap {
    header(&format!("Bearer {}", NewKey::of_random([seed; 32]).reveal()))
}

fn shown(certificate: Option<PeerCertificate>) -> Extensions {
    let mut extensions = Extensions::new();
    extensions.insert(CallerConnection::new(CancellationToken::new(), certificate, ADDRESS));
    extensions
}

#[tokio::test(start_paused = true)]
async fn a_key_or_a_certificate_identifies_a_caller() {
    let mut stage = stage(caller(1, None), Faults::default());
    stage.view.read().await;
    let of = |headers: HeaderMap, extensions: Extensions| {
        stage.access.identify("Pay", &headers, &extensions).map(|grant| grant.who().unwrap())
    };
    let certificate = |name: &str| shown(Some(PeerCertificate::new(vec![name.to_owned()], Vec::new())));
    assert_eq!(of(key(1), Extensions::new()), Ok("shop (key k)".to_owned()));
    assert_eq!(of(HeaderMap::new(), certificate("pos.example")), Ok("shop (certificate)".to_owned()));
    let unknown = Err(AccessRefusal::Denied(twqr_callers::Denial::UnknownCertificate));
    assert_eq!(of(HeaderMap::new(), certificate("other.example")), unknown);
    let missing = AccessRefusal::NoCredential(MissingCredential::Either);
    assert_eq!(of(HeaderMap::new(), shown(None)), Err(missing));
    let unknown = Err(AccessRefusal::Denied(twqr_callers::Denial::UnknownKey));
    assert_eq!(of(key(2), certificate("pos.example")), unknown, "a wrong key is not saved by a certificate");
    for malformed in ["", "Bearer", "Bearer ", "Basic x", "Bearer é"] {
        assert_eq!(of(header(malformed), Extensions::new()), unknown, "{malformed}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_both_are_needed_a_key_and_a_certificate_of_the_same_caller_identify_it() {
    let mut other = caller(2, None);
    other.name = CallerName::parse("other".to_owned()).unwrap();
    other.certificates = vec!["other.example".into()];
    let mut stage = stage_of(vec![caller(1, None), other], Faults::default());
    stage.view.read().await;
    let access = Access::callers_with_both("operators", stage.view.clone(), stage.clock.clone());
    let certificate = |name: &str| shown(Some(PeerCertificate::new(vec![name.to_owned()], Vec::new())));
    let of = |headers: HeaderMap, extensions: &Extensions| access.identify("ApplyPolicy", &headers, extensions);
    let shop = certificate("pos.example");
    assert_eq!(of(key(1), &shop).unwrap().who().unwrap(), "shop (key k and certificate)");
    let missing = AccessRefusal::NoCredential;
    assert_eq!(of(key(1), &shown(None)).unwrap_err(), missing(MissingCredential::Certificate));
    assert_eq!(of(HeaderMap::new(), &shop).unwrap_err(), missing(MissingCredential::Key));
    assert_eq!(of(HeaderMap::new(), &shown(None)).unwrap_err(), missing(MissingCredential::Both));
    assert_eq!(access.granted(&Extensions::new()).unwrap_err(), missing(MissingCredential::Both));
    let denied = AccessRefusal::Denied;
    assert_eq!(of(key(2), &shop).unwrap_err(), denied(Denial::UnknownCertificate), "another caller's certificate");
    assert_eq!(of(key(1), &certificate("x.example")).unwrap_err(), denied(Denial::UnknownCertificate));
    assert_eq!(of(key(3), &shop).unwrap_err(), denied(Denial::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_certificate_is_not_accepted_any_more_lets_nothing_in() {
    let mut stage = stage(caller(1, None), Faults::default());
    stage.view.read().await;
    let leaving = CancellationToken::new();
    let certificate = PeerCertificate::new(vec!["pos.example".to_owned()], Vec::new());
    let connection = CallerConnection::new(leaving.clone(), Some(certificate), ADDRESS);
    let mut extensions = Extensions::new();
    extensions.insert(connection.clone());
    assert!(stage.access.identify("Pay", &HeaderMap::new(), &extensions).is_ok() && !leaving.is_cancelled());
    connection.end_trust();
    assert!(leaving.is_cancelled(), "its streams end");
    for access in [stage.access, Access::open("grpc")] {
        for headers in [HeaderMap::new(), key(1)] {
            let refused = access.identify("Pay", &headers, &extensions).unwrap_err();
            assert_eq!(refused, AccessRefusal::Denied(twqr_callers::Denial::UnknownCertificate));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_let_in_before_the_callers_are_read() {
    let faults = Faults { failing_topic: Some(twqr_journal::Topic::Callers), ..Faults::default() };
    let stage = stage(caller(1, None), faults);
    let refused = stage.access.identify("Pay", &key(1), &Extensions::new()).unwrap_err();
    assert_eq!(refused, AccessRefusal::NotRead);
    assert!(stage.access.granted(&Extensions::new()).is_err(), "nor what was not identified");
}

#[tokio::test(start_paused = true)]
async fn a_grant_ends_with_its_key() {
    let mut stage = stage(caller(1, Some(UnixMs(60_000))), Faults::default());
    stage.view.read().await;
    let grant = stage.access.identify("Pay", &key(1), &Extensions::new()).unwrap();
    assert!(stage.access.check(&grant, Operation::Pay, "M1").is_ok());
    assert_eq!(
        stage.access.check(&grant, Operation::Cancel, "M1").err(),
        Some(AccessRefusal::Operation(Operation::Cancel))
    );
    stage.clock.0.store(60_000, Ordering::Relaxed);
    let out_of_time = AccessRefusal::Denied(twqr_callers::Denial::KeyOutOfTime);
    assert_eq!(stage.access.ended(&grant).await, out_of_time);
    assert_eq!(stage.access.check(&grant, Operation::Pay, "M1").err(), Some(out_of_time));
}

#[tokio::test(start_paused = true)]
async fn a_grant_ends_with_a_record_that_revokes_its_key() {
    let mut stage = stage(caller(1, None), Faults::default());
    stage.view.read().await;
    let grant = stage.access.identify("Pay", &key(1), &Extensions::new()).unwrap();
    let rotated = CallerChange {
        is_whole: true,
        name: caller(1, None).name,
        version: 1,
        caller: Some(Arc::new(caller(2, None))),
        who: "w".into(),
        why: "y".into(),
        at: UnixMs(1),
    };
    let session = stage.sim.session("tracker-0");
    session.append(CALLERS, vec![Entry::plain(vec![0xff])]).await.unwrap();
    session.append(CALLERS, vec![Entry::plain(encode_caller_change(&rotated))]).await.unwrap();
    let revoked = AccessRefusal::Denied(twqr_callers::Denial::UnknownKey);
    assert_eq!(stage.access.ended(&grant).await, revoked, "a record that cannot be read stops nothing");
    assert!(stage.access.identify("Pay", &key(2), &Extensions::new()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn each_role_may_read_and_only_one_with_it_may_more() {
    let mut stage = stage(caller(1, None), Faults::default());
    stage.view.read().await;
    let grant = stage.access.identify("Pay", &key(1), &Extensions::new()).unwrap();
    let allowed =
        [Role::Viewer, Role::Operator, Role::Approver].map(|role| stage.access.check_role(&grant, role).is_ok());
    assert_eq!(allowed, [true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn each_call_that_is_let_in_or_refused_is_logged_with_who_and_where() {
    let mut stage = stage(caller(1, None), Faults::default());
    stage.view.read().await;
    let access = &stage.access;
    let grant = access.identify("Pay", &key(1), &shown(None)).unwrap();
    access.identify("Pay", &key(1), &shown(None)).unwrap();
    access.identify("Pay", &key(2), &shown(None)).unwrap_err();
    access.identify("Query", &HeaderMap::new(), &shown(None)).unwrap_err();
    access.check(&grant, Operation::Cancel, "M1").unwrap_err();
    access.check_operation(&grant, Operation::Refund).unwrap_err();
    access.check_role(&grant, Role::Approver).unwrap_err();
    access.note(&grant, Verdict::Request("rate"));
    access.note(&grant, Verdict::LetIn);
    let line = |who: &str, method, verdict, calls| {
        (AccessEvent { who: who.to_owned(), from: Some(ADDRESS), method, verdict }, calls)
    };
    let shop = "shop (key k)";
    let expected = [
        line("", "Pay", Verdict::Sender("unknown-key"), 1),
        line("", "Query", Verdict::Sender("no-credential"), 1),
        line(shop, "Pay", Verdict::LetIn, 2),
        line(shop, "Pay", Verdict::Sender("operation"), 2),
        line(shop, "Pay", Verdict::Sender("role"), 1),
        line(shop, "Pay", Verdict::Request("rate"), 1),
    ];
    assert_eq!(access.0.log.noted(), expected);
    let open = Access::open("grpc");
    let grant = open.identify("Pay", &HeaderMap::new(), &shown(None)).unwrap();
    open.note(&grant, Verdict::Request("invalid-fields"));
    assert_eq!(open.0.log.noted(), [line("", "Pay", Verdict::Request("invalid-fields"), 1)], "also without callers");
}
