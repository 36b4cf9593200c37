//! Shows progress on standard error: a bar on a terminal, otherwise a line every few seconds.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;
use twqr_files::print_error_line;

/// The interval between two plain lines, in seconds.
const LINE_EVERY_S: u64 = 5;

/// A progress bar that is cleared at the end.
pub struct ProgressBar {
    what: &'static str,
    bar: indicatif::ProgressBar,
    plain: bool,
    next_line: Instant,
}

impl ProgressBar {
    /// `what` names the units, such as `payments`; a `total` of 0 means that it is unknown.
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

    /// Counts one more unit as done.
    pub fn step(&mut self, message: &str) {
        self.set(self.bar.position() + 1, message);
    }

    /// Sets how many units are done.
    pub fn set(&mut self, done: u64, message: &str) {
        self.bar.set_position(done);
        self.bar.set_message(message.to_owned());
        if self.plain && Instant::now() >= self.next_line {
            self.line(message);
            self.next_line = Instant::now() + Duration::from_secs(LINE_EVERY_S);
        }
    }

    /// Clears the bar and prints the last state.
    pub fn finish(self, message: &str) {
        self.bar.finish_and_clear();
        self.line(message);
    }

    fn line(&self, message: &str) {
        let (done, what) = (self.bar.position(), self.what);
        match self.bar.length() {
            Some(total) if total > 0 => print_error_line(format_args!("{done}/{total} {what} {message}")),
            Some(_) | None => print_error_line(format_args!("{done} {what} {message}")),
        }
    }
}
