//! The settings in force: flag, else variable, else file, else default.

pub(crate) mod file;
pub(crate) mod flags;
#[cfg(test)]
mod tests;
pub(crate) mod values;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    path::PathBuf,
    thread,
    time::Duration,
};

use tfo_core::cli::{ConfigFile, Environment, Level, SettingsError, file::Places, value::Format};
use tfo_core::host::readiness::Wish;

use self::file::{File, Keys, Listen, Listeners};
use self::flags::Flags;
use self::values::{
    Balance, EarlyData, EvidenceLevel, FilePath, KeyMode, ProxyIn, ProxyOut, ServiceKind, Upstreams,
};
use crate::keys::KeySource;

const PLACES: Places<'_> = Places {
    variable: "TFO_SERVER_CONFIG",
    defaults: &["config/server.toml", "/etc/tfo/server.toml"],
};

/// What the server works with: every value is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// At least one.
    pub(crate) listeners: Vec<ListenSettings>,
    /// At least one.
    pub(crate) workers: usize,
    pub(crate) evidence: EvidenceLevel,
    pub(crate) limits: Limits,
    pub(crate) keys: KeySource,
    /// Where the metrics are served.
    pub(crate) metrics: Option<SocketAddr>,
    /// Whose rights to keep once the listeners are there.
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) format: Format,
    /// Print a line for each connection.
    pub(crate) lines: bool,
    /// Draw the packets of each connection.
    pub(crate) trace: bool,
    /// Write the packets of all connections.
    pub(crate) pcap: Option<PathBuf>,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenSettings {
    pub(crate) address: SocketAddr,
    pub(crate) service: ServiceSettings,
    pub(crate) backlog: u32,
    /// Of all workers together; 0 turns fast open off.
    pub(crate) fastopen_queue: u32,
    pub(crate) early_data: EarlyData,
    pub(crate) proxy_protocol: ProxyIn,
}

/// A service and what it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServiceSettings {
    Mirror,
    Echo,
    Discard,
    Respond(RespondSettings),
    Forward(ForwardSettings),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RespondSettings {
    pub(crate) body: Body,
    /// Answer HTTP requests, and not whatever comes first.
    pub(crate) http: bool,
    pub(crate) content_type: String,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Text(String),
    File(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForwardSettings {
    /// At least one.
    pub(crate) upstreams: Vec<SocketAddr>,
    pub(crate) balance: Balance,
    /// Send what the client has sent first in the SYN towards the upstream.
    pub(crate) fast_open: bool,
    /// The first pause of data in SYNs after one was lost or reset.
    pub(crate) syn_data_pause: Duration,
    pub(crate) proxy_protocol: ProxyOut,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    /// `None`: upstreams are not asked whether they are there.
    pub(crate) health_interval: Option<Duration>,
}

/// What bounds the connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The most connections that are open at once.
    pub(crate) connections: usize,
    /// The most of one source address.
    pub(crate) connections_per_source: Option<u32>,
    /// The most bytes that are held for one connection, each way.
    pub(crate) buffer: usize,
    /// How long a first request may take to be complete.
    pub(crate) header_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    /// How long open connections may take to finish once the server is told to stop.
    pub(crate) drain_timeout: Duration,
}

impl Settings {
    /// The listeners by their addresses.
    pub(crate) fn listeners_by_address(&self) -> HashMap<SocketAddr, &ListenSettings> {
        self.listeners.iter().map(|listen| (listen.address, listen)).collect()
    }

    /// Whether each connection is told of.
    pub(crate) const fn prints_lines(&self) -> bool {
        self.lines || self.trace || self.pcap.is_some()
    }
}

impl ListenSettings {
    /// Where it forwards to, if it does.
    pub(crate) const fn forward(&self) -> Option<&ForwardSettings> {
        match &self.service {
            ServiceSettings::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// What this host must allow for the socket of one of so many workers. The kernel divides
    /// connections evenly among them, and so are the queues.
    pub(crate) fn wish(&self, workers: usize) -> Wish {
        let share = |queue: u32| queue.div_ceil(u32::try_from(workers).unwrap_or(u32::MAX));
        Wish::new(self.address, share(self.fastopen_queue), share(self.backlog))
    }
}

impl ServiceSettings {
    pub(crate) const fn kind(&self) -> ServiceKind {
        match self {
            Self::Mirror => ServiceKind::Mirror,
            Self::Echo => ServiceKind::Echo,
            Self::Discard => ServiceKind::Discard,
            Self::Respond(_) => ServiceKind::Respond,
            Self::Forward(_) => ServiceKind::Forward,
        }
    }
}

/// The settings, and the same as a file would say them.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) file: File,
}

/// Resolves the settings at the start: the file may be a pipe.
pub(crate) fn resolve(flags: &Flags, environment: &Environment) -> Result<Config, SettingsError> {
    let found = ConfigFile::find(flags.config.as_deref(), environment, PLACES)?;
    resolve_with(found.as_ref(), flags, environment)
}

/// Resolves the settings again while the server serves: the file must be a regular one.
pub(crate) fn resolve_again(
    flags: &Flags,
    environment: &Environment,
) -> Result<Config, SettingsError> {
    let found = ConfigFile::find_again(flags.config.as_deref(), environment, PLACES)?;
    resolve_with(found.as_ref(), flags, environment)
}

fn resolve_with(
    found: Option<&ConfigFile>,
    flags: &Flags,
    environment: &Environment,
) -> Result<Config, SettingsError> {
    let mut file: File = match found {
        Some(found) => found.parse()?,
        None => File::default(),
    };
    overlay(&mut file, flags, environment)?;
    let refuse = |Refusal { key, variable, reason }: Refusal| match (found, variable) {
        (Some(found), Some(variable)) if environment.get(variable).is_none() => {
            found.refuse(&key, reason)
        }
        (Some(found), None) => found.refuse(&key, reason),
        (_, variable) => SettingsError::of_variable(variable.unwrap_or(KEYS_MODE), reason),
    };
    let keys = key_source(&file.keys)
        .map_err(|reason| refuse(Refusal::new("keys.mode", Some(KEYS_MODE), reason)))?;
    let listeners = listeners(&file).map_err(refuse)?;
    match found {
        Some(found) => log::info!("configuration file: {found}"),
        None => log::info!("no configuration file"),
    }
    Ok(Config { settings: Settings::new(&file, listeners, keys, flags), file })
}

/// A value that is right by itself and does not go with the others.
#[derive(Debug)]
struct Refusal {
    key: String,
    /// What it came from where the file does not have it.
    variable: Option<&'static str>,
    reason: String,
}

impl Refusal {
    fn new(key: impl Into<String>, variable: Option<&'static str>, reason: String) -> Self {
        Self { key: key.into(), variable, reason }
    }
}

fn listeners(file: &File) -> Result<Vec<ListenSettings>, Refusal> {
    let all = file.listen.all();
    let mut addresses = HashSet::with_capacity(all.len());
    let mut listeners = Vec::with_capacity(all.len());
    for (index, listen) in all.iter().enumerate() {
        let table = if all.len() == 1 { "listen".to_owned() } else { format!("listen[{index}]") };
        let address = SocketAddr::new(listen.address.get(), listen.port.get());
        if !addresses.insert(address) {
            let reason = format!("{address} stands in two tables: expected each address once");
            return Err(Refusal::new(format!("{table}.port"), None, reason));
        }
        listeners.push(ListenSettings {
            address,
            service: service(file, listen, &table)?,
            backlog: listen.backlog.get(),
            fastopen_queue: listen.fastopen_queue.get(),
            early_data: listen.early_data,
            proxy_protocol: listen.proxy_protocol,
        });
    }
    Ok(listeners)
}

/// What the listener's service needs: of its own table, else of the file's.
fn service(file: &File, listen: &Listen, table: &str) -> Result<ServiceSettings, Refusal> {
    let key = |own: bool, key: &str| if own { format!("{table}.{key}") } else { key.to_owned() };
    Ok(match listen.service {
        ServiceKind::Mirror => ServiceSettings::Mirror,
        ServiceKind::Echo => ServiceSettings::Echo,
        ServiceKind::Discard => ServiceSettings::Discard,
        ServiceKind::Respond => {
            let own = listen.respond.is_some();
            let respond = listen.respond.as_ref().unwrap_or(&file.respond);
            let body = match respond.file.get() {
                Some(_) if !respond.body.get().is_empty() => {
                    let reason = "both body and file are given: expected one of them".to_owned();
                    let variable = Some("TFO_SERVER_RESPOND_FILE");
                    return Err(Refusal::new(key(own, "respond.file"), variable, reason));
                }
                Some(path) => Body::File(path.to_owned()),
                None => Body::Text(respond.body.get().to_owned()),
            };
            let content_type = respond.content_type.get().to_owned();
            ServiceSettings::Respond(RespondSettings { body, http: respond.http.0, content_type })
        }
        ServiceKind::Forward => {
            let own = listen.forward.is_some();
            let forward = listen.forward.as_ref().unwrap_or(&file.forward);
            let refuse = |reason| {
                let variable = Some("TFO_SERVER_FORWARD_UPSTREAMS");
                Refusal::new(key(own, "forward.upstreams"), variable, reason)
            };
            if forward.upstreams.get().is_empty() {
                let reason = format!(
                    "service \"forward\" has nowhere to go: expected {}",
                    Upstreams::ALLOWED
                );
                return Err(refuse(reason));
            }
            let address = SocketAddr::new(listen.address.get(), listen.port.get());
            if let Some(own) = forward.upstreams.get().iter().find(|to| leads_to(**to, address)) {
                let reason =
                    format!("{own} is this listener itself, in a circle: expected another address");
                return Err(refuse(reason));
            }
            ServiceSettings::Forward(ForwardSettings {
                upstreams: forward.upstreams.get().to_owned(),
                balance: forward.balance,
                fast_open: forward.fast_open.0,
                syn_data_pause: forward.syn_data_pause.get(),
                proxy_protocol: forward.proxy_protocol,
                connect_timeout: forward.connect_timeout.get(),
                idle_timeout: forward.idle_timeout.get(),
                health_interval: Some(forward.health_interval.get()).filter(|time| !time.is_zero()),
            })
        }
    })
}

/// Whether who connects to `upstream` comes to this listener, as far as it can be known.
fn leads_to(upstream: SocketAddr, listener: SocketAddr) -> bool {
    let every = listener.ip().is_unspecified() && upstream.ip().to_canonical().is_loopback();
    upstream.port() == listener.port() && (upstream.ip() == listener.ip() || every)
}

const KEYS_MODE: &str = "TFO_SERVER_KEYS_MODE";

/// Each mode needs its own file.
fn key_source(keys: &Keys) -> Result<KeySource, String> {
    let needed = |path: &FilePath, key, what| {
        let variable = format!("TFO_SERVER_KEYS_{key}").to_uppercase();
        path.get().map(ToOwned::to_owned).ok_or_else(|| {
            format!(
                "\"{}\" without keys.{key}: expected the path of {what} in keys.{key} (or {variable})",
                keys.mode
            )
        })
    };
    let source = match keys.mode {
        KeyMode::Kernel => KeySource::Kernel,
        KeyMode::File => KeySource::File(needed(&keys.file, "file", "a key file")?),
        KeyMode::Derived => KeySource::Derived {
            secret: needed(&keys.secret, "secret", "a file with the fleet's secret")?,
            rotate_every: keys.rotate_every.get(),
        },
    };
    let unused = match keys.mode {
        KeyMode::File => &keys.secret,
        KeyMode::Kernel if keys.secret.get().is_some() => &keys.secret,
        KeyMode::Kernel | KeyMode::Derived => &keys.file,
    };
    if let Some(path) = unused.get() {
        log::warn!("{} is not used: keys.mode is \"{}\"", path.display(), keys.mode);
    }
    Ok(source)
}

/// Settings that have a variable and no flag.
macro_rules! variables {
    ($environment:ident, $($setting:expr => $name:expr,)+) => {
        $($environment.overlay(&mut $setting, None, $name)?;)+
    };
}

fn overlay(file: &mut File, flags: &Flags, environment: &Environment) -> Result<(), SettingsError> {
    let File { listen, respond, forward, engine, limits, keys, metrics, process, output } = file;
    overlay_listen(listen, flags, environment)?;
    variables! { environment,
        respond.body => "TFO_SERVER_RESPOND_BODY",
        respond.file => "TFO_SERVER_RESPOND_FILE",
        respond.http => "TFO_SERVER_RESPOND_HTTP",
        respond.content_type => "TFO_SERVER_RESPOND_CONTENT_TYPE",
        forward.upstreams => "TFO_SERVER_FORWARD_UPSTREAMS",
        forward.balance => "TFO_SERVER_FORWARD_BALANCE",
        forward.fast_open => "TFO_SERVER_FORWARD_FAST_OPEN",
        forward.syn_data_pause => "TFO_SERVER_FORWARD_SYN_DATA_PAUSE",
        forward.proxy_protocol => "TFO_SERVER_FORWARD_PROXY_PROTOCOL",
        forward.connect_timeout => "TFO_SERVER_FORWARD_CONNECT_TIMEOUT",
        forward.idle_timeout => "TFO_SERVER_FORWARD_IDLE_TIMEOUT",
        forward.health_interval => "TFO_SERVER_FORWARD_HEALTH_INTERVAL",
        engine.workers => "TFO_SERVER_WORKERS",
        engine.evidence => "TFO_SERVER_EVIDENCE",
        limits.connections => "TFO_SERVER_CONNECTIONS",
        limits.connections_per_source => "TFO_SERVER_CONNECTIONS_PER_SOURCE",
        limits.buffer => "TFO_SERVER_BUFFER",
        limits.header_timeout => "TFO_SERVER_HEADER_TIMEOUT",
        limits.idle_timeout => "TFO_SERVER_IDLE_TIMEOUT",
        limits.drain_timeout => "TFO_SERVER_DRAIN_TIMEOUT",
        keys.mode => KEYS_MODE,
        keys.file => "TFO_SERVER_KEYS_FILE",
        keys.secret => "TFO_SERVER_KEYS_SECRET",
        keys.rotate_every => "TFO_SERVER_KEYS_ROTATE_EVERY",
        metrics.address => "TFO_SERVER_METRICS_ADDRESS",
        metrics.port => "TFO_SERVER_METRICS_PORT",
        process.user => "TFO_SERVER_USER",
        process.group => "TFO_SERVER_GROUP",
        output.lines => "TFO_SERVER_LINES",
    }
    environment.overlay(&mut output.format, flags.output, "TFO_SERVER_OUTPUT")?;
    Ok(())
}

/// Flags and variables are for the one listener; with several the file alone says it.
fn overlay_listen(
    listeners: &mut Listeners,
    flags: &Flags,
    environment: &Environment,
) -> Result<(), SettingsError> {
    let several = listeners.all().len();
    let mut none = Listen::default();
    let (listen, only) = match listeners.only() {
        Some(listen) => (listen, true),
        None => (&mut none, false),
    };
    for (name, level) in [
        (
            "--address or TFO_SERVER_ADDRESS",
            environment.overlay(&mut listen.address, flags.address, "TFO_SERVER_ADDRESS")?,
        ),
        (
            "--port or TFO_SERVER_PORT",
            environment.overlay(&mut listen.port, flags.port, "TFO_SERVER_PORT")?,
        ),
        (
            "--service or TFO_SERVER_SERVICE",
            environment.overlay(&mut listen.service, flags.service, "TFO_SERVER_SERVICE")?,
        ),
        (
            "TFO_SERVER_BACKLOG",
            environment.overlay(&mut listen.backlog, None, "TFO_SERVER_BACKLOG")?,
        ),
        (
            "TFO_SERVER_FASTOPEN_QUEUE",
            environment.overlay(&mut listen.fastopen_queue, None, "TFO_SERVER_FASTOPEN_QUEUE")?,
        ),
        (
            "TFO_SERVER_EARLY_DATA",
            environment.overlay(&mut listen.early_data, None, "TFO_SERVER_EARLY_DATA")?,
        ),
        (
            "TFO_SERVER_PROXY_PROTOCOL",
            environment.overlay(&mut listen.proxy_protocol, None, "TFO_SERVER_PROXY_PROTOCOL")?,
        ),
    ] {
        if !only && level != Level::File {
            let reason = format!(
                "the file has {several} [[listen]] tables, and this is for one: expected it in the file"
            );
            return Err(SettingsError::of_variable(name, reason));
        }
    }
    Ok(())
}

impl Settings {
    fn new(file: &File, listeners: Vec<ListenSettings>, keys: KeySource, flags: &Flags) -> Self {
        let File { engine, limits, metrics, process, output, .. } = file;
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        Self {
            listeners,
            workers: match engine.workers.get() {
                0 => cores(),
                some => some as usize,
            },
            evidence: engine.evidence,
            limits: Limits {
                connections: limits.connections.get() as usize,
                connections_per_source: Some(limits.connections_per_source.get())
                    .filter(|&most| most > 0),
                buffer: limits.buffer.get(),
                header_timeout: limits.header_timeout.get(),
                idle_timeout: limits.idle_timeout.get(),
                drain_timeout: limits.drain_timeout.get(),
            },
            keys,
            metrics: u16::try_from(metrics.port.get())
                .ok()
                .filter(|&port| port != 0)
                .map(|port| SocketAddr::new(metrics.address.get(), port)),
            user: process.user.get().map(str::to_owned),
            group: process.group.get().map(str::to_owned),
            format: output.format,
            lines: output.lines.0,
            trace: flags.trace,
            pcap: flags.pcap.clone(),
        }
    }
}
