//! `inet_diag`: the TCP sockets of this network namespace, of any process, with their `TCP_INFO`.
//!
//! Any user may ask. `ss -ti` uses the same interface, and hides what concerns fast open.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::host::netlink::Netlink;
use crate::socket::{TcpInfo, TcpState};
use crate::uapi::inet_diag as uapi;
use crate::wire::bytes::{array_at, be16_at};
use crate::wire::netlink::{Message, NLM_F_DUMP, Request};
use crate::{Error, Result};

// These have the types of the fields that hold them; in the `libc` crate they are `c_int`.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// The states of a connection that may still have both ends: all but listening, closed and `TIME_WAIT`, of which
/// the kernel keeps too little.
pub const OPEN: &[TcpState] = &[
    TcpState::Established,
    TcpState::SynSent,
    TcpState::SynRecv,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::CloseWait,
    TcpState::LastAck,
    TcpState::Closing,
];

/// A TCP socket of this network namespace, of any process.
///
/// # References
/// - [`sock_diag(7)`](https://man7.org/linux/man-pages/man7/sock_diag.7.html)
/// - [`include/uapi/linux/inet_diag.h`](https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/inet_diag.h)
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Connection {
    /// The local address. An IPv4 connection of an IPv6 socket has IPv4 addresses here.
    pub local: SocketAddr,
    /// The remote address.
    pub remote: SocketAddr,
    /// The connection's state.
    pub state: TcpState,
    /// The user who created the socket.
    pub uid: u32,
    /// The socket's inode, as in the `socket:[…]` links of `/proc/PID/fd`. 0: no process holds it, as before
    /// `accept` and after `close`.
    pub inode: u64,
    /// The connection's `TCP_INFO`. `None` if the kernel has no full socket: a handshake that has just begun at the
    /// server, or the remains of a closed connection.
    pub info: Option<TcpInfo>,
}

/// Returns the TCP sockets in one of these states, IPv4 first. See [`OPEN`].
///
/// # Errors
/// [`Error::System`] if the kernel refuses, as one without `tcp_diag` does;
/// [`Error::Malformed`] if its answer can't be understood.
#[doc(alias = "inet_diag")]
pub fn connections(states: &[TcpState]) -> Result<Vec<Connection>> {
    let mut found = Vec::new();
    dump(states, uapi::INET_DIAG_INFO, |message| {
        found.push(parse(message)?);
        Ok(())
    })?;
    Ok(found)
}

/// Requests the TCP sockets in one of these states, with an attribute, and passes each message to `on_message`.
pub(super) fn dump(
    states: &[TcpState],
    attribute: u16,
    mut on_message: impl FnMut(&Message<'_>) -> Result<()>,
) -> Result<()> {
    let mut netlink = Netlink::open(libc::NETLINK_SOCK_DIAG)?;
    for family in [AF_INET, AF_INET6] {
        let request = |sequence| {
            Request::new(uapi::SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sequence).raw(&request(
                family,
                mask(states),
                attribute,
            ))
        };
        match netlink.request("list", "TCP sockets", request, &mut on_message) {
            // The kernel has no IPv6.
            Err(e) if family == AF_INET6 && e.kind() == io::ErrorKind::NotFound => {}
            answer => answer?,
        }
    }
    Ok(())
}

/// Returns the local addresses of unfinished handshakes at listeners of any process: one address per handshake.
/// Fast open connections that were accepted already are not included.
///
/// # Errors
/// As [`connections`].
pub fn unfinished_handshakes() -> Result<Vec<SocketAddr>> {
    let all = connections(&[TcpState::SynRecv])?;
    Ok(all
        .iter()
        .filter(|handshake| handshake.inode == 0)
        .map(|handshake| handshake.local)
        .collect())
}

/// Returns a bit mask of the states, by the kernel's numbers.
fn mask(states: &[TcpState]) -> u32 {
    (1..=11_u8)
        .filter(|number| states.contains(&TcpState::from_number(*number)))
        .fold(0, |mask, number| mask | 1 << number)
}

/// `struct inet_diag_req_v2`: sockets of any address and port.
fn request(family: u8, states: u32, attribute: u16) -> [u8; uapi::REQUEST_SIZE] {
    let mut bytes = [0; uapi::REQUEST_SIZE];
    bytes[..3].copy_from_slice(&[family, IPPROTO_TCP, 1 << (attribute - 1)]);
    bytes[4..8].copy_from_slice(&states.to_ne_bytes());
    bytes
}

/// Parses `struct inet_diag_msg` and the attributes after it.
fn parse(message: &Message<'_>) -> Result<Connection> {
    let mut connection = socket(message)?;
    for attribute in message.attributes(uapi::message::SIZE) {
        let attribute = attribute?;
        if attribute.kind == uapi::INET_DIAG_INFO {
            connection.info = Some(TcpInfo::parse(attribute.value)?);
        }
    }
    Ok(connection)
}

/// Reads `struct inet_diag_msg`.
pub(super) fn socket(message: &Message<'_>) -> Result<Connection> {
    head(message.payload)
        .ok_or_else(|| Error::malformed("inet_diag answer", "it is no IPv4 or IPv6 socket"))
}

fn head(bytes: &[u8]) -> Option<Connection> {
    use uapi::message as at;

    let address = |offset| -> Option<IpAddr> {
        match *bytes.first()? {
            AF_INET => array_at(bytes, offset).map(|octets| Ipv4Addr::from(octets).into()),
            AF_INET6 => {
                let octets = array_at(bytes, offset)?;
                Some(IpAddr::from(Ipv6Addr::from(octets)).to_canonical())
            }
            _ => None,
        }
    };
    Some(Connection {
        local: SocketAddr::new(address(at::SOURCE)?, be16_at(bytes, at::SOURCE_PORT)?),
        remote: SocketAddr::new(address(at::DESTINATION)?, be16_at(bytes, at::DESTINATION_PORT)?),
        state: TcpState::from_number(*bytes.get(at::STATE)?),
        uid: array_at(bytes, at::UID).map(u32::from_ne_bytes)?,
        inode: array_at(bytes, at::INODE).map(u32::from_ne_bytes)?.into(),
        info: None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::*;
    use crate::wire::netlink::Messages;

    fn answer(family: u8, state: u8, info: Option<&[u8]>) -> Vec<u8> {
        let mut head = [0; uapi::message::SIZE];
        head[0] = family;
        head[1] = state;
        head[4..8].copy_from_slice(&[0x1f, 0x90, 0x08, 0xae]);
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
        if family == AF_INET6 {
            head[8..24].copy_from_slice(&mapped);
            head[39] = 1;
        } else {
            head[8..12].copy_from_slice(&[192, 0, 2, 1]);
            head[24..28].copy_from_slice(&[192, 0, 2, 2]);
        }
        head[64..68].copy_from_slice(&1000_u32.to_ne_bytes());
        head[68..72].copy_from_slice(&77_u32.to_ne_bytes());
        let request = Request::new(uapi::SOCK_DIAG_BY_FAMILY, 0, 1).raw(&head);
        let request = match info {
            Some(info) => request.attribute(uapi::INET_DIAG_INFO, info),
            None => request,
        };
        request.finish().expect("short")
    }

    fn read(bytes: &[u8]) -> Result<Connection> {
        parse(&Messages::new(bytes).next().expect("one")?)
    }

    #[test]
    fn addresses_owner_and_the_bits_of_fast_open_are_read() {
        let info = [1, 0, 0, 0, 0, 0xa7, 0xaa, 0x04];
        let found = read(&answer(AF_INET, 1, Some(&info))).expect("well-formed");
        assert_eq!(found.local, "192.0.2.1:8080".parse().unwrap());
        assert_eq!(found.remote, "192.0.2.2:2222".parse().unwrap());
        assert_eq!((found.uid, found.inode, found.state), (1000, 77, TcpState::Established));
        let info = found.info.expect("it was there");
        assert!(info.syn_data && info.tfo_child, "what `ss` does not show");
        assert_eq!(info.client_fail.as_str(), "data-not-acked", "what `ss` does not show");
    }

    #[test]
    fn ipv4_mapped_connection_is_ipv4_and_request_has_no_info() {
        let found = read(&answer(AF_INET6, 12, None)).expect("well-formed");
        assert_eq!(found.local, "192.0.2.1:8080".parse().unwrap());
        assert_eq!(found.remote.ip(), "::1".parse::<IpAddr>().unwrap());
        assert_eq!((found.state, found.info), (TcpState::SynRecv, None));
    }

    #[test]
    fn malformed_socket_message_is_an_error() {
        read(&answer(1, 1, None)).expect_err("a UNIX socket is none of ours");
        read(&answer(AF_INET, 1, Some(&[1; 7]))).expect_err("a TCP_INFO that is too short");
    }

    #[test]
    fn each_state_has_its_bit() {
        assert_eq!(mask(&[TcpState::Established, TcpState::Listen]), 1 << 1 | 1 << 10);
        assert_eq!(mask(&[TcpState::Unknown]), 0);
        assert_eq!(mask(OPEN).count_ones(), 8);
    }

    #[test]
    fn both_ends_of_a_connection_of_this_process_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let found = connections(OPEN).expect("anybody may ask");
        for end in [&client, &server] {
            let (local, remote) = (end.local_addr().unwrap(), end.peer_addr().unwrap());
            let found = found.iter().find(|c| c.local == local && c.remote == remote);
            let found = found.expect("an open connection is listed");
            assert!(found.inode > 0 && found.info.is_some(), "{found:?}");
        }
        let listening = connections(&[TcpState::Listen]).expect("anybody may ask");
        let local = listener.local_addr().unwrap();
        assert!(listening.iter().any(|c| c.local == local), "states are as asked for");
        assert!(listening.iter().all(|c| c.state == TcpState::Listen), "and no others");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0..120_usize, value: u8, keep in 0..120_usize,
        ) {
            let _ = head(&bytes);
            let mut bytes = answer(AF_INET6, 1, Some(&[0; 24]));
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            bytes.truncate(keep);
            for message in Messages::new(&bytes).flatten() {
                let _ = parse(&message);
            }
        }
    }
}
