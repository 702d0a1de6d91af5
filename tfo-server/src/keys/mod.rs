//! The listeners' fast open keys: their source, and their changes.

pub(crate) mod command;
pub(crate) mod file;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use std::{fmt, mem};

use tfo_core::cli::error_chain;
use tfo_core::cookie::derived::{Schedule, Secret, Slots};
use tfo_core::cookie::{FastOpenKey, KeyRing};
use tfo_core::host::readiness::Finding;
use tfo_core::host::sysctl;
use tfo_core::socket::{FastOpenListener, ListenerBuilder, option};

use file::{FileError, KeyReader, Pair};
use watch::{FileChange, WatchedFile};

/// The source of the keys, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// The keys of the network namespace; listeners have none of their own.
    Kernel,
    /// A file with a primary and optionally a backup key.
    File(PathBuf),
    /// Derived from a secret that a fleet shares, and from the time.
    Derived { secret: PathBuf, rotate_every: Duration },
}

/// The current keys.
#[derive(Debug)]
pub(crate) struct Keys {
    origin: KeyOrigin,
    /// `None`: the keys of the network namespace, which cannot be read.
    ring: Option<KeyRing>,
    /// The listeners do not use the ring yet: setting it failed.
    pending: bool,
    /// The copy for other threads. Any thread may be the first to find that the keys of the network namespace have
    /// changed, so this copy is authoritative.
    shared: Arc<SharedRing>,
}

#[derive(Debug)]
enum KeyOrigin {
    /// Whether the process may read the keys. Permissions never increase after the start.
    Kernel {
        readable: bool,
    },
    File(WatchedFile<Pair>),
    Derived {
        secret: WatchedFile<Secret>,
        schedule: Schedule,
        slots: Slots,
    },
}

/// The copy of the keys that other threads read.
#[derive(Debug, Default)]
struct SharedRing {
    /// Number of changes.
    changes: AtomicU64,
    ring: Mutex<Option<KeyRing>>,
}

impl SharedRing {
    fn put(&self, ring: Option<KeyRing>) {
        *self.lock() = ring;
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Sets the current keys, and keeps the previous ones. Returns the ring.
    fn rotate(&self, (primary, backup): Pair) -> KeyRing {
        let mut current = self.lock();
        let ring = rotated(current.as_ref(), (primary, backup));
        match current.as_ref() {
            Some(current) if current.accepts_as(&ring) => current.clone(),
            _ => {
                *current = Some(ring.clone());
                self.changes.fetch_add(1, Ordering::Release);
                ring
            }
        }
    }

    /// Ignores poisoning: every critical section leaves the data consistent.
    fn lock(&self) -> MutexGuard<'_, Option<KeyRing>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn rotated(current: Option<&KeyRing>, (primary, backup): Pair) -> KeyRing {
    match current {
        Some(ring) => ring.rotated(primary, backup),
        None => KeyRing::new(primary, backup),
    }
}

/// Returns the keys of this network namespace, in which a listener has fast open. Zeros are a configured key then:
/// the kernel creates a key for such a listener if the namespace has none.
fn namespace_keys() -> tfo_core::Result<Pair> {
    let zeros = || (FastOpenKey::new([0; FastOpenKey::LENGTH]), None);
    Ok(sysctl::tcp_fastopen_key()?.unwrap_or_else(zeros))
}

/// A thread's own copy of the keys, updated when they change. Checking for a change costs one atomic load.
#[derive(Debug)]
pub(crate) struct KeyView {
    shared: Arc<SharedRing>,
    seen: u64,
    ring: Option<KeyRing>,
}

impl KeyView {
    fn new(shared: Arc<SharedRing>) -> Self {
        Self { shared, seen: 0, ring: None }
    }

    /// Returns the current keys.
    pub(crate) fn ring(&mut self) -> Option<&KeyRing> {
        let changes = self.shared.changes.load(Ordering::Acquire);
        if changes != self.seen {
            self.seen = changes;
            let ring = self.shared.lock();
            self.ring.clone_from(&ring);
        }
        self.ring.as_ref()
    }

    /// Reads the keys that the listener uses now, after a cookie contradicted the known ones. `None`: the keys cannot
    /// be read, or the configured keys are not set on the listener yet.
    pub(crate) fn read_again(&mut self, listener: &FastOpenListener) -> Option<KeyRing> {
        let mut own = option::fastopen_key(listener).ok()?.into_iter();
        match own.next() {
            Some(primary) => {
                let ring = KeyRing::new(primary, own.next());
                self.ring().filter(|known| known.accepts_as(&ring)).cloned()
            }
            None => Some(self.shared.rotate(namespace_keys().ok()?)),
        }
    }
}

impl Keys {
    /// Loads the keys.
    pub(crate) fn load(source: &KeySource, now: SystemTime) -> Result<Self, FileError> {
        let (origin, ring) = match source {
            KeySource::Kernel => {
                let found = sysctl::tcp_fastopen_key();
                let ring = found.as_ref().ok().cloned().flatten();
                let ring = ring.map(|(primary, backup)| KeyRing::new(primary, backup));
                (KeyOrigin::Kernel { readable: found.is_ok() }, ring)
            }
            KeySource::File(path) => {
                let watched = WatchedFile::read(path, |path| file::keys(path, KeyReader::Server))?;
                let (primary, backup) = watched.current().clone();
                (KeyOrigin::File(watched), Some(KeyRing::new(primary, backup)))
            }
            KeySource::Derived { secret, rotate_every } => {
                let secret =
                    WatchedFile::read(secret, |path| file::secret(path, KeyReader::Server))?;
                let schedule = Schedule::new(*rotate_every);
                let ring = schedule.ring(secret.current(), now);
                let slots = schedule.slots(now);
                (KeyOrigin::Derived { secret, schedule, slots }, Some(ring))
            }
        };
        let shared = Arc::<SharedRing>::default();
        shared.put(ring.clone());
        Ok(Self { origin, ring, pending: false, shared })
    }

    /// Returns a view of the keys for another thread, which follows their changes.
    pub(crate) fn view(&self) -> KeyView {
        KeyView::new(Arc::clone(&self.shared))
    }

    /// Replaces these keys. Existing views follow.
    pub(crate) fn replace(&mut self, other: Self) {
        let shared = Arc::clone(&self.shared);
        shared.put(other.ring.clone());
        *self = Self { shared, ..other };
    }

    /// Returns all known keys.
    pub(crate) fn ring(&self) -> Option<&KeyRing> {
        self.ring.as_ref()
    }

    /// Returns whether listeners have keys of their own, from a file or derived.
    pub(crate) fn are_own(&self) -> bool {
        !matches!(self.origin, KeyOrigin::Kernel { .. })
    }

    /// Configures the keys of a listener before it is bound.
    pub(crate) fn configure(&self, builder: ListenerBuilder) -> ListenerBuilder {
        match &self.ring {
            Some(ring) if self.are_own() => {
                builder.keys(ring.primary().clone(), ring.backup().cloned())
            }
            _ => builder,
        }
    }

    /// Checks whether the keys have changed, and sets them on the listeners if so. Must be called every second.
    /// `requested`: a reload was requested, so changes apply at once.
    ///
    /// Unusable keys are logged once and change nothing.
    pub(crate) fn check<'a>(
        &mut self,
        now: SystemTime,
        requested: bool,
        listeners: impl IntoIterator<Item = &'a FastOpenListener>,
    ) {
        let own = self.are_own();
        match self.next_ring(now, requested) {
            Some(ring) => {
                // Shared before cookies with these keys can arrive.
                if own {
                    self.shared.put(Some(ring.clone()));
                }
                if ring.primary().is_zero() {
                    log::warn!("keys: {}", Finding::KeyIsZeros);
                }
                // The first keys are logged together with the listeners.
                let is_first = self.ring.replace(ring).is_none();
                self.pending = own;
                if !own && !is_first {
                    log::info!("keys: {self}");
                }
            }
            None if requested => log::info!("keys unchanged: {self}"),
            None => {}
        }
        if self.pending {
            self.apply(listeners);
        }
    }

    /// Sets the keys on the listeners.
    pub(crate) fn apply<'a>(&mut self, listeners: impl IntoIterator<Item = &'a FastOpenListener>) {
        let Some(ring) = self.ring.as_ref().filter(|_| self.are_own()) else { return };
        let set = |listener: &FastOpenListener| listener.set_keys(ring.primary(), ring.backup());
        match listeners.into_iter().try_for_each(set) {
            Ok(()) => {
                self.pending = false;
                log::info!("keys: {self}");
            }
            Err(e) => {
                self.pending = true;
                log::error!("can't set the keys, trying again: {}", error_chain(&e));
            }
        }
    }

    /// Returns the new ring, if it has changed.
    fn next_ring(&mut self, now: SystemTime, requested: bool) -> Option<KeyRing> {
        let current = self.ring.as_ref();
        match &mut self.origin {
            KeyOrigin::Kernel { readable: false } => None,
            KeyOrigin::Kernel { readable: true } => {
                let ring = self.shared.rotate(namespace_keys().ok()?);
                let same = current.is_some_and(|current| current.accepts_as(&ring));
                (!same).then_some(ring)
            }
            KeyOrigin::File(watched) => {
                let changed = has_changed(watched.check(requested), current);
                changed.then(|| rotated(current, watched.current().clone()))
            }
            KeyOrigin::Derived { secret, schedule, slots } => {
                let changed = has_changed(secret.check(requested), current);
                let before = mem::replace(slots, schedule.slots(now));
                (changed || before != *slots).then(|| schedule.ring(secret.current(), now))
            }
        }
    }
}

/// Returns whether the file has changed. Logs why it cannot be used.
fn has_changed(seen: FileChange, current: Option<&KeyRing>) -> bool {
    match seen {
        FileChange::Same => false,
        FileChange::Changed => true,
        FileChange::Refused(why) => {
            let ring = current.map(ToString::to_string).unwrap_or_default();
            log::warn!("keys: {why}; keeping the previous keys: {ring}");
            false
        }
    }
}

/// The keys by their fingerprints.
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ring) = &self.ring else { return f.write_str("those of the network namespace") };
        match &self.origin {
            KeyOrigin::Kernel { .. } => write!(f, "{ring} (of the network namespace)"),
            KeyOrigin::File(_) => write!(f, "{ring}"),
            KeyOrigin::Derived { slots, .. } => {
                write!(f, "{ring} (derived, epochs {} and {})", slots.primary, slots.backup)
            }
        }
    }
}

#[cfg(test)]
mod tests;
