//! The model of `config/client.toml`: tables, keys, their rules and defaults.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};
use tfo_core::{
    choice,
    cli::{
        Expected, Integer, Period, Port, Size, Switch,
        value::{Format, from_text, table},
    },
};

use super::server_address::ServerAddress;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    #[serde(deserialize_with = "table")]
    pub(crate) server: Server,
    #[serde(deserialize_with = "table")]
    pub(crate) probe: Probe,
    #[serde(deserialize_with = "table")]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Server {
    pub(crate) address: ServerAddress,
    pub(crate) port: Port,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Probe {
    pub(crate) count: Count,
    pub(crate) mode: Mode,
    pub(crate) message: Message,
    pub(crate) size: PayloadSize,
    pub(crate) expect_reply: Switch,
    pub(crate) connect_timeout: ConnectTimeout,
    pub(crate) reply_timeout: ReplyTimeout,
    pub(crate) interval: Interval,
    pub(crate) fresh: Switch,
    pub(crate) family: Family,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Output {
    pub(crate) format: Format,
}

const MAX_PAYLOAD: usize = 1 << 20;

pub(crate) type Count = Integer<1, 10_000>;
pub(crate) type BalanceCount = Integer<2, 10_000>;
pub(crate) type PayloadSize = Size<1, MAX_PAYLOAD>;
pub(crate) type ConnectTimeout = Period<1, 3_600_000>;
pub(crate) type ReplyTimeout = Period<1, 3_600_000>;
pub(crate) type Interval = Period<0, 3_600_000>;

impl Default for Server {
    fn default() -> Self {
        const PORT: Port = Port::new(2222);
        Self { address: ServerAddress::new("127.0.0.1"), port: PORT }
    }
}

impl Default for Probe {
    fn default() -> Self {
        const COUNT: Count = Count::new(3);
        const SIZE: PayloadSize = PayloadSize::from_bytes(64);
        const TIMEOUT: ConnectTimeout = ConnectTimeout::from_millis(5_000);
        const INTERVAL: Interval = Interval::from_millis(0);
        Self {
            count: COUNT,
            mode: Mode::default(),
            message: Message::default(),
            size: SIZE,
            expect_reply: Switch(true),
            connect_timeout: TIMEOUT,
            reply_timeout: TIMEOUT,
            interval: INTERVAL,
            fresh: Switch(false),
            family: Family::default(),
        }
    }
}

choice! {
    /// How the first bytes are sent.
    #[derive(Default)]
    pub(crate) enum Mode {
        /// As the library thinks best.
        #[default]
        Auto = "auto",
        /// By `sendto` with `MSG_FASTOPEN`.
        Sendto = "sendto",
        /// By `TCP_FASTOPEN_CONNECT`, `connect` and a write.
        Connect = "connect",
        /// After a regular handshake.
        Off = "off",
    }
}

choice! {
    /// Which addresses of the host are used.
    #[derive(Default)]
    pub(crate) enum Family {
        #[default]
        Any = "any",
        Ipv4 = "ipv4",
        Ipv6 = "ipv6",
    }
}

/// First bytes as text; none means generated ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Message(String);

impl Message {
    const ALLOWED: &str = "text of at most 1MiB";

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Message {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        if text.len() > MAX_PAYLOAD {
            return Err(Expected::new(Self::ALLOWED));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, Self::ALLOWED)
    }
}
