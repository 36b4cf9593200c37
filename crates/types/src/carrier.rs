//! The carrier (載具) on which a customer's e-invoices are kept, and the masking of card numbers.

/// A carrier in one of the forms of the e-invoice platform (財政部): a mobile barcode, `/` and
/// seven of `0-9 A-Z + - .`; or a citizen certificate, two letters and fourteen digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier(Box<str>);

impl Carrier {
    /// Parses a carrier; returns `None` if the text has neither form.
    pub fn parse(raw: &str) -> Option<Self> {
        let (first, rest) = raw.split_at_checked(1)?;
        let barcode = |b: u8| b.is_ascii_digit() || b.is_ascii_uppercase() || matches!(b, b'+' | b'-' | b'.');
        let is_barcode = first == "/" && rest.len() == 7 && rest.bytes().all(barcode);
        let is_certificate = raw.len() == 16
            && raw.bytes().take(2).all(|b| b.is_ascii_uppercase())
            && raw.bytes().skip(2).all(|b| b.is_ascii_digit());
        (is_barcode || is_certificate).then(|| Self(raw.into()))
    }

    /// The text as it was parsed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Masks a card number to its first six and last four digits. A number too short for that is masked
/// entirely; masked characters stay masked. Everything but digits and `*` is dropped.
pub fn masked_card_no(raw: &str) -> String {
    let kept: Vec<char> = raw.chars().filter(|c| c.is_ascii_digit() || *c == '*').take(CARD_NO_MAX).collect();
    let shown = |i: usize| kept.len() > SHOWN && (i < 6 || i + 4 >= kept.len());
    kept.iter().enumerate().map(|(i, c)| if shown(i) { *c } else { '*' }).collect()
}

/// The most digits that a card number has.
const CARD_NO_MAX: usize = 19;
/// How many digits stay visible.
const SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_forms_of_carriers_are_accepted() {
        for (raw, good) in [
            ("/ABC+123", true),
            ("/1234.-+", true),
            ("AB12345678901234", true),
            ("", false),
            ("/ABC+12", false),
            ("/abc+123", false),
            ("/ABC+1234", false),
            ("AB1234567890123", false),
            ("ab12345678901234", false),
            ("載ABC+123", false),
        ] {
            assert_eq!(Carrier::parse(raw).is_some(), good, "{raw}");
        }
    }

    #[test]
    fn at_most_the_first_six_and_last_four_digits_are_shown() {
        for (raw, masked) in [
            ("4111111111111111", "411111******1111"),
            ("411111******1111", "411111******1111"),
            ("4111 1111 1111 1111", "411111******1111"),
            ("1234567890", "**********"),
            ("12345678901", "123456*8901"),
            ("", ""),
            ("12345678901234567890123", "123456*********6789"),
        ] {
            assert_eq!(masked_card_no(raw), masked, "{raw}");
        }
    }
}
