//! The model of `config/server.toml`: every table and key, with its type, range and default.
//!
//! A key is a field here, a paragraph in `config/server.toml`, and the code that uses it. Its environment variable
//! follows from its name. Numbers state `<MIN, MAX, DEFAULT>`; the default of another type is that of the type.

use std::{fmt, net::SocketAddr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use tfo_core::cli::{
    Integer, Period, Port, Size, Switch,
    value::{DAY, Format, HOUR, KIB, MIB, MINUTE, SECOND, table},
};

use super::values::{
    Balance, ContentType, EarlyData, EvidenceLevel, FilePath, KeyMode, ListenAddress, Name,
    ProxyIn, ProxyOut, ServiceKind, Upstreams,
};

/// All tables, in the order in which `--print-config` prints them.
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

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Listen {
    pub(crate) address: ListenAddress,
    pub(crate) port: Port<2222>,
    pub(crate) service: ServiceKind,
    /// Of all workers together.
    pub(crate) backlog: Integer<1, 65_535, 1024>,
    /// Of all workers together; 0 turns fast open off.
    pub(crate) fastopen_queue: Integer<0, 65_535, 256>,
    pub(crate) early_data: EarlyData,
    pub(crate) proxy_protocol: ProxyIn,
    /// Settings of the listener's service that replace those of the file.
    #[serde(deserialize_with = "some_table", skip_serializing_if = "Option::is_none")]
    pub(crate) respond: Option<Respond>,
    #[serde(deserialize_with = "some_table", skip_serializing_if = "Option::is_none")]
    pub(crate) forward: Option<Forward>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Respond {
    pub(crate) body: String,
    pub(crate) file: FilePath,
    /// Answer HTTP requests, instead of sending the body once to each connection.
    pub(crate) http: Switch<false>,
    pub(crate) content_type: ContentType,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Forward {
    pub(crate) upstreams: Upstreams,
    pub(crate) balance: Balance,
    /// Send the client's first bytes in the SYN to the upstream.
    pub(crate) fast_open: Switch<true>,
    /// The first pause of data in SYNs, after a SYN with data was lost or reset.
    pub(crate) syn_data_pause: Period<SECOND, HOUR, MINUTE>,
    pub(crate) proxy_protocol: ProxyOut,
    pub(crate) connect_timeout: Period<10, { 10 * MINUTE }, { 5 * SECOND }>,
    pub(crate) idle_timeout: Period<100, DAY, { 5 * MINUTE }>,
    /// Zero turns health checks off.
    pub(crate) health_interval: Period<0, HOUR, { 5 * SECOND }>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Engine {
    /// 0: one for each core.
    pub(crate) workers: Integer<0, 1024, 0>,
    pub(crate) evidence: EvidenceLevel,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Limits {
    /// Connections that are open at once.
    pub(crate) connections: Integer<1, 1_000_000, 65_536>,
    /// Connections of one source address that are open at once; 0: any number.
    pub(crate) connections_per_source: Integer<0, 1_000_000, 0>,
    /// Bytes that are buffered for one connection in each direction.
    pub(crate) buffer: Size<{ 4 * KIB }, { 16 * MIB }, { 64 * KIB }>,
    /// Time for the first request to be complete.
    pub(crate) header_timeout: Period<100, DAY, { 10 * SECOND }>,
    pub(crate) idle_timeout: Period<100, DAY, { 30 * SECOND }>,
    /// Time for open connections to end after the first signal to stop.
    pub(crate) drain_timeout: Period<0, HOUR, { 10 * SECOND }>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Keys {
    pub(crate) mode: KeyMode,
    pub(crate) file: FilePath,
    pub(crate) secret: FilePath,
    pub(crate) rotate_every: Period<{ 10 * SECOND }, { 30 * DAY }, HOUR>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Metrics {
    pub(crate) address: ListenAddress,
    /// 0 turns metrics off.
    pub(crate) port: Integer<0, 65_535, 0>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Process {
    pub(crate) user: Name,
    pub(crate) group: Name,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Output {
    pub(crate) format: Format,
    /// Print a line for each connection.
    pub(crate) lines: Switch<true>,
}

impl Listen {
    /// Returns the address and port to listen on.
    pub(crate) fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.get(), self.port.get())
    }
}

impl Metrics {
    /// Returns the address and port of the metrics, unless they are off.
    pub(crate) fn socket_address(&self) -> Option<SocketAddr> {
        let port = u16::try_from(self.port.nonzero()?).ok()?;
        Some(SocketAddr::new(self.address.get(), port))
    }
}

impl Listeners {
    pub(crate) fn all(&self) -> &[Listen] {
        &self.0
    }
}

impl Default for Listeners {
    fn default() -> Self {
        Self(vec![Listen::default()])
    }
}

/// Writes a single listener as a `[listen]` table, which flags and variables can change.
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
