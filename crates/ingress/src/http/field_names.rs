//! The names of the fields that a request of the POS HTTP form may have.

/// Every field of a request. An error message repeats no other key, since an unknown key could be a
/// misplaced value.
pub(super) const REQUEST_FIELDS: [&str; 18] = [
    "MerchantID",
    "StoreID",
    "StoreName",
    "GatewayTradeNo",
    "MerchantTradeNo",
    "PosID",
    "PosTradeTime",
    "CardToken",
    "TradeNo",
    "TradeAmount",
    "UnRedeem",
    "Remark",
    "Extra1",
    "Extra2",
    "Extra3",
    "SendTime",
    "InquiryType",
    SIGN,
];

/// The field that contains the signature.
pub(super) const SIGN: &str = "Sign";
