//! A charge whose card token is sealed: the worker opens it when it sends the charge. One that it
//! cannot open is never sent, and counts as failed only where that is certain (protocol rule P6).

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;
#[path = "support/tasks.rs"]
mod tasks;

use std::sync::Arc;

use stage::{BEGAN, Stage};
use tasks::charge;
use twqr_card_keys::{CardKeys, KeySet};
use twqr_journal::Topic;
use twqr_journal_sim::SimSession;
use twqr_order::{Task, TaskKind};
use twqr_types::{CardToken, OrderKey, SpendableToken};

const TOKEN: &str = "22abcdefghijklmnop";

/// The charge with its token sealed for the order with this key.
fn sealed(keys: &CardKeys, mut task: Task, key: &OrderKey) -> Task {
    let token = CardToken::parse(TOKEN.to_owned()).unwrap();
    let TaskKind::Charge(charge) = &mut task.kind else { unreachable!() };
    charge.card_token = SpendableToken::Sealed(keys.protect(&token, key, BEGAN).unwrap().sealed.unwrap());
    task
}

/// A stage with a worker that has these keys, and the worker's session.
async fn stage(keys: &CardKeys) -> (Stage, Arc<SimSession>) {
    let mut stage = Stage::new(Topic::WalletTasks);
    stage.card_keys = keys.clone();
    let session = stage.start_worker("worker-0");
    stage.until(100).await;
    (stage, session)
}

fn outcomes(stage: &Stage) -> Vec<String> {
    stage.outcomes().into_iter().map(|(outcome, _)| outcome).collect()
}

#[tokio::test(start_paused = true)]
async fn the_issuer_gets_the_token_that_was_sealed() {
    let keys = CardKeys::in_memory(BEGAN, 1);
    let (stage, _session) = stage(&keys).await;
    let task = charge(1, false);
    let key = task.key.clone();
    stage.append([sealed(&keys, task, &key)]).await;
    stage.until(300).await;
    assert_eq!(outcomes(&stage), ["1: done"]);
    assert_eq!(stage.issuer.state().card_tokens, [TOKEN]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_opened_is_not_sent_and_fails_only_if_that_is_certain() {
    let (keys, others) = (CardKeys::in_memory(BEGAN, 1), CardKeys::in_memory(BEGAN, 1));
    for (is_idempotent, expected) in [(false, "not sent"), (true, "unknown")] {
        let (stage, _session) = stage(&keys).await;
        let (one, two) = (charge(1, is_idempotent), charge(2, is_idempotent));
        let (own, foreign) = (one.key.clone(), two.key.clone());
        // Under a key that this worker does not have; and moved here from another order.
        stage.append([sealed(&others, one, &own), sealed(&keys, two, &own)]).await;
        assert_ne!(own, foreign);
        stage.until(300).await;
        assert_eq!(outcomes(&stage), [format!("1: {expected}"), format!("2: {expected}")]);
        assert!(stage.calls().is_empty(), "{:?}", stage.calls());
    }
}

/// By the time that a worker takes over, the key of a task that may have been sent may be gone.
#[tokio::test(start_paused = true)]
async fn a_token_that_another_worker_may_have_sent_is_inquired_about() {
    let keys = CardKeys::in_memory(BEGAN, 1);
    let (stage, session) = stage(&keys).await;
    stage.issuer.state().silent.insert(String::new());
    let task = charge(1, true);
    let key = task.key.clone();
    stage.append([sealed(&keys, task, &key)]).await;
    stage.until(200).await;
    session.crash();
    keys.replace(KeySet::default());
    stage.start_worker("worker-1");
    stage.until(3_000).await;
    assert_eq!(outcomes(&stage), ["1: done"]);
    assert_eq!(stage.calls(), ["charge 1", "inquiry 1"]);
}
