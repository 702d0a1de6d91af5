//! The model of `config/server.toml`: tables, keys, their rules and defaults.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tfo_core::{
    choice,
    program::{
        Expected, Integer, Period, Port,
        value::{Format, from_text, table},
    },
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    #[serde(deserialize_with = "table")]
    pub(crate) listen: Listen,
    #[serde(deserialize_with = "table")]
    pub(crate) limits: Limits,
    #[serde(deserialize_with = "table")]
    pub(crate) keys: Keys,
    #[serde(deserialize_with = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Listen {
    pub(crate) address: ListenAddress,
    pub(crate) port: Port,
    pub(crate) service: Service,
    pub(crate) backlog: Backlog,
    pub(crate) fastopen_queue: FastopenQueue,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Limits {
    pub(crate) connections: Connections,
    pub(crate) idle_timeout: IdleTimeout,
    pub(crate) drain_timeout: DrainTimeout,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Keys {
    pub(crate) mode: KeyMode,
    pub(crate) file: FilePath,
    pub(crate) secret: FilePath,
    pub(crate) rotate_every: RotateEvery,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Output {
    pub(crate) format: Format,
}

pub(crate) type Backlog = Integer<1, 65_535>;
pub(crate) type FastopenQueue = Integer<0, 65_535>;
pub(crate) type Connections = Integer<1, 1_000_000>;
pub(crate) type IdleTimeout = Period<100, 86_400_000>;
pub(crate) type DrainTimeout = Period<0, 3_600_000>;
pub(crate) type RotateEvery = Period<10_000, 2_592_000_000>;

impl Default for Listen {
    fn default() -> Self {
        const PORT: Port = Port::new(2222);
        const BACKLOG: Backlog = Backlog::new(1024);
        const QUEUE: FastopenQueue = FastopenQueue::new(256);
        Self {
            address: ListenAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: PORT,
            service: Service::default(),
            backlog: BACKLOG,
            fastopen_queue: QUEUE,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        const CONNECTIONS: Connections = Connections::new(1024);
        const IDLE: IdleTimeout = IdleTimeout::from_millis(30_000);
        const DRAIN: DrainTimeout = DrainTimeout::from_millis(10_000);
        Self { connections: CONNECTIONS, idle_timeout: IDLE, drain_timeout: DRAIN }
    }
}

impl Default for Keys {
    fn default() -> Self {
        const HOUR: RotateEvery = RotateEvery::from_millis(3_600_000);
        let (file, secret) = (FilePath::default(), FilePath::default());
        Self { mode: KeyMode::default(), file, secret, rotate_every: HOUR }
    }
}

choice! {
    /// Where the keys that cookies are made with come from.
    #[derive(Default)]
    pub(crate) enum KeyMode {
        /// The network namespace's.
        #[default]
        Kernel = "kernel",
        /// A file's.
        File = "file",
        /// Derived from a secret and the clock.
        Derived = "derived",
    }
}

choice! {
    /// What the server does with a connection.
    #[derive(Default)]
    pub(crate) enum Service {
        /// Answers with what arrived of the client's SYN.
        #[default]
        Mirror = "mirror",
        /// Sends back what it reads.
        Echo = "echo",
        /// Reads and closes.
        Discard = "discard",
    }
}

/// An address of this host. Not a name: what a name resolves to changes, and a listener that moves
/// with it surprises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenAddress(IpAddr);

impl ListenAddress {
    const ALLOWED: &str = r#"an IP address of this host, such as "127.0.0.1", "0.0.0.0" or "::""#;

    pub(crate) const fn get(self) -> IpAddr {
        self.0
    }
}

impl FromStr for ListenAddress {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let parsed = match bare {
            Some(bare) => bare.parse().map(IpAddr::V6),
            None => text.parse(),
        };
        parsed.map(Self).map_err(|_| {
            let hint = if text.parse::<std::net::SocketAddr>().is_ok() {
                "; the port has a setting of its own"
            } else if text.contains('%') {
                "; a zone is not supported"
            } else if text.contains(char::is_alphabetic) && !text.contains(':') {
                "; host names are not resolved"
            } else {
                ""
            };
            Expected::new(format_args!("{}{hint}", Self::ALLOWED))
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::ALLOWED)
    }
}

/// The path of a file; empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilePath(String);

impl FilePath {
    const ALLOWED: &str = r#"the path of a file, such as "/etc/tfo/keys""#;

    /// The path, if there is one.
    pub(crate) fn get(&self) -> Option<&Path> {
        Some(&self.0).filter(|path| !path.is_empty()).map(Path::new)
    }
}

impl FromStr for FilePath {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        if text.contains(char::is_control) {
            return Err(Expected::new(Self::ALLOWED));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::ALLOWED)
    }
}
