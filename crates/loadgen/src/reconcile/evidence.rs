//! The evidence of a reconciliation: an inquiry about every order of a run, and the ledger's
//! entries under the run's numbers. Both are reduced while they arrive.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::time::Instant;
use tonic::transport::Channel;
use twqr_wire::{
    backend::{ListEntriesRequest, ledger_entry::Kind, ledger_service_client::LedgerServiceClient},
    pos::{InquiryType, OrderStatus, QueryRequest, QueryResponse, pos_service_client::PosServiceClient},
};

use crate::{
    KeyedChannel,
    generator::RecordedRun,
    traffic::{CallKind, MerchantList, trade_no},
};

/// Inquiries in flight at once.
const AT_ONCE: usize = 64;
/// The deadline of an inquiry, and the pause before orders in progress are asked about again.
const INQUIRY_S: u64 = 10;
const PAUSE_MS: u64 = 300;

/// The state of an order, as an inquiry answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InquiredOrder {
    /// The order's status; `None` if there is no such order.
    pub status: Option<OrderStatus>,
    /// The StatusCode of the payment or refund.
    pub code: [u8; 3],
    /// Its DebitAmount in TWD.
    pub debit: i64,
}

impl InquiredOrder {
    /// The StatusCode as text.
    pub fn code_text(&self) -> String {
        String::from_utf8_lossy(&self.code).into_owned()
    }

    fn of(answer: &QueryResponse) -> Self {
        let status = answer.order_status.and_then(|status| OrderStatus::try_from(status).ok());
        let (code, debit) = match (&answer.payment, &answer.refund) {
            (Some(payment), _) => (payment.status_code.as_str(), payment.debit_amount),
            (None, Some(refund)) => (refund.status_code.as_str(), refund.debit_amount),
            (None, None) => ("", 0),
        };
        Self { status, code: code.as_bytes().first_chunk::<3>().copied().unwrap_or_default(), debit }
    }
}

/// The ledger's entries under one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCount {
    /// How often the number was charged.
    pub charges: u32,
    /// The charged amount, in TWD.
    pub charged: i64,
    /// Refunds under this number, which is then the refund's own.
    pub refunds: u32,
    /// The amount of these refunds, in TWD.
    pub refunded: i64,
    /// Reversals of the charge.
    pub reversals: u32,
    /// The amount that reversals returned, in TWD.
    pub reversed: i64,
    /// When it was charged, in ms since 1970.
    pub charged_at_ms: i64,
}

/// The ledger's entries of a run, by the number behind the run's name.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Counts by number.
    pub counts: HashMap<u64, LedgerCount>,
}

/// Reads the ledger's entries of a run.
pub async fn read_ledger(channel: Channel, run: &str) -> Result<Ledger, tonic::Status> {
    let mut stream = LedgerServiceClient::new(channel).list_entries(ListEntriesRequest {}).await?.into_inner();
    let mut ledger = Ledger::default();
    while let Some(response) = stream.message().await? {
        let Some(entry) = response.entry else { continue };
        let number = entry.merchant_trade_no.strip_prefix(run).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        let Some(number) = number else { continue };
        let kind = entry.kind();
        if !matches!(kind, Kind::Charged | Kind::Refunded | Kind::Reversed) {
            continue;
        }
        let count = ledger.counts.entry(number).or_default();
        if kind == Kind::Charged {
            count.charges += 1;
            count.charged = entry.debit_amount;
            count.charged_at_ms = entry.at_ms;
        }
        if kind == Kind::Refunded {
            count.refunds += 1;
            count.refunded += entry.trade_amount;
        }
        if kind == Kind::Reversed {
            count.reversals += 1;
            count.reversed += entry.debit_amount;
        }
    }
    Ok(ledger)
}

/// Inquires about every payment and refund of the run until it is final, for at most `patience`.
/// An order that could not be inquired about is absent from the result.
pub async fn inquire(
    pos: &PosServiceClient<KeyedChannel>,
    recorded: &RecordedRun,
    merchants: &MerchantList,
    patience: Duration,
) -> HashMap<u64, InquiredOrder> {
    let mut seen = HashSet::new();
    let mut open = Vec::new();
    for record in &recorded.records {
        let (number, kind) = match record.kind {
            CallKind::Refund => (record.refund, InquiryType::Refund),
            CallKind::Pay | CallKind::Repeat | CallKind::Invalid | CallKind::Cancel => {
                (record.order, InquiryType::Payment)
            }
            CallKind::Conflict | CallKind::Inquiry => continue,
        };
        if seen.insert(number) {
            open.push((number, record.merchant, kind));
        }
    }
    let mut found = HashMap::with_capacity(open.len());
    let until = Instant::now() + patience;
    loop {
        let ask = |(number, merchant, kind): (u64, u32, InquiryType)| {
            let request = QueryRequest {
                inquiry_type: kind.into(),
                merchant_id: merchants.id(merchant).to_owned(),
                merchant_trade_no: trade_no(&recorded.run, number),
                ..QueryRequest::default()
            };
            let mut client = pos.clone();
            async move {
                let mut request = tonic::Request::new(request);
                request.set_timeout(Duration::from_secs(INQUIRY_S));
                ((number, merchant, kind), client.query(request).await.ok())
            }
        };
        let mut answers = stream::iter(std::mem::take(&mut open)).map(ask).buffer_unordered(AT_ONCE);
        while let Some((order, answer)) = answers.next().await {
            let inquired = answer.map(|answer| InquiredOrder::of(answer.get_ref()));
            if inquired.is_none_or(|inquired| inquired.status == Some(OrderStatus::InProgress)) {
                open.push(order);
            }
            if let Some(inquired) = inquired {
                found.insert(order.0, inquired);
            }
        }
        if open.is_empty() || Instant::now() >= until {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
}
