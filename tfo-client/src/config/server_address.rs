use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tfo_core::cli::{Expected, Port, value::from_text};

/// A host name or address, maybe with a port: `example.org`, `192.0.2.1:443`, `::1`, `[::1]:2222`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    host: String,
    port: Option<Port>,
}

const ALLOWED: &str =
    r#"a host name or address, such as "example.org", "192.0.2.1:443", "::1" or "[::1]:2222""#;

impl ServerAddress {
    pub(crate) fn new(host: &str) -> Self {
        Self { host: host.to_owned(), port: None }
    }

    /// Without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> Option<Port> {
        self.port
    }

    /// An error is a hint on what is wrong; it may be empty.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("; the closing ] is missing")?;
                if !is_ipv6(host) {
                    return Err("; brackets hold an IPv6 address");
                }
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err("; a port follows the ] after a colon"),
                }
            }
            None if is_ipv6(text) => (text, None),
            None if text.contains("://") => return Err("; a URL is not taken"),
            None => match text.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err("; an IPv6 address with a port stands in brackets");
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err("; the host is empty");
        }
        // The resolver judges names; here only what can't be one is stopped.
        let strange = |c: char| c.is_whitespace() || c.is_control() || "/\\@?#[]\"'`".contains(c);
        if host.len() > 254 || host.contains(strange) {
            return Err("");
        }
        let port = port.map(str::parse).transpose().map_err(|_| "; a port is 1 to 65535")?;
        Ok(Self { host: host.to_owned(), port })
    }
}

/// With a zone too, such as `fe80::1%eth0`.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let zone_fits = !zone.is_empty() && !zone.contains(':');
    zone_fits && address.parse::<Ipv6Addr>().is_ok()
}

impl FromStr for ServerAddress {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        Self::parse(text).map_err(|hint| Expected::new(format_args!("{ALLOWED}{hint}")))
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl Serialize for ServerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, ALLOWED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_stands_alone_or_with_a_port() {
        for (text, host, port) in [
            ("example.org", "example.org", None),
            ("example.org.:1", "example.org.", Some(1)),
            ("192.0.2.1", "192.0.2.1", None),
            ("192.0.2.1:65535", "192.0.2.1", Some(65535)),
            ("::1", "::1", None),
            ("::1:2222", "::1:2222", None),
            ("[::1]", "::1", None),
            ("[::1]:2222", "::1", Some(2222)),
            ("fe80::1%eth0", "fe80::1%eth0", None),
            ("[fe80::1%eth0]:80", "fe80::1%eth0", Some(80)),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port().map(Port::get)), (host, port), "{text}");
            assert_eq!(address.to_string().parse(), Ok(address), "{text}: written and read back");
        }
    }

    #[test]
    fn what_cannot_be_a_host_is_refused_with_a_hint() {
        for (text, hint) in [
            ("", "; the host is empty"),
            (":80", "; the host is empty"),
            ("a:", "; a port is 1 to 65535"),
            ("a:0", "; a port is 1 to 65535"),
            ("a:70000", "; a port is 1 to 65535"),
            ("[::1]:0", "; a port is 1 to 65535"),
            ("[::1", "; the closing ] is missing"),
            ("[::1]80", "; a port follows the ] after a colon"),
            ("[192.0.2.1]:80", "; brackets hold an IPv6 address"),
            ("fe80::1%eth0:80", "; an IPv6 address with a port stands in brackets"),
            ("a:b:c", "; an IPv6 address with a port stands in brackets"),
            ("http://example.org/", "; a URL is not taken"),
            ("a b", ""),
            ("user@host", ""),
            ("host\0", ""),
        ] {
            let error = text.parse::<ServerAddress>().unwrap_err().to_string();
            assert_eq!(error, format!("expected {ALLOWED}{hint}"), "{text:?}");
        }
    }
}
