//! A charge whose card token is sealed: the worker opens it when it sends the charge. One that it
//! cannot open is never sent, and counts as failed only where that is certain (protocol rule P6). A
//! worker without keys leaves charges to workers that have some.

#![allow(unreachable_pub, dead_code, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;
#[path = "support/tasks.rs"]
mod tasks;

use std::sync::Arc;

use stage::{BEGAN, Stage};
use tasks::{SEND_BY_MS, charge, inquiry, refund};
use twqr_card_keys::{CardKeys, Hour, KeyDirectory, KeySet, KeySource};
use twqr_journal::Topic;
use twqr_journal_sim::SimSession;
use twqr_order::{PROTECTED_TOKENS_SINCE, Task, TaskKind};
use twqr_types::{CardToken, OrderKey, SpendableToken};

const TOKEN: &str = "22abcdefghijklmnop";

/// The charge with its token sealed for the order with this key.
fn sealed(keys: &CardKeys, mut task: Task, key: &OrderKey) -> Task {
    let token = CardToken::parse(TOKEN.to_owned()).unwrap();
    let TaskKind::Charge(charge) = &mut task.kind else { unreachable!() };
    charge.card_token = SpendableToken::Sealed(keys.protect(&token, key, BEGAN).unwrap().sealed.unwrap());
    task.protocol_version = PROTECTED_TOKENS_SINCE;
    task
}

/// A charge with this number, with its own token sealed.
fn sealed_charge(keys: &CardKeys, number: u64, is_idempotent: bool) -> Task {
    let task = charge(number, is_idempotent);
    let key = task.key.clone();
    sealed(keys, task, &key)
}

/// Keys that several processes read, each at its own time.
struct KeyFiles {
    _folder: tempfile::TempDir,
    directory: KeyDirectory,
}

impl KeyFiles {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = KeyDirectory::new(folder.path().to_owned());
        directory.renew(BEGAN).unwrap();
        Self { _folder: folder, directory }
    }

    fn read(&self) -> KeySet {
        self.directory.read().unwrap().0
    }
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

/// An issuer may repeat the token in its reason, to the call itself and to a later inquiry of
/// another worker.
#[tokio::test(start_paused = true)]
async fn a_token_that_the_issuer_repeats_is_in_no_record() {
    for crashes in [false, true] {
        let keys = CardKeys::in_memory(BEGAN, 1);
        let (stage, session) = stage(&keys).await;
        stage.issuer.state().repeats_tokens = true;
        if crashes {
            stage.issuer.state().silent.insert(String::new());
        }
        stage.append([sealed_charge(&keys, 1, false)]).await;
        stage.until(200).await;
        if crashes {
            session.crash();
            stage.start_worker("worker-1");
            stage.until(5_000).await;
        }
        assert_eq!(outcomes(&stage), ["1: declined"]);
        assert_eq!(stage.calls().last().unwrap(), if crashes { "inquiry 1" } else { "charge 1" });
        assert!(!stage.orders_contain(TOKEN) && stage.orders_contain("the code ****************** has expired"));
    }
}

/// The router asks for an inquiry without the token, after a charge without an answer.
#[tokio::test(start_paused = true)]
async fn a_token_in_the_answer_to_a_later_inquiry_is_in_no_record() {
    let keys = CardKeys::in_memory(BEGAN, 1);
    let (stage, _session) = stage(&keys).await;
    stage.issuer.state().repeats_tokens = true;
    stage.issuer.state().silent.insert(String::new());
    stage.append([sealed_charge(&keys, 1, false)]).await;
    stage.until(1_000).await;
    stage.append([inquiry(1)]).await;
    stage.until(1_300).await;
    assert_eq!(outcomes(&stage), ["1: unknown", "1: declined"]);
    assert!(!stage.orders_contain(TOKEN));
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
    stage.until(5_000).await;
    assert_eq!(outcomes(&stage), ["1: done"]);
    assert_eq!(stage.calls(), ["charge 1", "inquiry 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_charge_waits_for_a_key_that_has_not_arrived_and_delays_no_other() {
    for is_idempotent in [false, true] {
        let (files, own) = (KeyFiles::new(), CardKeys::default());
        let (keys, foreign) = (CardKeys::new(files.read()), CardKeys::new(KeyFiles::new().read()));
        let (stage, _session) = stage(&own).await;
        stage.append([sealed_charge(&keys, 1, is_idempotent), refund(2, is_idempotent)]).await;
        stage.until(1_000).await;
        assert_eq!(outcomes(&stage), ["2: done"], "a refund needs no key");
        own.replace(files.read());
        stage.until(1_100).await;
        assert_eq!(outcomes(&stage), ["2: done", "1: done"]);
        stage.append([sealed_charge(&foreign, 3, is_idempotent), sealed_charge(&keys, 4, is_idempotent)]).await;
        stage.until(1_300).await;
        assert_eq!(outcomes(&stage)[2..], ["4: done"], "only one ingress has other keys");
        stage.until(SEND_BY_MS.cast_unsigned()).await;
        assert_eq!(outcomes(&stage).len(), 3, "its key may still arrive");
        stage.until(SEND_BY_MS.cast_unsigned() + 300).await;
        assert_eq!(outcomes(&stage)[3..], [if is_idempotent { "3: unknown" } else { "3: not sent" }]);
        assert_eq!(stage.calls(), ["refund 2", "charge 1", "charge 4"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_charge_whose_key_was_destroyed_does_not_wait() {
    let keys = CardKeys::in_memory(BEGAN, 1);
    let (stage, _session) = stage(&keys).await;
    let mut task = sealed_charge(&keys, 1, false);
    let TaskKind::Charge(charge) = &mut task.kind else { unreachable!() };
    let SpendableToken::Sealed(sealed) = &mut charge.card_token else { unreachable!() };
    sealed.key = Hour::of(BEGAN).plus(-Hour::KEPT - 1).name();
    stage.append([task]).await;
    stage.until(300).await;
    assert_eq!((outcomes(&stage), stage.calls()), (vec!["1: not sent".to_owned()], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_loses_its_keys_is_replaced_by_one_that_has_some() {
    let (files, first_keys) = (KeyFiles::new(), CardKeys::default());
    let keys = CardKeys::new(files.read());
    let (mut stage, _first) = stage(&first_keys).await;
    first_keys.replace(files.read());
    stage.append([sealed_charge(&keys, 1, false)]).await;
    stage.until(500).await;
    stage.card_keys = keys.clone();
    stage.start_worker("worker-1");
    stage.until(2_000).await;
    assert_eq!(outcomes(&stage), ["1: done"]);
    first_keys.replace(KeySet::default());
    for number in 2..=20 {
        stage.append([sealed_charge(&keys, number, number % 2 == 0)]).await;
        stage.until(2_000 + number * 50).await;
    }
    stage.until(5_000).await;
    let done: Vec<String> = (8..=20).map(|number| format!("{number}: done")).collect();
    assert!(done.iter().all(|done| outcomes(&stage).contains(done)), "{:?}", outcomes(&stage));
    // The first ones were read by the worker without keys. No other worker may send them, unless
    // they are idempotent.
    first_keys.replace(files.read());
    stage.until(5_300).await;
    for number in 1..=20 {
        let count = stage.calls().iter().filter(|call| **call == format!("charge {number}")).count();
        assert!(count == 1 || count == 2 && number < 8 && number % 2 == 0, "{number}: {:?}", stage.calls());
        assert!(outcomes(&stage).contains(&format!("{number}: done")), "{number}: {:?}", outcomes(&stage));
    }
    assert!(!outcomes(&stage).iter().any(|outcome| outcome.contains("not sent")), "{:?}", outcomes(&stage));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_starts_without_keys_takes_a_partition_only_if_no_other_worker_does() {
    let files = KeyFiles::new();
    let keys = CardKeys::new(files.read());
    let (mut stage, first) = stage(&keys).await;
    stage.append([sealed_charge(&keys, 1, false)]).await;
    stage.until(1_000).await;
    let without = CardKeys::default();
    stage.card_keys = without.clone();
    stage.start_worker("worker-0a");
    stage.until(2_000).await;
    assert!(without.are_needed(), "the newest tasks show it");
    stage.card_keys = keys.clone();
    let second = stage.start_worker("worker-1");
    stage.until(2_500).await;
    first.crash();
    stage.until(4_000).await;
    stage.append([sealed_charge(&keys, 2, false)]).await;
    stage.until(4_300).await;
    assert_eq!(outcomes(&stage), ["1: done", "2: done"], "the worker with keys has taken over");
    second.crash();
    stage.until(SEND_BY_MS.cast_unsigned() + 2_000).await;
    stage.append([refund(3, false)]).await;
    stage.until(SEND_BY_MS.cast_unsigned() + 4_000).await;
    assert_eq!(outcomes(&stage)[2..], ["3: not sent"], "what needs no key is still decided, here as too late");
}
