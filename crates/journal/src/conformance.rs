//! What every implementation must do (begun).
