//! The configuration: a TOML file and environment variables over it, read and checked as a whole before a port opens. An error
//! names the key, what was wrong, and what is allowed; all errors are told at once.

mod admin;
mod log;
mod policy;
mod runtime;
mod setting;
mod table;

use std::{fmt, fs, io, net::SocketAddr, path::Path};

use ::config::{Environment, File, FileFormat, Map, Value};

pub(crate) use admin::Admin;
pub(crate) use log::{Format, Log};
pub(crate) use policy::Policy;
pub(crate) use runtime::Runtime;
use setting::{Fault, Faults, Setting};

/// The file that is read where none is named and this one exists.
pub(crate) const DEFAULT_FILE: &str = "./twqr.toml";

/// Variables that stand for a key begin like this and carry the section before two underscores.
const PREFIX: &str = "TWQR";

macro_rules! sections {
    ($($name:ident: $type:ty;)*) => {
        /// Everything that can be configured, checked.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct Config { $(pub(crate) $name: $type,)* }

        impl Config {
            /// Reads all sections; a section that is not there has its defaults.
            fn read(root: &Value, faults: &mut Faults) -> Option<Self> {
                const SECTIONS: &[&str] = &[$(stringify!($name)),*];
                let present = table::known_keys("", root, SECTIONS, faults)?;
                let empty = Value::new(None, Map::<String, Value>::new());
                $(let $name = <$type>::read(stringify!($name), present.get(stringify!($name)).unwrap_or(&empty), faults);)*
                Some(Self { $($name: $name?,)* })
            }

            /// The whole file with a comment for every key.
            pub(crate) fn to_toml(&self) -> String {
                [$(self.$name.section(stringify!($name))),*].join("\n")
            }
        }
    };
}

sections! {
    runtime: Runtime;
    log: Log;
    admin: Admin;
    policy: Policy;
}

/// Why there is no configuration: everything that is wrong.
#[derive(Debug)]
pub(crate) struct Invalid(Vec<Fault>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration cannot be used:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Invalid {}

impl Config {
    /// Reads the file (`None`: [`DEFAULT_FILE`] if it exists) and the variables, and checks everything.
    pub(crate) fn load(path: Option<&Path>, variables: Map<String, String>) -> Result<Self, Invalid> {
        let named = path.is_some();
        let path = path.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => String::new(),
            Err(error) => return Err(Invalid::one(path.display().to_string(), format!("cannot be read: {error}"))),
        };
        Self::parse(&path.display().to_string(), &text, variables)
    }

    /// The defaults.
    pub(crate) fn defaults() -> Result<Self, Invalid> {
        Self::parse(DEFAULT_FILE, "", Map::new())
    }

    fn parse(name: &str, text: &str, variables: Map<String, String>) -> Result<Self, Invalid> {
        if let Err(error) = toml::from_str::<toml::Table>(text) {
            return Err(Invalid::one(name.to_owned(), format!("is not TOML: {error}")));
        }
        let ours = |(name, _): &(String, String)| name.starts_with(PREFIX) && name.contains("__");
        let variables: Map<String, String> = variables.into_iter().filter(ours).collect();
        let environment =
            Environment::with_prefix(PREFIX).prefix_separator("_").separator("__").source(Some(variables));
        let layers = ::config::Config::builder().add_source(File::from_str(text, FileFormat::Toml));
        let layers = layers.add_source(environment).build();
        let root = layers.map_err(|error| Invalid::one(name.to_owned(), error.to_string()))?.cache;
        let mut faults = Faults::default();
        let read = Self::read(&root, &mut faults);
        if let Some(config) = &read {
            config.check(&mut faults);
        }
        match read {
            Some(config) if faults.0.is_empty() => Ok(config),
            Some(_) | None => Err(Invalid(faults.0)),
        }
    }

    /// What no key can tell alone.
    fn check(&self, faults: &mut Faults) {
        self.policy.check(faults);
        for (section, listen, expose) in self.listeners() {
            if !expose && !listen.ip().is_loopback() {
                let problem = format!(
                    "is {listen}, which other machines reach; must be a loopback address, or set {section}.expose = true"
                );
                faults.add(&format!("{section}.listen"), problem, None);
            }
        }
    }

    /// Section, address and permission of everything that listens.
    fn listeners(&self) -> Vec<(&'static str, SocketAddr, bool)> {
        vec![("admin", self.admin.listen, self.admin.expose)]
    }
}

impl Invalid {
    fn one(key: String, problem: String) -> Self {
        Self(vec![Fault { key, problem, origin: None }])
    }
}

#[cfg(test)]
mod tests;
