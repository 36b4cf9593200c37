//! Ready means warm: before the first call is let in, each shard has answered questions the whole
//! way, through the log and back, so that the first payment is as fast as the thousandth.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use tokio::time::Instant;
use tracing::{info, warn};
use twqr_service::{Context, Part};
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, ShardId};
use twqr_wire::convert::encode_query;

use crate::desk::{Desk, Kind};

/// How long one question may take before it is asked again, in ms.
const ANSWER_MS: u64 = 2_000;
/// The merchant of the questions' orders, which nobody has.
const NOBODY: &str = "-";

/// Returns when every shard has answered `rounds` questions.
pub(crate) async fn up(desk: &Arc<Desk>, context: &Context, part: &Part, rounds: u32) {
    let began = Instant::now();
    let shards = desk.shards().0.get();
    for _ in 0..rounds {
        let asked = (0..shards).map(|shard| ask_until_answered(desk, context, part, ShardId(shard)));
        stream::iter(asked).buffer_unordered(usize::from(shards)).collect::<()>().await;
    }
    part.ready();
    info!(shards, rounds, took_ms = began.elapsed().as_millis() as u64, "every shard answers");
}

async fn ask_until_answered(desk: &Arc<Desk>, context: &Context, part: &Part, shard: ShardId) {
    let Some(key) = key_on(desk, shard) else { return };
    loop {
        let until = context.clock.now().plus(ANSWER_MS.cast_signed());
        let Some(mut waiting) = desk.wait(Kind::Call, until) else { return };
        let ack = desk.append(&key, encode_query(context.clock.now(), &key, waiting.reply_to, false));
        let answered = async { ack.await.is_ok() && waiting.replies.recv().await.is_some() };
        if tokio::time::timeout(Duration::from_millis(ANSWER_MS), answered).await == Ok(true) {
            return;
        }
        warn!(shard = shard.0, "a shard does not answer; asking again");
        part.not_ready(format!("shard {} does not answer; is a router running?", shard.0));
        tokio::time::sleep(Duration::from_millis(ANSWER_MS / 10)).await;
    }
}

/// An order that nobody has, on this shard.
fn key_on(desk: &Desk, shard: ShardId) -> Option<OrderKey> {
    let merchant_id = MerchantId::parse(NOBODY.to_owned()).ok()?;
    (0..1_000_000).find_map(|n| {
        let merchant_trade_no = MerchantTradeNo::parse(format!("warm-{n}")).ok()?;
        let key = OrderKey { merchant_id: merchant_id.clone(), merchant_trade_no };
        (key.shard(desk.shards()) == shard).then_some(key)
    })
}
