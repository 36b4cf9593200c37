//! Finds the frames in one direction of an HTTP/2 connection, from their headers alone: how many
//! bytes of calls it has carried, and where a ping may be inserted.

/// The bytes that a client sends before its first frame.
const PREFACE_LEN: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const HEADER_LEN: usize = 9;
const DATA: u8 = 0;
const PING: u8 = 6;
const ACK: u8 = 1;
/// A type that HTTP/2 does not define; a receiver must ignore such a frame.
const UNDEFINED: u8 = 0xfe;

/// A ping, as it is sent.
pub(super) const PING_FRAME: &[u8] = &[0, 0, 8, PING, 0, 0, 0, 0, 0, b'd', b'e', b'l', b'i', b'v', b'e', b'r', b'y'];

/// Scans the bytes of one direction in pieces of any size.
#[derive(Debug)]
pub(super) struct FrameScanner {
    header: [u8; HEADER_LEN],
    header_len: usize,
    /// How many bytes of the preface or of the present frame's payload are still to come.
    payload: usize,
    is_data: bool,
    has_frame: bool,
    /// How many bytes DATA frames have carried.
    data: u64,
}

impl FrameScanner {
    /// Scans what a client sends.
    pub(super) fn of_client() -> Self {
        Self { payload: PREFACE_LEN, ..Self::of_server() }
    }

    /// Scans what a server sends.
    pub(super) fn of_server() -> Self {
        Self { header: [0; HEADER_LEN], header_len: 0, payload: 0, is_data: false, has_frame: false, data: 0 }
    }

    /// How many bytes DATA frames have carried so far.
    pub(super) fn data(&self) -> u64 {
        self.data
    }

    /// Whether a frame may be inserted here: between two frames, and not before the first one.
    pub(super) fn is_between_frames(&self) -> bool {
        self.has_frame && self.payload == 0 && self.header_len == 0
    }

    /// Scans the next bytes.
    pub(super) fn scan(&mut self, bytes: &[u8]) {
        self.scan_frames(bytes, |_, _, _| ());
    }

    /// Scans the next bytes, and hides the answers to pings in them from the HTTP/2 library, which
    /// has sent none. Returns how many there were.
    pub(super) fn take_ping_answers(&mut self, bytes: &mut [u8]) -> usize {
        let (mut answers, mut types) = (0, Vec::new());
        self.scan_frames(bytes, |kind, flags, end| {
            if kind == PING && flags & ACK != 0 {
                answers += 1;
                // The type stands six bytes before the header's end. In an earlier piece it is out
                // of reach; the library then only logs that it has not sent this ping.
                types.extend(end.checked_sub(6));
            }
        });
        for at in types {
            bytes[at] = UNDEFINED;
        }
        answers
    }

    /// Calls `on_frame` at the end of each frame's header: with its type, its flags, and the place
    /// of the header's end in `bytes`.
    fn scan_frames(&mut self, bytes: &[u8], mut on_frame: impl FnMut(u8, u8, usize)) {
        let mut at = 0;
        while at < bytes.len() {
            if self.payload > 0 {
                let taken = self.payload.min(bytes.len() - at);
                at += taken;
                self.payload -= taken;
                self.data += if self.is_data { taken as u64 } else { 0 };
                continue;
            }
            let taken = (HEADER_LEN - self.header_len).min(bytes.len() - at);
            self.header[self.header_len..self.header_len + taken].copy_from_slice(&bytes[at..at + taken]);
            at += taken;
            self.header_len += taken;
            if self.header_len == HEADER_LEN {
                let [high, middle, low, kind, flags, ..] = self.header;
                self.header_len = 0;
                self.payload = u32::from_be_bytes([0, high, middle, low]) as usize;
                (self.is_data, self.has_frame) = (kind == DATA, true);
                on_frame(kind, flags, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: u8 = 4;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[len[1], len[2], len[3], kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn frames(ping_answer: u8) -> Vec<u8> {
        [
            frame(SETTINGS, 0, &[0; 6]),
            frame(DATA, 0, &vec![PING; 70_000]),
            frame(PING, 0, &[0; 8]),
            frame(DATA, 1, &[]),
            frame(ping_answer, ACK, &[0; 8]),
            frame(DATA, 0, &[DATA; 3]),
        ]
        .concat()
    }

    #[test]
    fn answers_to_pings_are_found_and_hidden_in_pieces_of_any_size() {
        for piece in [1, 2, 9, 10, 1_000, 100_000] {
            let (mut scanner, mut bytes, mut answers) = (FrameScanner::of_server(), frames(PING), 0);
            for piece in bytes.chunks_mut(piece) {
                answers += scanner.take_ping_answers(piece);
            }
            assert_eq!((scanner.data(), answers), (70_003, 1), "pieces of {piece}");
            // In smaller pieces a header may stand in two of them.
            assert!(piece < bytes.len() || bytes == frames(UNDEFINED), "the answer is hidden");
        }
    }

    #[test]
    fn a_ping_may_be_inserted_after_the_first_frame_and_between_two() {
        let mut scanner = FrameScanner::of_client();
        let sent = [vec![b'x'; PREFACE_LEN], frame(SETTINGS, 0, &[0; 6]), frame(DATA, 0, b"abc")].concat();
        let places: Vec<usize> = (0..sent.len())
            .filter(|at| {
                scanner.scan(&sent[*at..=*at]);
                scanner.is_between_frames()
            })
            .collect();
        assert_eq!(places, [PREFACE_LEN + HEADER_LEN + 5, sent.len() - 1]);
        assert_eq!(usize::from(PING_FRAME[2]), PING_FRAME.len() - HEADER_LEN);
    }
}
