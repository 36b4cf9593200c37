//! All callers, and the search for the caller of a credential.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use twqr_types::{KeyName, UnixMs};

use crate::{ApiKey, Caller, CallerChange, CallerName, KeyHash};

/// The credential that a call shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The hash of the API key that it sent; absent if what it sent is no key.
    Key(Option<KeyHash>),
    /// The subject alternative names of its verified certificate.
    Certificate(Arc<[Box<str>]>),
    /// Both, where a caller must show both.
    KeyAndCertificate(Option<KeyHash>, Arc<[Box<str>]>),
}

/// A caller that was identified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The caller with its rights.
    pub caller: Arc<Caller>,
    /// The name of its API key; absent if it has a certificate.
    pub key: Option<KeyName>,
}

/// The reason why a credential identifies no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No caller has this key, or not any more.
    UnknownKey,
    /// The key is not valid yet, or not any more.
    KeyOutOfTime,
    /// No caller has one of the certificate's names.
    UnknownCertificate,
}

/// The owner of a credential; absent if two callers claim it, so that neither is mistaken for the
/// other.
type Owner = Option<Arc<Caller>>;

/// The callers in force.
#[derive(Clone, Debug, Default)]
pub struct Book {
    changes: BTreeMap<CallerName, CallerChange>,
    /// The keys that a later version of their caller left out, and the names of certificates. They
    /// stay revoked, so that a document from before a revocation does not bring back what has
    /// leaked: a certificate is valid for months, and only its name is known here.
    revoked_keys: HashSet<KeyHash>,
    revoked_certificates: HashSet<Box<str>>,
    by_key: HashMap<KeyHash, Owner>,
    by_certificate: HashMap<Box<str>, Owner>,
}

impl Book {
    /// The callers of the configuration, each as version 0.
    pub fn configured(callers: Vec<Caller>) -> Self {
        let first = |caller: Caller| CallerChange {
            name: caller.name.clone(),
            version: 0,
            caller: Some(Arc::new(caller)),
            is_whole: true,
            who: "configuration".into(),
            why: "".into(),
            at: UnixMs(0),
        };
        let changes = callers.into_iter().map(first).map(|change| (change.name.clone(), change)).collect();
        let mut book = Self { changes, ..Self::default() };
        book.index();
        book
    }

    /// Takes each change, in this order, whose version is above the newest of its caller: not only
    /// the next one, since the record of that one may be lost. Returns whether each was taken.
    pub fn take(&mut self, changes: impl IntoIterator<Item = CallerChange>) -> Vec<bool> {
        let taken = changes.into_iter().map(|change| {
            let is_newer = change.version > self.version(&change.name);
            if is_newer {
                self.replace(change);
            }
            is_newer
        });
        let taken: Vec<bool> = taken.collect();
        if taken.contains(&true) {
            self.index();
        }
        taken
    }

    /// The newest version of a caller; 0 if it is configured or was never named.
    pub fn version(&self, name: &CallerName) -> u64 {
        self.changes.get(name).map_or(0, |change| change.version)
    }

    /// The newest change of a caller.
    pub fn get(&self, name: &CallerName) -> Option<&CallerChange> {
        self.changes.get(name)
    }

    /// The newest change of each caller, in the order of their names; also of those that were
    /// taken out.
    pub fn iter(&self) -> impl Iterator<Item = &CallerChange> {
        self.changes.values()
    }

    /// Finds the caller of a credential at this time. Of several names of a certificate the first
    /// that belongs to a caller counts. A key and a certificate must belong to the same caller.
    pub fn identify(&self, credential: &Credential, now: UnixMs) -> Result<Identity, Denial> {
        match credential {
            Credential::Key(hash) => self.of_key(hash.as_ref(), now),
            Credential::Certificate(names) => self.of_certificate(names),
            Credential::KeyAndCertificate(hash, names) => {
                let identity = self.of_key(hash.as_ref(), now)?;
                let by_certificate = self.of_certificate(names)?;
                let is_same = by_certificate.caller.name == identity.caller.name;
                if is_same { Ok(identity) } else { Err(Denial::UnknownCertificate) }
            }
        }
    }

    fn of_key(&self, hash: Option<&KeyHash>, now: UnixMs) -> Result<Identity, Denial> {
        let found = hash.and_then(|hash| Some((hash, self.by_key.get(hash)?.as_ref()?)));
        let (hash, caller) = found.ok_or(Denial::UnknownKey)?;
        let key = caller.keys.iter().find(|key| key.hash == *hash).ok_or(Denial::UnknownKey)?;
        if !key.is_valid(now) {
            return Err(Denial::KeyOutOfTime);
        }
        Ok(Identity { caller: caller.clone(), key: Some(key.name.clone()) })
    }

    fn of_certificate(&self, names: &[Box<str>]) -> Result<Identity, Denial> {
        let caller = names.iter().find_map(|name| self.by_certificate.get(name)?.clone());
        caller.map(|caller| Identity { caller, key: None }).ok_or(Denial::UnknownCertificate)
    }

    /// The callers other than `caller` that have one of its credentials.
    pub fn sharing(&self, caller: &Caller) -> Vec<&CallerName> {
        let shares = |other: &Caller| {
            other.keys.iter().any(|key| caller.keys.iter().any(|own| own.hash == key.hash))
                || other.certificates.iter().any(|name| caller.certificates.contains(name))
        };
        let others = self.changes.values().filter(|change| change.name != caller.name);
        others.filter(|change| change.caller.as_deref().is_some_and(shares)).map(|change| &change.name).collect()
    }

    /// The keys of this caller that were revoked, and are accepted by no process any more.
    pub fn revoked_keys<'a>(&self, caller: &'a Caller) -> impl Iterator<Item = &'a ApiKey> {
        caller.keys.iter().filter(|key| self.revoked_keys.contains(&key.hash))
    }

    /// The names of certificates of this caller that were revoked in the same way.
    pub fn revoked_certificates<'a>(&self, caller: &'a Caller) -> impl Iterator<Item = &'a str> {
        caller.certificates.iter().filter(|name| self.revoked_certificates.contains(*name)).map(|name| &**name)
    }

    /// Puts a change in force, and revokes the keys and certificates that it leaves out.
    fn replace(&mut self, change: CallerChange) {
        let before = self.changes.get(&change.name).and_then(|before| before.caller.clone());
        let (keys, names) =
            (before.iter().flat_map(|caller| &caller.keys), before.iter().flat_map(|c| &c.certificates));
        let kept = change.caller.as_deref();
        let keeps_key = |hash: &KeyHash| kept.is_some_and(|caller| caller.keys.iter().any(|key| key.hash == *hash));
        self.revoked_keys.extend(keys.map(|key| key.hash).filter(|hash| !keeps_key(hash)));
        self.revoked_certificates
            .extend(names.filter(|name| !kept.is_some_and(|caller| caller.certificates.contains(*name))).cloned());
        self.changes.insert(change.name.clone(), change);
    }

    fn index(&mut self) {
        self.by_key.clear();
        self.by_certificate.clear();
        for caller in self.changes.values().filter_map(|change| change.caller.as_ref()) {
            for key in caller.keys.iter().filter(|key| !self.revoked_keys.contains(&key.hash)) {
                own(self.by_key.entry(key.hash), caller);
            }
            for name in caller.certificates.iter().filter(|name| !self.revoked_certificates.contains(*name)) {
                own(self.by_certificate.entry(name.clone()), caller);
            }
        }
    }
}

fn own<K>(entry: Entry<'_, K, Owner>, caller: &Arc<Caller>) {
    match entry {
        Entry::Occupied(mut claimed) => drop(claimed.insert(None)),
        Entry::Vacant(free) => drop(free.insert(Some(caller.clone()))),
    }
}

#[cfg(test)]
mod tests;
