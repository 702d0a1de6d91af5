//! The effective settings: flag, else environment variable, else configuration file, else default.

pub(crate) mod file;
pub(crate) mod flags;
#[cfg(test)]
mod tests;
pub(crate) mod values;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
};

use tfo_core::cli::{
    Environment, Resolved, SettingsError, Sources,
    file::{Places, open_regular},
};

use self::file::{Engine, File, Forward, Keys, Limits, Listen, Metrics, Output, Process, Respond};
use self::flags::Flags;
use self::values::{FilePath, KeyMode, ServiceKind, Upstreams};
use crate::keys::KeySource;

const SOURCES: Sources = Sources {
    places: Places {
        variable: "TFO_SERVER_CONFIG",
        defaults: &["config/server.toml", "/etc/tfo/server.toml"],
    },
    prefix: "TFO_SERVER",
    unnamed_tables: &["listen", "engine", "limits", "process", "output"],
    renamed: &[("output.format", "OUTPUT")],
};

/// The settings in the form that the server uses. Tables that need no conversion are those of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// At least one.
    pub(crate) listeners: Vec<ListenSettings>,
    /// At least one.
    pub(crate) workers: usize,
    pub(crate) keys: KeySource,
    /// The address of the metrics, unless they are off.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) engine: Engine,
    pub(crate) limits: Limits,
    pub(crate) process: Process,
    pub(crate) output: Output,
    /// Draw the packets of each connection.
    pub(crate) trace: bool,
    /// Draw the packets with ASCII characters only.
    pub(crate) ascii: bool,
    /// Write the packets of all connections to this file.
    pub(crate) pcap: Option<PathBuf>,
}

/// A listener with the settings of its service, from tables of its own or of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenSettings {
    pub(crate) address: SocketAddr,
    pub(crate) table: Listen,
    /// Used by the service `respond`.
    pub(crate) respond: Respond,
    /// Used by the service `forward`.
    pub(crate) forward: Forward,
}

/// The settings, and the effective configuration file that they come from.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) file: Resolved<File>,
}

/// Two settings contradict each other: the key to blame, what is wrong and what is allowed.
#[derive(Debug)]
struct Contradiction {
    key: String,
    reason: String,
}

/// Resolves the settings at the start. The configuration file may be a pipe.
pub(crate) fn resolve(flags: &Flags, environment: &Environment) -> Result<Config, SettingsError> {
    Config::new(SOURCES.resolve(flags.config.as_deref(), &flags.values(), environment)?, flags)
}

/// Resolves the settings again for a reload. The configuration file must be a regular file.
pub(crate) fn resolve_again(
    flags: &Flags,
    environment: &Environment,
) -> Result<Config, SettingsError> {
    let config = flags.config.as_deref();
    Config::new(SOURCES.resolve_again(config, &flags.values(), environment)?, flags)
}

impl Config {
    fn new(file: Resolved<File>, flags: &Flags) -> Result<Self, SettingsError> {
        let settings = Settings::new(&file.model, flags)
            .map_err(|Contradiction { key, reason }| file.refuse(&key, reason))?;
        if let Some(path) = &file.file {
            log::info!("configuration file: {path}");
        }
        Ok(Self { settings, file })
    }

    /// Logs what in the file has no effect, or that there is none. For commands that serve by the settings, or check
    /// them.
    pub(crate) fn log(&self, serves: bool) {
        if self.file.file.is_none() {
            let level = if serves { log::Level::Info } else { log::Level::Debug };
            log::log!(level, "configuration file: none");
        }
        for unused in self.settings.unused(&self.file.model) {
            log::warn!("{unused}");
        }
    }

    /// Checks that the files that the settings name can be read, so that a missing one is reported at its key.
    pub(crate) fn check_files(&self) -> Result<(), SettingsError> {
        for (key, path) in self.settings.files() {
            open_regular(path).map_err(|e| {
                self.file.refuse(&key, format_args!("can't read {}: {e}", path.display()))
            })?;
        }
        Ok(())
    }
}

impl Settings {
    fn new(file: &File, flags: &Flags) -> Result<Self, Contradiction> {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            keys: key_source(&file.keys)?,
            listeners: listeners(file)?,
            workers: file.engine.workers.nonzero().map_or_else(cores, |workers| workers as usize),
            metrics: metrics(file)?,
            engine: file.engine.clone(),
            limits: file.limits.clone(),
            process: file.process.clone(),
            output: file.output.clone(),
            trace: flags.trace,
            ascii: flags.ascii,
            pcap: flags.pcap.clone(),
        })
    }

    /// Returns the listeners by their addresses.
    pub(crate) fn listeners_by_address(&self) -> HashMap<SocketAddr, &ListenSettings> {
        self.listeners.iter().map(|listen| (listen.address, listen)).collect()
    }

    /// Returns the files that are read, each with the key that names it.
    fn files(&self) -> Vec<(String, &Path)> {
        let mut files: Vec<(String, &Path)> = match &self.keys {
            KeySource::Kernel => Vec::new(),
            KeySource::File(path) => vec![("keys.file".to_owned(), path)],
            KeySource::Derived { secret, .. } => vec![("keys.secret".to_owned(), secret)],
        };
        for (index, listen) in self.listeners.iter().enumerate() {
            let own = listen.table.respond.is_some();
            let name = listener_name(index, self.listeners.len());
            let key = if own { format!("{name}.respond.file") } else { "respond.file".to_owned() };
            let used = listen.table.service == ServiceKind::Respond;
            files.extend(listen.respond.file.get().filter(|_| used).map(|path| (key, path)));
        }
        files
    }

    /// Returns a sentence for each setting of the file that has no effect.
    fn unused(&self, file: &File) -> Vec<String> {
        let mut unused = Vec::new();
        let mut table = |set: bool, name: &str, reason: &str| {
            if set {
                unused.push(format!("[{name}] has no effect: {reason}"));
            }
        };
        let uses = |service, own: fn(&Listen) -> bool| {
            self.listeners
                .iter()
                .any(|listen| listen.table.service == service && !own(&listen.table))
        };
        let responds = uses(ServiceKind::Respond, |listen| listen.respond.is_some());
        let forwards = uses(ServiceKind::Forward, |listen| listen.forward.is_some());
        let none = |service| format!("no listener with service = \"{service}\" uses it");
        table(
            file.respond != Respond::default() && !responds,
            "respond",
            &none(ServiceKind::Respond),
        );
        table(
            file.forward != Forward::default() && !forwards,
            "forward",
            &none(ServiceKind::Forward),
        );
        for (index, listen) in self.listeners.iter().enumerate() {
            let service = listen.table.service;
            let name = listener_name(index, self.listeners.len());
            let reason = format!("the listener has service = \"{service}\"");
            let (respond, forward) = (&listen.table.respond, &listen.table.forward);
            let other = |wanted| service != wanted;
            table(
                respond.is_some() && other(ServiceKind::Respond),
                &format!("{name}.respond"),
                &reason,
            );
            table(
                forward.is_some() && other(ServiceKind::Forward),
                &format!("{name}.forward"),
                &reason,
            );
        }
        let off = file.metrics.socket_address().is_none() && file.metrics != Metrics::default();
        table(off, "metrics", "metrics.port is 0");
        let keys = &file.keys;
        for (key, set, modes) in [
            ("file", keys.file.get().is_some(), [KeyMode::File].as_slice()),
            ("secret", keys.secret.get().is_some(), &[KeyMode::Derived]),
            (
                "rotate-every",
                keys.rotate_every != Keys::default().rotate_every,
                &[KeyMode::Derived],
            ),
        ] {
            if set && !modes.contains(&keys.mode) {
                unused.push(format!("keys.{key} has no effect: keys.mode is \"{}\"", keys.mode));
            }
        }
        unused
    }

    /// Returns whether each connection is logged.
    pub(crate) const fn prints_lines(&self) -> bool {
        self.output.lines.get() || self.trace || self.pcap.is_some()
    }
}

impl ListenSettings {
    /// Resolves a `[listen]` table of the file.
    fn new(listen: &Listen, file: &File) -> Self {
        Self {
            address: listen.socket_address(),
            table: listen.clone(),
            respond: listen.respond.as_ref().unwrap_or(&file.respond).clone(),
            forward: listen.forward.as_ref().unwrap_or(&file.forward).clone(),
        }
    }

    /// Returns the settings of the service `forward`, if the listener has it.
    pub(crate) fn forward(&self) -> Option<&Forward> {
        (self.table.service == ServiceKind::Forward).then_some(&self.forward)
    }

    /// Returns the fast open queue and the backlog for the socket of one of `workers` workers. The kernel
    /// distributes connections evenly over the sockets, so each gets an equal part, rounded up.
    pub(crate) fn queue_and_backlog(&self, workers: usize) -> (u32, u32) {
        let share = |queue: u32| queue.div_ceil(u32::try_from(workers).unwrap_or(u32::MAX));
        (share(self.table.fastopen_queue.get()), share(self.table.backlog.get()))
    }

    fn check(&self, name: &str) -> Result<(), Contradiction> {
        let key = |own: bool, key: &str| if own { format!("{name}.{key}") } else { key.to_owned() };
        let (respond, forward) = (&self.respond, &self.forward);
        match self.table.service {
            ServiceKind::Respond if respond.file.get().is_some() && !respond.body.is_empty() => {
                Err(Contradiction {
                    key: key(self.table.respond.is_some(), "respond.file"),
                    reason: "both body and file are given: expected one of them".to_owned(),
                })
            }
            ServiceKind::Forward => {
                check_upstreams(forward.upstreams.get(), self.address).map_err(|reason| {
                    Contradiction {
                        key: key(self.table.forward.is_some(), "forward.upstreams"),
                        reason,
                    }
                })
            }
            _ => Ok(()),
        }
    }
}

fn listeners(file: &File) -> Result<Vec<ListenSettings>, Contradiction> {
    let all = file.listen.all();
    let mut addresses = HashSet::with_capacity(all.len());
    let mut listeners = Vec::with_capacity(all.len());
    for (index, listen) in all.iter().enumerate() {
        let name = listener_name(index, all.len());
        let listen = ListenSettings::new(listen, file);
        if !addresses.insert(listen.address) {
            let address = listen.address;
            let reason = format!("duplicate listen address {address}: expected each address once");
            return Err(Contradiction { key: format!("{name}.port"), reason });
        }
        listen.check(&name)?;
        listeners.push(listen);
    }
    Ok(listeners)
}

/// Returns the name of a listener's table in the file.
fn listener_name(index: usize, listeners: usize) -> String {
    if listeners == 1 { "listen".to_owned() } else { format!("listen[{index}]") }
}

/// Returns the address of the metrics, which must not be that of a listener.
fn metrics(file: &File) -> Result<Option<SocketAddr>, Contradiction> {
    let Some(metrics) = file.metrics.socket_address() else { return Ok(None) };
    let collides = |listen: &&Listen| {
        let listen = listen.socket_address();
        let every = listen.ip().is_unspecified() || metrics.ip().is_unspecified();
        listen.port() == metrics.port() && (listen.ip() == metrics.ip() || every)
    };
    match file.listen.all().iter().find(collides) {
        Some(listen) => Err(Contradiction {
            key: "metrics.port".to_owned(),
            reason: format!(
                "{metrics} is taken by the listener {}: expected another port",
                listen.socket_address()
            ),
        }),
        None => Ok(Some(metrics)),
    }
}

fn check_upstreams(upstreams: &[SocketAddr], listener: SocketAddr) -> Result<(), String> {
    if upstreams.is_empty() {
        return Err(format!(
            "service \"forward\" needs at least one upstream: expected {}",
            Upstreams::ALLOWED
        ));
    }
    match upstreams.iter().find(|upstream| leads_to(**upstream, listener)) {
        Some(own) => {
            Err(format!("upstream {own} is this listener's own address: expected another address"))
        }
        None => Ok(()),
    }
}

/// Returns whether a connection to `upstream` arrives at this listener, as far as the addresses show.
fn leads_to(upstream: SocketAddr, listener: SocketAddr) -> bool {
    let every = listener.ip().is_unspecified() && upstream.ip().to_canonical().is_loopback();
    upstream.port() == listener.port() && (upstream.ip() == listener.ip() || every)
}

/// Returns the source of the keys. The modes `file` and `derived` need the path of a file.
fn key_source(keys: &Keys) -> Result<KeySource, Contradiction> {
    let needed = |path: &FilePath, key, what| {
        path.get().map(Path::to_owned).ok_or_else(|| Contradiction {
            key: "keys.mode".to_owned(),
            reason: format!(
                "\"{}\" without {key}: expected the path of {what} in {key}",
                keys.mode
            ),
        })
    };
    let source = match keys.mode {
        KeyMode::Kernel => KeySource::Kernel,
        KeyMode::File => KeySource::File(needed(&keys.file, "keys.file", "a key file")?),
        KeyMode::Derived => KeySource::Derived {
            secret: needed(&keys.secret, "keys.secret", "a file with the fleet's secret")?,
            rotate_every: keys.rotate_every.get(),
        },
    };
    Ok(source)
}
