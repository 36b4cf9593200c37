//! An inquiry about an order that does not exist, to learn whether and when a shard answers. It
//! goes through the log like every record, so it is answered after all records before it.

use std::time::Duration;

use tokio::time::Instant;
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey, ShardCount, ShardId};
use twqr_wire::convert::encode_query;

use crate::{metrics::CallKind, router_client::RouterClient};

/// How long one probe may take until it counts as unanswered, in ms.
pub(crate) const ANSWER_WITHIN_MS: u64 = 2_000;
/// For how long after such a question a shard is not asked again whether it knows nonces.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The MerchantID of the probes. No merchant has it, so the orders do not exist.
const PROBE_MERCHANT: &str = "-";
/// How many numbers are tried to find one on a given shard. Even with 65,535 shards, a million
/// numbers miss a given shard with a probability below one in a million.
const NUMBERS_MAX: u32 = 1_000_000;

/// A probe of one shard.
pub(crate) struct Probe(OrderKey);

impl Probe {
    /// The probe of a shard.
    pub(crate) fn on(shard: ShardId, shards: ShardCount) -> Option<Self> {
        let merchant_id = MerchantId::parse(PROBE_MERCHANT.to_owned()).ok()?;
        (0..NUMBERS_MAX).find_map(|n| {
            let merchant_trade_no = MerchantTradeNo::parse(format!("warm-{n}")).ok()?;
            let key = OrderKey { merchant_id: merchant_id.clone(), merchant_trade_no };
            (key.shard(shards) == shard).then_some(Self(key))
        })
    }

    /// Appends the inquiry. Returns whether the shard answered it within [`ANSWER_WITHIN_MS`].
    pub(crate) async fn is_answered(&self, router: &RouterClient) -> bool {
        let now = router.clock.now();
        let until = now.plus(ANSWER_WITHIN_MS.cast_signed());
        let Some(mut call) = router.pending.open(CallKind::Probe, until, None) else { return false };
        let ack = router.append(&self.0, encode_query(now, &self.0, call.reply_to, false));
        let answered = async { ack.await.is_ok() && call.replies.recv().await.is_some() };
        tokio::time::timeout(Duration::from_millis(ANSWER_WITHIN_MS), answered).await == Ok(true)
    }
}

/// Whether the shard refuses a request whose nonce was used before. If no reply of it has said so
/// yet, it is asked. However many calls want to know, a shard has one such question at a time, and
/// none within [`ASK_AGAIN_AFTER`] of the last: a silent shard costs neither memory nor records.
pub(crate) async fn has_nonces(router: &RouterClient, shard: ShardId) -> bool {
    let versions = &router.pending.versions;
    if versions.has_nonces(shard) {
        return true;
    }
    let Some(asked) = versions.asked(shard) else { return false };
    let mut asked_at = asked.lock().await;
    let may_ask = asked_at.is_none_or(|at| at.elapsed() >= ASK_AGAIN_AFTER);
    if may_ask && !versions.has_nonces(shard) {
        // Noted first, too: the caller may give up while the shard is silent.
        *asked_at = Some(Instant::now());
        if let Some(probe) = Probe::on(shard, router.shards) {
            probe.is_answered(router).await;
        }
        *asked_at = Some(Instant::now());
    }
    versions.has_nonces(shard)
}

#[cfg(test)]
mod tests;
