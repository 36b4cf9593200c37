//! StatusCode: the three digits that are the result of a request in the POS document.
//!
//! A code is parsed once, where it enters the system, and has this type from then on. The meanings
//! are those of the POS document; `proto/README.md`, section StatusCodes, lists them for callers.

use std::fmt;

/// Three ASCII digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatusCode([u8; 3]);

/// The text is not three ASCII digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a StatusCode is three digits, such as 000")]
pub struct InvalidStatusCode;

macro_rules! status_codes {
    ($($(#[$doc:meta])* $name:ident $digits:literal;)*) => {
        impl StatusCode {$(
            $(#[$doc])*
            pub const $name: Self = Self(*$digits);
        )*}
    };
}

status_codes! {
    /// 000: the request succeeded.
    SUCCESS b"000";
    /// 301: failed, network or system. Ambiguous.
    SYSTEM_FAILED b"301";
    /// 601: the code is bound to no member.
    NO_BOUND_MEMBER b"601";
    /// 801: the connection to the gateway failed. Ambiguous.
    GATEWAY_FAILED b"801";
    /// 802: the bank failed the trade; StatusDesc has its reason.
    BANK_FAILED b"802";
    /// 804: a required parameter is missing or outside its limits.
    PARAMETER_MISSING b"804";
    /// 812: the payment was already turned into a refund: it is cancelled.
    CANCELLED b"812";
    /// 901: undefined error. Ambiguous.
    UNDEFINED_ERROR b"901";
    /// 904: the signature is missing, wrong, or made with a key that is not accepted.
    BAD_SIGNATURE b"904";
    /// 905: the request cannot be parsed.
    UNPARSABLE b"905";
    /// 906: the payment code expired, or the request arrived too late.
    EXPIRED b"906";
    /// 907: the store is not a partner store.
    NOT_A_PARTNER_STORE b"907";
    /// 909: the wallet could not write the trade. Ambiguous.
    WRITE_FAILED b"909";
    /// 911: the user is suspended.
    USER_SUSPENDED b"911";
    /// 912: there is no such member.
    NO_SUCH_MEMBER b"912";
    /// 916: there is no such order.
    NO_SUCH_ORDER b"916";
    /// 922: the refunds together would exceed the payment.
    REFUNDS_ABOVE_PAYMENT b"922";
    /// 927: the payment code is malformed, or no route leads from it to an issuer.
    BAD_CODE b"927";
    /// 928: the balance is too low.
    BALANCE_TOO_LOW b"928";
    /// 929: this kind of trade does not support the payment method.
    METHOD_NOT_SUPPORTED b"929";
    /// 931: the amount is over the limit.
    AMOUNT_OVER_LIMIT b"931";
    /// 932: the amount is over the store's limit.
    STORE_LIMIT b"932";
    /// 934: the order's state does not allow a refund.
    STATE_FORBIDS_REFUND b"934";
    /// 935: the amount is over the store's daily limit.
    STORE_DAILY_LIMIT b"935";
    /// 940: the amount must be above 0.
    AMOUNT_NOT_POSITIVE b"940";
    /// 951: the wallet's own rules refuse the refund; the first of [`Self::REFUND_REFUSALS`].
    REFUND_REFUSED b"951";
    /// 977: the user must pass an identity check first.
    IDENTITY_CHECK_NEEDED b"977";
    /// 978: the user may not use the service.
    USER_NOT_ALLOWED b"978";
    /// 980: the store or the merchant is closed.
    STORE_CLOSED b"980";
    /// 981: the issuer takes no credit card for this store. A default: the policy may name another
    /// code.
    CARD_NOT_SUPPORTED b"981";
    /// 982: FISC failed or did not answer. A default: the policy may name another code.
    FISC_ABNORMAL b"982";
    /// 983: the issuer failed the trade; StatusDesc has its reason. A default: the policy may name
    /// another code.
    ISSUER_DECLINED b"983";
}

impl StatusCode {
    /// 804 on a request that repeats a MerchantTradeNo with other fields. The POS document has no
    /// code of its own for that.
    pub const REPEAT_DIFFERS: Self = Self::PARAMETER_MISSING;

    /// The codes with which the wallet's own rules refuse a refund.
    pub const REFUND_REFUSALS: [Self; 5] =
        [Self::REFUND_REFUSED, Self(*b"961"), Self(*b"962"), Self(*b"968"), Self(*b"975")];

    /// Takes exactly three ASCII digits.
    pub fn parse(raw: &str) -> Result<Self, InvalidStatusCode> {
        let digits: [u8; 3] = raw.as_bytes().try_into().map_err(|_| InvalidStatusCode)?;
        if digits.iter().all(u8::is_ascii_digit) { Ok(Self(digits)) } else { Err(InvalidStatusCode) }
    }

    /// The three digits as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether the code means that the wallet itself does not know if the movement happened (301,
    /// 801, 901, 909).
    pub fn is_ambiguous(self) -> bool {
        [Self::SYSTEM_FAILED, Self::GATEWAY_FAILED, Self::UNDEFINED_ERROR, Self::WRITE_FAILED].contains(&self)
    }

    /// Whether a refusal with this code proves that the movement did not happen. Ambiguous codes
    /// prove nothing, 000 is no refusal, and 916 (no such order) answers an inquiry: it proves
    /// absence only after the issuer's window.
    pub fn proves_refusal(self) -> bool {
        !self.is_ambiguous() && self != Self::SUCCESS && self != Self::NO_SUCH_ORDER
    }
}

impl fmt::Debug for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatusCode({})", self.as_str())
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<StatusCode> for String {
    fn from(code: StatusCode) -> Self {
        code.as_str().to_owned()
    }
}

/// Compares with a code that a protobuf message contains as text.
impl PartialEq<StatusCode> for String {
    fn eq(&self, code: &StatusCode) -> bool {
        self == code.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_three_ascii_digits() {
        for good in ["000", "982", "999"] {
            assert_eq!(StatusCode::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "0", "00", "0000", "00a", "+12", " 12", "１２３", "０"] {
            assert_eq!(StatusCode::parse(bad), Err(InvalidStatusCode), "{bad:?}");
        }
    }

    #[test]
    fn only_success_no_such_order_and_ambiguous_codes_prove_no_refusal() {
        let all = (0..1_000).map(|code| StatusCode::parse(&format!("{code:03}")).unwrap());
        let (proofs, others): (Vec<_>, Vec<_>) = all.partition(|code| code.proves_refusal());
        let others: Vec<&str> = others.iter().map(StatusCode::as_str).collect();
        assert_eq!(others, ["000", "301", "801", "901", "909", "916"]);
        assert!(proofs.iter().all(|code| !code.is_ambiguous()));
        assert!(!StatusCode::SUCCESS.is_ambiguous() && !StatusCode::NO_SUCH_ORDER.is_ambiguous());
    }
}
