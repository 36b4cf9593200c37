//! How a worker holds task partitions, sends each charge once and asks otherwise (architecture,
//! point 6). The wallet's worker and FISC's are this engine with their own lanes.

mod answer;
mod backend;
mod call;
mod engine;
mod holding;
mod lane;
mod link;
mod partition;
mod progress;

pub use backend::{Answers, Backend, Calls, GrpcBackend};
pub use engine::{Error, Settings, run};
pub use lane::Lanes;
