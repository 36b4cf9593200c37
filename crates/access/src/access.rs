//! Finds the caller of a call, and refuses those that may not call.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tonic::{Extensions, codegen::http::HeaderMap};
use twqr_callers::{ApiKey, Caller, Credential, Denial, Identity, KeyHash, Operation, Role};
use twqr_service::{CallerConnection, Clock};

use crate::{AccessEvent, AccessLog, AccessRefusal, CallersView, MissingCredential, Verdict, metrics};

/// The longest time until the end of a key is compared with the clock again, in ms: the clock may
/// be set meanwhile.
const CHECK_MS_MAX: i64 = 10_000;
/// The prefix of the header `authorization`.
const SCHEME: &str = "bearer ";

/// Decides who may call a listener.
#[derive(Clone)]
pub struct Access(Arc<Guard>);

struct Guard {
    listener: &'static str,
    log: AccessLog,
    /// Who is let in; absent where every call is.
    callers: Option<KnownCallers>,
}

struct KnownCallers {
    view: CallersView,
    clock: Arc<dyn Clock>,
    /// Whether a call must show both an API key and a certificate.
    needs_both: bool,
}

/// The rights of a call, found by its credential.
#[derive(Clone, Debug)]
pub struct Grant {
    origin: Origin,
    /// Absent where every call is let in.
    granted: Option<Arc<Granted>>,
}

#[derive(Debug)]
struct Granted {
    credential: Credential,
    identity: Identity,
}

/// The origin of a call and its method, for the log.
#[derive(Clone, Copy, Debug, Default)]
struct Origin {
    from: Option<IpAddr>,
    method: &'static str,
}

impl Access {
    /// Lets every call of this listener in.
    pub fn open(listener: &'static str) -> Self {
        Self::new(listener, None)
    }

    /// Lets callers in. `listener` is the listener's name in metrics and logs.
    pub fn callers(listener: &'static str, view: CallersView, clock: Arc<dyn Clock>) -> Self {
        Self::new(listener, Some(KnownCallers { view, clock, needs_both: false }))
    }

    /// Lets callers in that show both an API key and a certificate.
    pub fn callers_with_both(listener: &'static str, view: CallersView, clock: Arc<dyn Clock>) -> Self {
        Self::new(listener, Some(KnownCallers { view, clock, needs_both: true }))
    }

    fn new(listener: &'static str, callers: Option<KnownCallers>) -> Self {
        metrics::register(listener);
        Self(Arc::new(Guard { listener, log: AccessLog::new(listener), callers }))
    }

    /// Whether only callers are let in.
    pub fn is_required(&self) -> bool {
        self.0.callers.is_some()
    }

    /// Finds the caller of a request of this method. An API key decides if there is one, else the
    /// certificate. A connection whose certificate is no longer accepted lets nothing in, with or
    /// without a key.
    pub fn identify(
        &self,
        method: &'static str,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Grant, AccessRefusal> {
        let origin = Origin { from: CallerConnection::address(extensions), method };
        if CallerConnection::is_untrusted(extensions) {
            let refusal = AccessRefusal::Denied(Denial::UnknownCertificate);
            self.0.refused(origin, None, refusal);
            return Err(refusal);
        }
        let Some(callers) = &self.0.callers else { return Ok(Grant { origin, granted: None }) };
        let credential = credential(headers, extensions, callers.needs_both);
        let granted = credential.and_then(|credential| callers.grant(credential, origin));
        match &granted {
            Ok(grant) => self.0.note(origin, grant.who(), Verdict::LetIn),
            Err(refusal) => self.0.refused(origin, None, *refusal),
        }
        granted
    }

    /// The result of [`Self::identify`] for a request, from its extensions. A request that was not
    /// identified is refused, unless every call is let in.
    pub fn granted(&self, extensions: &Extensions) -> Result<Grant, AccessRefusal> {
        match (&self.0.callers, extensions.get::<Grant>()) {
            (_, Some(grant)) => Ok(grant.clone()),
            (None, None) => Ok(Grant::open()),
            (Some(callers), None) => Err(AccessRefusal::NoCredential(callers.all_missing())),
        }
    }

    /// Adds a line about a request of this grant to the log, if the request was refused because of
    /// what it asked. What became of it because of its caller is there already.
    pub fn note(&self, grant: &Grant, verdict: Verdict) {
        if matches!(verdict, Verdict::Request(_)) {
            self.0.note(grant.origin, grant.who(), verdict);
        }
    }

    /// Checks that the credential of a grant is still accepted, and that its caller may use this
    /// operation for this merchant. Returns what it may do now.
    pub fn check(&self, grant: &Grant, operation: Operation, merchant_id: &str) -> Result<Grant, AccessRefusal> {
        let renewed = self.renew(grant)?;
        let Some(caller) = renewed.caller() else { return Ok(renewed) };
        let refusal = if !caller.operations.contains(&operation) {
            AccessRefusal::Operation(operation)
        } else if !caller.acts_for(merchant_id) {
            AccessRefusal::Merchant
        } else {
            return Ok(renewed);
        };
        self.report(refusal, &renewed);
        Err(refusal)
    }

    /// Checks that the caller may use this operation at all, before its request is read.
    pub fn check_operation(&self, grant: &Grant, operation: Operation) -> Result<(), AccessRefusal> {
        match grant.caller() {
            Some(caller) if !caller.operations.contains(&operation) => {
                let refusal = AccessRefusal::Operation(operation);
                self.report(refusal, grant);
                Err(refusal)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that the caller has this role. Each role may read.
    pub fn check_role(&self, grant: &Grant, role: Role) -> Result<(), AccessRefusal> {
        has_role(grant, role).inspect_err(|refusal| self.report(*refusal, grant))
    }

    /// Waits until the credential of a grant is no longer accepted.
    pub async fn ended(&self, grant: &Grant) -> AccessRefusal {
        self.until_refused(grant, |_| Ok(())).await
    }

    /// The same, or until its caller no longer has this role.
    pub async fn role_ended(&self, grant: &Grant, role: Role) -> AccessRefusal {
        self.until_refused(grant, |renewed| has_role(renewed, role)).await
    }

    /// Waits until a grant cannot be renewed, or `check` refuses what it has become.
    async fn until_refused(&self, grant: &Grant, check: impl Fn(&Grant) -> Result<(), AccessRefusal>) -> AccessRefusal {
        let (Some(callers), Some(granted)) = (&self.0.callers, &grant.granted) else {
            return std::future::pending().await;
        };
        let mut view = callers.view.clone();
        loop {
            let renewed = callers.grant(granted.credential.clone(), grant.origin);
            let until = match renewed.and_then(|renewed| check(&renewed).map(|()| renewed)) {
                Ok(renewed) => renewed.granted.and_then(|granted| granted.key().and_then(|key| key.until)),
                Err(refusal) => {
                    self.report(refusal, grant);
                    return refusal;
                }
            };
            let left = until.map_or(CHECK_MS_MAX, |until| until.since(callers.clock.now()).clamp(1, CHECK_MS_MAX));
            tokio::select! {
                () = view.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(left.unsigned_abs())) => {}
            }
        }
    }

    fn renew(&self, grant: &Grant) -> Result<Grant, AccessRefusal> {
        let (Some(callers), Some(granted)) = (&self.0.callers, &grant.granted) else { return Ok(grant.clone()) };
        let renewed = callers.grant(granted.credential.clone(), grant.origin);
        renewed.inspect_err(|refusal| self.report(*refusal, grant))
    }

    /// Counts and logs that a caller with this grant was refused.
    fn report(&self, refusal: AccessRefusal, grant: &Grant) {
        self.0.refused(grant.origin, grant.who(), refusal);
    }
}

impl KnownCallers {
    /// What a call lacks that shows nothing.
    fn all_missing(&self) -> MissingCredential {
        if self.needs_both { MissingCredential::Both } else { MissingCredential::Either }
    }

    fn grant(&self, credential: Credential, origin: Origin) -> Result<Grant, AccessRefusal> {
        let book = self.view.now().ok_or(AccessRefusal::NotRead)?;
        let identity = book.identify(&credential, self.clock.now()).map_err(AccessRefusal::Denied)?;
        Ok(Grant { origin, granted: Some(Arc::new(Granted { credential, identity })) })
    }
}

impl Guard {
    fn refused(&self, origin: Origin, who: Option<String>, refusal: AccessRefusal) {
        metrics::refused(self.listener, refusal.reason());
        self.note(origin, who, Verdict::Sender(refusal.reason()));
    }

    fn note(&self, origin: Origin, who: Option<String>, verdict: Verdict) {
        let Origin { from, method } = origin;
        self.log.note(AccessEvent { who: who.unwrap_or_default(), from, method, verdict });
    }
}

impl Grant {
    /// The rights of a call where every call is let in.
    pub fn open() -> Self {
        Self { origin: Origin::default(), granted: None }
    }

    /// The caller; `None` where every call is let in.
    pub fn caller(&self) -> Option<&Caller> {
        self.granted.as_ref().map(|granted| &*granted.identity.caller)
    }

    /// The caller and its key or certificate, for records and logs; `None` where every call is let
    /// in.
    pub fn who(&self) -> Option<String> {
        let Granted { credential, identity } = &**self.granted.as_ref()?;
        let by = match (&identity.key, credential) {
            (Some(key), Credential::KeyAndCertificate(..)) => format!("key {key} and certificate"),
            (Some(key), Credential::Key(_) | Credential::Certificate(_)) => format!("key {key}"),
            (None, _) => "certificate".to_owned(),
        };
        Some(format!("{} ({by})", identity.caller.name))
    }
}

impl Granted {
    fn key(&self) -> Option<&ApiKey> {
        let name = self.identity.key.as_ref()?;
        self.identity.caller.keys.iter().find(|key| key.name == *name)
    }
}

/// Checks that the caller of a grant has this role. Each role may read.
fn has_role(grant: &Grant, role: Role) -> Result<(), AccessRefusal> {
    let has = |caller: &Caller| caller.roles.contains(&role) || (role == Role::Viewer && !caller.roles.is_empty());
    if grant.caller().is_none_or(has) { Ok(()) } else { Err(AccessRefusal::Role(role)) }
}

/// The credential that a request shows.
fn credential(headers: &HeaderMap, extensions: &Extensions, needs_both: bool) -> Result<Credential, AccessRefusal> {
    let key = headers.get("authorization").map(|header| {
        let (scheme, key) = header.to_str().ok()?.split_at_checked(SCHEME.len())?;
        scheme.eq_ignore_ascii_case(SCHEME).then(|| KeyHash::of(key.trim()))?
    });
    let names = || {
        let certificate = CallerConnection::certificate(extensions)?;
        let names = certificate.dns_names().iter().chain(certificate.uris());
        Some(names.map(|name| name.as_str().into()).collect())
    };
    let missing = match (key, needs_both) {
        (Some(key), false) => return Ok(Credential::Key(key)),
        (None, false) => match names() {
            Some(names) => return Ok(Credential::Certificate(names)),
            None => MissingCredential::Either,
        },
        (key, true) => match (key, names()) {
            (Some(key), Some(names)) => return Ok(Credential::KeyAndCertificate(key, names)),
            (Some(_), None) => MissingCredential::Certificate,
            (None, Some(_)) => MissingCredential::Key,
            (None, None) => MissingCredential::Both,
        },
    };
    Err(AccessRefusal::NoCredential(missing))
}

#[cfg(test)]
mod tests;
