//! The model of `config/server.toml`: tables, keys, their rules and defaults.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use tfo_core::cli::{
    Integer, Period, Port, Size,
    value::{Format, Switch, table},
};

use super::values::{
    Balance, ContentType, EarlyData, EvidenceLevel, FilePath, KeyMode, ListenAddress, Name,
    ProxyIn, ProxyOut, ServiceKind, Text, Upstreams,
};

/// The file. Tables come in the order in which they are printed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    pub(crate) listen: Listeners,
    #[serde(deserialize_with = "table")]
    pub(crate) respond: Respond,
    #[serde(deserialize_with = "table")]
    pub(crate) forward: Forward,
    #[serde(deserialize_with = "table")]
    pub(crate) engine: Engine,
    #[serde(deserialize_with = "table")]
    pub(crate) limits: Limits,
    #[serde(deserialize_with = "table")]
    pub(crate) keys: Keys,
    #[serde(deserialize_with = "table")]
    pub(crate) metrics: Metrics,
    #[serde(deserialize_with = "table")]
    pub(crate) process: Process,
    #[serde(deserialize_with = "table")]
    pub(crate) output: Output,
}

/// A `[listen]` table, or any number of `[[listen]]` tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listeners(Vec<Listen>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Listen {
    pub(crate) address: ListenAddress,
    pub(crate) port: Port,
    pub(crate) service: ServiceKind,
    pub(crate) backlog: Backlog,
    pub(crate) fastopen_queue: FastopenQueue,
    pub(crate) early_data: EarlyData,
    pub(crate) proxy_protocol: ProxyIn,
    /// The settings of its service, where they differ from those of the file.
    #[serde(deserialize_with = "some_table", skip_serializing_if = "Option::is_none")]
    pub(crate) respond: Option<Respond>,
    #[serde(deserialize_with = "some_table", skip_serializing_if = "Option::is_none")]
    pub(crate) forward: Option<Forward>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Respond {
    pub(crate) body: Text,
    pub(crate) file: FilePath,
    pub(crate) http: Switch,
    pub(crate) content_type: ContentType,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Forward {
    pub(crate) upstreams: Upstreams,
    pub(crate) balance: Balance,
    pub(crate) fast_open: Switch,
    pub(crate) syn_data_pause: SynDataPause,
    pub(crate) proxy_protocol: ProxyOut,
    pub(crate) connect_timeout: ConnectTimeout,
    pub(crate) idle_timeout: IdleTimeout,
    pub(crate) health_interval: HealthInterval,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Engine {
    pub(crate) workers: Workers,
    pub(crate) evidence: EvidenceLevel,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Limits {
    pub(crate) connections: Connections,
    pub(crate) connections_per_source: ConnectionsPerSource,
    pub(crate) buffer: Buffer,
    pub(crate) header_timeout: HeaderTimeout,
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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Metrics {
    pub(crate) address: ListenAddress,
    pub(crate) port: PortOrOff,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Process {
    pub(crate) user: Name,
    pub(crate) group: Name,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) lines: Switch,
}

pub(crate) type Backlog = Integer<1, 65_535>;
pub(crate) type FastopenQueue = Integer<0, 65_535>;
pub(crate) type Workers = Integer<0, 1024>;
pub(crate) type Connections = Integer<1, 1_000_000>;
pub(crate) type ConnectionsPerSource = Integer<0, 1_000_000>;
pub(crate) type Buffer = Size<4096, { 16 << 20 }>;
pub(crate) type HeaderTimeout = Period<100, 86_400_000>;
pub(crate) type IdleTimeout = Period<100, 86_400_000>;
pub(crate) type DrainTimeout = Period<0, 3_600_000>;
pub(crate) type SynDataPause = Period<1_000, 3_600_000>;
pub(crate) type ConnectTimeout = Period<10, 600_000>;
pub(crate) type HealthInterval = Period<0, 3_600_000>;
pub(crate) type RotateEvery = Period<10_000, 2_592_000_000>;
pub(crate) type PortOrOff = Integer<0, 65_535>;

impl Default for Listen {
    fn default() -> Self {
        const PORT: Port = Port::new(2222);
        const BACKLOG: Backlog = Backlog::new(1024);
        const QUEUE: FastopenQueue = FastopenQueue::new(256);
        Self {
            address: ListenAddress::LOOPBACK,
            port: PORT,
            service: ServiceKind::default(),
            backlog: BACKLOG,
            fastopen_queue: QUEUE,
            early_data: EarlyData::default(),
            proxy_protocol: ProxyIn::default(),
            respond: None,
            forward: None,
        }
    }
}

impl Default for Forward {
    fn default() -> Self {
        const PAUSE: SynDataPause = SynDataPause::from_millis(60_000);
        const CONNECT: ConnectTimeout = ConnectTimeout::from_millis(5_000);
        const IDLE: IdleTimeout = IdleTimeout::from_millis(300_000);
        const HEALTH: HealthInterval = HealthInterval::from_millis(5_000);
        Self {
            upstreams: Upstreams::default(),
            balance: Balance::default(),
            fast_open: Switch(true),
            syn_data_pause: PAUSE,
            proxy_protocol: ProxyOut::default(),
            connect_timeout: CONNECT,
            idle_timeout: IDLE,
            health_interval: HEALTH,
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        const EACH_CORE: Workers = Workers::new(0);
        Self { workers: EACH_CORE, evidence: EvidenceLevel::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        const CONNECTIONS: Connections = Connections::new(65_536);
        const UNLIMITED: ConnectionsPerSource = ConnectionsPerSource::new(0);
        const BUFFER: Buffer = Buffer::from_bytes(64 << 10);
        const HEADER: HeaderTimeout = HeaderTimeout::from_millis(10_000);
        const IDLE: IdleTimeout = IdleTimeout::from_millis(30_000);
        const DRAIN: DrainTimeout = DrainTimeout::from_millis(10_000);
        Self {
            connections: CONNECTIONS,
            connections_per_source: UNLIMITED,
            buffer: BUFFER,
            header_timeout: HEADER,
            idle_timeout: IDLE,
            drain_timeout: DRAIN,
        }
    }
}

impl Default for Keys {
    fn default() -> Self {
        const HOUR: RotateEvery = RotateEvery::from_millis(3_600_000);
        let (file, secret) = (FilePath::default(), FilePath::default());
        Self { mode: KeyMode::default(), file, secret, rotate_every: HOUR }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        const OFF: PortOrOff = PortOrOff::new(0);
        Self { address: ListenAddress::LOOPBACK, port: OFF }
    }
}

impl Default for Respond {
    fn default() -> Self {
        Self {
            body: Text::default(),
            file: FilePath::default(),
            http: Switch(false),
            content_type: ContentType::default(),
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self { format: Format::default(), lines: Switch(true) }
    }
}

impl Listeners {
    pub(crate) fn all(&self) -> &[Listen] {
        &self.0
    }

    /// The only one: what flags and variables are for.
    pub(crate) fn only(&mut self) -> Option<&mut Listen> {
        match self.0.as_mut_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

impl Default for Listeners {
    fn default() -> Self {
        Self(vec![Listen::default()])
    }
}

impl Serialize for Listeners {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [only] => only.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Listeners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;

        #[derive(Deserialize)]
        struct Table(#[serde(deserialize_with = "table")] Listen);

        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Listeners;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, or an array of tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listeners, A::Error> {
                let one = Listen::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Listeners(vec![one]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut tables: A) -> Result<Listeners, A::Error> {
                let mut all = Vec::new();
                while let Some(Table(listen)) = tables.next_element()? {
                    all.push(listen);
                }
                if all.is_empty() {
                    return Err(de::Error::custom("no listener: expected at least one table"));
                }
                Ok(Listeners(all))
            }
        }

        deserializer.deserialize_any(OneOrSeveral)
    }
}

fn some_table<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    table(deserializer).map(Some)
}
