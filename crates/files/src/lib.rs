//! Files and standard streams as people use them. A file may be named `-`, may begin with a byte
//! order mark, and may end its lines with CRLF. The reader of a pipe may leave before the end. A
//! secret may have a line end behind it.

mod input;
mod output;
mod secret;

pub use input::{is_standard, open, read, read_text, text, without_mark};
pub use output::{Stderr, Stdout, create, is_stdout_closed, print_error_line, print_line, stderr, stdout};
pub use secret::secret;
