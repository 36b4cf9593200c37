//! Finds the caller of a call, and refuses those that may not call.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tonic::{Extensions, codegen::http::HeaderMap};
use tracing::warn;
use twqr_callers::{ApiKey, Caller, Credential, Identity, KeyHash, Operation, Role};
use twqr_service::{CallerConnection, Clock, LogThrottle};

use crate::{AccessRefusal, CallersView, metrics};

/// The shortest time between two log lines about refused calls, in ms.
const LOG_MS: u64 = 1_000;
/// The longest time until the end of a key is compared with the clock again, in ms: the clock may
/// be set meanwhile.
const CHECK_MS_MAX: i64 = 10_000;
/// What the header `authorization` begins with.
const SCHEME: &str = "bearer ";

/// Decides who may call a listener.
#[derive(Clone)]
pub struct Access(Option<Arc<Guard>>);

struct Guard {
    listener: &'static str,
    view: CallersView,
    clock: Arc<dyn Clock>,
    log: Mutex<LogThrottle>,
}

/// What a call may do, found by its credential.
#[derive(Clone, Debug)]
pub struct Grant(Option<Arc<Granted>>);

#[derive(Debug)]
struct Granted {
    credential: Credential,
    identity: Identity,
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
        let log = Mutex::new(LogThrottle::every_ms(LOG_MS));
        Self(Some(Arc::new(Guard { listener, view, clock, log })))
    }

    /// Whether only callers are let in.
    pub fn is_required(&self) -> bool {
        self.0.is_some()
    }

    /// Finds the caller of a request. An API key decides if there is one, else the certificate.
    pub fn identify(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Grant, AccessRefusal> {
        let Some(guard) = &self.0 else { return Ok(Grant::open()) };
        let credential = credential(headers, extensions).ok_or(AccessRefusal::NoCredential);
        credential.and_then(|credential| guard.grant(credential)).inspect_err(|refusal| self.report(*refusal, None))
    }

    /// What [`Self::identify`] found for a request, from its extensions. A request that was not
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
        self.report(refusal, Some(caller));
        Err(refusal)
    }

    /// Checks that the caller may use this operation at all, before its request is read.
    pub fn check_operation(&self, grant: &Grant, operation: Operation) -> Result<(), AccessRefusal> {
        match grant.caller() {
            Some(caller) if !caller.operations.contains(&operation) => {
                let refusal = AccessRefusal::Operation(operation);
                self.report(refusal, Some(caller));
                Err(refusal)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that the caller has this role. Each role may read.
    pub fn check_role(&self, grant: &Grant, role: Role) -> Result<(), AccessRefusal> {
        let Some(caller) = grant.caller() else { return Ok(()) };
        if caller.roles.contains(&role) || (role == Role::Viewer && !caller.roles.is_empty()) {
            return Ok(());
        }
        self.report(AccessRefusal::Role(role), Some(caller));
        Err(AccessRefusal::Role(role))
    }

    /// Waits until the credential of a grant is no longer accepted.
    pub async fn ended(&self, grant: &Grant) -> AccessRefusal {
        let (Some(guard), Some(granted)) = (&self.0, &grant.0) else { return std::future::pending().await };
        let mut view = guard.view.clone();
        loop {
            let identity = match guard.grant(granted.credential.clone()) {
                Ok(Grant(renewed)) => renewed.and_then(|granted| granted.key().and_then(|key| key.until)),
                Err(refusal) => {
                    self.report(refusal, grant.caller());
                    return refusal;
                }
            };
            let left = identity.map_or(CHECK_MS_MAX, |until| until.since(guard.clock.now()).clamp(1, CHECK_MS_MAX));
            tokio::select! {
                () = view.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(left.unsigned_abs())) => {}
            }
        }
    }

    fn renew(&self, grant: &Grant) -> Result<Grant, AccessRefusal> {
        let (Some(guard), Some(granted)) = (&self.0, &grant.0) else { return Ok(grant.clone()) };
        guard.grant(granted.credential.clone()).inspect_err(|refusal| self.report(*refusal, grant.caller()))
    }

    /// Counts a refusal, and logs it if none was logged a moment ago. Never shows a credential.
    fn report(&self, refusal: AccessRefusal, caller: Option<&Caller>) {
        let Some(guard) = &self.0 else { return };
        metrics::refused(guard.listener, refusal.reason());
        let permit = guard.log.lock().unwrap_or_else(PoisonError::into_inner).permit();
        if let Some(suppressed) = permit {
            let caller = caller.map_or("", |caller| caller.name.as_str());
            let (listener, reason) = (guard.listener, refusal.reason());
            warn!(listener, reason, caller, suppressed, "a call was refused because of who sent it");
        }
    }
}

impl Guard {
    fn grant(&self, credential: Credential) -> Result<Grant, AccessRefusal> {
        let book = self.view.now().ok_or(AccessRefusal::NotRead)?;
        let identity = book.identify(&credential, self.clock.now()).map_err(AccessRefusal::Denied)?;
        Ok(Grant(Some(Arc::new(Granted { credential, identity }))))
    }
}

impl Grant {
    /// What a call may do where every call is let in.
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

/// What a request shows of its caller.
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
