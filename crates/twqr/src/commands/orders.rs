//! `twqr orders`: lists orders from the operators' API, for example those that need an operator.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use twqr_config::Config;
use twqr_files::{is_stdout_closed, print_error_line, print_line};
use twqr_order::{Attention, Order, RefundPhase};
use twqr_types::UnixMs;
use twqr_wire::{
    convert::order_from,
    ops::{ListOrdersRequest, UnreadableOrder},
};

/// The arguments of `twqr orders`.
#[derive(Debug, Args)]
pub(crate) struct Orders {
    /// Only orders that need an operator: the issuer refused to reverse a charge that was reported
    /// as failed, or a result is missing for more than an hour
    #[arg(long)]
    attention: bool,
    /// Only orders in progress
    #[arg(long)]
    in_progress: bool,
    /// Only orders whose issuer contradicted a final state
    #[arg(long)]
    contradicted: bool,
    /// Only this merchant's orders (MerchantID)
    #[arg(long, default_value = "")]
    merchant: String,
    /// The maximum number of orders to print, the oldest first
    #[arg(long, default_value_t = 1_000)]
    max: usize,
    /// The operators' API; the configured one by default
    #[arg(long, value_name = "URI")]
    endpoint: Option<String>,
}

/// The largest page of the operators' API.
const PAGE_SIZE: i32 = 1_000;

/// Prints one JSON line for each order. Exit code 1 if an order cannot be read: it is named on
/// standard error.
pub(crate) async fn run(arguments: Orders, config: &Config) -> anyhow::Result<ExitCode> {
    let endpoint = config.operators_endpoint(arguments.endpoint.as_deref());
    let mut operators = twqr_client::operators(&endpoint).await?;
    let mut request = ListOrdersRequest {
        page_size: PAGE_SIZE,
        in_progress_only: arguments.in_progress,
        contradicted_only: arguments.contradicted,
        attention_only: arguments.attention,
        merchant_id: arguments.merchant,
        ..ListOrdersRequest::default()
    };
    let (mut left, mut code) = (arguments.max, ExitCode::SUCCESS);
    while left > 0 && !is_stdout_closed() {
        let refused = || format!("cannot list the orders of {endpoint}");
        let page = operators.list_orders(request.clone()).await.with_context(refused)?.into_inner();
        for order in page.orders.into_iter().take(left) {
            print_line(line(&order_from(order).with_context(refused)?))?;
            left -= 1;
        }
        for UnreadableOrder { merchant_id, merchant_trade_no, reason } in page.unreadable {
            code = ExitCode::FAILURE;
            print_error_line(format_args!("order {merchant_id}/{merchant_trade_no} cannot be read: {reason}"));
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    Ok(code)
}

fn line(order: &Order) -> Value {
    let time = |at: Option<UnixMs>| at.map_or_else(String::new, UnixMs::taipei);
    let (amount, issuer) = match order {
        Order::Payment(payment) => (payment.terms.trade_amount.twd(), payment.issuer),
        Order::Refund(refund) => (refund.terms.trade_amount.twd(), None),
        Order::EarlyCancel(cancel) => (cancel.trade_amount, None),
    };
    json!({
        "MerchantID": order.key().merchant_id.as_str(),
        "MerchantTradeNo": order.key().merchant_trade_no.as_str(),
        "TradeNo": order.trade_no().map_or_else(String::new, |number| number.to_string()),
        "TradeAmount": amount,
        "Institution": issuer.as_ref().map_or("", |issuer| issuer.as_wire()),
        "Accepted": time(Some(order.accepted_at())),
        "Changed": time(Some(order.changed_at())),
        "NextCheck": time(order.wake_at()),
        "Attention": order.attention().map_or_else(String::new, |attention| reason(order, attention)),
        "Contradiction": order.contradiction().unwrap_or_default(),
    })
}

/// The reason why the order needs an operator, and what to do.
fn reason(order: &Order, attention: Attention) -> String {
    let cancel = order.as_payment().and_then(|payment| payment.cancel.as_ref());
    match attention {
        Attention::ReversalRefused => {
            let refusal = cancel.and_then(|cancel| cancel.last_refusal.as_ref().or(cancel.refusal()));
            let refusal = refusal
                .map_or_else(String::new, |refusal| format!(" ({} {})", refusal.status_code, refusal.status_desc));
            format!(
                "the customer is charged for a failed payment, and the issuer refused to reverse it{refusal}; ask it"
            )
        }
        Attention::Unsettled => {
            let what = match order {
                Order::Refund(refund) if matches!(refund.phase, RefundPhase::Requested { .. }) => "its payment",
                Order::Payment(_) | Order::Refund(_) | Order::EarlyCancel(_) => "the issuer",
            };
            format!("{what} has given no result for more than an hour")
        }
    }
}

#[cfg(test)]
mod tests {
    use twqr_order::{
        Alphabet, Approval, Command, Decline, DeclineKind, Effect, MovementOutcome, Outcome, Pay, PaymentType, Policy,
        Position, Record, Route, RouteTarget, TaskResult, apply,
    };
    use twqr_types::{Issuer, PayForm, RawPay, ShardId};

    use super::*;

    /// One payment, and the task that it emitted last.
    struct Played {
        order: Option<Order>,
        effects: Vec<Effect>,
        offset: u64,
    }

    impl Played {
        fn apply(&mut self, policy: &Policy, command: Command) {
            let record = Record { at: UnixMs(1_790_000_000_000), signed_by: None, nonce: None, command };
            let cause = Position { shard: ShardId(0), offset: self.offset };
            self.offset += 1;
            apply(&mut self.order, &record, cause, Some(policy), &mut self.effects);
        }

        fn report(&mut self, policy: &Policy, movement: MovementOutcome) {
            let task = self.effects.iter().rev().find_map(|effect| match effect {
                Effect::Task(task) => Some((task.id, task.key.clone())),
                Effect::Reply(_) | Effect::Forward(_) => None,
            });
            let (task, key) = task.unwrap();
            self.apply(policy, Command::Outcome(Box::new(Outcome { key, task, movement })));
        }
    }

    #[test]
    fn a_line_says_why_the_order_needs_a_person() {
        let route = Route {
            prefix: "22".into(),
            target: RouteTarget::Issuer(Issuer::Wallet),
            code_lengths: vec![18],
            alphabet: Alphabet::Printable,
        };
        let policy = Policy { routes: vec![route], ..Policy::default() };
        let form = PayForm::parse(RawPay {
            merchant_id: "M1".into(),
            merchant_trade_no: "T1".into(),
            card_token: "22abcdefghijklmnop".into(),
            trade_amount: 100,
            ..RawPay::default()
        });
        let refused = || Decline { kind: DeclineKind::Wallet, code: "928".into(), reason: "no".into() };
        let approval = Approval {
            payment_type: PaymentType::StoredValue,
            debit_amount: 100,
            redeem_name: "".into(),
            redeem_amount: 0,
            store_redeem_amount: 0,
            invoice_vehicle: "".into(),
            mer_mem_token: "".into(),
            card_name: "".into(),
            card_no_masked: "".into(),
            issuer_trade_no: "".into(),
        };
        let mut played = Played { order: None, effects: Vec::new(), offset: 0 };
        played.apply(&policy, Command::Pay(Box::new(Pay { form: form.unwrap(), reply_to: None })));
        played.report(&policy, MovementOutcome::Charge(TaskResult::Declined(refused())));
        assert_eq!(line(played.order.as_ref().unwrap())["Attention"], "");
        played.report(&policy, MovementOutcome::Charge(TaskResult::Done(approval)));
        played.report(&policy, MovementOutcome::Reversal(TaskResult::Declined(refused())));
        let line = line(played.order.as_ref().unwrap());
        assert_eq!((line["MerchantTradeNo"].as_str(), line["TradeAmount"].as_i64()), (Some("T1"), Some(100)));
        assert!(line["Attention"].as_str().unwrap().contains("refused to reverse it (928 no)"), "{line}");
        assert!(!line["NextCheck"].as_str().unwrap().is_empty(), "{line}");
    }
}
