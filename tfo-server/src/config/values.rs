//! Types of values that only this program has: choices, and text with a rule.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    str::FromStr,
};

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize, de};
use tfo_core::{as_text, choice, cli::Expected};

choice!(KeyMode, ServiceKind, EarlyData, ProxyIn, ProxyOut, Balance, EvidenceLevel);

/// The source of the keys that make cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum KeyMode {
    /// The network namespace.
    #[default]
    Kernel,
    /// A file.
    File,
    /// A secret and the clock.
    Derived,
}

/// What the server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, ValueEnum)]
pub(crate) enum ServiceKind {
    /// Answers with what arrived of the client's SYN.
    #[default]
    Mirror,
    /// Sends back what it reads.
    Echo,
    /// Reads and closes.
    Discard,
    /// Sends a fixed answer.
    Respond,
    /// Forwards the connection to an upstream.
    Forward,
}

/// When a service receives the data of a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum EarlyData {
    /// Immediately.
    #[default]
    Accept,
    /// After the client has completed the handshake.
    AwaitHandshake,
}

/// Whether connections begin with a PROXY protocol header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ProxyIn {
    /// No connection does.
    #[default]
    Off,
    /// Every connection must, with a header of version 1 or 2.
    Required,
}

/// The PROXY protocol header that upstreams receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ProxyOut {
    /// None.
    #[default]
    Off,
    /// The text line of version 1.
    V1,
    /// The binary header of version 2.
    V2,
}

/// Which upstream serves the next connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The upstream with the fewest open connections.
    LeastConnections,
}

/// The evidence that is read of each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum EvidenceLevel {
    /// `TCP_INFO` and the saved SYN.
    #[default]
    Full,
    /// None: only the counters of the kernel.
    Counters,
}

as_text!(ListenAddress, ListenAddress::ALLOWED);
as_text!(FilePath, FilePath::ALLOWED);
as_text!(Name, Name::ALLOWED);
as_text!(ContentType, ContentType::ALLOWED);

macro_rules! display {
    ($($name:ident),+) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+ };
}

display!(ListenAddress, FilePath, Name, ContentType);

/// An IP address of this host, by default 127.0.0.1. Host names are refused, because the addresses of a name can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenAddress(IpAddr);

impl ListenAddress {
    const ALLOWED: &str = r#"an IP address of this host, such as "127.0.0.1", "0.0.0.0" or "::""#;

    pub(crate) const fn get(self) -> IpAddr {
        self.0
    }
}

impl Default for ListenAddress {
    fn default() -> Self {
        Self(IpAddr::V4(Ipv4Addr::LOCALHOST))
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
            let hint = if text.parse::<SocketAddr>().is_ok() {
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

/// The path of a file; empty: no file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilePath(String);

impl FilePath {
    const ALLOWED: &str = r#"the path of a file, such as "/etc/tfo/keys""#;

    /// Returns the path, unless it is empty.
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

/// A user or group of this host; empty: none given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    const ALLOWED: &str = r#"the name of a user or group of this host, such as "tfo""#;

    /// Returns the name, unless it is empty.
    pub(crate) fn get(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|name| !name.is_empty())
    }
}

impl FromStr for Name {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':') {
            return Err(Expected::new(Self::ALLOWED));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The value of an HTTP `Content-Type`, by default `text/plain; charset=utf-8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentType(String);

impl ContentType {
    const ALLOWED: &str = r#"a media type, such as "text/plain; charset=utf-8""#;

    pub(crate) fn get(&self) -> &str {
        &self.0
    }
}

impl Default for ContentType {
    fn default() -> Self {
        Self("text/plain; charset=utf-8".to_owned())
    }
}

impl FromStr for ContentType {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let is_printable = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if !is_printable || !text.contains('/') || text.trim() != text {
            return Err(Expected::new(Self::ALLOWED));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The servers that connections are forwarded to. Host names are refused, because the addresses of a name can change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Upstreams(Vec<SocketAddr>);

impl Upstreams {
    pub(crate) const ALLOWED: &str = r#"addresses with ports, such as ["192.0.2.1:80", "[2001:db8::1]:80"]; names are not resolved"#;

    pub(crate) fn get(&self) -> &[SocketAddr] {
        &self.0
    }

    fn new(texts: &[String]) -> Result<Self, Expected> {
        let parse = |text: &String| text.trim().parse().ok();
        let all: Option<Vec<SocketAddr>> = texts.iter().map(parse).collect();
        all.filter(|all| all.iter().all(|address| address.port() != 0))
            .map(Self)
            .ok_or_else(|| Expected::new(Self::ALLOWED))
    }
}

impl<'de> Deserialize<'de> for Upstreams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        Self::new(&texts).map_err(|e| de::Error::custom(format!("invalid value {texts:?}: {e}")))
    }
}
