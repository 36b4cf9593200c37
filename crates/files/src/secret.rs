//! Reads secrets from files: removes line ends, which editors and shells add, and refuses a blank
//! at the beginning or end, which is easily overlooked.

/// Returns the secret without line ends at its edges. A blank or another invisible character at an
/// edge is refused and not removed, since it might belong to the secret. The error completes a
/// sentence that begins with the secret's place.
pub fn secret(text: &str) -> Result<&str, &'static str> {
    let secret = text.trim_matches(['\r', '\n']);
    let is_invisible =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}');
    if secret.is_empty() {
        Err("is empty")
    } else if secret.starts_with(is_invisible) || secret.ends_with(is_invisible) {
        Err("begins or ends with a blank or another invisible character; remove it")
    } else {
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_removed_and_blanks_refused() {
        for text in ["k", "k\n", "k\r\n", "\nk\n\n"] {
            assert_eq!(secret(text), Ok("k"), "{text:?}");
        }
        assert_eq!(secret("a b\nc\n"), Ok("a b\nc"));
        for text in [" k", "k ", "k\t\n", "k \r\n", "\u{3000}k", "k\u{a0}", "\u{feff}k", "k\0", "k\n \n"] {
            assert!(secret(text).is_err_and(|error| error.contains("blank")), "{text:?}");
        }
        for text in ["", "\n", "\r\n\n"] {
            assert_eq!(secret(text), Err("is empty"));
        }
    }
}
