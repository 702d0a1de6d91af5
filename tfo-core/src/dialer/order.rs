//! The order in which the addresses of a server are tried.

use std::net::SocketAddr;

/// Puts the addresses of both families in turn, beginning with the family of the first one. Within a family the order
/// of the resolver, which sorts by preference (RFC 6724), stays.
pub(super) fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut ordered: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !ordered.contains(&address) {
            ordered.push(address);
        }
    }
    let Some(first) = ordered.first().map(SocketAddr::is_ipv4) else { return ordered };
    let (mine, others): (Vec<_>, Vec<_>) =
        ordered.into_iter().partition(|address| address.is_ipv4() == first);
    let mut others = others.into_iter();
    let mut ordered = Vec::new();
    for address in mine {
        ordered.push(address);
        ordered.extend(others.next());
    }
    ordered.extend(others);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        for (given, expected) in [
            ("", ""),
            ("4a", "4a"),
            ("6a 6b 4a 4b 4c", "6a 4a 6b 4b 4c"),
            ("4a 6a 6b 6c", "4a 6a 6b 6c"),
            ("6a 6a 4a 6b", "6a 4a 6b"),
        ] {
            let address = |name: &str| -> SocketAddr {
                let text = match name.split_at(1) {
                    ("4", "a") => "192.0.2.1:1",
                    ("4", "b") => "192.0.2.2:1",
                    ("4", _) => "192.0.2.3:1",
                    (_, "a") => "[2001:db8::1]:1",
                    (_, "b") => "[2001:db8::2]:1",
                    _ => "[2001:db8::3]:1",
                };
                text.parse().unwrap()
            };
            let list = |names: &str| names.split_whitespace().map(address).collect::<Vec<_>>();
            assert_eq!(in_turn(list(given).into_iter()), list(expected), "{given}");
        }
    }
}
