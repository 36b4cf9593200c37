//! The kinds of issuers: how each handles a call that arrives late, and a number that it has seen
//! before.

use std::{fmt, str::FromStr};

use serde::Deserialize;
use twqr_types::Issuer;

/// The kind of an issuer. An issuer that remembers a number answers a repeat with the first result
/// and moves no money again, also after a reversal or a refund. It never forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssuerKind {
    /// Acts on each call whenever it arrives, and again when a number is repeated.
    Plain,
    /// Like [`Self::Plain`], but refuses calls that arrive after their `send_by`.
    RefusesLate,
    /// Remembers every charge and refund with its result, refusals too, and refuses late calls with
    /// numbers that it does not know.
    Idempotent,
    /// Idempotent for charges alone.
    IdempotentCharges,
    /// Idempotent for refunds alone.
    IdempotentRefunds,
    /// Remembers only what took effect: a number that was refused is unknown to it afterwards, and
    /// is decided again. No operator may declare it as idempotent.
    ForgetsRefusals,
    /// Idempotent, but decides a charge again once it was reversed. No operator may declare it as
    /// idempotent.
    ForgetsReversals,
}

impl IssuerKind {
    /// Every kind with its name in scripts and on the command line.
    pub const ALL: [(&'static str, Self); 7] = [
        ("plain", Self::Plain),
        ("refuses-late", Self::RefusesLate),
        ("idempotent", Self::Idempotent),
        ("idempotent-charges", Self::IdempotentCharges),
        ("idempotent-refunds", Self::IdempotentRefunds),
        ("forgets-refusals", Self::ForgetsRefusals),
        ("forgets-reversals", Self::ForgetsReversals),
    ];

    /// The name of the kind in scripts and on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| *name)
    }

    /// The kind of an issuer for which the script names none: the wallet is idempotent.
    pub const fn default_of(issuer: Issuer) -> Self {
        match issuer {
            Issuer::Wallet => Self::Idempotent,
            Issuer::Institution(_) => Self::Plain,
        }
    }

    /// Whether a call that arrives after its `send_by` is refused.
    pub const fn refuses_late(self) -> bool {
        !matches!(self, Self::Plain)
    }

    /// Whether a charge with a known number is answered without charging again.
    pub const fn remembers_charges(self) -> bool {
        matches!(self, Self::Idempotent | Self::IdempotentCharges | Self::ForgetsRefusals | Self::ForgetsReversals)
    }

    /// Whether a refund with a known number is answered without refunding again.
    pub const fn remembers_refunds(self) -> bool {
        matches!(self, Self::Idempotent | Self::IdempotentRefunds | Self::ForgetsRefusals | Self::ForgetsReversals)
    }

    /// Whether an operator may declare the issuer as idempotent for charges.
    pub const fn is_idempotent_for_charges(self) -> bool {
        matches!(self, Self::Idempotent | Self::IdempotentCharges)
    }

    /// Whether an operator may declare the issuer as idempotent for refunds.
    pub const fn is_idempotent_for_refunds(self) -> bool {
        matches!(self, Self::Idempotent | Self::IdempotentRefunds)
    }

    /// Whether the numbers of refused calls are known afterwards.
    pub const fn remembers_refusals(self) -> bool {
        !matches!(self, Self::ForgetsRefusals)
    }

    /// Whether the number of a charge is still known after the charge was reversed.
    pub const fn remembers_reversed(self) -> bool {
        !matches!(self, Self::ForgetsReversals)
    }
}

/// A kind chosen on the command line: `KIND` for every issuer, or `INSTITUTION=KIND` for one, where
/// `wallet` stands for the wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindChoice {
    /// The issuer, or `None` for every issuer.
    pub issuer: Option<Issuer>,
    /// The kind that it gets.
    pub kind: IssuerKind,
}

/// The name of the wallet in a [`KindChoice`].
const WALLET: &str = "wallet";

impl fmt::Display for KindChoice {
    /// Writes what [`Self::from_str`] reads.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.issuer {
            None => {}
            Some(Issuer::Wallet) => write!(to, "{WALLET}=")?,
            Some(issuer @ Issuer::Institution(_)) => write!(to, "{}=", issuer.as_wire())?,
        }
        to.write_str(self.kind.name())
    }
}

impl FromStr for KindChoice {
    type Err = String;

    /// The error names the value and what is allowed.
    fn from_str(text: &str) -> Result<Self, String> {
        let (issuer, name) = match text.split_once('=') {
            None => (None, text),
            Some((WALLET, name)) => (Some(Issuer::Wallet), name),
            Some((code, name)) => {
                let institution = Issuer::from_wire(code).ok().filter(|issuer| *issuer != Issuer::Wallet);
                let refused = || format!("{code:?} is neither {WALLET} nor an institution code of three digits");
                (Some(institution.ok_or_else(refused)?), name)
            }
        };
        let known = IssuerKind::ALL.iter().find(|(known, _)| *known == name);
        let (_, kind) = known.ok_or_else(|| {
            let names: Vec<&str> = IssuerKind::ALL.iter().map(|(name, _)| *name).collect();
            format!("{name:?} is not a kind of issuer; the kinds are {}", names.join(", "))
        })?;
        Ok(Self { issuer, kind: *kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_names_a_kind_and_perhaps_an_issuer() {
        let issuer = |code: &str| Issuer::from_wire(code).unwrap();
        for (text, expected) in [
            ("plain", Ok((None, IssuerKind::Plain))),
            ("wallet=plain", Ok((Some(Issuer::Wallet), IssuerKind::Plain))),
            ("392=forgets-refusals", Ok((Some(issuer("392")), IssuerKind::ForgetsRefusals))),
            ("=plain", Err("\"\" is neither wallet nor an institution code")),
            ("39=plain", Err("\"39\" is neither wallet nor an institution code")),
            ("392=", Err("\"\" is not a kind of issuer; the kinds are plain, refuses-late, ")),
        ] {
            match (text.parse::<KindChoice>(), expected) {
                (Ok(choice), Ok(expected)) => {
                    assert_eq!(
                        (choice.issuer, choice.kind, choice.to_string().as_str()),
                        (expected.0, expected.1, text)
                    );
                }
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
                (parsed, expected) => panic!("{text}: {parsed:?}, must be {expected:?}"),
            }
        }
    }

    #[test]
    fn the_name_of_a_kind_is_the_one_in_scripts() {
        for (name, kind) in IssuerKind::ALL {
            assert_eq!(IssuerKind::deserialize(toml::Value::from(name)), Ok(kind));
        }
    }
}
