//! The settings in force: flag, else variable, else file, else default.

pub(crate) mod file;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tfo_core::program::{ConfigFile, Environment, SettingsError, file::Places, value::Format};

use self::file::{File, FilePath, KeyMode, Keys, Service};
use crate::cli::Cli;
use crate::keys::KeySource;

const PLACES: Places<'_> = Places {
    variable: "TFO_SERVER_CONFIG",
    defaults: &["config/server.toml", "/etc/tfo/server.toml"],
};

/// What the server works with: every value is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) service: Service,
    pub(crate) backlog: u32,
    /// 0 turns fast open off.
    pub(crate) fastopen_queue: u32,
    /// The most connections that are open at once.
    pub(crate) connections: usize,
    pub(crate) idle_timeout: Duration,
    /// How long open connections may take to finish once the server is told to stop.
    pub(crate) drain_timeout: Duration,
    pub(crate) keys: KeySource,
    pub(crate) format: Format,
    /// Draw the packets of each connection.
    pub(crate) trace: bool,
    /// Write the packets of all connections.
    pub(crate) pcap: Option<PathBuf>,
}

/// The settings, and the same as a file would say them.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) settings: Settings,
    pub(crate) file: File,
}

pub(crate) fn resolve(cli: &Cli, environment: &Environment) -> Result<Config, SettingsError> {
    let found = ConfigFile::find(cli.config.as_deref(), environment, PLACES)?;
    let mut file: File = match &found {
        Some(found) => found.parse()?,
        None => File::default(),
    };
    overlay(&mut file, cli, environment)?;
    let keys = key_source(&file.keys).map_err(|reason| match &found {
        Some(found) if environment.get(KEYS_MODE).is_none() => found.refuse("keys.mode", reason),
        _ => SettingsError::of_variable(KEYS_MODE, reason),
    })?;
    match &found {
        Some(found) => log::info!("configuration file: {found}"),
        None => log::info!("no configuration file"),
    }
    Ok(Config { settings: Settings::new(&file, keys, cli), file })
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

fn overlay(file: &mut File, cli: &Cli, environment: &Environment) -> Result<(), SettingsError> {
    let File { listen, limits, keys, output } = file;
    environment.overlay(&mut listen.address, cli.address, "TFO_SERVER_ADDRESS")?;
    environment.overlay(&mut listen.port, cli.port, "TFO_SERVER_PORT")?;
    environment.overlay(&mut listen.service, cli.service, "TFO_SERVER_SERVICE")?;
    environment.overlay(&mut listen.backlog, None, "TFO_SERVER_BACKLOG")?;
    environment.overlay(&mut listen.fastopen_queue, None, "TFO_SERVER_FASTOPEN_QUEUE")?;
    environment.overlay(&mut limits.connections, None, "TFO_SERVER_CONNECTIONS")?;
    environment.overlay(&mut limits.idle_timeout, None, "TFO_SERVER_IDLE_TIMEOUT")?;
    environment.overlay(&mut limits.drain_timeout, None, "TFO_SERVER_DRAIN_TIMEOUT")?;
    environment.overlay(&mut keys.mode, None, KEYS_MODE)?;
    environment.overlay(&mut keys.file, None, "TFO_SERVER_KEYS_FILE")?;
    environment.overlay(&mut keys.secret, None, "TFO_SERVER_KEYS_SECRET")?;
    environment.overlay(&mut keys.rotate_every, None, "TFO_SERVER_KEYS_ROTATE_EVERY")?;
    environment.overlay(&mut output.format, cli.output, "TFO_SERVER_OUTPUT")?;
    Ok(())
}

impl Settings {
    fn new(File { listen, limits, output, .. }: &File, keys: KeySource, cli: &Cli) -> Self {
        Self {
            listen: SocketAddr::new(listen.address.get(), listen.port.get()),
            service: listen.service,
            backlog: listen.backlog.get(),
            fastopen_queue: listen.fastopen_queue.get(),
            connections: limits.connections.get() as usize,
            idle_timeout: limits.idle_timeout.get(),
            drain_timeout: limits.drain_timeout.get(),
            keys,
            format: output.format,
            trace: cli.trace,
            pcap: cli.pcap.clone(),
        }
    }
}
