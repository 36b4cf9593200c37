//! The merchants' keys while the ingress runs: changes of the file add and remove keys, and an
//! invalid file changes nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/post.rs"]
mod post;
#[path = "support/stage.rs"]
mod support;

use std::{net::SocketAddr, os::unix::fs::symlink, path::Path, time::Duration};

use post::{inquiry_text, payment_text, post, signed};
use support::{Stage, order, paid, settings};
use twqr_ingress::{HttpSettings, Settings};
use twqr_types::SignatureForm;

fn with_keys(file: Option<&Path>) -> Settings {
    let http = HttpSettings {
        keys_file: file.map(Path::to_owned),
        signature_forms: SignatureForm::ALL.to_vec(),
        send_time_window_s: None,
    };
    // Without a router a signed inquiry ends only at its deadline.
    Settings { http: Some(http), answer_within_ms: 100, ..settings() }
}

/// Returns those of `keys` whose signatures are accepted for M1.
async fn in_force(address: SocketAddr, keys: &[&str]) -> Vec<String> {
    let mut signing = Vec::new();
    for key in keys {
        let answer = post(address, "/Pos/Inquiry", &signed(&inquiry_text("1", "P"), key)).await;
        match answer.status_code().as_str() {
            "904" => {}
            "301" => signing.push((*key).to_owned()),
            other => panic!("{other}: {answer:?}"),
        }
    }
    signing
}

/// Waits until exactly these keys sign for M1.
async fn until(address: SocketAddr, expected: &[&str]) {
    let mut seen = Vec::new();
    for _ in 0..100 {
        seen = in_force(address, &["one", "two", "six"]).await;
        if seen == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the keys {seen:?} sign instead of {expected:?}");
}

#[tokio::test]
async fn keys_rotate_and_an_invalid_file_keeps_the_earlier_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let write = |text: &str| {
        let new = folder.path().join("new.toml");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    write("[keys]\nM1 = \"one\"\n");
    let stage = Stage::open(with_keys(Some(&file))).await;
    let address = stage.http.unwrap();
    until(address, &["one"]).await;
    write("[keys]\nM1 = [\"two\", \"one\"]\n");
    until(address, &["one", "two"]).await;
    write("[keys]\nM1 = \"two\"\n");
    until(address, &["two"]).await;
    write("[keys]\nM1 = two\n");
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(in_force(address, &["one", "two"]).await, ["two"], "an invalid file must keep the keys");
    std::fs::remove_file(&file).unwrap();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(in_force(address, &["one", "two"]).await, ["two"], "an absent file must keep the keys");
    // Written in place, with the same length as the first version.
    std::fs::write(&file, "[keys]\nM1 = \"six\"\n").unwrap();
    until(address, &["six"]).await;
}

#[tokio::test]
async fn a_link_to_another_file_is_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (version, key) in [("v1", "one"), ("v2", "two")] {
        std::fs::create_dir(path(version)).unwrap();
        std::fs::write(path(version).join("keys.toml"), format!("[keys]\nM1 = \"{key}\"\n")).unwrap();
    }
    symlink("v1", path("data")).unwrap();
    symlink("data/keys.toml", path("keys.toml")).unwrap();
    let stage = Stage::open(with_keys(Some(&path("keys.toml")))).await;
    let address = stage.http.unwrap();
    until(address, &["one"]).await;
    symlink("v2", path("data-new")).unwrap();
    std::fs::rename(path("data-new"), path("data")).unwrap();
    until(address, &["two"]).await;
}

#[tokio::test]
async fn without_any_key_no_request_is_accepted() {
    let stage = Stage::open(with_keys(None)).await;
    assert!(in_force(stage.http.unwrap(), &["one", ""]).await.is_empty());
}

#[tokio::test]
async fn an_invalid_file_at_the_start_ends_the_ingress() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, "[keys]\nM1 = [\"SECRET\", 1]\n").unwrap();
    let error = Stage::start_error(with_keys(Some(&file))).await;
    let expected = format!(
        "merchant keys: {}, line 2: must be a text, a list of texts, or a table from names to texts",
        file.display()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn an_answer_is_not_shared_with_a_caller_that_signs_with_another_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, "[keys.M1]\n2026-01 = \"one\"\n2026-07 = \"two\"\n").unwrap();
    let stage = Stage::open(Settings { answer_within_ms: 10_000, ..with_keys(Some(&file)) }).await;
    let address = stage.http.unwrap();
    for (n, (key, name)) in [("one", "2026-01"), ("two", "2026-07")].into_iter().enumerate() {
        let body = signed(&payment_text("1"), key);
        let call = tokio::spawn(async move { post(address, "/Pos/Payment", &body).await });
        let request = stage.requests(n as u64, 1).await.remove(0);
        assert_eq!(request.signed_by.unwrap().as_str(), name);
        stage.reply(&request.reply_to, order("1", paid()), n > 0).await;
        assert_eq!(call.await.unwrap().status_code(), "000");
    }
    let again = post(address, "/Pos/Payment", &signed(&payment_text("1"), "one")).await;
    assert_eq!(
        (again.status_code().as_str(), stage.orders_end().await),
        ("000", 2),
        "the same key must get the remembered answer"
    );
}
