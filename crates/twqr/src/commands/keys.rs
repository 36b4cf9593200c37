//! `twqr keys`: makes, renews, lists and destroys the keys that protect card tokens. No command
//! shows a key.

use anyhow::Context as _;
use clap::Subcommand;
use twqr_card_keys::{Hour, KeyDirectory, KeyFile, KeyKind};
use twqr_config::Config;
use twqr_files::print_line;
use twqr_service::{Clock, SystemClock};

/// Every command works on `card_keys_dir`, or on the directory that `twqr up` makes.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Makes missing keys, and destroys sealing keys whose time is over; run it every hour. The
    /// first run makes all keys
    Renew,
    /// Adds a comparison key; the earlier ones stay until they are destroyed
    Rotate,
    /// Lists the names and times of all keys
    List,
    /// Destroys keys permanently, by the names that `list` prints
    Destroy {
        /// The names of files, such as sealing-2026112908-5f3a.key
        #[arg(value_name = "NAME", required_unless_present = "every_sealing_key")]
        names: Vec<String>,
        /// Destroy every sealing key: no card token in any record can be decrypted any more.
        /// Charges that wait to be sent fail without being sent; `renew` makes new keys
        #[arg(long)]
        every_sealing_key: bool,
    },
}

/// Runs the command.
pub(crate) fn run(command: Keys, config: &Config) -> anyhow::Result<()> {
    let path = config.card_keys_dir().context("card_keys_dir is empty: set it to the directory of the keys")?;
    let (directory, now) = (KeyDirectory::new(path), SystemClock.now());
    match command {
        Keys::Renew => {
            let renewed = directory.renew(now)?;
            print_line(format_args!("{} keys made, {} destroyed", renewed.made.len(), renewed.destroyed.len()))?;
        }
        Keys::Rotate => print_line(format_args!("made {}", directory.rotate(now)?))?,
        Keys::List => {
            for file in directory.list()? {
                print_line(listed(&file, Hour::of(now)))?;
            }
        }
        Keys::Destroy { mut names, every_sealing_key } => {
            if every_sealing_key {
                let is_sealing = |file: &KeyFile| matches!(file.kind, KeyKind::Sealing(_));
                names.extend(directory.list()?.iter().filter(|file| is_sealing(file)).map(KeyFile::file_name));
            }
            for name in names {
                directory.destroy(&name)?;
                print_line(format_args!("destroyed {name}"))?;
            }
        }
    }
    Ok(())
}

fn listed(file: &KeyFile, hour: Hour) -> String {
    let state = match file.kind {
        KeyKind::Comparison => "compares",
        KeyKind::Sealing(of) if of > hour => "made ahead",
        KeyKind::Sealing(of) if of == hour => "seals",
        KeyKind::Sealing(of) if of.plus(Hour::KEPT) >= hour => "opens",
        KeyKind::Sealing(_) => "over; `twqr keys renew` destroys it",
    };
    format!("{}  {state}", file.file_name())
}
