//! The forms in which POS write the text that they sign. The POS document asks for compact JSON
//! with only the escapes that JSON requires, but common JSON libraries escape more, or write
//! blanks.

use std::fmt;

/// A form of the signed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignatureForm {
    /// Compact, with only the escapes that JSON requires: the POS document's form. JavaScript and
    /// Jackson write it, and Newtonsoft.Json by default.
    Plain,
    /// `&`, `<`, `>`, U+2028 and U+2029 are escaped, as Ruby on Rails and Go do.
    Html,
    /// Only `/` is escaped beyond that, as Swift and Android do.
    Slash,
    /// Every character outside ASCII is escaped.
    Ascii,
    /// `/` and every character outside ASCII are escaped, as PHP does.
    AsciiSlash,
    /// A blank follows each comma and colon.
    Spaced,
    /// The same, and every character outside ASCII is escaped, as Python does.
    AsciiSpaced,
    /// `"`, `&`, `'`, `+`, `<`, `>`, `` ` `` and every character outside ASCII are escaped with
    /// capital hex digits, as System.Text.Json of .NET does.
    DotNet,
    /// `&`, `'`, `<`, `=`, `>`, U+2028 and U+2029 are escaped, as Gson of Java does.
    Gson,
    /// `"`, `&`, `'`, `<`, `>`, U+2028 and U+2029 are escaped, as Newtonsoft.Json of .NET does with
    /// `EscapeHtml`.
    Newtonsoft,
}

impl SignatureForm {
    /// All forms, the documented one first.
    pub const ALL: [Self; 10] = [
        Self::Plain,
        Self::Html,
        Self::Slash,
        Self::Ascii,
        Self::AsciiSlash,
        Self::Spaced,
        Self::AsciiSpaced,
        Self::DotNet,
        Self::Gson,
        Self::Newtonsoft,
    ];

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
            Self::DotNet => "dotnet",
            Self::Gson => "gson",
            Self::Newtonsoft => "newtonsoft",
        }
    }

    /// Finds the form with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// The ASCII characters that are escaped although JSON does not require it.
    pub const fn escaped_ascii(self) -> &'static str {
        match self {
            Self::Plain | Self::Spaced => "",
            Self::Html => "&<>",
            Self::Slash | Self::AsciiSlash => "/",
            Self::Ascii | Self::AsciiSpaced => "\x7f",
            Self::DotNet => "&'+<>`\x7f",
            Self::Gson => "&'<=>",
            Self::Newtonsoft => "&'<>",
        }
    }

    /// Whether U+2028 and U+2029, the line separators of JavaScript, are escaped.
    pub const fn escapes_line_separators(self) -> bool {
        self.escapes_non_ascii() || matches!(self, Self::Html | Self::Gson | Self::Newtonsoft)
    }

    /// Whether every character outside ASCII is escaped.
    pub const fn escapes_non_ascii(self) -> bool {
        matches!(self, Self::Ascii | Self::AsciiSlash | Self::AsciiSpaced | Self::DotNet)
    }

    /// Whether `"` is escaped as `\u0022` instead of `\"`.
    pub const fn writes_quotes_as_numbers(self) -> bool {
        matches!(self, Self::DotNet | Self::Newtonsoft)
    }

    /// Whether escapes have capital hex digits.
    pub const fn writes_capital_hex(self) -> bool {
        matches!(self, Self::DotNet)
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
