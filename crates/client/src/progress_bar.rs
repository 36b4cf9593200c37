//! Progress on standard error: a bar on a terminal, a plain line now and then elsewhere.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

/// Between two plain lines, in seconds.
const LINE_EVERY_S: u64 = 5;

/// How far something has come.
pub struct ProgressBar {
    what: &'static str,
    bar: indicatif::ProgressBar,
    plain: bool,
    next_line: Instant,
}

impl ProgressBar {
    /// `what` names the units, such as `payments`; `total` is unknown where it is 0.
    pub fn start(what: &'static str, total: u64) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = indicatif::ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let shape = if total == 0 { "{pos} {prefix} {msg}" } else { "{bar:40} {pos}/{len} {prefix} {msg}" };
        if let Ok(style) = ProgressStyle::with_template(shape) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self { what, bar, plain, next_line: Instant::now() + Duration::from_secs(LINE_EVERY_S) }
    }

    /// One more is done.
    pub fn step(&mut self, message: &str) {
        self.set(self.bar.position() + 1, message);
    }

    /// So many are done.
    pub fn set(&mut self, done: u64, message: &str) {
        self.bar.set_position(done);
        self.bar.set_message(message.to_owned());
        if self.plain && Instant::now() >= self.next_line {
            self.line(message);
            self.next_line = Instant::now() + Duration::from_secs(LINE_EVERY_S);
        }
    }

    /// It is over; the last state stays visible.
    pub fn finish(self, message: &str) {
        self.bar.finish_and_clear();
        self.line(message);
    }

    fn line(&self, message: &str) {
        let (done, what) = (self.bar.position(), self.what);
        match self.bar.length() {
            Some(total) if total > 0 => eprintln!("{done}/{total} {what} {message}"),
            Some(_) | None => eprintln!("{done} {what} {message}"),
        }
    }
}
