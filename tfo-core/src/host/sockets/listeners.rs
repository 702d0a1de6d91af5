//! `/proc/net/tcp` and `tcp6`: the listeners on this host, and their fast open queues.

use std::io::BufRead as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{fs, io};

use crate::socket::TcpState;
use crate::{Error, Result};

/// Follows the calling thread into its network namespace; `/proc/net` shows that of the main thread.
const TCP: &str = "/proc/thread-self/net/tcp";
const TCP6: &str = "/proc/thread-self/net/tcp6";

/// The columns of a row, split at white space; `tx:rx` and `tr:when` are one column each.
mod column {
    pub(super) const LOCAL_ADDRESS: usize = 1;
    pub(super) const STATE: usize = 3;
    /// `tx:rx`; of a listener the second is the length of the accept queue.
    pub(super) const QUEUES: usize = 4;
    pub(super) const UID: usize = 7;
    pub(super) const INODE: usize = 9;
    /// In other states this column is the slow start threshold.
    pub(super) const FAST_OPEN_QUEUE: usize = 16;
}

/// A listening TCP socket of this network namespace, of any process.
///
/// # References
/// - [`proc_net_tcp`](https://docs.kernel.org/networking/proc_net_tcp.html), without the last column;
///   [`get_tcp4_sock`](https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_ipv4.c) writes it
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Listener {
    /// The address of the listener.
    pub address: SocketAddr,
    /// The user who created it.
    pub uid: u32,
    /// The socket's inode, as in the `socket:[…]` links of `/proc/PID/fd`.
    pub inode: u64,
    /// The effective length of its fast open queue; 0: fast open is off.
    pub fast_open_queue: u32,
    /// The connections that wait to be accepted.
    pub accept_queue: u32,
}

/// Returns the listening sockets of the calling thread's network namespace, IPv4 first.
///
/// ```no_run
/// # fn main() -> tfo_core::Result<()> {
/// for listener in tfo_core::host::listeners()? {
///     println!("{}: fast open queue {}", listener.address, listener.fast_open_queue);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::System`] if a file can't be read, [`Error::Malformed`] if a row of a listener can't be
/// understood. A kernel without IPv6 is no error.
pub fn listeners() -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for path in [TCP, TCP6] {
        match fs::read_to_string(path) {
            Ok(text) => listeners.append(&mut parse(path, &text)?),
            Err(e) if path == TCP6 && e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::system("read", path, e)),
        }
    }
    Ok(listeners)
}

/// The listeners that take fast open. Reads no further than the rows of listeners, which come first, so that it costs
/// little on a host with many connections.
///
/// # Errors
/// Those of [`listeners`].
pub(crate) fn fast_open_listeners() -> Result<Vec<Listener>> {
    let mut found = Vec::new();
    for path in [TCP, TCP6] {
        let file = match fs::File::open(path) {
            Ok(file) => io::BufReader::new(file),
            Err(e) if path == TCP6 && e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::system("read", path, e)),
        };
        for line in file.lines().skip(1) {
            let line = line.map_err(|e| Error::system("read", path, e))?;
            if !line.split_ascii_whitespace().nth(column::STATE).is_some_and(is_listen) {
                break;
            }
            let listener = parse_listener(&line)
                .ok_or_else(|| Error::malformed(path, format!("{line:?} is no listener's row")))?;
            if listener.fast_open_queue > 0 {
                found.push(listener);
            }
        }
    }
    Ok(found)
}

/// Returns the listeners in the rows of `text`; other rows are ignored.
fn parse(path: &'static str, text: &str) -> Result<Vec<Listener>> {
    text.lines()
        .skip(1)
        .filter(|line| line.split_ascii_whitespace().nth(column::STATE).is_some_and(is_listen))
        .map(|line| {
            parse_listener(line)
                .ok_or_else(|| Error::malformed(path, format!("{line:?} is no listener's row")))
        })
        .collect()
}

fn is_listen(state: &str) -> bool {
    u8::from_str_radix(state, 16).is_ok_and(|n| TcpState::from_number(n) == TcpState::Listen)
}

fn parse_listener(line: &str) -> Option<Listener> {
    let column = |index| line.split_ascii_whitespace().nth(index);
    Some(Listener {
        address: parse_address(column(column::LOCAL_ADDRESS)?)?,
        uid: column(column::UID)?.parse().ok()?,
        inode: column(column::INODE)?.parse().ok()?,
        fast_open_queue: column(column::FAST_OPEN_QUEUE)?.parse().ok()?,
        accept_queue: {
            let (_, waiting) = column(column::QUEUES)?.split_once(':')?;
            u32::from_str_radix(waiting, 16).ok()?
        },
    })
}

/// Parses `0100007F:08AE`: each 8 digits are four bytes of the address as an integer of this host; the port is a
/// plain number.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = address.get(at * 8..(at + 1) * 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (at, place) in octets.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    /// Linux 6.18, x86: three listeners, one without fast open, and two closed connections.
    #[cfg(target_endian = "little")]
    const TEXT: &str = "  \
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 0100090A:08AE 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 10485 1 00000000af9d2a8e 100 0 0 10 7                     
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 10495 1 00000000cf2bc1e9 100 0 0 10 0                     
   2: 0100007F:08AE 00000000:0000 0A 00000000:00000011 00:00000000 00000000     0        0 10480 1 000000004aa72324 100 0 0 10 7                     
   3: 0100090A:D676 0100090A:08AE 06 00000000:00000000 03:00001751 00000000     0        0 0 3 00000000fcb3bdf3                                      
   4: 0100007F:8CEA 0100007F:08AE 06 00000000:00000000 03:00001751 00000000     0        0 0 3 000000001d1c74d6                                      
";

    #[cfg(target_endian = "little")]
    const TEXT6: &str = "  \
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 000000FD000000000000000009000000:08AE 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 10490 1 00000000b9dcc0ba 100 0 0 10 7
   1: 000000FD000000000000000009000000:DD7C 000000FD000000000000000009000000:08AE 06 00000000:00000000 03:00001750 00000000     0        0 0 3 000000002d1f38db
";

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_are_read_with_their_queue() {
        let found = parse(TCP, TEXT).expect("captured from Linux");
        let seen: Vec<_> = found
            .iter()
            .map(|l| (l.address.to_string(), l.uid, l.inode, l.fast_open_queue, l.accept_queue))
            .collect();
        assert_eq!(
            seen,
            [
                ("10.9.0.1:2222".into(), 0, 10_485, 7, 0),
                ("0.0.0.0:80".into(), 1000, 10_495, 0, 0),
                ("127.0.0.1:2222".into(), 0, 10_480, 7, 17),
            ]
        );
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn ipv6_addresses_are_four_words_of_this_host() {
        let found = parse(TCP6, TEXT6).expect("captured from Linux");
        assert_eq!(found.len(), 1, "the other row is no listener");
        assert_eq!(found[0].address, "[fd00::9]:2222".parse().unwrap());
        assert_eq!(found[0].fast_open_queue, 7);
    }

    #[test]
    fn a_listener_of_this_process_is_found_without_a_queue() {
        let ours = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = ours.local_addr().expect("it is bound");
        let found = listeners().expect("procfs is there");
        let found = found.iter().find(|l| l.address == address).expect("it is listed");
        // 0x400 of net.ipv4.tcp_fastopen gives each listener a queue.
        if !crate::host::sysctl::tcp_fastopen().expect("a number").all_listeners() {
            assert_eq!(found.fast_open_queue, 0);
        }
        assert_ne!(found.inode, 0);
    }

    #[test]
    fn truncated_listener_row_is_an_error() {
        let text =
            "sl\n   0: 0100007F:08AE 00000000:0000 0A 00000000:00000000 00:00000000 0 0 0 1 1 0\n";
        let error = parse(TCP, text).expect_err("the queue is missing");
        assert!(error.to_string().contains("0100007F:08AE"), "{error} shows the row");
    }

    fn hex_words(bytes: &[u8]) -> String {
        let word = |word: &[u8]| u32::from_ne_bytes(word.try_into().unwrap());
        let words: Vec<_> = bytes.chunks_exact(4).map(|w| format!("{:08X}", word(w))).collect();
        words.concat()
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(
            text in "\\PC*",
            address in "[0-9A-Fa-f+é]{0,33}:[0-9A-F+]{0,5}",
            row in "(  ?[0-9]{1,12}:?|  ?0A|  ?[0-9A-F]{8}:[0-9A-F]{4}){0,20}",
        ) {
            let _ = parse_address(&text);
            let _ = parse_address(&address);
            let _ = parse(TCP, &format!("header\n{text}\n{row}\n 0: {address} 0:0 0A {row}"));
        }

        #[test]
        fn an_address_survives_the_kernels_text(v4: [u8; 4], v6: [u8; 16], port: u16) {
            let text = format!("{}:{port:04X}", hex_words(&v4));
            prop_assert_eq!(parse_address(&text), Some(SocketAddr::from((v4, port))));
            let text = format!("{}:{port:04X}", hex_words(&v6));
            prop_assert_eq!(parse_address(&text), Some(SocketAddr::from((v6, port))));
        }
    }
}
