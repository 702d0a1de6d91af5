//! The keys of the listener: where they come from, and when they change.

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

/// Where the keys come from, as the configuration says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// The network namespace has keys; the listener has none of its own.
    Kernel,
    /// A file with a primary and, if wanted, a backup key.
    File(PathBuf),
    /// A secret that a fleet shares, and the clock.
    Derived { secret: PathBuf, rotate_every: Duration },
}

/// The keys in use.
#[derive(Debug)]
pub(crate) struct Keys {
    origin: KeyOrigin,
    /// `None`: the network namespace's, and they can't be read.
    ring: Option<KeyRing>,
    /// The listener has other keys than the ring: setting them failed.
    pending: bool,
    /// What other threads see. Of a network namespace's keys each thread may find out first that they have changed,
    /// so these are the ones that count.
    shared: Arc<SharedRing>,
}

#[derive(Debug)]
enum KeyOrigin {
    /// Whether this process may read them: who may not at the start never may.
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

/// Where the keys are put for other threads.
#[derive(Debug, Default)]
struct SharedRing {
    /// Counts the changes.
    changes: AtomicU64,
    ring: Mutex<Option<KeyRing>>,
}

impl SharedRing {
    fn put(&self, ring: Option<KeyRing>) {
        *self.lock() = ring;
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Makes these the keys, and remembers those before. Returns the ring.
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

/// The keys of this network namespace, in which a listener has fast open: zeros are somebody's choice then, since the
/// kernel has made a key for the listener if there was none.
fn namespace_keys() -> tfo_core::Result<Pair> {
    let zeros = || (FastOpenKey::new([0; FastOpenKey::LENGTH]), None);
    Ok(sysctl::tcp_fastopen_key()?.unwrap_or_else(zeros))
}

/// A thread's own copy of the keys, made again when they have changed: looking costs one load.
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

    /// All keys that are known now.
    pub(crate) fn ring(&mut self) -> Option<&KeyRing> {
        let changes = self.shared.changes.load(Ordering::Acquire);
        if changes != self.seen {
            self.seen = changes;
            let ring = self.shared.lock();
            self.ring.clone_from(&ring);
        }
        self.ring.as_ref()
    }

    /// Reads the keys that the listener uses now, after a cookie contradicted those that are known. `None`: they
    /// can't be read, or the listener has not got yet the ones that it is to have.
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
    /// Reads the keys for the first time.
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

    /// The keys for another thread, which sees them change.
    pub(crate) fn view(&self) -> KeyView {
        KeyView::new(Arc::clone(&self.shared))
    }

    /// Takes the place of these keys for who has a view of them.
    pub(crate) fn replace(&mut self, other: Self) {
        let shared = Arc::clone(&self.shared);
        shared.put(other.ring.clone());
        *self = Self { shared, ..other };
    }

    /// All keys that are known.
    pub(crate) fn ring(&self) -> Option<&KeyRing> {
        self.ring.as_ref()
    }

    /// Whether the listener has keys of its own, which follow a file or the clock.
    pub(crate) fn are_own(&self) -> bool {
        !matches!(self.origin, KeyOrigin::Kernel { .. })
    }

    /// Gives the listener its own keys from its first moment.
    pub(crate) fn configure(&self, builder: ListenerBuilder) -> ListenerBuilder {
        match &self.ring {
            Some(ring) if self.are_own() => {
                builder.keys(ring.primary().clone(), ring.backup().cloned())
            }
            _ => builder,
        }
    }

    /// Looks whether the keys have changed, and sets them on the listeners if so. To be called each
    /// second; `asked`: somebody wants it done now.
    ///
    /// What can't be used is told once, and changes nothing.
    pub(crate) fn check<'a>(
        &mut self,
        now: SystemTime,
        asked: bool,
        listeners: impl IntoIterator<Item = &'a FastOpenListener>,
    ) {
        let own = self.are_own();
        match self.next_ring(now, asked) {
            Some(ring) => {
                // Before cookies of it can come.
                if own {
                    self.shared.put(Some(ring.clone()));
                }
                if ring.primary().is_zero() {
                    log::warn!("keys: {}", Finding::KeyIsZeros);
                }
                // The first ones are told with the listener.
                let told = self.ring.replace(ring).is_none();
                self.pending = own;
                if !own && !told {
                    log::info!("keys: {self}");
                }
            }
            None if asked => log::info!("keys: {self}, as before"),
            None => {}
        }
        if self.pending {
            self.apply(listeners);
        }
    }

    /// Sets the keys on listeners that may have others.
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
                log::error!("keys: they can't be set, trying again: {}", error_chain(&e));
            }
        }
    }

    /// The ring, if it has changed.
    fn next_ring(&mut self, now: SystemTime, asked: bool) -> Option<KeyRing> {
        let current = self.ring.as_ref();
        match &mut self.origin {
            KeyOrigin::Kernel { readable: false } => None,
            KeyOrigin::Kernel { readable: true } => {
                let ring = self.shared.rotate(namespace_keys().ok()?);
                let same = current.is_some_and(|current| current.accepts_as(&ring));
                (!same).then_some(ring)
            }
            KeyOrigin::File(watched) => {
                let changed = has_changed(watched.check(asked), current);
                changed.then(|| rotated(current, watched.current().clone()))
            }
            KeyOrigin::Derived { secret, schedule, slots } => {
                let changed = has_changed(secret.check(asked), current);
                let before = mem::replace(slots, schedule.slots(now));
                (changed || before != *slots).then(|| schedule.ring(secret.current(), now))
            }
        }
    }
}

/// Whether the file has something new; tells what is wrong with it.
fn has_changed(seen: FileChange, current: Option<&KeyRing>) -> bool {
    match seen {
        FileChange::Same => false,
        FileChange::Changed => true,
        FileChange::Refused(why) => {
            let ring = current.map(ToString::to_string).unwrap_or_default();
            log::warn!("keys: {why}; those before stay: {ring}");
            false
        }
    }
}

/// Which keys are in use, without telling them.
impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(ring) = &self.ring else { return f.write_str("of the network namespace") };
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
