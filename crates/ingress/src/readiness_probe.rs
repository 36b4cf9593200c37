//! Sends a question through the log to every shard, and waits for the answers before the ingress
//! serves. That opens connections and fills caches, so the first payment is as fast as later ones.
//! If a shard does not answer, the ingress starts to serve the others, and continues to ask that
//! shard.
//!
//! A new system's policy reaches its shards one after another. A shard whose replies name no policy
//! yet is asked again too: the ingress cannot know how to write a payment for it, and nothing else
//! would ask.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::oneshot, time::Instant};
use tracing::{debug, info, warn};
use twqr_service::Part;
use twqr_types::ShardId;

use crate::{
    probe::{ANSWER_WITHIN_MS, Probe},
    router_client::RouterClient,
};

/// The pause after an inquiry without an answer, in ms.
const PAUSE_MS: u64 = ANSWER_WITHIN_MS / 10;
/// How long the ingress waits for further shards once the first one has answered, in ms.
const OTHERS_WITHIN_MS: u64 = 5_000;
/// How often the silent shards are reported, in ms.
const REPORT_MS: u64 = 2_000;
/// How many silent shards are named; further ones are counted.
const NAMED_MAX: usize = 10;
/// What is wrong with the shards that are named after it.
const SILENT: &str = "these shards do not answer, or have no policy yet; check that a router runs";

/// Asks every shard until each has answered `rounds` inquiries and has a policy. Sends `serve` and
/// reports `part` as ready once all have. If some stay silent, it sends `serve`
/// [`OTHERS_WITHIN_MS`] after the first one answered, and reports the part as degraded until the
/// last one answers.
pub(crate) async fn run(router: RouterClient, part: Part, rounds: u32, serve: oneshot::Sender<()>) {
    let began = Instant::now();
    let mut silent: BTreeSet<u16> = (0..router.shards.0.get()).collect();
    let mut probes: FuturesUnordered<_> =
        silent.iter().map(|shard| answers(&router, ShardId(*shard), rounds)).collect();
    let (mut gate, mut others_until) = (Some(serve), None);
    loop {
        tokio::select! {
            biased;
            answered = probes.next() => match answered {
                Some(shard) => {
                    silent.remove(&shard.0);
                    others_until.get_or_insert_with(|| Instant::now() + Duration::from_millis(OTHERS_WITHIN_MS));
                }
                None => break,
            },
            () = tokio::time::sleep(Duration::from_millis(REPORT_MS)) => {
                warn!(silent = named(&silent), "shards do not answer, or have no policy yet; sending further inquiries");
                if others_until.is_some_and(|until| until <= Instant::now()) {
                    open(&mut gate);
                }
                report(&part, &silent, gate.is_none());
            }
        }
    }
    part.ready();
    open(&mut gate);
    info!(shards = router.shards.0, rounds, took_ms = began.elapsed().as_millis() as u64, "every shard answers");
}

fn open(gate: &mut Option<oneshot::Sender<()>>) {
    if let Some(serve) = gate.take() {
        let is_shutdown = serve.send(()).is_err();
        debug!(is_shutdown, "the ingress may serve");
    }
}

fn report(part: &Part, silent: &BTreeSet<u16>, serves: bool) {
    let why = format!("{SILENT}: {}", named(silent));
    if serves { part.degraded(why) } else { part.not_ready(why) }
}

fn named(shards: &BTreeSet<u16>) -> String {
    let names: Vec<_> = shards.iter().take(NAMED_MAX).map(u16::to_string).collect();
    let more = shards.len().saturating_sub(NAMED_MAX);
    names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// Sends inquiries to a shard until it has answered `rounds` of them and its replies name a policy.
/// Returns the shard.
async fn answers(router: &RouterClient, shard: ShardId, rounds: u32) -> ShardId {
    let Some(probe) = Probe::on(shard, router.shards) else { return shard };
    let mut answered = 0;
    while answered < rounds || router.pending.versions.takes_protected_tokens(shard).is_none() {
        let is_answered = probe.is_answered(router).await;
        answered = answered.saturating_add(u32::from(is_answered));
        if !is_answered || answered >= rounds {
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
    }
    shard
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroU16,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use tokio::task::JoinHandle;
    use twqr_journal::{Journal, Partition, Topic};
    use twqr_journal_sim::{Faults, Layout, Sim};
    use twqr_order::{Command, EffectId};
    use twqr_service::{Health, PartState};
    use twqr_types::{PayForm, RawPay, RecordedToken, ShardCount, StatusCode};
    use twqr_wire::convert::{ReplyContent, ReplyRecord, decode_record};

    use super::*;
    use crate::refusal::Refusal;

    /// Answers every inquiry on one shard, as its router does once it has a policy.
    fn answer(sim: &Sim, router: &RouterClient, shard: u32) -> JoinHandle<()> {
        answer_with(sim, router, shard, Arc::new(AtomicBool::new(true)))
    }

    /// The same; the replies name a policy once `has_policy` is set.
    fn answer_with(sim: &Sim, router: &RouterClient, shard: u32, has_policy: Arc<AtomicBool>) -> JoinHandle<()> {
        let (journal, pending) = (sim.session("router"), router.pending.clone());
        tokio::spawn(async move {
            let partition = Partition { topic: Topic::Orders, index: shard };
            let mut reader = journal.reader(partition, 0).await.unwrap();
            loop {
                for record in reader.next(100).await.unwrap() {
                    let Command::Query(query) = decode_record(record.entry.value.unwrap()).unwrap().command else {
                        continue;
                    };
                    let correlation = query.reply_to.correlation;
                    let has_policy = has_policy.load(Ordering::Relaxed);
                    pending.deliver(ReplyRecord {
                        correlation,
                        id: Some(EffectId { shard: ShardId(shard as u16), offset: record.offset, n: 0 }),
                        protocol_version: if has_policy { 2 } else { 0 },
                        in_progress_code: has_policy.then_some(StatusCode::FISC_ABNORMAL),
                        ..ReplyRecord::broadcast(ReplyContent::NotFound)
                    });
                }
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_shard_does_not_keep_the_others_from_being_served() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 1 }, Faults::default(), 7);
        let shards = ShardCount(NonZeroU16::new(2).unwrap());
        let router = RouterClient::on(&sim, shards);
        let health = Health::default();
        let (serve, mut may_serve) = oneshot::channel();
        let probing = tokio::spawn(run(router.clone(), health.deciding_part("ingress"), 3, serve));
        tokio::time::sleep(Duration::from_millis(4 * OTHERS_WITHIN_MS)).await;
        assert!(may_serve.try_recv().is_err() && !health.is_ready(), "no shard answers: {:?}", health.report());
        answer(&sim, &router, 1);
        tokio::time::timeout(Duration::from_millis(4 * OTHERS_WITHIN_MS), may_serve).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(health.report()["ingress"], PartState::Degraded(format!("{SILENT}: 0")));
        assert!(health.is_ready());
        // The router of a silent shard may be of an older build, which cannot read a protected
        // token, and a token in plain text cannot be taken back.
        let (of_silent, of_other) = (payment_on(ShardId(0), shards), payment_on(ShardId(1), shards));
        assert_eq!(router.protect_payment(&of_silent).unwrap_err(), Refusal::NotAccepted);
        assert_eq!(router.protect_cancel(&of_silent).unwrap_err(), Refusal::NotAccepted);
        let is_clear = |form: PayForm| matches!(form.card_token, RecordedToken::Clear(_));
        assert!(is_clear(router.protect_payment(&of_other).unwrap()), "its shard is at version 2");
        answer(&sim, &router, 0);
        probing.await.unwrap();
        assert_eq!(health.report()["ingress"], PartState::Ready);
        assert!(is_clear(router.protect_payment(&of_silent).unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_asked_until_it_has_a_policy_since_no_payment_could_be_written_before() {
        let sim = Sim::new(Layout { shards: 2, task_partitions: 1 }, Faults::default(), 7);
        let shards = ShardCount(NonZeroU16::new(2).unwrap());
        let router = RouterClient::on(&sim, shards);
        let health = Health::default();
        let (serve, may_serve) = oneshot::channel();
        let has_policy = Arc::new(AtomicBool::new(false));
        answer(&sim, &router, 0);
        answer_with(&sim, &router, 1, has_policy.clone());
        let probing = tokio::spawn(run(router.clone(), health.deciding_part("ingress"), 3, serve));
        tokio::time::timeout(Duration::from_millis(4 * OTHERS_WITHIN_MS), may_serve).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(10 * REPORT_MS)).await;
        assert_eq!(health.report()["ingress"], PartState::Degraded(format!("{SILENT}: 1")));
        let payment = payment_on(ShardId(1), shards);
        assert_eq!(router.protect_payment(&payment).unwrap_err(), Refusal::NotAccepted);
        has_policy.store(true, Ordering::Relaxed);
        probing.await.unwrap();
        assert_eq!(health.report()["ingress"], PartState::Ready);
        assert!(router.protect_payment(&payment).is_ok());
    }

    /// A payment whose order is on this shard.
    fn payment_on(shard: ShardId, shards: ShardCount) -> PayForm {
        let payment = |number: u32| {
            let raw = RawPay {
                merchant_id: "M1".into(),
                merchant_trade_no: number.to_string(),
                store_id: "S1".into(),
                card_token: "22abcdefghijklmnop".into(),
                trade_amount: 120,
                ..RawPay::default()
            };
            PayForm::parse(raw).unwrap()
        };
        (0..1_000).map(payment).find(|form| form.key.shard(shards) == shard).unwrap()
    }
}
