//! A record of each kind for each topic of the log.

use std::sync::Arc;

use twqr_callers::{Caller, CallerChange};
use twqr_config::CallerDocument;
use twqr_order::{
    Alive, Alphabet, CancelRequest, Command, Effect, EffectId, Evidence, Failure, HoldRecord, Listing, ListingChange,
    ListingKey, ListingVersions, MerchantListing, MovementOutcome, Nonce, Order, Outcome, POLICY_SHARD, Pay, Policy,
    PolicyChange, PolicyVersions, Position, Process, Query, Record, RefundRequest, RefundResult, ReplyTo, Reserve,
    Route, RouteTarget, StatusCodes, StoreListing, Target, Task, TaskResult, apply,
};
use twqr_types::{
    Issuer, KeyName, MerchantId, OrderKey, PayForm, RawPay, RawRefund, RefundForm, ShardId, StoreId, TradeNo, UnixMs,
};
use twqr_wire::convert::{ReplyContent, ReplyRecord, StateBody, StatesEntry, decode_reply, encode_reply};

/// When the records are written.
pub(super) const AT: UnixMs = UnixMs(1_790_000_000_000);
/// The identity of a task.
pub(super) const TASK: EffectId = EffectId { shard: ShardId(0), offset: 0, n: 0 };
/// A caller, as its document has it.
const CALLER: &str = "name = \"pos\"\nmerchants = [\"M1\"]\noperations = [\"pay\", \"query\"]\n\
    certificates = [\"pos.example\"]\ncalls_max = 5\n";

/// The values from which the records of all topics are made.
pub(super) struct Seeds {
    /// A record of `orders` of each kind.
    pub(super) records: Vec<Record>,
    /// The order that those about the payment make.
    pub(super) order: Option<Order>,
    /// The effects of the records.
    effects: Vec<Effect>,
    /// A change of a merchant and of a store.
    pub(super) listings: [ListingChange; 2],
    pub(super) versions: PolicyVersions,
    /// The number of the payment.
    pub(super) trade_no: TradeNo,
    caller: Caller,
}

impl Seeds {
    /// Absent only if a value that is written here is not valid.
    pub(super) fn make() -> Option<Self> {
        let (pay, trade_no) = (pay_form()?, TradeNo::new(ShardId(0), 0, AT));
        let listings = listings()?;
        let records = records(&pay, &refund_form(trade_no)?, &listings);
        let (mut order, mut effects, policy) = (None, Vec::new(), policy());
        let about_payment = |(_, record): &(u64, &Record)| record.command.target() == Some(Target::Key(&pay.key));
        for (offset, record) in (0..).zip(&records).filter(about_payment) {
            apply(&mut order, record, Position { shard: ShardId(0), offset }, Some(&policy), &mut effects);
        }
        let mut versions = PolicyVersions::default();
        versions.take(POLICY_SHARD, 1, Arc::new(policy_change()));
        let caller = CallerDocument::parse(CALLER).ok()?;
        Some(Self { records, order, effects, listings, versions, trade_no, caller })
    }

    /// A record of `replies` of each kind.
    pub(super) fn replies(&self) -> Vec<ReplyRecord> {
        let key = self.order.as_ref().map(Order::key).cloned();
        let contents = [
            ReplyContent::NotFound,
            ReplyContent::Conflict(vec!["TradeAmount".to_owned()]),
            ReplyContent::TooManyWatchers,
            ReplyContent::KeyRefused,
            ReplyContent::Replayed,
            ReplyContent::RulesChanged,
            ReplyContent::Empty,
        ];
        let contents = contents.into_iter().chain(key.map(ReplyContent::Forget));
        let sent = self.effects.iter().filter_map(|effect| match effect {
            Effect::Reply(reply) => decode_reply(encode_reply(reply, self.order.as_ref(), Some(&policy()))).ok(),
            Effect::Task(_) | Effect::Forward(_) => None,
        });
        contents.map(ReplyRecord::broadcast).chain(sent).collect()
    }

    /// A record of `order-states` of each kind.
    pub(super) fn states(&self) -> Vec<StatesEntry> {
        let mut listing = ListingVersions::default();
        listing.take(POLICY_SHARD, 2, Arc::new(self.listings[0].clone()));
        let bodies = [
            StateBody::Policies(self.versions.clone()),
            StateBody::Listing(listing),
            StateBody::Marker,
            StateBody::Beginning { number: 7, newest: Some(3) },
        ];
        let orders = self.order.iter().map(|order| StateBody::Order(Box::new(order.clone())));
        orders.chain(bodies).map(|body| StatesEntry { epoch: 5, position: 9, body }).collect()
    }

    /// The tasks that the records cause.
    pub(super) fn tasks(&self) -> Vec<Task> {
        let task = |effect: &Effect| match effect {
            Effect::Task(task) => Some(task.clone()),
            Effect::Reply(_) | Effect::Forward(_) => None,
        };
        self.effects.iter().filter_map(task).collect()
    }

    /// A caller that is changed, and one that is taken out.
    pub(super) fn callers(&self) -> [CallerChange; 2] {
        [Some(Arc::new(self.caller.clone())), None].map(|caller| CallerChange {
            is_whole: true,
            name: self.caller.name.clone(),
            version: 1,
            caller,
            who: "alice".into(),
            why: "a seed".into(),
            at: AT,
        })
    }
}

fn pay_form() -> Option<PayForm> {
    let raw = RawPay {
        merchant_id: "M1".into(),
        merchant_trade_no: "T1".into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 120,
        send_time: "20250310090807".into(),
        ..RawPay::default()
    };
    PayForm::parse(raw).ok()
}

fn refund_form(payment: TradeNo) -> Option<RefundForm> {
    let raw = RawRefund {
        merchant_id: "M1".into(),
        merchant_trade_no: "R1".into(),
        trade_no: payment.to_string(),
        trade_amount: 20,
        ..RawRefund::default()
    };
    RefundForm::parse(raw).ok()
}

/// A hold record of each kind.
pub(super) fn holds() -> [HoldRecord; 5] {
    let by = || Process { name: "router-0".into(), nonce: 6 };
    [
        HoldRecord::Claim { owner: "router-0".into(), nonce: 5, replaces: Some(3) },
        HoldRecord::Release { claim: 3 },
        HoldRecord::Intent(by()),
        HoldRecord::Alive(Alive { claim: 3, position: 4, by: by(), is_leaving: false, protocol_known: 3 }),
        HoldRecord::Doubt(by()),
    ]
}

/// A record of each kind that a caller, a router, a worker or an operator causes.
fn records(form: &PayForm, refund: &RefundForm, listings: &[ListingChange; 2]) -> Vec<Record> {
    let reply_to = ReplyTo { partition: 1, correlation: 7, until: AT };
    let reserve = Reserve {
        payment: TradeNo::new(ShardId(0), 0, AT),
        refund: refund.key.clone(),
        trade_no: TradeNo::new(ShardId(0), 1, AT),
        amount: refund.trade_amount,
        store_id: refund.store_id.clone(),
        store_name: refund.store_name.clone(),
        pos_id: refund.pos_id.clone(),
        remark: refund.remark.clone(),
    };
    let failure = Failure {
        evidence: Evidence::Declined,
        status_code: StatusCodes::default().fisc_abnormal,
        status_desc: "the issuer refused".into(),
    };
    let mut commands = vec![
        Command::Pay(Box::new(Pay { form: form.clone(), reply_to: Some(reply_to) })),
        Command::Query(Query { key: form.key.clone(), reply_to, watch: true, keep: false }),
        Command::Refund(Box::new(RefundRequest { form: refund.clone(), reply_to: Some(reply_to) })),
        Command::Reserve(Box::new(reserve)),
        Command::RefundResult(Box::new(RefundResult { key: refund.key.clone(), result: Err(failure) })),
        Command::Cancel(Box::new(CancelRequest { form: form.clone(), reply_to: Some(reply_to) })),
        Command::Due(form.key.clone()),
        Command::CloseBooks(AT),
        Command::Policy(Box::new(policy_change())),
        Command::Outcome(Box::new(outcome(&form.key))),
    ];
    commands.extend(listings.iter().map(|change| Command::Listing(Box::new(change.clone()))));
    commands.extend(holds().map(Command::Hold));
    let nonce = Nonce { digest: [7; Nonce::LEN], until: AT };
    let record = |command| Record { at: AT, signed_by: key_name(), nonce: Some(nonce), command };
    commands.into_iter().map(record).collect()
}

fn key_name() -> Option<KeyName> {
    KeyName::parse("2026-07".to_owned()).ok()
}

fn policy_change() -> PolicyChange {
    PolicyChange { version: 1, policy: policy(), who: "alice".into(), why: "a seed".into(), at: AT }
}

/// Rules by which the payment is accepted.
pub(super) fn policy() -> Policy {
    let target = RouteTarget::Issuer(Issuer::Wallet);
    let alphabet = Alphabet::Printable;
    let route = Route { prefix: "22".into(), target, code_lengths: vec![18], alphabet };
    Policy { routes: vec![route], ..Policy::default() }
}

fn listings() -> Option<[ListingChange; 2]> {
    let merchant = MerchantId::parse("M1".to_owned()).ok()?;
    let store = StoreId::parse("S1".to_owned()).ok()?;
    let listing =
        MerchantListing { keys: vec![key_name()?], payment_max: Some(900), is_open: true, takes_any_store: false };
    let change = |key, listing| ListingChange {
        key,
        version: 1,
        listing: Some(listing),
        who: "alice".into(),
        why: "a seed".into(),
        at: AT,
    };
    Some([
        change(ListingKey { merchant_id: merchant.clone(), store_id: None }, Listing::Merchant(listing)),
        change(
            ListingKey { merchant_id: merchant, store_id: Some(store) },
            Listing::Store(StoreListing { payment_max: None, is_open: false }),
        ),
    ])
}

fn outcome(key: &OrderKey) -> Outcome {
    let movement = MovementOutcome::Charge(TaskResult::Unknown("no answer".into()));
    Outcome { key: key.clone(), task: TASK, movement }
}
