//! One watched connection of a client.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::dialogue::{Answer, Dialogue, Next};
use crate::diagnosis::{
    CachedCookie, ClientEvidence, Ending, RegularCheck, SentData, SynTimestamps,
};
use crate::host::{Counters, FastOpenFlags, TcpRoute, cookie_cache, sysctl, tcp_route};
use crate::socket::{
    Attempt, ConnectError, Connector, FastOpenStream, Method, TcpBits, TcpInfo, option,
};

/// A connection to be made and watched.
///
/// ```no_run
/// use std::time::Duration;
/// use tfo_core::diagnosis::{Evidence, judge};
/// use tfo_core::probe::Probe;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let probe = Probe::new("192.0.2.1:2222".parse()?).reply_timeout(Duration::from_secs(2));
/// for _ in 0..3 {
///     let seen = probe.run(b"hello\n");
///     println!("{:?}", seen.timing.first_byte);
///     println!("{}", judge(&Evidence::new(Some(seen.evidence), None)));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Probe {
    server: SocketAddr,
    method: Method,
    connect_timeout: Duration,
    reply_timeout: Option<Duration>,
    bind: Option<SocketAddr>,
    reset: bool,
    interface: Option<String>,
    is_complete: fn(&[u8]) -> bool,
}

/// A watched connection: its evidence, the answer, and how long its steps took.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Observation {
    /// The client's half of the evidence.
    pub evidence: ClientEvidence,
    /// The answer's bytes, up to 16 KiB.
    pub answer: Vec<u8>,
    /// How long it took.
    pub timing: Timing,
}

/// The times of the steps of a connection, from the call that started it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// Until the handshake had ended and the kernel held the whole message.
    pub connect: Option<Duration>,
    /// Until the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Until the answer was complete or closed by the peer, or the attempt was given up.
    pub ended: Option<Duration>,
    /// The round trip time that TCP measured in the handshake. `None` when a retransmission spoiled it.
    pub handshake_rtt: Option<Duration>,
    /// TCP's own smoothed round trip time. `None` when a retransmission spoiled it.
    pub rtt: Option<Duration>,
}

impl Probe {
    /// A probe of `server`: first bytes by [`Method::Auto`], 5 s to connect, no answer expected.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            method: Method::Auto,
            connect_timeout: Duration::from_secs(5),
            reply_timeout: None,
            bind: None,
            reset: false,
            interface: None,
            is_complete: |_| true,
        }
    }

    /// Sets how the first bytes are passed to the kernel. Default: [`Method::Auto`].
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets the local address to connect from. Default: chosen by the kernel.
    #[must_use]
    pub fn bind(mut self, local: SocketAddr) -> Self {
        self.bind = Some(local);
        self
    }

    /// Ends the connection with a reset, so that its port can be used again at once.
    #[must_use]
    pub fn reset(mut self) -> Self {
        self.reset = true;
        self
    }

    /// Sets the network interface to connect by. Default: chosen by the route.
    #[must_use]
    pub fn interface(mut self, name: impl Into<String>) -> Self {
        self.interface = Some(name.into());
        self
    }

    /// The most that the handshake and sending the message may take.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Waits so long for an answer.
    #[must_use]
    pub fn reply_timeout(mut self, timeout: Duration) -> Self {
        self.reply_timeout = Some(timeout);
        self
    }

    /// Sets when an answer is complete. Default: with its first byte.
    #[must_use]
    pub fn until(mut self, is_complete: fn(&[u8]) -> bool) -> Self {
        self.is_complete = is_complete;
        self
    }

    /// Makes the connection, sends `message`, waits for the answer, and closes.
    ///
    /// When a connection with data in its SYN failed, a regular one is made, without data, to see
    /// whether that one passes.
    #[must_use]
    pub fn run(&self, message: &[u8]) -> Observation {
        let mut answer = Answer::new(self.is_complete);
        let seen = self.converse(message, &mut answer);
        Observation { answer: answer.bytes, ..seen }
    }

    /// Like [`run`](Self::run), with a conversation after the first bytes, which has the time of
    /// [`reply_timeout`](Self::reply_timeout) for all of it. The observation has no answer: the dialogue
    /// has it.
    #[must_use]
    pub fn converse(&self, first: &[u8], dialogue: &mut dyn Dialogue) -> Observation {
        let before = Before::read(self.server, self.route());
        let start = Instant::now();
        let connected = self.connector(self.method, self.bind).connect(self.server, first);
        let mut seen = match connected {
            Ok(stream) => self.watch(stream, start, dialogue),
            Err(e) => Seen::failed(&e),
        };
        seen.timing.ended.get_or_insert_with(|| start.elapsed());
        let evidence = before.into_evidence(self.server, first.len(), &mut seen);
        let evidence = ClientEvidence { regular_check: self.check(&evidence), ..evidence };
        Observation { evidence, answer: Vec::new(), timing: seen.timing }
    }

    /// Returns the connector of this probe's connections, of the controls as well.
    fn connector(&self, method: Method, bind: Option<SocketAddr>) -> Connector {
        let connector = Connector::default().method(method).timeout(self.connect_timeout);
        let connector = bind.into_iter().fold(connector, Connector::bind);
        self.interface.iter().fold(connector, Connector::interface)
    }

    /// Returns the route that the connections will take, as far as it can be read.
    fn route(&self) -> TcpRoute {
        let server = SocketAddr::new(self.server.ip().to_canonical(), self.server.port());
        // A scope is part of no IPv4 address.
        let server = if server.is_ipv4() { server } else { self.server };
        let source = self.bind.map(|bind| bind.ip().to_canonical());
        tcp_route(server, source, self.interface.as_deref()).unwrap_or_else(|e| {
            log::debug!("the route can't be read: {e}");
            TcpRoute { source, ..TcpRoute::default() }
        })
    }

    fn watch(
        &self,
        mut stream: FastOpenStream,
        start: Instant,
        dialogue: &mut dyn Dialogue,
    ) -> Seen {
        let mut seen = Seen {
            attempt: stream.attempt().unwrap_or(Attempt::Regular),
            ending: Ending::Connected,
            local: stream.local_addr().ok(),
            tcp: None,
            sent: None,
            syn_timestamps: syn_timestamps(&stream, start),
            timing: Timing { connect: Some(start.elapsed()), ..Timing::default() },
        };
        seen.timing.handshake_rtt = stream.info().ok().and_then(|info| clean_rtt(&info));
        if let Some(timeout) = self.reply_timeout {
            seen.ending = talk(&mut stream, start, timeout, dialogue, &mut seen);
            seen.timing.ended = Some(start.elapsed());
        }
        // Read once, at the first byte: later nothing of it changes.
        if seen.tcp.is_none() {
            seen.note_info(&stream);
        }
        if self.reset
            && let Err(e) = option::set_linger(&stream, Some(Duration::ZERO))
        {
            log::debug!("the connection ends with a FIN: {e}");
        }
        seen
    }

    /// After a failure of a SYN with data: does one without pass?
    fn check(&self, evidence: &ClientEvidence) -> Option<RegularCheck> {
        let had_data = matches!(evidence.attempt, Attempt::InSyn(_));
        if !had_data || !matches!(evidence.result, Ending::Failed(_) | Ending::NoHandshake) {
            return None;
        }
        Some(self.control().result)
    }

    /// Makes a regular connection and closes it. No data is sent, so that the message is not executed twice.
    pub(super) fn control(&self) -> Control {
        // The probe's own port is taken by the connection before.
        let mut bind = self.bind;
        if let Some(local) = &mut bind {
            local.set_port(0);
        }
        match self.connector(Method::Off, bind).connect(self.server, &[]) {
            Ok(stream) => {
                let again = stream.info().ok().and_then(|info| info.total_retrans).unwrap_or(0);
                Control { result: RegularCheck::Connected, retransmitted: again > 0 }
            }
            Err(e) => {
                let errno = e.error.raw_os_error();
                let result = errno.map_or(RegularCheck::TimedOut, RegularCheck::Failed);
                Control { result, retransmitted: false }
            }
        }
    }
}

/// What a regular connection did, made as a control.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control {
    pub(super) result: RegularCheck,
    /// It was established, and its SYN or SYN-ACK had to be sent again.
    pub(super) retransmitted: bool,
}

/// The `TSvals` that the SYNs of a connection can have carried that was started at this time and is established.
/// `None`: it has no timestamps.
fn syn_timestamps(stream: &FastOpenStream, start: Instant) -> Option<SynTimestamps> {
    /// The kernel's clock of timestamps and this program's need not tick together.
    const SLACK: u32 = 8;
    stream.info().ok().filter(|info| info.timestamps && !info.usec_timestamps)?;
    let now = option::timestamp(stream).ok()?;
    let since = u32::try_from(start.elapsed().as_millis()).ok()?;
    let own_offset = sysctl::tcp_timestamps().is_ok_and(|setting| setting == 1);
    let earliest = now.wrapping_sub(since).wrapping_sub(SLACK);
    Some(SynTimestamps::new(earliest, now.wrapping_add(SLACK), own_offset))
}

/// Lets both ends speak until the dialogue ends, the peer closes, or the time is over.
fn talk(
    stream: &mut FastOpenStream,
    start: Instant,
    timeout: Duration,
    dialogue: &mut dyn Dialogue,
    seen: &mut Seen,
) -> Ending {
    let deadline = Instant::now().checked_add(timeout);
    let mut buffer = [0; 16 * 1024];
    loop {
        let left = deadline.map_or(timeout, |at| at.saturating_duration_since(Instant::now()));
        let end = |seen: &Seen, ending| {
            if seen.timing.first_byte.is_none() { ending } else { Ending::Answered }
        };
        // The kernel takes zero for "for ever", and rounds small times down to it.
        if left < Duration::from_millis(1) {
            return end(seen, Ending::NoAnswer);
        }
        let read = stream.set_read_timeout(Some(left)).and_then(|()| stream.read(&mut buffer));
        let result = match read {
            Ok(0) => {
                dialogue.closed(start.elapsed());
                return end(seen, Ending::Closed);
            }
            Ok(len) => {
                let at = start.elapsed();
                if seen.timing.first_byte.is_none() {
                    seen.timing.first_byte = Some(at);
                    seen.note_info(stream);
                }
                let next = dialogue.received(&buffer[..len], at);
                let sent = match &next {
                    Next::Send(bytes) | Next::SendLast(bytes) => {
                        let allowed = stream.set_write_timeout(Some(left));
                        allowed.and_then(|()| stream.write_all(bytes))
                    }
                    Next::Read | Next::End => Ok(()),
                };
                if matches!(next, Next::SendLast(_) | Next::End) {
                    return Ending::Answered;
                }
                sent
            }
            Err(e) => Err(e),
        };
        if let Err(e) = result {
            match e.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {}
                _ => return end(seen, Ending::Broken(e.raw_os_error().unwrap_or(0))),
            }
        }
    }
}

/// TCP's round trip time, where no retransmission spoiled it.
fn clean_rtt(info: &TcpInfo) -> Option<Duration> {
    info.rtt.filter(|_| info.total_retrans.unwrap_or(0) == 0)
}

/// What the connection itself showed.
struct Seen {
    attempt: Attempt,
    ending: Ending,
    local: Option<SocketAddr>,
    tcp: Option<TcpBits>,
    sent: Option<SentData>,
    syn_timestamps: Option<SynTimestamps>,
    timing: Timing,
}

impl Seen {
    fn failed(e: &ConnectError) -> Self {
        let ending = match (e.error.raw_os_error(), e.established) {
            (Some(errno), true) => Ending::Broken(errno),
            (Some(errno), false) => Ending::Failed(errno),
            (None, true) => Ending::NoAnswer,
            (None, false) => Ending::NoHandshake,
        };
        Self {
            // Before the kernel was asked nothing was tried.
            attempt: e.attempt.unwrap_or(Attempt::Regular),
            ending,
            local: e.local,
            tcp: e.info.as_deref().map(TcpBits::from),
            sent: e.info.as_deref().map(SentData::from),
            syn_timestamps: None,
            timing: Timing::default(),
        }
    }

    fn note_info(&mut self, stream: &FastOpenStream) {
        let Ok(info) = stream.info() else { return };
        self.timing.rtt = clean_rtt(&info);
        self.tcp = Some(TcpBits::from(&info));
        self.sent = Some(SentData::from(&info));
    }
}

/// What the host says before the connection.
struct Before {
    route: TcpRoute,
    tcp_fastopen: Option<FastOpenFlags>,
    tcp_ecn: Option<u32>,
    cookie: Option<CachedCookie>,
    counters: Option<Counters>,
}

impl Before {
    fn read(server: SocketAddr, route: TcpRoute) -> Self {
        Self {
            route,
            tcp_fastopen: sysctl::tcp_fastopen().ok(),
            tcp_ecn: sysctl::tcp_ecn().ok(),
            cookie: cached_cookie(route.source, server.ip()),
            counters: Counters::read().ok(),
        }
    }

    fn into_evidence(
        self,
        server: SocketAddr,
        message_bytes: usize,
        seen: &mut Seen,
    ) -> ClientEvidence {
        let local = seen.local.map(|local| local.ip().to_canonical());
        let counters = self.counters.as_ref().zip(Counters::read().ok());
        // The cache is keyed by both addresses: what was read for another source is of another cookie.
        let expected = self.route.source.map(|source| source.to_canonical());
        let is_own = local.is_none() || expected.is_none() || local == expected;
        let micros = |time: Duration| u64::try_from(time.as_micros()).ok();
        ClientEvidence {
            remote: server,
            local: seen.local,
            message_bytes,
            attempt: seen.attempt,
            result: seen.ending,
            tcp: seen.tcp,
            tcp_fastopen: self.tcp_fastopen,
            cookie_before: self.cookie.filter(|_| is_own),
            cookie_after: cached_cookie(local.or(self.route.source), server.ip()),
            counters: counters.map(|(before, after)| after.since(before)),
            regular_check: None,
            sent: seen.sent,
            syn_timestamps: seen.syn_timestamps,
            route_without_cookie: self.route.source.map(|_| self.route.without_cookie),
            tcp_ecn: self.tcp_ecn,
            first_byte_us: seen.timing.first_byte.and_then(micros),
            cookie_addresses: None,
            repetition: None,
        }
    }
}

fn cached_cookie(source: Option<IpAddr>, destination: IpAddr) -> Option<CachedCookie> {
    match cookie_cache::get(source, destination) {
        Ok(entry) => Some(match entry.and_then(|entry| entry.cookie) {
            Some(cookie) => CachedCookie::Hex(cookie),
            None => CachedCookie::None,
        }),
        Err(e) => {
            log::debug!("the cookie cache can't be read: {e}");
            None
        }
    }
}
