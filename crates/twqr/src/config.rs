//! The configuration: a TOML file and environment variables over it, read and checked as a whole before a port opens. An error
//! names the key, what was wrong, and what is allowed; all errors are told at once.

mod admin;
mod fisc_worker;
mod journal;
mod log;
mod policy;
mod router;
mod runtime;
mod setting;
mod simulator;
mod table;
mod wallet_worker;

use std::{fmt, fs, io, path::Path};

use ::config::{Environment, File, FileFormat, Map, Value};
use tonic::transport::Endpoint;

use admin::Admin;
use fisc_worker::FiscWorker;
use journal::Journal;
pub(crate) use log::{Format, Log};
use policy::Policy;
use router::Router;
use runtime::Runtime;
use setting::{Fault, Faults, Setting};
use simulator::Simulator;
use wallet_worker::WalletWorker;

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
    journal: Journal;
    router: Router;
    wallet_worker: WalletWorker;
    fisc_worker: FiscWorker;
    policy: Policy;
    simulator: Simulator;
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
        if self.runtime.member.is_empty() {
            faults.add("runtime.member", "is empty, must be a text", None);
        }
        if self.journal.task_partitions > self.journal.shards {
            let (tasks, shards) = (self.journal.task_partitions, self.journal.shards);
            let problem = format!("is {tasks}, must be at most journal.shards, which is {shards}");
            faults.add("journal.task_partitions", problem, None);
        }
        for (key, backend) in
            [("wallet_worker.backend", &self.wallet_worker.backend), ("fisc_worker.backend", &self.fisc_worker.backend)]
        {
            if !backend.starts_with("http://") || Endpoint::from_shared(backend.clone()).is_err() {
                faults.add(key, format!("is {backend:?}, must be a URI such as \"http://127.0.0.1:50061\""), None);
            }
        }
        self.policy.check(faults);
        self.fisc_worker.check(&self.policy, faults);
        self.simulator.check(faults);
        self.check_listeners(faults);
    }

    fn check_listeners(&self, faults: &mut Faults) {
        let (admin, simulator) = (&self.admin, &self.simulator);
        let listeners = [
            ("admin", "listen", admin.listen, admin.expose),
            ("simulator", "wallet_listen", simulator.wallet_listen, simulator.expose),
            ("simulator", "fisc_listen", simulator.fisc_listen, simulator.expose),
        ];
        for (i, (section, key, listen, expose)) in listeners.into_iter().enumerate() {
            let at = format!("{section}.{key}");
            if !expose && !listen.ip().is_loopback() {
                let allowed = format!("must be a loopback address, or set {section}.expose = true");
                faults.add(&at, format!("is {listen}, which other machines reach; {allowed}"), None);
            }
            let taken = listeners[..i].iter().find(|(_, _, other, _)| listen.port() != 0 && *other == listen);
            if let Some((section, key, ..)) = taken {
                faults.add(&at, format!("is {listen}, which is {section}.{key} already; each needs its own"), None);
            }
        }
    }
}

impl Invalid {
    fn one(key: String, problem: String) -> Self {
        Self(vec![Fault { key, problem, origin: None }])
    }
}

#[cfg(test)]
mod tests;
