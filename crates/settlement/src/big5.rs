//! Big5 as in Windows' code page 950. The Big5 of the Web (WHATWG) has the Hong Kong extensions,
//! and has kana where code page 950 has other letters or none, so Windows would read them as
//! another text. So this encoder writes only characters for which both have the same code.

use encoding_rs::BIG5;

/// The two-byte codes that are written, apart from the gaps.
const CODES: std::ops::RangeInclusive<u16> = 0xa140..=0xf9fd;
/// Control pictures, which only the Web has.
const CONTROL_PICTURES: std::ops::RangeInclusive<u16> = 0xa3c0..=0xa3e0;
/// Kana, Cyrillic and circled digits, at other codes on the Web than in some tables of code page
/// 950. Windows reads private characters there.
const PRIVATE: std::ops::RangeInclusive<u16> = 0xc6a1..=0xc8fe;
/// A character that the Web writes in the private area, although it also has a code outside.
const WITH_TWO_CODES: (char, u16) = ('仝', 0xc969);

/// Whether code page 950 has the character at the code that is written.
pub(crate) fn is_in_code_page(c: char) -> bool {
    c.is_ascii() || code(c).is_some()
}

/// Encodes a text; a character that is not in the code page is left out.
pub(crate) fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(c) {
            Ok(ascii) if c.is_ascii() => bytes.push(ascii),
            Ok(_) | Err(_) => bytes.extend(code(c).into_iter().flat_map(u16::to_be_bytes)),
        }
    }
    bytes
}

/// The two-byte code of a character.
fn code(c: char) -> Option<u16> {
    if c == WITH_TWO_CODES.0 {
        return Some(WITH_TWO_CODES.1);
    }
    let mut buffer = [0; 4];
    let (bytes, _, is_missing) = BIG5.encode(c.encode_utf8(&mut buffer));
    let code = u16::from_be_bytes(<[u8; 2]>::try_from(&*bytes).ok()?);
    let is_shared = CODES.contains(&code) && !CONTROL_PICTURES.contains(&code) && !PRIVATE.contains(&code);
    (is_shared && !is_missing).then_some(code)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Code page 950 as Python's codec of that name has it: a line for each lead byte from A1 to
    /// F9, in each line the characters of the trail bytes 40 to 7E and A1 to FE, and U+FFFD for a
    /// code without one.
    const CODE_PAGE: &str = include_str!("../tests/fixtures/cp950.txt");

    /// How many characters are written; this changes only if the rule does.
    const WRITTEN: usize = 13_492;

    fn code_page() -> HashMap<u16, char> {
        let trails = || (0x40..=0x7e).chain(0xa1..=0xfe);
        let line = |(lead, line): (u16, &'static str)| trails().map(move |trail| lead << 8 | trail).zip(line.chars());
        (0xa1..).zip(CODE_PAGE.lines()).flat_map(line).filter(|(_, c)| *c != '\u{fffd}').collect()
    }

    #[test]
    fn every_character_is_read_back_by_code_page_950_or_not_written() {
        let code_page = code_page();
        assert_eq!(code_page.len(), 13_752);
        let mut written = 0;
        for c in ('\u{80}'..=char::MAX).filter(|c| is_in_code_page(*c)) {
            let bytes = encode(c.encode_utf8(&mut [0; 4]));
            let code = u16::from_be_bytes(bytes.try_into().unwrap());
            assert_eq!(code_page.get(&code), Some(&c), "{code:x}");
            written += 1;
        }
        assert_eq!(written, WRITTEN);
        // What the code page has and is not written: nothing that names and numbers need.
        let lost: String = code_page.values().filter(|c| !is_in_code_page(**c)).collect();
        let is_letter_of_names = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c) || c.is_ascii();
        assert!(lost.chars().count() < 300 && !lost.contains(is_letter_of_names), "{lost}");
    }

    #[test]
    fn characters_where_web_and_windows_differ_are_not_written() {
        for c in "のソ々①Дｱ￭〇［🀄\u{f6b1}\u{80}".chars() {
            assert!(!is_in_code_page(c), "{c}");
        }
        assert_eq!(encode("仝€茶の1\r\n"), b"\xc9\x69\xa3\xe1\xaf\xf91\r\n");
    }
}
