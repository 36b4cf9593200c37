//! Debug output of the messages that contain a card token. It shows a few harmless fields and never
//! the token, so that no log line can leak one.

use std::fmt;

use crate::{backend, bus, pos};

macro_rules! redacted {
    ($($message:ty { $($field:ident),* })*) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($field), &self.$field))*
                    .field("card_token", &format_args!(".."))
                    .finish_non_exhaustive()
            }
        }
    )*};
}

redacted! {
    pos::PayRequest { merchant_id, store_id, merchant_trade_no, trade_amount, un_redeem }
    pos::CancelRequest { merchant_id, store_id, merchant_trade_no, trade_amount, un_redeem }
    bus::ChargeTask { store_id, trade_amount, un_redeem }
    backend::Charge { trade_no, merchant_id, merchant_trade_no, trade_amount, un_redeem, send_by_ms }
}

impl fmt::Debug for bus::DeadLetter {
    /// Shows the payload by its length: the payload is a whole record and may contain a card token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .field("payload_bytes", &self.payload.len())
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_prints_a_card_token() {
        let card_token = String::from("22SECRETSECRETSECR");
        let request = pos::PayRequest { card_token: card_token.clone(), ..Default::default() };
        let record = bus::OrdersRecord {
            signed_by: String::new(),
            nonce: None,
            version: 1,
            at_ms: 0,
            hops: None,
            protocol_known: 0,
            body: Some(bus::orders_record::Body::Pay(bus::Pay {
                request: Some(request.clone()),
                reply_to: None,
                token: None,
            })),
        };
        let streamed = pos::PayStreamRequest { payment: Some(request.clone()), ..Default::default() };
        let cancel = pos::CancelRequest { card_token: card_token.clone(), ..Default::default() };
        let task = bus::ChargeTask { card_token: card_token.clone(), ..Default::default() };
        let letter = bus::DeadLetter { payload: card_token.clone().into(), ..Default::default() };
        let charge = crate::backend::Charge { card_token, ..Default::default() };
        let printed = format!("{request:?}{streamed:?}{record:?}{cancel:?}{task:?}{letter:?}{charge:#?}");
        assert!(printed.contains("payload_bytes: 18"), "{printed}");
        assert!(!printed.contains("SECRET"), "{printed}");
    }
}
