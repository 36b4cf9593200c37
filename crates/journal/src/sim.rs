//! For tests: memory, virtual time, seeded faults (begun).
