//! Reads and writes the files and standard streams of commands. A file may be named `-`, may begin
//! with a byte order mark, and may end its lines with CRLF. The reader of a pipe may close it
//! before the end. A secret may be followed by a line end.

mod input;
mod output;
mod secret;

pub use input::{is_standard, open, read, read_text, text, without_mark};
pub use output::{Stderr, Stdout, create, is_stdout_closed, print_error_line, print_line, stderr, stdout};
pub use secret::secret;
