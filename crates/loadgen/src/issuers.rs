//! The issuers of the laboratory's payments and the form of their codes. The table follows the
//! routes of `crates/config/default-policy.toml`; a test compares the two.

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use twqr_types::{InstitutionCode, Issuer};

/// An issuer and the form of its payment codes.
#[derive(Clone, Copy, Debug)]
pub struct IssuerCodes {
    /// The issuer of the codes.
    pub issuer: Issuer,
    /// The first characters of each code.
    pub prefix: &'static str,
    /// The length of each code in characters.
    pub length: usize,
    characters: &'static [u8],
    /// How often the issuer is drawn, relative to the other institutions; unused for the wallet.
    weight: u32,
}

/// The characters behind the prefix. None of the sets has a `D`: in a code, `D928` makes the
/// simulator refuse the charge with 928.
const LOWER_CASE: &[u8] = b"abcefghijklmnopqrstuvwxyz0123456789";
const UPPER_CASE: &[u8] = b"ABCEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const DIGITS: &[u8] = b"0123456789";
const BASE64_URL: &[u8] = b"ABCEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The wallet's codes.
pub(crate) const WALLET: IssuerCodes =
    IssuerCodes { issuer: Issuer::Wallet, prefix: "22", length: 18, characters: LOWER_CASE, weight: 0 };

/// The codes of every issuer, the wallet first. Institutions whose charges often fail or come late
/// under the sample's fault script (`load-tests/samples/simulator.toml`) have low weights.
pub const ISSUERS: [IssuerCodes; 6] = [
    WALLET,
    IssuerCodes { issuer: institution("392"), prefix: "IC", length: 18, characters: UPPER_CASE, weight: 1 },
    IssuerCodes { issuer: institution("389"), prefix: "P2", length: 18, characters: UPPER_CASE, weight: 3 },
    IssuerCodes { issuer: institution("390"), prefix: "9980", length: 20, characters: DIGITS, weight: 2 },
    IssuerCodes { issuer: institution("004"), prefix: "96", length: 22, characters: BASE64_URL, weight: 3 },
    IssuerCodes { issuer: institution("812"), prefix: "MW", length: 18, characters: UPPER_CASE, weight: 1 },
];

/// The issuer with this institution code.
pub(crate) const fn institution(code: &str) -> Issuer {
    match InstitutionCode::parse(code) {
        Ok(code) => Issuer::Institution(code),
        Err(_) => unreachable!(),
    }
}

/// The issuer of a code, `None` if no route takes the code.
pub fn issuer_of(card_token: &str) -> Option<Issuer> {
    ISSUERS.iter().find(|codes| card_token.starts_with(codes.prefix)).map(|codes| codes.issuer)
}

/// The codes of an institution; the wallet's, if the table does not have it.
pub(crate) fn codes_of(issuer: Issuer) -> IssuerCodes {
    ISSUERS.into_iter().find(|codes| codes.issuer == issuer).unwrap_or(WALLET)
}

/// An institution, drawn by weight.
pub(crate) fn random_institution(random: &mut ChaCha8Rng) -> IssuerCodes {
    ISSUERS[1..].choose_weighted(random, |codes| codes.weight).copied().unwrap_or(WALLET)
}

impl IssuerCodes {
    /// A random code that begins with the prefix and `mark`, such as `D928`, which makes the
    /// simulator refuse the charge. A code of digits cannot contain a mark, so it has none.
    pub(crate) fn code(&self, random: &mut ChaCha8Rng, mark: &str) -> String {
        let mark = if self.characters == DIGITS { "" } else { mark };
        self.code_with_prefix(random, &format!("{}{mark}", self.prefix))
    }

    /// A random code of this length that begins with `prefix`.
    pub(crate) fn code_with_prefix(&self, random: &mut ChaCha8Rng, prefix: &str) -> String {
        let mut code = prefix.to_owned();
        while code.len() < self.length {
            code.push(char::from(*self.characters.choose(random).unwrap_or(&b'0')));
        }
        code
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_table_agrees_with_the_default_policy() {
        let policy: toml::Table = toml::from_str(include_str!("../../config/default-policy.toml")).unwrap();
        let routes = policy["routes"].as_array().unwrap();
        assert_eq!(routes.len(), ISSUERS.len());
        for (route, codes) in routes.iter().zip(ISSUERS) {
            let text = |key: &str| route.get(key).map_or("", |value| value.as_str().unwrap());
            assert_eq!(text("prefix"), codes.prefix);
            assert_eq!(text("institution"), codes.issuer.as_wire(), "{}", codes.prefix);
            let length = i64::try_from(codes.length).unwrap();
            assert_eq!(route["code_lengths"].as_array().unwrap(), &[toml::Value::from(length)]);
            let alphabet = match codes.characters {
                DIGITS => "digits",
                BASE64_URL => "base64url",
                _ => "",
            };
            assert_eq!(text("alphabet"), alphabet, "{}", codes.prefix);
        }
    }

    #[test]
    fn codes_have_the_form_of_their_issuer() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for codes in ISSUERS {
            for mark in ["", "D928"] {
                let code = codes.code(&mut random, mark);
                assert_eq!((code.len(), issuer_of(&code)), (codes.length, Some(codes.issuer)));
                assert_eq!(code.contains('D'), !mark.is_empty() && codes.characters != DIGITS, "{}", codes.prefix);
            }
        }
        assert_eq!(issuer_of("ZZ"), None);
    }
}
