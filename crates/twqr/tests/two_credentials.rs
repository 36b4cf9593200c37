//! Where a listener demands both, a caller needs its API key and its certificate.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/secured.rs"]
mod secured;

use std::collections::BTreeSet;

use secured::{connect, connect_to, pay, start};
use tonic::{Code, Request, Status};
use twqr_callers::{ApiKey, Caller, CallerLimits, CallerName, MerchantScope, NewKey, Role};
use twqr_config::{AccessConfig, CallerListener, Config};
use twqr_lab::launch::System;
use twqr_types::KeyName;
use twqr_wire::ops::{GetStatusRequest, operator_service_client::OperatorServiceClient};

/// An operator with this key, and the certificate that the laboratory issues to clients.
fn operator(key: &NewKey) -> Caller {
    let key = ApiKey { name: KeyName::parse("k".into()).unwrap(), hash: key.hash(), from: None, until: None };
    Caller {
        name: CallerName::parse("operator".into()).unwrap(),
        certificates: vec!["lab.example".into()],
        keys: vec![key],
        merchants: MerchantScope::Only(BTreeSet::new()),
        operations: BTreeSet::new(),
        roles: BTreeSet::from([Role::Viewer]),
        limits: CallerLimits::default(),
    }
}

/// Asks the operators' API with the certificate of this name, and with this key.
async fn status(system: &System, certificate: &str, key: Option<&str>) -> Result<(), Status> {
    let channel = connect_to(system, system.config.operators_endpoint(None), Some(certificate)).await.unwrap();
    let mut request = Request::new(GetStatusRequest {});
    if let Some(key) = key {
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    }
    OperatorServiceClient::new(channel).get_status(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_both_are_demanded_an_operator_needs_its_key_and_its_certificate() {
    let key = NewKey::of_random([7; 32]);
    let access = AccessConfig {
        required: true,
        key_and_certificate: BTreeSet::from([CallerListener::Operators]),
        callers: vec![(&operator(&key)).into()],
        ..AccessConfig::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut system = start(&folder.path().join("run"), Config { access, ..Config::default() }).await;
    system.authority.as_ref().unwrap().issue("other", &["other.example"], None).unwrap();
    status(&system, "client", Some(key.reveal())).await.unwrap();
    let refused = status(&system, "client", None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().starts_with("the API key is missing"), "{refused}");
    let refused = status(&system, "other", Some(key.reveal())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "a stolen key and any certificate of the authority");
    let refused = pay(&mut connect(&system, Some("client")).await.unwrap(), "T1").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "where one is enough, the certificate identifies the caller");
    system.end().await;
}
