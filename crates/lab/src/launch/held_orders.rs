//! Orders that a system holds before its services start: the states of paid payments, written to
//! `order-states` as an earlier router would have left them. The services restore them like any
//! others.

use std::{collections::BTreeMap, num::NonZeroU16};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use twqr_client::ProgressBar;
use twqr_config::Config;
use twqr_journal::{Entry, Journal, Partition, Topic, embedded::EmbeddedJournal, kafka::KafkaJournal};
use twqr_loadgen::{
    KeyedChannel,
    traffic::{payment_query, trade_no},
};
use twqr_order::{
    Alphabet, Approval, Command, Effect, MovementOutcome, Order, Outcome, Pay, PaymentType, Policy, Position, Record,
    Route, RouteTarget, TaskResult, apply,
};
use twqr_types::{Issuer, PayForm, RawPay, ShardCount, ShardId, UnixMs};
use twqr_wire::{
    convert::{StateBody, StatesEntry, encode_state},
    pos::{OrderStatus, pos_service_client::PosServiceClient},
};

/// The beginning of the orders' MerchantTradeNos, and the number of their merchants.
const RUN: &str = "held";
const MERCHANTS: u64 = 1_000;
/// How many states are appended at once for each shard.
const APPENDED_AT_ONCE: u64 = 1_024;
/// When the orders were paid.
const PAID_AT: UnixMs = UnixMs(1_790_000_000_000);

/// Writes the states of `orders` paid payments to the journal that the configuration names. No
/// other process may use an embedded one meanwhile. Returns their length in bytes.
pub(crate) async fn write(config: &Config, orders: u64) -> anyhow::Result<u64> {
    if config.kafka.bootstrap.is_empty() {
        let journal = EmbeddedJournal::open(config.embedded(config.data_dir.join("journal")))?;
        let written = append(&*journal, orders).await;
        Journal::close(&*journal).await;
        return written;
    }
    let journal = KafkaJournal::connect(config.kafka.settings()?, "held-orders").await?;
    let written = append(&*journal, orders).await;
    journal.close().await;
    written
}

/// Appends the states to a journal, each to the shard of its order. Returns their length in bytes.
pub(crate) async fn append(journal: &impl Journal, orders: u64) -> anyhow::Result<u64> {
    let shards = NonZeroU16::try_from(u16::try_from(journal.partitions(Topic::OrderStates))?).map(ShardCount)?;
    let policy = policy();
    let mut bytes = 0;
    let mut progress = ProgressBar::start("orders", orders);
    let round = APPENDED_AT_ONCE * u64::from(shards.0.get());
    for begun in (0..orders).step_by(usize::try_from(round)?) {
        let mut batches: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
        for number in begun..orders.min(begun + round) {
            let (shard, entry) = paid(&policy, shards, number)?;
            batches.entry(u32::from(shard.0)).or_default().push(entry);
        }
        let sizes = batches.values().flatten().map(|entry| entry.byte_len() as u64);
        bytes += sizes.sum::<u64>();
        let append = |(index, entries)| journal.append(Partition { topic: Topic::OrderStates, index }, entries);
        try_join_all(batches.into_iter().map(append)).await?;
        progress.set(orders.min(begun + round), "");
    }
    progress.finish("were written");
    Ok(bytes)
}

/// Fails if the system does not hold the first and the last of so many orders.
pub(crate) async fn check(mut client: PosServiceClient<KeyedChannel>, orders: u64) -> anyhow::Result<()> {
    for number in [0, orders.saturating_sub(1)] {
        let answer = client.query(payment_query(&merchant(number), &trade_no(RUN, number))).await?.into_inner();
        let is_paid = answer.order_status == Some(OrderStatus::Paid.into());
        ensure!(
            is_paid,
            "the order {} was written, but an inquiry does not find it paid: {answer:?}",
            trade_no(RUN, number)
        );
    }
    Ok(())
}

fn merchant(number: u64) -> String {
    format!("H{}", number % MERCHANTS)
}

/// A policy that sends every payment to the wallet.
fn policy() -> Policy {
    let route = Route {
        prefix: "22".into(),
        target: RouteTarget::Issuer(Issuer::Wallet),
        code_lengths: vec![18],
        alphabet: Alphabet::Printable,
    };
    Policy { routes: vec![route], ..Policy::default() }
}

/// The shard and the state of a paid payment.
fn paid(policy: &Policy, shards: ShardCount, number: u64) -> anyhow::Result<(ShardId, Entry)> {
    let order = order(policy, shards, number)?;
    let shard = order.key().shard(shards);
    let (key, value) = encode_state(&StatesEntry { epoch: 0, position: 1, body: StateBody::Order(Box::new(order)) });
    Ok((shard, Entry { key, value: Some(value) }))
}

fn order(policy: &Policy, shards: ShardCount, number: u64) -> anyhow::Result<Order> {
    let raw = RawPay {
        merchant_id: merchant(number),
        merchant_trade_no: trade_no(RUN, number),
        store_id: "STORE1".into(),
        pos_id: "POS1".into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 100,
        ..RawPay::default()
    };
    let form = PayForm::parse(raw).map_err(|faults| anyhow::anyhow!("the form is refused: {faults}"))?;
    let shard = form.key.shard(shards);
    let (mut order, mut effects) = (None, Vec::new());
    let mut take = |command, offset, effects: &mut Vec<Effect>| {
        let record = Record { at: PAID_AT, signed_by: None, nonce: None, command };
        apply(&mut order, &record, Position { shard, offset }, Some(policy), effects);
    };
    take(Command::Pay(Box::new(Pay { form, reply_to: None })), number, &mut effects);
    let task = effects.iter().find_map(|effect| match effect {
        Effect::Task(task) => Some((task.key.clone(), task.id)),
        Effect::Reply(_) | Effect::Forward(_) => None,
    });
    let (key, task) = task.context("the payment has no task")?;
    let movement = MovementOutcome::Charge(TaskResult::Done(approval()));
    take(Command::Outcome(Box::new(Outcome { key, task, movement })), number + 1, &mut effects);
    order.context("the payment was not stored")
}

fn approval() -> Approval {
    Approval {
        payment_type: PaymentType::StoredValue,
        debit_amount: 100,
        redeem_name: "".into(),
        redeem_amount: 0,
        store_redeem_amount: 0,
        invoice_vehicle: "/ABC1234".into(),
        mer_mem_token: "".into(),
        card_name: "".into(),
        card_no_masked: "".into(),
        issuer_trade_no: "W0123456789012345678".into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn held_orders_are_paid_and_each_has_a_number_of_its_own() {
        let (policy, shards) = (policy(), ShardCount(NonZeroU16::new(4).unwrap()));
        let orders: Vec<Order> = (0..50).map(|number| order(&policy, shards, number).unwrap()).collect();
        assert!(orders.iter().all(|order| order.due_at().is_none()), "nothing is left to be done");
        let entries: Vec<_> = (0..50).map(|number| paid(&policy, shards, number).unwrap()).collect();
        let keys: BTreeSet<_> = entries.iter().map(|(_, entry)| &entry.key).collect();
        let shards: BTreeSet<_> = entries.iter().map(|(shard, _)| shard).collect();
        assert_eq!((keys.len(), shards.len()), (orders.len(), 4));
    }

    #[tokio::test]
    async fn as_many_states_are_written_as_orders_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
        let bytes = write(&config, 2_500).await.unwrap();
        assert!(bytes > 2_500 * 100, "{bytes}");
        let journal = EmbeddedJournal::open(config.embedded(config.data_dir.join("journal"))).unwrap();
        let mut written = 0;
        for index in 0..journal.partitions(Topic::OrderStates) {
            written += journal.end(Partition { topic: Topic::OrderStates, index }).await.unwrap();
        }
        assert_eq!(written, 2_500);
    }
}
