//! The forms in which POS write the text that they sign. The POS document asks for compact JSON
//! with only the escapes that JSON requires, but common JSON libraries escape more, or write
//! blanks.

use std::fmt;

/// A form of the signed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignatureForm {
    /// Compact, with only the escapes that JSON requires: the POS document's form.
    Plain,
    /// `&`, `<`, `>`, U+2028 and U+2029 are escaped, as Ruby on Rails and Go do.
    Html,
    /// Only `/` is escaped beyond that.
    Slash,
    /// Every character outside ASCII is escaped.
    Ascii,
    /// `/` and every character outside ASCII are escaped, as PHP does.
    AsciiSlash,
    /// A blank follows each comma and colon.
    Spaced,
    /// The same, and every character outside ASCII is escaped, as Python does.
    AsciiSpaced,
}

impl SignatureForm {
    /// All forms, the documented one first.
    pub const ALL: [Self; 7] =
        [Self::Plain, Self::Html, Self::Slash, Self::Ascii, Self::AsciiSlash, Self::Spaced, Self::AsciiSpaced];

    /// The name in the configuration and as a metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Html => "html",
            Self::Slash => "slash",
            Self::Ascii => "ascii",
            Self::AsciiSlash => "ascii-slash",
            Self::Spaced => "spaced",
            Self::AsciiSpaced => "ascii-spaced",
        }
    }

    /// Finds the form with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// Whether `&`, `<`, `>`, U+2028 and U+2029 are escaped.
    pub const fn escapes_html(self) -> bool {
        matches!(self, Self::Html)
    }

    /// Whether `/` is escaped.
    pub const fn escapes_slash(self) -> bool {
        matches!(self, Self::Slash | Self::AsciiSlash)
    }

    /// Whether every character outside ASCII is escaped.
    pub const fn escapes_non_ascii(self) -> bool {
        matches!(self, Self::Ascii | Self::AsciiSlash | Self::AsciiSpaced)
    }

    /// Whether a blank follows each comma and colon.
    pub const fn has_blanks(self) -> bool {
        matches!(self, Self::Spaced | Self::AsciiSpaced)
    }
}

impl fmt::Display for SignatureForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
