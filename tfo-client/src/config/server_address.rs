use std::{fmt, net::Ipv6Addr, str::FromStr};

use tfo_core::{
    as_text,
    cli::{Expected, Port},
};

use super::service_name;

/// A host name or IP address, optionally with a port: `example.org`, `192.0.2.1:443`, `::1`, `[::1]:2222`. By default
/// 127.0.0.1. The port may be the name of a service: `example.org:https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    host: String,
    port: Option<Port>,
}

const ALLOWED: &str =
    r#"a host name or address, such as "example.org", "192.0.2.1:443", "::1" or "[::1]:2222""#;

as_text!(ServerAddress, ALLOWED);

impl ServerAddress {
    pub(crate) fn new(host: &str) -> Self {
        Self { host: host.to_owned(), port: None }
    }

    /// Returns the name or address, IPv6 without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> Option<Port> {
        self.port
    }

    /// Parses an address. The error is a hint on what is wrong; it may be empty.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("; the closing ] is missing")?;
                if !is_ipv6(host) {
                    return Err("; brackets are for an IPv6 address");
                }
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err("; a port follows the ] after a colon"),
                }
            }
            None if is_ipv6(text) => (text, None),
            None if text.contains("://") => return Err("; a URL is not supported"),
            None => match text.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err("; an IPv6 address with a port needs brackets");
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err("; the host is empty");
        }
        // Refuses only what can't be a name. The resolver checks the rest.
        let is_invalid =
            |c: char| c.is_whitespace() || c.is_control() || "/\\@?#[]\"'`".contains(c);
        if host.len() > 254 || host.contains(is_invalid) {
            return Err("");
        }
        let port = port.map(service_name::port).transpose();
        let port =
            port.map_err(|_| "; a port is 1 to 65535, or the name of a service in /etc/services")?;
        Ok(Self { host: host.to_owned(), port })
    }
}

/// Returns whether the text is an IPv6 address, optionally with a zone: `fe80::1%eth0`.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let zone_fits = !zone.is_empty() && !zone.contains(':');
    zone_fits && address.parse::<Ipv6Addr>().is_ok()
}

impl Default for ServerAddress {
    fn default() -> Self {
        Self::new("127.0.0.1")
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_parsed_with_and_without_a_port() {
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
    fn invalid_host_is_refused_with_a_hint() {
        for (text, hint) in [
            ("", "; the host is empty"),
            (":80", "; the host is empty"),
            ("a:", "; a port is 1 to 65535, or the name of a service in /etc/services"),
            (
                "a:no-such-service",
                "; a port is 1 to 65535, or the name of a service in /etc/services",
            ),
            ("a:0", "; a port is 1 to 65535, or the name of a service in /etc/services"),
            ("a:70000", "; a port is 1 to 65535, or the name of a service in /etc/services"),
            ("[::1]:0", "; a port is 1 to 65535, or the name of a service in /etc/services"),
            ("[::1", "; the closing ] is missing"),
            ("[::1]80", "; a port follows the ] after a colon"),
            ("[192.0.2.1]:80", "; brackets are for an IPv6 address"),
            ("fe80::1%eth0:80", "; an IPv6 address with a port needs brackets"),
            ("a:b:c", "; an IPv6 address with a port needs brackets"),
            ("http://example.org/", "; a URL is not supported"),
            ("a b", ""),
            ("user@host", ""),
            ("host\0", ""),
        ] {
            let error = text.parse::<ServerAddress>().unwrap_err().to_string();
            assert_eq!(error, format!("expected {ALLOWED}{hint}"), "{text:?}");
        }
    }
}
