//! `twqr`: the one binary.

mod config;

fn main() {
    println!("{:?}", config::Config::defaults().map(|c| c.to_toml()));
}
