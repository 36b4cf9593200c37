//! The characters of payment codes, as routes restrict them.

/// The characters that a payment code may have. Each alphabet contains those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alphabet {
    /// The digits 0 to 9.
    Digits,
    /// ASCII letters and digits.
    Alphanumeric,
    /// ASCII letters, digits, `-` and `_`.
    Base64Url,
    /// Any printable ASCII character except the space.
    #[default]
    Printable,
}

impl Alphabet {
    /// Every alphabet with its name in the policy document.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Printable, "printable"),
        (Self::Digits, "digits"),
        (Self::Alphanumeric, "alphanumeric"),
        (Self::Base64Url, "base64url"),
    ];

    /// Whether the alphabet has this character.
    pub fn has(self, byte: u8) -> bool {
        match self {
            Self::Digits => byte.is_ascii_digit(),
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Base64Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Self::Printable => byte.is_ascii_graphic(),
        }
    }

    /// The smallest alphabet that has every character of a code.
    pub fn of(code: &str) -> Self {
        let fits = |alphabet: &Self| code.bytes().all(|byte| alphabet.has(byte));
        [Self::Digits, Self::Alphanumeric, Self::Base64Url].into_iter().find(fits).unwrap_or(Self::Printable)
    }
}
