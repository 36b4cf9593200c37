//! The domain values of the POS document. Each is parsed and checked against its limits once, where
//! it enters the system, so no other code checks it again.
//!
//! This crate reads no clock, file or socket.

mod alphabet;
mod business_day;
mod card_token;
mod carrier;
mod cut_offs;
mod form;
mod issuer;
mod key;
mod money;
mod protected_token;
mod recorded_token;
mod signature_form;
mod status_code;
mod text;
mod time;
mod trade_no;
mod violation;

pub use alphabet::Alphabet;
pub use business_day::{BusinessDay, CutOff, InvalidCutOff, InvalidDate};
pub use card_token::{CardToken, CardTokenDigest};
pub use carrier::{Carrier, masked_card_no};
pub use cut_offs::CutOffs;
pub use form::{PayForm, QueryForm, RawPay, RawQuery, RawRefund, RefundForm};
pub use issuer::{InstitutionCode, InvalidInstitution, Issuer};
pub use key::{OrderKey, ShardCount, ShardId};
pub use money::{Amount, UnRedeem};
pub use protected_token::{ProtectedToken, SealedToken, TokenMac, TokenShape};
pub use recorded_token::{ComparedToken, RecordedToken, SpendableToken};
pub use signature_form::SignatureForm;
pub use status_code::{InvalidStatusCode, StatusCode};
pub use text::{Extra, GatewayTradeNo, KeyName, MerchantId, MerchantTradeNo, PosId, Remark, StoreId, StoreName};
pub use time::{PosTradeTime, SendTime, UnixMs};
pub use trade_no::{InvalidTradeNo, TradeNo};
pub use violation::{Field, Violation, Violations};
