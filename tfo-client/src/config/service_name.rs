//! Names of services for ports: `https` for 443, as `getservbyname(3)` finds them in `/etc/services`.

use std::fs;

use tfo_core::cli::{Expected, Port};

const SERVICES: &str = "/etc/services";

/// What is allowed, as "expected …" continues.
pub(super) const ALLOWED: &str =
    "a port from 1 to 65535, or the name of a service in /etc/services, such as https";

/// Returns the port that a text names by its number, or by the name of a service.
///
/// # Errors
/// If it is neither. `/etc/services` is read only for a name, and need not exist.
pub(crate) fn port(text: &str) -> Result<Port, Expected> {
    let named = || {
        let is_name = text.chars().any(|c| c.is_ascii_alphabetic());
        find(&fs::read_to_string(SERVICES).ok().filter(|_| is_name)?, text)
    };
    text.parse().ok().or_else(named).ok_or_else(|| Expected::new(ALLOWED))
}

/// Finds the TCP port of a service, or of an alias, in the text of `/etc/services`.
fn find(services: &str, name: &str) -> Option<Port> {
    services.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (first, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        (first == name || words.any(|alias| alias == name)).then(|| port.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_is_found_by_name_or_alias() {
        let services = "# names\nhttps\t443/tcp\t\t# TLS\nhttps\t443/udp\nsmtp 25/tcp mail\n\nntp 123/udp\nbad x/tcp\n";
        for (name, port) in [
            ("https", Some(443)),
            ("mail", Some(25)),
            ("smtp", Some(25)),
            ("ntp", None),
            ("bad", None),
            ("TLS", None),
            ("", None),
        ] {
            assert_eq!(find(services, name).map(Port::get), port, "{name}");
        }
        assert_eq!(port("443").map(Port::get).ok(), Some(443), "a number is no name");
        assert!(port("0").is_err() && port("no-such-service").is_err() && port("70000").is_err());
    }
}
