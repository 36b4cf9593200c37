//! One machine, durable across kill -9 (begun).
