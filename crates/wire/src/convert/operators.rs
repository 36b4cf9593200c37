//! The messages of the operators' API (`proto/twqr/ops/v1`) that show what the log stores: orders,
//! policies and listings. They are made from the messages of the log field by field, and back. A
//! field that is new in one of them does not compile until it is named here, so a change of the log
//! changes the API only on purpose.
//!
//! Left out are the addresses of callers, which other callers have no use for, and the digest of
//! the card token.

use std::collections::BTreeMap;

use twqr_order::{ListingChange, Order, Policy, PolicyChange, PolicyFault};
use twqr_types::CardTokenDigest;

use super::{RecordFault, listings, order, policy};
use crate::{bus, ops};

/// Encodes an order for operators.
pub fn order_out(order: &Order) -> ops::Order {
    order::order_out(order).carry()
}

/// Decodes an order that operators got. It has no subscribers, and a digest of zeros.
pub fn order_from(order: ops::Order) -> Result<Order, RecordFault> {
    order::order_from(order.carry())
}

/// Encodes a change of the policy.
pub fn policy_change_out(change: &PolicyChange) -> ops::PolicyChange {
    policy::policy_change_out(change).carry()
}

/// Decodes a change of the policy; an invalid policy is a fault.
pub fn policy_change_from(change: ops::PolicyChange) -> Result<PolicyChange, RecordFault> {
    policy::policy_change_from(change.carry())
}

/// Encodes a policy.
pub fn policy_out(policy: &Policy) -> ops::Policy {
    policy::policy_out(policy).carry()
}

/// Decodes a policy; the fault names the first thing that is wrong with it.
pub fn policy_from(policy: ops::Policy) -> Result<Policy, RecordFault> {
    policy::policy_from(policy.carry())
}

/// Decodes a policy like [`policy_from`]; the error lists everything that is wrong with it.
pub fn policy_checked(policy: ops::Policy) -> Result<Policy, Vec<PolicyFault>> {
    policy::policy_checked(policy.carry())
}

/// Encodes a change of the directory.
pub fn listing_change_out(change: &ListingChange) -> ops::ListingChange {
    listings::listing_change_out(change).carry()
}

/// Decodes a change of the directory; a fault names the field.
pub fn listing_change_from(change: ops::ListingChange) -> Result<ListingChange, RecordFault> {
    listings::listing_change_from(change.carry())
}

/// A value of a message of one package as the value of the other's field.
trait Carry<U> {
    fn carry(self) -> U;
}

macro_rules! plain {
    ($($value:ty),*) => {$(
        impl Carry<$value> for $value {
            fn carry(self) -> $value {
                self
            }
        }
    )*};
}

plain! { bool, u32, u64, i32, i64, String, BTreeMap<String, String> }

impl<T: Carry<U>, U> Carry<Option<U>> for Option<T> {
    fn carry(self) -> Option<U> {
        self.map(Carry::carry)
    }
}

impl<T: Carry<U>, U> Carry<Vec<U>> for Vec<T> {
    fn carry(self) -> Vec<U> {
        self.into_iter().map(Carry::carry).collect()
    }
}

/// Carries messages of the same name. `without` lists fields that only the log has, with the value
/// that they get on the way back.
macro_rules! messages {
    ($($name:ident { $($field:ident),* } $(without { $($left:ident: $value:expr),* })?;)*) => {$(
        impl Carry<ops::$name> for bus::$name {
            fn carry(self) -> ops::$name {
                let Self { $($field,)* $($($left: _,)*)? } = self;
                ops::$name { $($field: $field.carry()),* }
            }
        }

        impl Carry<bus::$name> for ops::$name {
            fn carry(self) -> bus::$name {
                let Self { $($field),* } = self;
                bus::$name { $($field: $field.carry(),)* $($($left: $value,)*)? }
            }
        }
    )*};
}

/// Carries the cases of a oneof.
macro_rules! cases {
    ($($message:ident::$name:ident { $($case:ident),* })*) => {$(
        impl Carry<ops::$message::$name> for bus::$message::$name {
            fn carry(self) -> ops::$message::$name {
                match self {
                    $(Self::$case(value) => ops::$message::$name::$case(value.carry()),)*
                }
            }
        }

        impl Carry<bus::$message::$name> for ops::$message::$name {
            fn carry(self) -> bus::$message::$name {
                match self {
                    $(Self::$case(value) => bus::$message::$name::$case(value.carry()),)*
                }
            }
        }
    )*};
}

messages! {
    OrderKey { merchant_id, merchant_trade_no };
    EffectId { shard, offset, n };
    Order { order };
    Payment {
        key, trade_no, accepted_at_ms, terms, institution, unrouted, charge, refunds, cancel, contradiction,
        charge_took_effect_after_all, protocol_version
    } without { subscribers: Vec::new(), remembering: None, nonces: Vec::new() };
    RefundEntry { merchant_trade_no, trade_no, amount, refund, took_effect_after_all };
    Cancel {
        requested_at_ms, remark, amount, attempts, sent_at, changed_at_ms, stage, amounts, by_itself, was_told_done,
        last_refusal
    };
    AmountSent { offset, amount };
    Waiting {};
    Nothing {};
    Refund {
        key, trade_no, payment_trade_no, accepted_at_ms, terms, requests, changed_at_ms, phase, late_booking_ms
    } without { subscribers: Vec::new(), nonces: Vec::new() };
    RefundTerms {
        store_id, store_name, gateway_trade_no, pos_id, pos_trade_time, trade_amount, remark, extra1, extra2
    };
    RefundSuccess {
        refunded, institution, payment_type, invoice_vehicle, mer_mem_token, card_name, card_no_masked
    };
    CancelledBefore { key, store_id, gateway_trade_no, pos_id, trade_amount, requested_at_ms }
        without { nonces: Vec::new() };
    Movement {
        send_by_ms, absent_after_ms, inquiries, changed_at_ms, phase, idempotent, asking_again_ms, late_booking_ms
    };
    PaymentTerms {
        store_id, store_name, gateway_trade_no, pos_id, pos_trade_time, trade_amount, un_redeem, requested_un_redeem,
        remark, extra1, extra2
    } without { card_token_digest: vec![0; CardTokenDigest::LEN].into(), card_token_macs: Vec::new() };
    Approval {
        payment_type, debit_amount, redeem_name, redeem_amount, store_redeem_amount, invoice_vehicle, mer_mem_token,
        card_name, card_no_masked, issuer_trade_no
    };
    Refunded { debit_amount, redeem_name, redeem_amount, store_redeem_amount, issuer_trade_no };
    Reversed { issuer_trade_no };
    Failure { evidence, status_code, status_desc };

    PolicyChange { policy, who, why, version, at_ms };
    Policy {
        name, routes, status_codes, send_within_ms, day_begins_min, issuers, merchants, protocol_version,
        accepted_merchants
    };
    Route { prefix, institution, refuse, code_lengths, alphabet };
    IssuerRules {
        institution, resolution, refund, limits, maintenance, status_codes, idempotent_charges, idempotent_refunds
    };
    Resolution { window_ms, first_delay_ms, delay_max_ms };
    RefundRule { scope, same_business_day, window_days, min_amount };
    Limits { in_flight_max, queue_max, failures_to_open, open_ms, inquiries_per_s };
    Window { from_ms, to_ms };
    Merchant { merchant_id, stores, payment_max, closed, keys };
    Store { store_id, payment_max, closed };
    StatusCodes { card_not_supported, fisc_abnormal, issuer_declined, refund_refused };

    ListingChange { merchant_id, store_id, version, who, why, at_ms, listing };
    MerchantListing { payment_max, closed, keys, any_store };
    StoreListing { payment_max, closed };
}

cases! {
    order::Order { Payment, Refund, Cancelled }
    cancel::Stage { Waiting, Reversing, AgainMs, Nothing }
    refund::Phase { AskAgainMs, Succeeded, Failed }
    movement::Phase { Sent, UnresolvedMs, Asking, Approved, Refunded, Reversed, Failed }
    listing_change::Listing { Merchant, Store }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    /// Tools that were generated from the log's messages read the same.
    #[test]
    fn operators_read_what_the_log_stores_but_no_digest_and_no_addresses() {
        let digest = vec![0xd1; CardTokenDigest::LEN];
        let terms = bus::PaymentTerms {
            trade_amount: 120,
            extra1: "x".to_owned(),
            card_token_digest: digest.clone().into(),
            ..bus::PaymentTerms::default()
        };
        let failure = bus::Failure { evidence: 1, status_code: "928".to_owned(), status_desc: "low".to_owned() };
        let charge = bus::Movement {
            send_by_ms: 5,
            phase: Some(bus::movement::Phase::Failed(failure)),
            late_booking_ms: Some(9),
            ..bus::Movement::default()
        };
        let stage = Some(bus::cancel::Stage::AgainMs(7));
        let payment = bus::Payment {
            trade_no: "T1".to_owned(),
            terms: Some(terms),
            charge: Some(charge),
            refunds: vec![bus::RefundEntry { amount: 3, ..bus::RefundEntry::default() }],
            cancel: Some(bus::Cancel { stage, ..bus::Cancel::default() }),
            subscribers: vec![bus::Subscriber { always: true, ..bus::Subscriber::default() }],
            remembering: Some(bus::Remembering { partitions: vec![1] }),
            ..bus::Payment::default()
        };
        let logged = bus::Order { order: Some(bus::order::Order::Payment(payment)) };
        let stored = logged.encode_to_vec();
        let shown: ops::Order = logged.carry();
        assert_eq!(ops::Order::decode(stored.as_slice()).unwrap(), shown);
        let sent = shown.encode_to_vec();
        let read = bus::Order::decode(sent.as_slice()).unwrap();
        let Some(bus::order::Order::Payment(read)) = read.order else { panic!("no payment") };
        assert!(read.subscribers.is_empty() && read.remembering.is_none());
        assert!(!sent.windows(digest.len()).any(|bytes| bytes == digest));
    }
}
