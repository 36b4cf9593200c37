//! Searches what a system has written for card tokens: as they are, and in each encoding in which
//! a token could get into a log, a metric, a record or a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use twqr_journal::{Journal, Partition, Topic};

/// How many bytes at the beginning of a text are looked up.
const HEAD: usize = 8;

/// The tokens to look for.
pub struct TokenSearch {
    /// The encoded tokens by their first bytes, each with its token.
    texts: BTreeMap<[u8; HEAD], Vec<(Vec<u8>, String)>>,
    /// Which pairs of bytes begin a text: most places are passed by after one look.
    begins: Vec<bool>,
    /// How many bytes have been searched.
    searched: u64,
    /// The position at which a token was found.
    found: BTreeSet<String>,
}

/// A token as it is, in hexadecimal digits of either case, and in Base64 of either alphabet at each
/// of the three places at which it may begin within other encoded bytes.
fn encodings(token: &str) -> Vec<Vec<u8>> {
    let hex = |upper: bool| {
        let byte = |byte: u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        token.bytes().map(byte).collect::<String>().into_bytes()
    };
    let mut texts = vec![token.as_bytes().to_vec(), hex(false), hex(true)];
    for alphabet in [STANDARD, URL_SAFE] {
        let engine = GeneralPurpose::new(&alphabet, NO_PAD);
        for before in 0..3 {
            let bytes = [&[0; 2][..before.min(2)], token.as_bytes()].concat();
            let encoded = engine.encode(&bytes);
            // Only the characters that no neighbour has a part in.
            let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
            texts.push(encoded.as_bytes()[first..last].to_vec());
        }
    }
    texts
}

impl TokenSearch {
    /// A search for these tokens; those of fewer than 12 characters are left out, since they occur
    /// by chance.
    pub fn new(tokens: impl IntoIterator<Item = String>) -> Self {
        let mut search =
            Self { texts: BTreeMap::new(), begins: vec![false; 1 << 16], searched: 0, found: BTreeSet::new() };
        let tokens: BTreeSet<String> = tokens.into_iter().filter(|token| token.len() >= 12).collect();
        for token in tokens {
            for text in encodings(&token) {
                let Some(head) = text.first_chunk::<HEAD>() else { continue };
                search.begins[usize::from(u16::from_be_bytes([head[0], head[1]]))] = true;
                search.texts.entry(*head).or_default().push((text, token.clone()));
            }
        }
        search
    }

    /// Searches bytes that were written to `place`.
    pub fn search(&mut self, place: &str, bytes: &[u8]) {
        self.searched += bytes.len() as u64;
        for (at, head) in bytes.windows(HEAD).enumerate() {
            if !self.begins[usize::from(u16::from_be_bytes([head[0], head[1]]))] {
                continue;
            }
            let Some(texts) = head.first_chunk::<HEAD>().and_then(|head| self.texts.get(head)) else { continue };
            for (text, token) in texts {
                if bytes[at..].starts_with(text) {
                    self.found.insert(format!("{place}, byte {at}: a token that begins with {token:.6}"));
                }
            }
        }
    }

    /// Searches every file below a folder whose path contains `part`, as it is on the disk. Returns
    /// how many there are; files that a running process removes meanwhile are left out.
    pub fn search_files(&mut self, folder: &Path, part: &str) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() {
                files += self.search_files(&path, part);
            } else if kind.is_file()
                && path.to_string_lossy().contains(part)
                && let Ok(bytes) = fs::read(&path)
            {
                self.search(&path.display().to_string(), &bytes);
                files += 1;
            }
        }
        files
    }

    /// Searches every record of every topic, as a reader gets it: on the disk it may be compressed.
    /// Returns how many records there are.
    pub async fn search_topics(&mut self, journal: &dyn Journal) -> anyhow::Result<usize> {
        let mut records = 0;
        for topic in Topic::ALL {
            for index in 0..journal.partitions(topic) {
                let partition = Partition { topic, index };
                let end = journal.end(partition).await?;
                let mut next = journal.start(partition).await?;
                if next >= end {
                    continue;
                }
                let mut reader = journal.reader(partition, next).await?;
                while next < end {
                    for record in reader.next(1_000).await? {
                        next = record.offset + 1;
                        records += 1;
                        let place = format!("{partition}, offset {}", record.offset);
                        self.search(&place, &record.entry.key);
                        self.search(&place, &record.entry.value.unwrap_or_default());
                    }
                }
            }
        }
        Ok(records)
    }

    /// The positions at which tokens were found, and the number of searched bytes.
    pub fn finish(self) -> (BTreeSet<String>, u64) {
        (self.found, self.searched)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    use super::*;

    const TOKEN: &str = "22SECRET?~?SECRET!";

    fn finds(leak: &[u8]) -> bool {
        let mut search = TokenSearch::new([TOKEN.to_owned(), "96anotherOtherOther0".to_owned()]);
        search.search("a place", leak);
        !search.finish().0.is_empty()
    }

    #[test]
    fn each_encoding_of_a_planted_token_is_found() {
        let hex = |text: String| text.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        for before in ["", "x", "xy", "xyz", "{\"CardToken\":\""] {
            for after in ["", "\"", "zz"] {
                let text = format!("{before}{TOKEN}{after}");
                assert!(finds(text.as_bytes()));
                assert!(finds(BASE64_STANDARD.encode(&text).as_bytes()), "{text}");
                assert!(finds(BASE64_URL_SAFE_NO_PAD.encode(&text).as_bytes()), "{text}");
                assert!(finds(hex(text.clone()).as_bytes()));
                assert!(finds(hex(text.clone()).to_uppercase().as_bytes()));
            }
        }
        assert!(!finds(b"22SECRET?~?SECRET 22SECRET"));
    }

    #[test]
    fn a_token_in_a_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(folder.path().join("deep/file"), format!("some {TOKEN} there")).unwrap();
        let mut search = TokenSearch::new([TOKEN.to_owned()]);
        assert_eq!(search.search_files(folder.path(), "deep"), 1);
        assert_eq!(search.search_files(folder.path(), "elsewhere"), 0);
        let (found, searched) = search.finish();
        let found: Vec<_> = found.into_iter().collect();
        assert_eq!((found.len(), searched), (1, 29));
        assert!(found[0].contains("deep/file, byte 5") && !found[0].contains("SECRET?"), "{found:?}");
    }
}
