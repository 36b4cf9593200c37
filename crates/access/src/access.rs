//! Finds the caller of a call, and refuses those that may not call.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tonic::{Extensions, codegen::http::HeaderMap};
use twqr_callers::{ApiKey, Caller, Credential, Denial, Identity, KeyHash, Operation, Role};
use twqr_service::{CallerConnection, Clock};

use crate::{AccessEvent, AccessLog, AccessRefusal, CallersView, metrics};

/// The longest time until the end of a key is compared with the clock again, in ms: the clock may
/// be set meanwhile.
const CHECK_MS_MAX: i64 = 10_000;
/// The prefix of the header `authorization`.
const SCHEME: &str = "bearer ";

/// Decides who may call a listener.
#[derive(Clone)]
pub struct Access(Option<Arc<Guard>>);

struct Guard {
    listener: &'static str,
    view: CallersView,
    clock: Arc<dyn Clock>,
    log: AccessLog,
}

/// The rights of a call, found by its credential.
#[derive(Clone, Debug)]
pub struct Grant(Option<Arc<Granted>>);

#[derive(Debug)]
struct Granted {
    credential: Credential,
    identity: Identity,
    origin: Origin,
}

/// The origin of a call and its method, for the log.
#[derive(Clone, Copy, Debug)]
struct Origin {
    from: Option<IpAddr>,
    method: &'static str,
}

impl Access {
    /// Lets every call of this listener in.
    pub fn open(listener: &'static str) -> Self {
        metrics::register(listener);
        Self(None)
    }

    /// Lets callers in. `listener` is the listener's name in metrics and logs.
    pub fn callers(listener: &'static str, view: CallersView, clock: Arc<dyn Clock>) -> Self {
        metrics::register(listener);
        let log = AccessLog::new(listener);
        Self(Some(Arc::new(Guard { listener, view, clock, log })))
    }

    /// Whether only callers are let in.
    pub fn is_required(&self) -> bool {
        self.0.is_some()
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
            if let Some(guard) = &self.0 {
                guard.refused(origin, None, refusal);
            }
            return Err(refusal);
        }
        let Some(guard) = &self.0 else { return Ok(Grant::open()) };
        let credential = credential(headers, extensions).ok_or(AccessRefusal::NoCredential);
        let granted = credential.and_then(|credential| guard.grant(credential, origin));
        match &granted {
            Ok(grant) => guard.note(origin, grant.who(), None),
            Err(refusal) => guard.refused(origin, None, *refusal),
        }
        granted
    }

    /// The result of [`Self::identify`] for a request, from its extensions. A request that was not
    /// identified is refused, unless every call is let in.
    pub fn granted(&self, extensions: &Extensions) -> Result<Grant, AccessRefusal> {
        match (&self.0, extensions.get::<Grant>()) {
            (None, _) => Ok(Grant::open()),
            (Some(_), Some(grant)) => Ok(grant.clone()),
            (Some(_), None) => Err(AccessRefusal::NoCredential),
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
        let (Some(guard), Some(granted)) = (&self.0, &grant.0) else { return std::future::pending().await };
        let mut view = guard.view.clone();
        loop {
            let renewed = guard.grant(granted.credential.clone(), granted.origin);
            let until = match renewed.and_then(|renewed| check(&renewed).map(|()| renewed)) {
                Ok(Grant(renewed)) => renewed.and_then(|granted| granted.key().and_then(|key| key.until)),
                Err(refusal) => {
                    self.report(refusal, grant);
                    return refusal;
                }
            };
            let left = until.map_or(CHECK_MS_MAX, |until| until.since(guard.clock.now()).clamp(1, CHECK_MS_MAX));
            tokio::select! {
                () = view.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(left.unsigned_abs())) => {}
            }
        }
    }

    fn renew(&self, grant: &Grant) -> Result<Grant, AccessRefusal> {
        let (Some(guard), Some(granted)) = (&self.0, &grant.0) else { return Ok(grant.clone()) };
        let renewed = guard.grant(granted.credential.clone(), granted.origin);
        renewed.inspect_err(|refusal| self.report(*refusal, grant))
    }

    /// Counts and logs that a caller with this grant was refused.
    fn report(&self, refusal: AccessRefusal, grant: &Grant) {
        if let (Some(guard), Some(granted)) = (&self.0, &grant.0) {
            guard.refused(granted.origin, grant.who(), refusal);
        }
    }
}

impl Guard {
    fn grant(&self, credential: Credential, origin: Origin) -> Result<Grant, AccessRefusal> {
        let book = self.view.now().ok_or(AccessRefusal::NotRead)?;
        let identity = book.identify(&credential, self.clock.now()).map_err(AccessRefusal::Denied)?;
        Ok(Grant(Some(Arc::new(Granted { credential, identity, origin }))))
    }

    fn refused(&self, origin: Origin, who: Option<String>, refusal: AccessRefusal) {
        metrics::refused(self.listener, refusal.reason());
        self.note(origin, who, Some(refusal.reason()));
    }

    fn note(&self, origin: Origin, who: Option<String>, refusal: Option<&'static str>) {
        let Origin { from, method } = origin;
        self.log.note(AccessEvent { who: who.unwrap_or_default(), from, method, refusal });
    }
}

impl Grant {
    /// The rights of a call where every call is let in.
    pub fn open() -> Self {
        Self(None)
    }

    /// The caller; `None` where every call is let in.
    pub fn caller(&self) -> Option<&Caller> {
        self.0.as_ref().map(|granted| &*granted.identity.caller)
    }

    /// The caller and its key or certificate, for records and logs; `None` where every call is let
    /// in.
    pub fn who(&self) -> Option<String> {
        let identity = &self.0.as_ref()?.identity;
        let by = identity.key.as_ref().map_or_else(|| "certificate".to_owned(), |key| format!("key {key}"));
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
fn credential(headers: &HeaderMap, extensions: &Extensions) -> Option<Credential> {
    if let Some(header) = headers.get("authorization") {
        let key = header.to_str().ok().and_then(|text| {
            let (scheme, key) = text.split_at_checked(SCHEME.len())?;
            scheme.eq_ignore_ascii_case(SCHEME).then(|| KeyHash::of(key.trim()))?
        });
        return Some(Credential::Key(key));
    }
    let certificate = CallerConnection::certificate(extensions)?;
    let names = certificate.dns_names().iter().chain(certificate.uris());
    Some(Credential::Certificate(names.map(|name| name.as_str().into()).collect()))
}

#[cfg(test)]
mod tests;
