//! The laboratory: everything that shows what the product does and costs, and nothing that the
//! product needs. Its binary is `twqr-lab`; tests use the launcher.

pub mod bench;
pub mod chaos;
pub mod counterparty_files;
pub mod launch;
pub mod load;
pub mod run;
pub mod run_kafka;
pub mod sample_day;
pub mod short_times;
pub mod simulator;

mod full_api_run;
mod payments_run;
mod quantile;
mod usage;
