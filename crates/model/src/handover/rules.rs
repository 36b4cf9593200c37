//! The settings of the handover model.

use crate::settings::settings;

settings! {
    /// Faults are counts, rules are switches, as in the payment model.
    HandoverRules {
        // Faults.
        crashes: u8 = 0,
        /// A process is paused for a while.
        pauses: u8 = 0,
        /// A watch counts silence although the holder shows life.
        false_silences: u8 = 0,
        /// A process does not wait for its claim any longer; the claim lands later.
        slow_claims: u8 = 0,
        /// A release lands later.
        slow_releases: u8 = 0,
        /// A holder ends because an append failed, and claims again.
        failures: u8 = 0,
        /// Planned stops of a holder.
        stops: u8 = 0,
        /// The group assigns the partition to another process.
        hints: u8 = 0,

        // Rules.
        /// A watch doubts the holder before it claims.
        doubts: bool = true,
        /// A watch that was paused starts again.
        begins_anew: bool = true,
        /// A claim names the claim that it replaces.
        conditional_claims: bool = true,
        /// A process judges its own claim exactly before it holds the partition.
        judges_own_claim: bool = true,
        /// If the claim does not count, the process knows from then on which one is the newest.
        learns_newest: bool = true,
        /// A watch does not take the signs of its own process for another holder's.
        knows_own_signs: bool = true,
        /// A watch ignores the signs of life of a process that does not know yet whether its claim
        /// counts, if the watch has read the claim and knows better.
        ignores_unproven: bool = true,
        /// A release counts only if it names the newest claim that counts.
        strict_release: bool = true,
        /// Wrong: a holder stops at every claim of another process, and claims again.
        stops_for_void: bool = false,
        /// Wrong: a holder stops at signs of life for a newer claim, although their author does not
        /// know yet whether that claim counts.
        stops_for_signs: bool = false,
        /// Wrong: an assigned process claims although the holder shows life.
        hint_claims: bool = false,
        /// Not kept by the protocol: a claim that names none, by a process that has seen no sign of
        /// life yet, lands at once.
        quick_first_claim: bool = true,
    }
}
