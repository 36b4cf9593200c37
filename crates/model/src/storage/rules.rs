//! The settings of the storage model.

use crate::settings::settings;

settings! {
    /// Faults are counts, rules are switches, as in the payment model.
    StorageRules {
        /// Records that change an order and have an effect.
        changes: u8 = 2,
        /// They change the first and the second order by turns, instead of the first one only.
        alternates: bool = true,

        // Faults.
        crashes: u8 = 0,
        /// A router claims while another one still runs, and names the newest claim that counts.
        takeovers: u8 = 0,
        /// A router claims at any time, and names another claim than the newest one that counts. It
        /// believes that it names the right one.
        void_claims: u8 = 0,
        /// An owner releases the shard. It goes on until it reads the next claim that counts, or a
        /// second has passed.
        releases: u8 = 0,
        /// A crash may lose the local store.
        loses_store: bool = false,
        /// Retention may delete records of the log below the highest marker.
        retention: bool = false,
        /// A process without the shard may follow `order-states` into its local store.
        standby: bool = false,
        /// Owners delete the states of older epochs.
        cleanup: bool = false,

        // Rules.
        /// A router judges claims by the epoch of the highest marker and the claims after it.
        marker_epoch: bool = true,
        /// Wrong: an owner stops at every claim of another router.
        stops_for_void: bool = false,
        /// A router that has restored more than the records before its claim stops.
        ends_overtaken: bool = true,
        /// A checkpoint is written only past the own claim.
        writes_past_claim: bool = true,
        /// An older epoch's state is deleted only if a newer epoch's state of the order exists.
        deletes_replaced: bool = true,
        /// A deleted state of an older epoch is not the end of its order.
        skips_deletions: bool = true,
        /// The next restore skips what stood in `order-states` before the checkpoint only if all
        /// records up to an end of the log that was taken after it are applied.
        mark_follows_log: bool = true,
        /// A restore reads to an end of `order-states` that is taken after the read.
        reads_to_end: bool = true,
        /// Wrong: a standby applies the log itself and takes over at its own position.
        standby_applies: bool = false,
    }
}
