//! Reads certificates again when their files change, also when a symbolic link leads to other
//! files, as Kubernetes changes a mounted secret. The next connections use the new files; open ones
//! end only if their caller's certificate is not accepted any more (`trust.rs`). Files that cannot
//! be used change nothing.

use std::{
    hash::{DefaultHasher, Hasher as _},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::{
    FileFault, PemFile,
    file::Read,
    metrics::{DAYS_LEFT, REFUSED, RELOADS},
};

/// How often the files are looked at. New contents are used once they are the same at two looks, so
/// that a certificate is not read between its replacement and that of its key.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A value that is made from files.
pub(crate) trait Source: Send + Sync + 'static {
    /// The type of the value.
    type Made: Send + Sync + 'static;

    /// The section of the configuration, such as `tls.grpc`.
    fn section(&self) -> &str;

    /// The files, in the order in which [`Source::make`] takes their contents.
    fn files(&self) -> Vec<PemFile>;

    /// Makes it of the contents of the files, and returns the certificates that may end.
    fn make(&self, contents: &[Vec<u8>]) -> Result<(Self::Made, Vec<Read>), FileFault>;
}

/// Something that is made of files, and made again when they change.
pub(crate) struct Reloading<S: Source> {
    source: S,
    current: watch::Sender<Arc<S::Made>>,
    certificates: Mutex<Vec<Read>>,
    /// The digests of what is in force, of what was seen last, and of what was refused.
    in_force: AtomicU64,
    seen: AtomicU64,
    refused: AtomicU64,
}

impl<S: Source> Reloading<S> {
    /// Reads the files. A certificate that is not valid now is used all the same, and logged.
    pub(crate) fn load(source: S) -> Result<Arc<Self>, FileFault> {
        let contents = read(&source)?;
        let (made, certificates) = source.make(&contents)?;
        for fault in certificates.iter().filter_map(|read| read.check_time().err()) {
            error!(%fault, "a certificate is not valid; peers will refuse it");
        }
        let seen = digest(&contents);
        let (in_force, seen) = (AtomicU64::new(seen), AtomicU64::new(seen));
        let (current, certificates) = (watch::Sender::new(Arc::new(made)), Mutex::new(certificates));
        Ok(Arc::new(Self { source, current, certificates, in_force, seen, refused: AtomicU64::new(0) }))
    }

    /// Checks the files as they are now, and when the certificates are valid.
    pub(crate) fn check(source: &S) -> Result<(), FileFault> {
        make_valid(source, &read(source)?).map(drop)
    }

    /// The value made from the newest usable contents of the files.
    pub(crate) fn current(&self) -> Arc<S::Made> {
        self.current.borrow().clone()
    }

    /// The same, and whatever replaces it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<S::Made>> {
        self.current.subscribe()
    }

    /// Looks at the files again and again until this is dropped.
    pub(crate) fn watch(self: &Arc<Self>) {
        for metric in [&DAYS_LEFT, &RELOADS, &REFUSED] {
            metric.describe();
        }
        for result in ["done", "refused"] {
            RELOADS.touch(&[self.source.section(), result]);
        }
        self.report();
        let watched = Arc::downgrade(self);
        tokio::spawn(async move { while look_later(&watched).await {} });
    }

    /// Looks at the files, and uses them if they have changed and are usable.
    pub(crate) fn look(&self) {
        let read = read(&self.source);
        let now = read.as_ref().map_or_else(digest, digest);
        let is_settled = self.seen.swap(now, Ordering::Relaxed) == now;
        if now == self.in_force.load(Ordering::Relaxed) {
            self.refused.store(0, Ordering::Relaxed);
        } else if is_settled {
            match read.and_then(|contents| make_valid(&self.source, &contents)) {
                Ok((made, certificates)) => self.use_now(made, certificates, now),
                Err(fault) => self.refuse(&fault, now),
            }
        }
        self.report();
    }

    fn use_now(&self, made: S::Made, certificates: Vec<Read>, digest: u64) {
        self.current.send_replace(Arc::new(made));
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = certificates;
        self.in_force.store(digest, Ordering::Relaxed);
        self.refused.store(0, Ordering::Relaxed);
        RELOADS.counter(&[self.source.section(), "done"]).increment(1);
        info!(section = self.source.section(), "new certificates are in use");
    }

    /// Counts and logs the refusal of these contents once.
    fn refuse(&self, fault: &FileFault, digest: u64) {
        if self.refused.swap(digest, Ordering::Relaxed) != digest {
            RELOADS.counter(&[self.source.section(), "refused"]).increment(1);
            warn!(section = self.source.section(), %fault, "new certificates are refused; the old ones stay in use");
        }
    }

    /// Whether the files are other ones than those in force, and cannot be used.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed) != 0
    }

    fn report(&self) {
        REFUSED.gauge(&[self.source.section()]).set(if self.is_refused() { 1.0 } else { 0.0 });
        for read in &*self.certificates.lock().unwrap_or_else(PoisonError::into_inner) {
            DAYS_LEFT.gauge(&[&read.file.key]).set(read.details.days_left());
        }
    }
}

/// Waits and looks at the files; returns false once they are not used any more.
async fn look_later<S: Source>(watched: &Weak<Reloading<S>>) -> bool {
    tokio::time::sleep(LOOK_EVERY).await;
    let Some(watched) = watched.upgrade() else { return false };
    tokio::task::spawn_blocking(move || watched.look()).await.is_ok()
}

fn read<S: Source>(source: &S) -> Result<Vec<Vec<u8>>, FileFault> {
    source.files().iter().map(PemFile::read).collect()
}

fn make_valid<S: Source>(source: &S, contents: &[Vec<u8>]) -> Result<(S::Made, Vec<Read>), FileFault> {
    let (made, certificates) = source.make(contents)?;
    certificates.iter().try_for_each(Read::check_time)?;
    Ok((made, certificates))
}

/// Tells contents apart; never 0.
fn digest(contents: &(impl std::hash::Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    hasher.finish().max(1)
}
