//! The laboratory: whole systems with a simulator, fault tests and benchmarks. The product does not
//! need it, except that its tests use the launcher. The binary is `twqr-lab`.

pub mod backend_check;
pub mod bench;
pub mod chaos;
pub mod client_drill;
pub mod counterparty_files;
pub mod launch;
pub mod load;
pub mod relay;
pub mod run;
pub mod run_kafka;
pub mod sample_day;
pub mod short_times;
pub mod simulator;
pub mod smoke;
pub mod token_search;

mod full_api_run;
mod payments_run;
mod quantile;
mod usage;
