//! Values that only this program's settings have: choices, and text with a rule.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tfo_core::{
    choice,
    cli::{Expected, value::from_text},
};

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
    pub(crate) enum ServiceKind {
        /// Answers with what arrived of the client's SYN.
        #[default]
        Mirror = "mirror",
        /// Sends back what it reads.
        Echo = "echo",
        /// Reads and closes.
        Discard = "discard",
        /// A fixed answer.
        Respond = "respond",
        /// Hands the connection to an upstream.
        Forward = "forward",
    }
}

choice! {
    /// When a service sees the data of a SYN.
    #[derive(Default)]
    pub(crate) enum EarlyData {
        /// At once.
        #[default]
        Accept = "accept",
        /// Once the client has completed the handshake.
        AwaitHandshake = "await-handshake",
    }
}

choice! {
    /// Whether connections begin with a PROXY protocol header.
    #[derive(Default)]
    pub(crate) enum ProxyIn {
        /// They do not.
        #[default]
        Off = "off",
        /// Each must, of either version.
        Required = "required",
    }
}

choice! {
    /// Which PROXY protocol header an upstream gets.
    #[derive(Default)]
    pub(crate) enum ProxyOut {
        /// None.
        #[default]
        Off = "off",
        /// The line of version 1.
        V1 = "v1",
        /// The bytes of version 2.
        V2 = "v2",
    }
}

choice! {
    /// Which upstream is next.
    #[derive(Default)]
    pub(crate) enum Balance {
        /// One after the other.
        #[default]
        RoundRobin = "round-robin",
        /// The one with the fewest open connections.
        LeastConnections = "least-connections",
    }
}

choice! {
    /// What is read of each connection.
    #[derive(Default)]
    pub(crate) enum EvidenceLevel {
        /// `TCP_INFO` and the saved SYN.
        #[default]
        Full = "full",
        /// Nothing; the kernel's counters alone tell.
        Counters = "counters",
    }
}

/// An address of this host. Not a name: what a name resolves to changes, and a listener that moves
/// with it surprises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListenAddress(IpAddr);

impl ListenAddress {
    pub(crate) const LOOPBACK: Self = Self(IpAddr::V4(Ipv4Addr::LOCALHOST));
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

/// Writes a setting that is text, and reads it by the rule of its `FromStr`.
macro_rules! as_text {
    ($($name:ident),+) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer, Self::ALLOWED)
            }
        }
    )+ };
}

as_text!(ListenAddress, FilePath, Text, Name, ContentType);

/// Any text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text(String);

impl Text {
    const ALLOWED: &str = "text";

    pub(crate) fn get(&self) -> &str {
        &self.0
    }
}

impl FromStr for Text {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        Ok(Self(text.to_owned()))
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

/// A user or group of this host; empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    const ALLOWED: &str = r#"the name of a user or group of this host, such as "tfo""#;

    /// The name, if there is one.
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

/// The value of an HTTP `Content-Type`.
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
        let escape_control = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if !escape_control || !text.contains('/') || text.trim() != text {
            return Err(Expected::new(Self::ALLOWED));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The servers that connections are handed to. Addresses: a name's answer may change at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Upstreams(Vec<SocketAddr>);

impl Upstreams {
    pub(crate) const ALLOWED: &str = r#"addresses with ports, such as ["192.0.2.1:80", "[2001:db8::1]:80"]; names are not resolved"#;

    pub(crate) fn get(&self) -> &[SocketAddr] {
        &self.0
    }

    fn new<T: AsRef<str>>(texts: &[T]) -> Result<Self, Expected> {
        let parse = |text: &T| text.as_ref().trim().parse().ok();
        let all: Option<Vec<SocketAddr>> = texts.iter().map(parse).collect();
        all.filter(|all| all.iter().all(|address| address.port() != 0))
            .map(Self)
            .ok_or_else(|| Expected::new(Self::ALLOWED))
    }
}

/// In a variable they stand behind one another, with commas between them.
impl FromStr for Upstreams {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        Self::new(&text.split(',').filter(|text| !text.trim().is_empty()).collect::<Vec<_>>())
    }
}

impl Serialize for Upstreams {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for Upstreams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        Self::new(&texts).map_err(|e| de::Error::custom(format!("invalid value {texts:?}: {e}")))
    }
}
