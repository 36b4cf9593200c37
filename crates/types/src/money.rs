//! Amounts in whole TWD.

/// TradeAmount: 1 to 2,147,483,647 whole TWD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i64);

/// The largest amount in TWD: the POS document's amounts are 32-bit integers.
const AMOUNT_MAX: i64 = i32::MAX as i64;

impl Amount {
    /// Checks that the amount is in range.
    pub fn parse(raw: i64) -> Result<Self, String> {
        match raw {
            ..=0 => Err(format!("is {raw}, must be above 0 (whole TWD)")),
            1..=AMOUNT_MAX => Ok(Self(raw)),
            _ => Err(format!("is {raw}, must be at most {AMOUNT_MAX} (whole TWD)")),
        }
    }

    /// The amount in whole TWD.
    pub fn twd(self) -> i64 {
        self.0
    }
}

/// UnRedeem: the part of the amount that may not be redeemed, 0 to 2,147,483,647 whole TWD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnRedeem(i64);

impl UnRedeem {
    /// The value for issuers other than the wallet, whatever the request contains.
    pub const ZERO: Self = Self(0);

    /// Checks that the amount is in range.
    pub fn parse(raw: i64) -> Result<Self, String> {
        if (0..=AMOUNT_MAX).contains(&raw) {
            Ok(Self(raw))
        } else {
            Err(format!("is {raw}, must be 0 to {AMOUNT_MAX} (whole TWD)"))
        }
    }

    /// The amount in whole TWD.
    pub fn twd(self) -> i64 {
        self.0
    }
}
