//! The encodings of accounting files: UTF-8 with or without a byte order mark, and Big5 as Windows
//! reads it.

use std::borrow::Cow;

use encoding_rs::BIG5;

use crate::big5;

/// Replaces a character that Big5 cannot express. It is U+25A1, because the usual geta mark U+3013
/// is itself not in Big5.
pub const MISSING: char = '□';

/// The byte order mark of UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// The encoding of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8 without a byte order mark.
    Utf8,
    /// UTF-8 with a byte order mark, so that spreadsheets recognise the encoding.
    Utf8Bom,
    /// Big5, for programs that cannot read UTF-8.
    Big5,
}

impl Encoding {
    /// All encodings that a layout may choose.
    pub const ALL: [Self; 3] = [Self::Utf8, Self::Utf8Bom, Self::Big5];

    /// The name in the configuration and in the first row of a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf8Bom => "utf-8-bom",
            Self::Big5 => "big5",
        }
    }

    /// The encoding of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    /// Replaces each character that the encoding cannot express with [`MISSING`].
    pub(crate) fn fit(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Utf8 | Self::Utf8Bom => Cow::Borrowed(text),
            Self::Big5 if text.chars().all(big5::is_in_code_page) => Cow::Borrowed(text),
            Self::Big5 => text.chars().map(|c| if big5::is_in_code_page(c) { c } else { MISSING }).collect(),
        }
    }

    /// Encodes a text that [`Encoding::fit`] has returned.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf8Bom => [MARK, text.as_bytes()].concat(),
            Self::Big5 => big5::encode(text),
        }
    }

    /// Decodes a text and removes the byte order mark; `None` if the bytes are malformed.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Utf8Bom => std::str::from_utf8(bytes.strip_prefix(MARK)?).ok().map(Cow::Borrowed),
            Self::Big5 => BIG5.decode_without_bom_handling_and_without_replacement(bytes),
        }
    }
}

/// Removes the byte order mark of UTF-8, if there is one.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_characters_that_big5_cannot_express_are_replaced() {
        for (text, fitted) in [
            ("T1", "T1"),
            ("示範店□", "示範店□"),
            ("a😀b", "a□b"),
            ("茶の1", "茶□1"),
            ("简体店", "□体店"),
            ("&#128512;", "&#128512;"),
        ] {
            assert_eq!(Encoding::Big5.fit(text), fitted);
            assert_eq!(Encoding::Utf8.fit(text), text);
            let bytes = Encoding::Big5.encode(fitted);
            assert_eq!(Encoding::Big5.decode(&bytes).as_deref(), Some(fitted));
        }
    }

    #[test]
    fn the_byte_order_mark_is_written_and_required_only_with_utf_8_bom() {
        assert_eq!(Encoding::Utf8Bom.encode("店"), "\u{feff}店".as_bytes());
        assert_eq!(Encoding::Utf8Bom.decode("\u{feff}店".as_bytes()).as_deref(), Some("店"));
        assert_eq!(Encoding::Utf8Bom.decode("店".as_bytes()), None);
        assert_eq!(Encoding::Utf8.decode(&[0xff]), None);
        assert_eq!(Encoding::Big5.decode(&[0xff, 0x20]), None);
    }
}
