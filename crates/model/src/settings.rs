//! The settings of a model: what may go wrong, how often, and which rules of the protocol are kept.
//! A line of the table of scopes names those that differ from the defaults.

/// A value that a setting can have in the table of scopes.
pub(crate) trait SettingValue: Sized {
    /// Reads the value; returns `None` if it is not allowed.
    fn parse(text: &str) -> Option<Self>;
}

impl SettingValue for bool {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "1" => Some(true),
            "0" => Some(false),
            _ => None,
        }
    }
}

impl SettingValue for u8 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number| *number <= 9)
    }
}

/// Defines a struct of settings with their defaults and a `parse` that reads `name=value ...`.
macro_rules! settings {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[allow(clippy::struct_excessive_bools, reason = "independent switches")]
        #[derive(Clone, Debug)]
        pub(crate) struct $name { $($(#[$field_doc])* pub(crate) $field: $kind,)* }

        impl $name {
            /// Reads settings as `name=value`, apart by blanks; 1 switches on and 0 off.
            pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
                let mut settings = Self { $($field: $default,)* };
                for pair in text.split_whitespace() {
                    let parts = pair.split_once('=');
                    let (key, value) = parts.ok_or_else(|| anyhow::anyhow!("{pair}: must be name=value"))?;
                    match key {
                        $(stringify!($field) => {
                            let parsed = $crate::settings::SettingValue::parse(value);
                            settings.$field = parsed.ok_or_else(|| anyhow::anyhow!("{pair}: the value is not allowed"))?;
                        })*
                        _ => anyhow::bail!("{pair}: there is no such setting; the settings are: {}", [$(stringify!($field)),*].join(" ")),
                    }
                }
                Ok(settings)
            }
        }
    };
}

pub(crate) use settings;

#[cfg(test)]
mod tests {
    settings! {
        /// For this test only.
        Example { crashes: u8 = 0, asks: bool = true, }
    }

    #[test]
    fn settings_are_read_and_refused_by_name() {
        let read = Example::parse("crashes=2 asks=0").unwrap();
        assert_eq!((read.crashes, read.asks), (2, false));
        assert!(Example::parse("").unwrap().asks);
        for (text, fault) in
            [("asks", "name=value"), ("asks=2", "not allowed"), ("other=1", "the settings are: crashes asks")]
        {
            assert!(Example::parse(text).unwrap_err().to_string().contains(fault), "{text}");
        }
    }
}
