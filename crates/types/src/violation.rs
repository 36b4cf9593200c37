//! The violations of a request's limits. All are listed, each with its field's name, so that a
//! caller can correct everything at once.

use std::fmt;

macro_rules! fields {
    ($($variant:ident $proto:literal $pos:literal;)*) => {
        /// A field of the POS document's forms.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each is named as in the POS document")]
        pub enum Field { $($variant),* }

        impl Field {
            /// The field's name in `twqr.pos.v1`.
            pub fn proto_name(self) -> &'static str {
                match self { $(Self::$variant => $proto),* }
            }

            /// The field's name in the POS document.
            pub fn pos_name(self) -> &'static str {
                match self { $(Self::$variant => $pos),* }
            }

            /// The field that has this name in `twqr.pos.v1`.
            pub fn from_proto_name(name: &str) -> Option<Self> {
                match name { $($proto => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

fields! {
    MerchantId "merchant_id" "MerchantID";
    StoreId "store_id" "StoreID";
    StoreName "store_name" "StoreName";
    GatewayTradeNo "gateway_trade_no" "GatewayTradeNo";
    MerchantTradeNo "merchant_trade_no" "MerchantTradeNo";
    PosId "pos_id" "PosID";
    PosTradeTime "pos_trade_time" "PosTradeTime";
    CardToken "card_token" "CardToken";
    TradeNo "trade_no" "TradeNo";
    TradeAmount "trade_amount" "TradeAmount";
    UnRedeem "un_redeem" "UnRedeem";
    Remark "remark" "Remark";
    Extra1 "extra1" "Extra1";
    Extra2 "extra2" "Extra2";
    Extra3 "extra3" "Extra3";
    SendTime "send_time" "SendTime";
    InquiryType "inquiry_type" "InquiryType";
}

/// One violation of one field. The text never repeats the value of the field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field that is wrong.
    pub field: Field,
    /// The fault, and the allowed values.
    pub description: String,
}

/// All violations of one request, in the order of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// The violations that were found.
    pub fn as_slice(&self) -> &[Violation] {
        &self.0
    }

    /// Adds a violation.
    pub fn add(&mut self, field: Field, description: impl Into<String>) {
        self.0.push(Violation { field, description: description.into() });
    }

    /// Returns the value, or adds the violation.
    pub(crate) fn take<T>(&mut self, field: Field, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|description| self.add(field, description)).ok()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", violation.field.proto_name(), violation.description)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}
