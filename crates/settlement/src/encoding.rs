//! The bytes in which a file is written: UTF-8 with or without its mark, or Big5 (the WHATWG's,
//! which Windows' 950 reads).

use std::borrow::Cow;

use encoding_rs::BIG5;

/// Stands for a character that Big5 does not have (U+25A1; the geta mark U+3013 is not in Big5
/// itself).
pub const MISSING: char = '□';

const MARK: &[u8] = "\u{feff}".as_bytes();

/// How text becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-8 with a byte order mark, by which spreadsheets know it.
    Utf8Bom,
    /// Big5.
    Big5,
}

impl Encoding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Utf8, Self::Utf8Bom, Self::Big5];

    /// Its name in configuration and in the file's first row.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf8Bom => "utf-8-bom",
            Self::Big5 => "big5",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| encoding.name() == name)
    }

    /// The text with [`MISSING`] for each character that the encoding does not have.
    pub(crate) fn fit(self, text: &str) -> Cow<'_, str> {
        let fits = |text: &str| text.is_ascii() || !BIG5.encode(text).2;
        match self {
            Self::Utf8 | Self::Utf8Bom => Cow::Borrowed(text),
            Self::Big5 if fits(text) => Cow::Borrowed(text),
            Self::Big5 => {
                let mut buffer = [0; 4];
                text.chars().map(|c| if fits(c.encode_utf8(&mut buffer)) { c } else { MISSING }).collect()
            }
        }
    }

    /// The bytes of a text that fits.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf8Bom => [MARK, text.as_bytes()].concat(),
            Self::Big5 => BIG5.encode(text).0.into_owned(),
        }
    }

    /// The text of these bytes, without the mark; none if they are no such text.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Utf8Bom => std::str::from_utf8(bytes.strip_prefix(MARK)?).ok().map(Cow::Borrowed),
            Self::Big5 => BIG5.decode_without_bom_handling_and_without_replacement(bytes),
        }
    }
}

/// The bytes without the mark of UTF-8.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_big5_does_not_have_is_marked_and_nothing_else_changes() {
        for (text, fitted) in
            [("T1", "T1"), ("示範店□", "示範店□"), ("a😀b", "a□b"), ("简体店", "□体店"), ("&#128512;", "&#128512;")]
        {
            assert_eq!(Encoding::Big5.fit(text), fitted);
            assert_eq!(Encoding::Utf8.fit(text), text);
            let bytes = Encoding::Big5.encode(fitted);
            assert_eq!(Encoding::Big5.decode(&bytes).as_deref(), Some(fitted));
        }
    }

    #[test]
    fn the_mark_is_written_where_it_is_wanted() {
        assert_eq!(Encoding::Utf8Bom.encode("店"), "\u{feff}店".as_bytes());
        assert_eq!(Encoding::Utf8Bom.decode("\u{feff}店".as_bytes()).as_deref(), Some("店"));
        assert_eq!(Encoding::Utf8Bom.decode("店".as_bytes()), None);
        assert_eq!(Encoding::Utf8.decode(&[0xff]), None);
        assert_eq!(Encoding::Big5.decode(&[0xff, 0x20]), None);
    }
}
