//! The file name of a merchant's accounting file.

use std::fmt::Write;

use twqr_types::BusinessDay;

/// Returns `settlement-<merchant>-<yyyymmdd>.csv`.
///
/// In the merchant's part, upper-case ASCII letters and digits are written as they are, and every
/// other byte of UTF-8 as `_` and two upper-case hex digits. So no MerchantID can name a file
/// outside the folder, and no two share a name, not even on a file system that ignores case.
pub fn file_name(merchant_id: &str, day: BusinessDay) -> String {
    let mut name = String::from("settlement-");
    for byte in merchant_id.bytes() {
        if byte.is_ascii_uppercase() || byte.is_ascii_digit() {
            name.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(name, "_{byte:02X}");
        }
    }
    name + "-" + &day.compact() + ".csv"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use twqr_types::CutOff;

    use super::*;

    fn day() -> BusinessDay {
        BusinessDay::parse("20250310", CutOff::default()).unwrap()
    }

    #[test]
    fn no_merchant_id_names_a_file_outside_the_folder() {
        for (id, name) in [
            ("M001", "settlement-M001-20250310.csv"),
            ("m1", "settlement-_6D1-20250310.csv"),
            ("../etc", "settlement-_2E_2E_2F_65_74_63-20250310.csv"),
            ("店-1", "settlement-_E5_BA_97_2D1-20250310.csv"),
        ] {
            assert_eq!(file_name(id, day()), name);
        }
    }

    proptest! {
        #[test]
        fn no_two_merchant_ids_share_a_name(a in "\\PC{1,10}", b in "[mM_1E5/]{1,4}", c in "[mM_1E5/]{1,4}") {
            let name = file_name(&a, day());
            prop_assert!(name.len() < 255 && !name.contains(['/', '\\', '.', ':']) || name.matches('.').count() == 1);
            prop_assert!(!name.contains(['/', '\\', ':', '%']));
            let same = file_name(&b, day()).eq_ignore_ascii_case(&file_name(&c, day()));
            prop_assert_eq!(same, b == c);
        }
    }
}
