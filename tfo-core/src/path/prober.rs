//! Sends SYNs from sockets of an ordinary user. The only sockets of this folder.
//!
//! 1. All SYNs come from one port, until another one is asked for, and with one flow label: routers that distribute by
//!    connection send them the same way.
//! 2. A socket is closed before the next one opens. A connection that came about is reset.
//! 3. An ICMP error is the kernel's word that it quotes the SYN of this very socket. The kernel looks the socket up by
//!    addresses and ports, and drops the error unless the quoted sequence number is between the first one that is
//!    not acknowledged and the next one (`tcp_v4_err`, `tcp_v6_err`). Initial sequence numbers of one 5-tuple grow by one every
//!    64 ns (`secure_tcp_seq`), so a late quote of an earlier SYN, 1 ms ago or more, is thousands of numbers off: it is
//!    dropped, and counted as `OutOfWindowIcmps`. It never counts for another hop or kind.
//! 4. A quote that comes after the kernel's retransmission is that of the first SYN if it shows its option or data.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::reading;
use super::sample::{IcmpError, IcmpReply};
use super::{PathMap, Prober, Reply, Sample, SentSyn, Shot, SynKind};
use crate::error::{Error, Result};
use crate::host::{Counters, cookie_cache, sysctl, tcp_route};
use crate::socket::{ClientFail, option};
use crate::sys::{error_queue, socket, sockopt};

/// More than a router quotes.
const QUOTE: usize = 2048;
/// Before that long the kernel sends no SYN again of its own accord.
const RETRANSMITTED: Duration = Duration::from_millis(900);
/// The port that datagrams go to, where nobody listens: that of traceroute.
const DATAGRAMS: u16 = 33434;

/// Sends SYNs to one target.
#[derive(Debug, Clone)]
pub struct SocketProber {
    target: SocketAddr,
    local: SocketAddr,
    interface: Option<String>,
    /// The kernel may have paused fast open without saying so.
    may_be_paused: bool,
}

impl SocketProber {
    /// Creates a prober that sends to `target` from this address, by this interface or by that of the route, and from `port` if
    /// it is free.
    ///
    /// # Errors
    /// The address or the interface is not this host's, or the kernel has no error queue:
    /// [`io::ErrorKind::Unsupported`].
    pub fn new(
        target: SocketAddr,
        local: IpAddr,
        interface: Option<&str>,
        port: Option<u16>,
    ) -> Result<Self> {
        let mut own = SocketAddr::new(local, 0);
        if let (SocketAddr::V6(own), SocketAddr::V6(target)) = (&mut own, target) {
            own.set_scope_id(target.scope_id());
        }
        own.set_port(port.unwrap_or(0));
        let interface = interface.map(str::to_owned);
        let mut prober = Self { target, local: own, interface, may_be_paused: may_be_paused() };
        if port.is_none() || !prober.is_free() {
            prober.change_port()?;
        }
        prober.open(1)?;
        Ok(prober)
    }

    /// Returns the local address of the SYNs.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// The kinds of SYNs with option or data that this host can send to the target now.
    #[must_use]
    pub fn kinds(&self) -> Vec<SynKind> {
        let Ok(bits) = sysctl::tcp_fastopen() else { return Vec::new() };
        if !bits.client() {
            return Vec::new();
        }
        if bits.bits() & 0x4 != 0 || self.routed_without_cookie() {
            return vec![SynKind::Data];
        }
        if self.cookie().is_some() {
            vec![SynKind::Cookie, SynKind::CookieAndData, SynKind::Data]
        } else {
            vec![SynKind::Request, SynKind::Data]
        }
    }

    /// The cookie that the kernel has for the target.
    fn cookie(&self) -> Option<crate::cookie::FastOpenCookie> {
        let entry = cookie_cache::get(Some(self.local.ip()), self.target.ip()).ok()?;
        entry.and_then(|entry| entry.cookie)
    }

    fn routed_without_cookie(&self) -> bool {
        tcp_route(self.target, Some(self.local.ip()), self.interface.as_deref())
            .is_ok_and(|route| route.without_cookie)
    }

    /// Whether SYNs can be sent from the port: the kernel may still hold it for a connection that has ended.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.clone().shoot(Shot::new(SynKind::Plain, 1, 0, Duration::ZERO)).is_ok()
    }

    /// A socket whose SYN ends at this hop.
    fn open(&self, ttl: u8) -> Result<OwnedFd> {
        let fd = socket::tcp(self.target, true).map_err(|e| Error::system("socket", "", e))?;
        set(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, "SO_REUSEADDR", 1)?;
        set_hops(&fd, self.target, ttl)?;
        self.bind_to_interface(&fd)?;
        option::set_linger(&fd, Some(Duration::ZERO))?;
        socket::bind(&fd, self.local).map_err(|e| Error::system("bind", self.local, e))?;
        Ok(fd)
    }

    /// Lets the packets of a socket leave by the interface, if one was given.
    fn bind_to_interface(&self, fd: impl AsFd) -> Result<()> {
        self.interface.as_deref().map_or(Ok(()), |name| option::set_bind_to_device(fd, name))
    }

    /// Sends the SYN. The bytes of data that it took along; `None`: it is not what was wanted.
    fn start(&self, fd: &OwnedFd, shot: Shot) -> io::Result<Option<usize>> {
        let data = reading::data(shot.data);
        let in_progress = |e: &io::Error| e.raw_os_error() == Some(libc::EINPROGRESS);
        match shot.kind {
            SynKind::Plain => match socket::connect(fd, self.target) {
                Err(e) if !in_progress(&e) => Err(e),
                _ => Ok(Some(0)),
            },
            SynKind::Request | SynKind::Cookie => {
                match socket::send_fastopen(fd, &[], self.target) {
                    Err(e) if !in_progress(&e) => return Err(e),
                    _ => {}
                }
                let fail = option::tcp_info(fd).map(|info| info.client_fail).ok();
                let asks = fail == Some(ClientFail::CookieUnavailable);
                let paused = !asks && self.may_be_paused;
                Ok((asks == (shot.kind == SynKind::Request) && !paused).then_some(0))
            }
            SynKind::CookieAndData | SynKind::Data => {
                if shot.kind == SynKind::Data {
                    option::set_fastopen_no_cookie(fd, true).map_err(io::Error::from)?;
                }
                match socket::send_fastopen(fd, &[IoSlice::new(&data)], self.target) {
                    Ok(bytes) => Ok(Some(bytes)),
                    // A SYN without data has left.
                    Err(e) if in_progress(&e) => Ok(None),
                    Err(e) => Err(e),
                }
            }
        }
    }

    /// What comes back until the deadline, and whether it came for the kernel's retransmission.
    fn wait(&self, fd: &OwnedFd, start: Instant, shot: Shot) -> (Reply, bool) {
        let Shot { kind, wait, .. } = shot;
        let mut quote = vec![0; QUOTE];
        loop {
            let left = wait.saturating_sub(start.elapsed());
            let ready = socket::wait_writable(fd.as_fd(), Some(left)).is_ok_and(|it| it.is_some());
            let info = option::tcp_info(fd).ok();
            let again = info.as_ref().and_then(|info| info.total_retrans).unwrap_or(0) > 0;
            if again && start.elapsed() < RETRANSMITTED {
                // The kernel has learned of a smaller MTU, and sent the SYN again at once.
                let mtu = info.and_then(|info| info.pmtu).unwrap_or(0);
                return (
                    Reply::Icmp(IcmpReply::new(None, IcmpError::TooBig(mtu), Vec::new())),
                    false,
                );
            }
            if ready {
                if let Some(icmp) = take_icmp(fd, self.target, &mut quote) {
                    // A late answer may still be that to the first SYN.
                    let again = again && !reading::is_first_syn(&icmp.quote, kind);
                    return (Reply::Icmp(icmp), again);
                }
                match option::take_error(fd) {
                    Ok(()) => return (Reply::SynAck, again),
                    Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                        return (Reply::Reset, again);
                    }
                    Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                        return (Reply::Silence, again);
                    }
                    Err(e) => return (Reply::NotSent(e.raw_os_error().unwrap_or(0)), again),
                }
            }
            if start.elapsed() >= wait {
                return (Reply::Silence, again);
            }
        }
    }

    /// Compares the distance of the target for datagrams with that for TCP. Sends empty datagrams to a port where
    /// nobody listens, from the distance of TCP on.
    pub fn measure_datagrams(&self, map: &mut PathMap, wait: Duration) {
        let Some(distance) = map.distance() else { return };
        for ttl in distance..=distance.saturating_add(20) {
            let answer = (0..2).find_map(|_| self.datagram(ttl, wait).ok().flatten());
            match answer {
                Some(icmp) if icmp.error == IcmpError::TimeExceeded => {
                    map.datagram_distance = Some(ttl + 1);
                }
                Some(icmp) if icmp.from == Some(self.target.ip()) => {
                    map.datagram_distance = Some(ttl);
                    return;
                }
                _ => return,
            }
        }
    }

    fn datagram(&self, ttl: u8, wait: Duration) -> io::Result<Option<IcmpReply>> {
        let mut local = self.local;
        local.set_port(0);
        let socket = UdpSocket::bind(local)?;
        set_hops(&socket, self.target, ttl)?;
        self.bind_to_interface(&socket)?;
        let mut target = self.target;
        target.set_port(DATAGRAMS + u16::from(ttl));
        socket.send_to(&[], target)?;
        let mut quote = vec![0; QUOTE];
        let ready = error_queue::wait(socket.as_fd(), wait)?;
        Ok(if ready { take_icmp(&socket, self.target, &mut quote) } else { None })
    }
}

impl Prober for SocketProber {
    fn shoot(&mut self, shot: Shot) -> Result<Vec<Sample>> {
        let fd = self.open(shot.ttl)?;
        let port = self.local.port();
        let start = Instant::now();
        let data = match self.start(&fd, shot) {
            Ok(Some(data)) => data,
            Ok(None) => {
                return Ok(vec![Sample::new(shot, Reply::NotSent(0), Duration::ZERO, port)]);
            }
            Err(e) => {
                let errno = e.raw_os_error().unwrap_or(0);
                if errno == libc::EADDRNOTAVAIL {
                    return Err(Error::system("connect", self.target, e));
                }
                return Ok(vec![Sample::new(shot, Reply::NotSent(errno), Duration::ZERO, port)]);
            }
        };
        let shot = Shot { data, ..shot };
        // A smaller MTU that the kernel learns of changes it.
        let announced = option::tcp_info(&fd).ok().and_then(|info| info.advmss);
        let mss = announced.and_then(|mss| u16::try_from(mss).ok());
        let (reply, again) = self.wait(&fd, start, shot);
        let after = start.elapsed();
        let mut samples = if again && shot.kind != SynKind::Plain {
            let first = Sample::new(shot, Reply::Silence, RETRANSMITTED, port);
            vec![first, Sample::of_retransmission(shot, reply, after, port)]
        } else {
            vec![Sample::new(shot, reply, after, port)]
        };
        for sample in &mut samples {
            sample.mss = mss;
            log::debug!("{sample}");
        }
        Ok(samples)
    }

    fn pause(&mut self, time: Duration) {
        thread::sleep(time);
    }

    fn change_port(&mut self) -> Result<()> {
        let mut any = self.local;
        any.set_port(0);
        let free = TcpListener::bind(any).and_then(|listener| listener.local_addr());
        let port = free.map_err(|e| Error::system("bind", any, e))?.port();
        self.local.set_port(port);
        Ok(())
    }

    fn port(&self) -> u16 {
        self.local.port()
    }

    fn use_port(&mut self, port: u16) {
        self.local.set_port(port);
    }

    fn sent(&self, kind: SynKind) -> SentSyn {
        let cookie = if kind.has_cookie() { self.cookie() } else { None };
        let on = |name: &str| {
            let path = format!("/proc/sys/net/ipv4/{name}");
            std::fs::read_to_string(path).ok().map(|text| text.trim() != "0")
        };
        let others = on("tcp_sack").zip(on("tcp_timestamps")).zip(on("tcp_window_scaling"));
        SentSyn {
            cookie,
            option: None,
            others: others.map(|((sack, timestamps), scale)| [sack, timestamps, scale]),
        }
    }
}

/// Whether the kernel may have paused fast open.
fn may_be_paused() -> bool {
    let may = sysctl::blackhole_timeout().is_ok_and(|timeout| !timeout.is_zero());
    may && Counters::read().is_ok_and(|counters| counters.blackhole > 0)
}

/// Lets the packets of a socket end at a hop, and asks for ICMP errors about them.
fn set_hops(fd: impl AsFd, target: SocketAddr, ttl: u8) -> Result<()> {
    let fd = fd.as_fd();
    if target.is_ipv4() {
        set(fd, libc::IPPROTO_IP, libc::IP_TTL, "IP_TTL", ttl.into())?;
        set(fd, libc::IPPROTO_IP, libc::IP_RECVTTL, "IP_RECVTTL", 1)?;
        ask_for_errors(fd, libc::IPPROTO_IP, libc::IP_RECVERR, "IP_RECVERR")
    } else {
        let hops = libc::IPV6_UNICAST_HOPS;
        set(fd, libc::IPPROTO_IPV6, hops, "IPV6_UNICAST_HOPS", ttl.into())?;
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT", 1)?;
        // Kernels before 4.2 make no flow labels.
        let _ = set(fd, libc::IPPROTO_IPV6, libc::IPV6_AUTOFLOWLABEL, "IPV6_AUTOFLOWLABEL", 0);
        ask_for_errors(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, "IPV6_RECVERR")
    }
}

/// Asks for the error queue, which a kernel or a sandbox may not have, whatever its answer is.
fn ask_for_errors(fd: impl AsFd, level: i32, name: i32, text: &'static str) -> Result<()> {
    sockopt::set_int(fd, level, name, 1).map_err(|e| {
        Error::system("setsockopt", text, io::Error::new(io::ErrorKind::Unsupported, e))
    })
}

fn set(fd: impl AsFd, level: i32, name: i32, text: &'static str, value: i32) -> Result<()> {
    sockopt::set_int(fd, level, name, value).map_err(|e| Error::system("setsockopt", text, e))
}

/// Takes the ICMP error that is queued, if there is one.
fn take_icmp(fd: impl AsFd, target: SocketAddr, quote: &mut [u8]) -> Option<IcmpReply> {
    let fd = fd.as_fd();
    while let Ok(found) = error_queue::next(fd, quote) {
        if !found.is_icmp {
            continue;
        }
        let error = IcmpError::new(target.is_ipv6(), found.kind, found.code, found.info);
        let quoted = quote.get(..found.quoted).unwrap_or_default().to_vec();
        let mut reply = IcmpReply::new(found.offender, error, quoted);
        reply.ttl = found.ttl;
        return Some(reply);
    }
    None
}
