//! The ingress becomes ready only when every shard has answered inquiries through the log and back.
//! That opens connections and fills caches, so the first payment is as fast as any later one.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::time::Instant;
use tracing::{info, warn};
use twqr_service::Part;
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, ShardCount, ShardId};
use twqr_wire::convert::encode_query;

use crate::{metrics::CallKind, router_client::RouterClient};

/// How long one inquiry may take before the next one is sent, in ms.
const ANSWER_WITHIN_MS: u64 = 2_000;
/// The pause after an inquiry without an answer, in ms.
const PAUSE_MS: u64 = ANSWER_WITHIN_MS / 10;
/// The MerchantID of the probes. No merchant has it, so the orders do not exist.
const PROBE_MERCHANT: &str = "-";
/// How many numbers are tried to find one on a given shard. Even with 65,535 shards, a million
/// numbers miss a given shard with a probability below one in a million.
const NUMBERS_MAX: u32 = 1_000_000;

/// Waits until every shard has answered `rounds` inquiries, and reports `part` as ready.
pub(crate) async fn run(router: &RouterClient, part: &Part, rounds: u32) {
    let began = Instant::now();
    let shards = router.shards.0.get();
    for _ in 0..rounds {
        let probes = (0..shards).map(|shard| probe(router, part, ShardId(shard)));
        stream::iter(probes).buffer_unordered(usize::from(shards)).collect::<()>().await;
    }
    part.ready();
    info!(shards, rounds, took_ms = began.elapsed().as_millis() as u64, "every shard answers");
}

/// Sends inquiries to a shard until it answers one.
async fn probe(router: &RouterClient, part: &Part, shard: ShardId) {
    let Some(key) = key_on(shard, router.shards) else { return };
    loop {
        let now = router.clock.now();
        let Some(mut call) = router.pending.open(CallKind::Call, now.plus(ANSWER_WITHIN_MS.cast_signed())) else {
            return;
        };
        let ack = router.append(&key, encode_query(now, &key, call.reply_to, false));
        let answered = async { ack.await.is_ok() && call.replies.recv().await.is_some() };
        if tokio::time::timeout(Duration::from_millis(ANSWER_WITHIN_MS), answered).await == Ok(true) {
            return;
        }
        warn!(shard = shard.0, "a shard does not answer; sending another inquiry");
        part.not_ready(format!("shard {} does not answer; is a router running?", shard.0));
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
}

/// The key of an order on this shard that does not exist.
fn key_on(shard: ShardId, shards: ShardCount) -> Option<OrderKey> {
    let merchant_id = MerchantId::parse(PROBE_MERCHANT.to_owned()).ok()?;
    (0..NUMBERS_MAX).find_map(|n| {
        let merchant_trade_no = MerchantTradeNo::parse(format!("warm-{n}")).ok()?;
        let key = OrderKey { merchant_id: merchant_id.clone(), merchant_trade_no };
        (key.shard(shards) == shard).then_some(key)
    })
}
