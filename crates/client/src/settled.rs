//! Reads settled movements from the operators' API, as entries of the accounting file.

use anyhow::{Context as _, bail};
use twqr_settlement::{Entry, Kind};
use twqr_types::{Issuer, UnixMs};
use twqr_wire::ops::{ListSettlementRequest, SettlementEntry, settlement_entry::Kind as WireKind};

use crate::connect;

/// A range of time in the books.
#[derive(Clone, Copy, Debug)]
pub struct BooksRange {
    /// The first ms of the range.
    pub from: UnixMs,
    /// The first ms after the range.
    pub to: UnixMs,
    /// Close the books up to `to` first, so that the range never changes again.
    pub close: bool,
}

/// Returns every movement that counts in the range, of one merchant or, if `merchant_id` is empty,
/// of all. Fails if the range is over but the read model lacks records of it, and if the range is
/// to be closed but cannot be yet.
pub async fn settled(endpoint: &str, range: BooksRange, merchant_id: &str) -> anyhow::Result<Vec<Entry>> {
    let mut client = connect::operators(endpoint).await?;
    let request = ListSettlementRequest {
        from_ms: range.from.0,
        to_ms: range.to.0,
        merchant_id: merchant_id.to_owned(),
        close: range.close,
    };
    let refused = || format!("cannot read the settled movements from {endpoint}");
    let mut stream = client.list_settlement(request).await.with_context(refused)?.into_inner();
    let mut entries = Vec::new();
    while let Some(response) = stream.message().await.with_context(refused)? {
        let entry = response.entry.with_context(|| format!("{endpoint} sent an empty entry"))?;
        entries.push(entry_from(entry)?);
    }
    Ok(entries)
}

fn entry_from(entry: SettlementEntry) -> anyhow::Result<Entry> {
    let place = format!("the entry of {}", entry.trade_no);
    let kind = match entry.kind() {
        WireKind::Payment => Kind::Payment,
        WireKind::Refund => Kind::Refund,
        WireKind::Cancel => Kind::Cancel,
        WireKind::Unspecified => bail!("{place} has a kind that this build does not know; upgrade twqr"),
    };
    Ok(Entry {
        kind,
        issuer: Issuer::from_wire(&entry.institution).with_context(|| place.clone())?,
        payment_type: u8::try_from(entry.payment_type).with_context(|| format!("{place}: payment_type"))?,
        merchant_id: entry.merchant_id.into(),
        store_id: entry.store_id.into(),
        gateway_trade_no: entry.gateway_trade_no.into(),
        merchant_trade_no: entry.merchant_trade_no.into(),
        pos_id: entry.pos_id.into(),
        trade_no: entry.trade_no.into(),
        refund_trade_no: entry.refund_trade_no.into(),
        trade_amount: entry.trade_amount,
        debit_amount: entry.debit_amount,
        redeem_amount: entry.redeem_amount,
        store_redeem_amount: entry.store_redeem_amount,
        accepted_at: UnixMs(entry.accepted_at_ms),
        settled_at: UnixMs(entry.settled_at_ms),
        // An earlier build of the tracker does not send it.
        booked_at: UnixMs(entry.booked_at_ms.max(entry.settled_at_ms)),
    })
}
