//! Health checks: periodically opens a regular connection to each upstream, and closes it without sending a byte.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use tfo_core::Error;
use tfo_core::cli::error_chain;
use tfo_core::socket::{Connector, FastOpenStream, Method};

use super::upstreams::Upstreams;

/// Wakes the thread to stop it. The other tokens are indexes of upstreams.
const STOP_TOKEN: Token = Token(usize::MAX);

/// Pause after an error of the poll.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// The health checks of one listener's upstreams. Dropping the value stops their thread at once, even if the upstreams
/// are still in use.
#[derive(Debug)]
pub(super) struct HealthChecks {
    stop: Arc<StopSignal>,
}

/// Signals the thread to stop. Both sides hold the waker: dropping it would discard its event.
#[derive(Debug)]
struct StopSignal {
    stopped: AtomicBool,
    waker: Waker,
}

/// Returns whether a connection failed for a reason of this host, which says nothing about the upstream: no descriptor,
/// no memory, no port.
pub(crate) fn is_local_failure(e: &Error) -> bool {
    matches!(e, Error::System { operation: "socket", .. })
        || matches!(e.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CheckResult {
    Connected,
    /// The connection failed, for the given reason.
    Failed(String),
    /// The check was not made: this host had no socket or port for it.
    NotChecked(String),
}

impl HealthChecks {
    /// Starts a thread that checks each upstream once per `interval`.
    pub(super) fn start(
        upstreams: &Arc<Upstreams>,
        interval: Duration,
        timeout: Duration,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let stop = Arc::new(StopSignal::new(&poll)?);
        let checking = HealthChecker {
            upstreams: Arc::clone(upstreams),
            poll,
            events: Events::with_capacity(64),
            stop: Arc::clone(&stop),
        };
        let run = move || checking.run(interval, timeout.min(interval));
        thread::Builder::new().name("health".to_owned()).spawn(run)?;
        Ok(Self { stop })
    }
}

impl Drop for HealthChecks {
    fn drop(&mut self) {
        self.stop.stopped.store(true, Ordering::Release);
        if let Err(e) = self.stop.waker.wake() {
            log::debug!("health checks end late: {e}");
        }
    }
}

impl StopSignal {
    fn new(poll: &Poll) -> io::Result<Self> {
        let waker = Waker::new(poll.registry(), STOP_TOKEN)?;
        Ok(Self { stopped: AtomicBool::new(false), waker })
    }

    fn is_set(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Connects to each address once, concurrently.
pub(crate) fn check_once(
    addresses: &[SocketAddr],
    timeout: Duration,
) -> io::Result<Vec<CheckResult>> {
    let mut events = Events::with_capacity(64);
    check_addresses(&mut Poll::new()?, &mut events, addresses.iter().copied(), timeout, || false)
}

/// The state of the checking thread.
struct HealthChecker {
    upstreams: Arc<Upstreams>,
    poll: Poll,
    events: Events,
    stop: Arc<StopSignal>,
}

impl HealthChecker {
    fn run(mut self, interval: Duration, timeout: Duration) {
        while !self.stop.is_set() {
            let next = Instant::now() + interval;
            if let Err(e) = self.check_all(timeout) {
                log::error!("can't check upstreams: {e}");
            }
            if let Err(e) = self.sleep_until(next) {
                log::error!("can't wait for the next health check: {e}");
                thread::sleep(ERROR_PAUSE);
            }
        }
    }

    fn check_all(&mut self, timeout: Duration) -> io::Result<()> {
        let Self { upstreams, poll, events, stop } = self;
        let addresses = upstreams.addresses();
        let answers = check_addresses(poll, events, addresses, timeout, || stop.is_set())?;
        if stop.is_set() {
            return Ok(());
        }
        for (index, answer) in answers.iter().enumerate() {
            match answer {
                CheckResult::Connected => upstreams.succeeded(index),
                CheckResult::Failed(why) => upstreams.failed(index, why),
                // Not a failure of the upstream.
                CheckResult::NotChecked(why) => log::debug!("no check: {why}"),
            }
        }
        Ok(())
    }

    fn sleep_until(&mut self, at: Instant) -> io::Result<()> {
        while !self.stop.is_set() {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            wait(&mut self.poll, &mut self.events, left)?;
        }
        Ok(())
    }
}

/// Connects to all addresses concurrently. Stops waiting for answers once `stop` returns true.
fn check_addresses(
    poll: &mut Poll,
    events: &mut Events,
    addresses: impl Iterator<Item = SocketAddr>,
    timeout: Duration,
    stop: impl Fn() -> bool,
) -> io::Result<Vec<CheckResult>> {
    let deadline = Instant::now() + timeout;
    let mut answers = Vec::new();
    let mut waiting = Vec::new();
    for (index, address) in addresses.enumerate() {
        let silence = CheckResult::Failed(format!("no answer within {timeout:?}"));
        let (answer, stream) = match connect(address) {
            Ok(stream) => {
                let fd = stream.as_fd().as_raw_fd();
                poll.registry().register(&mut SourceFd(&fd), Token(index), Interest::WRITABLE)?;
                (silence, Some(stream))
            }
            Err(e) if is_local_failure(&e) => (CheckResult::NotChecked(error_chain(&e)), None),
            Err(e) => (CheckResult::Failed(error_chain(&e)), None),
        };
        answers.push(answer);
        waiting.push(stream);
    }
    while waiting.iter().any(Option::is_some) && !stop() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        wait(poll, events, left)?;
        for event in &*events {
            let Token(index) = event.token();
            if let Some(stream) = waiting.get_mut(index).and_then(Option::take)
                && let Some(answer) = answers.get_mut(index)
            {
                *answer = outcome(&stream);
            }
        }
    }
    Ok(answers)
}

/// Returns the outcome of the handshake, which the first read reports.
fn outcome(mut stream: &FastOpenStream) -> CheckResult {
    match stream.read(&mut [0]) {
        Err(e) if e.kind() != io::ErrorKind::WouldBlock => CheckResult::Failed(e.to_string()),
        _ => CheckResult::Connected,
    }
}

fn wait(poll: &mut Poll, events: &mut Events, left: Duration) -> io::Result<()> {
    match poll.poll(events, Some(left)) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        _ => Ok(()),
    }
}

/// Opens a regular connection.
fn connect(address: SocketAddr) -> tfo_core::Result<FastOpenStream> {
    Connector::default().method(Method::Off).connect_nonblocking(address, b"")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tfo_core::lab::{Host, isolated};
    use tfo_core::socket::FastOpenListener;

    use super::*;

    fn set(upstreams: &[SocketAddr]) -> Arc<Upstreams> {
        let addresses: Vec<_> = upstreams.iter().map(ToString::to_string).collect();
        Arc::new(Upstreams::new(&toml::from_str(&format!("upstreams = {addresses:?}")).unwrap()))
    }

    #[test]
    fn refusing_upstream_goes_down_and_recovers() {
        isolated(|| {
            let host = Host::new("upstreams").unwrap();
            host.run(|| {
                let listening = TcpListener::bind("127.0.0.1:0").unwrap();
                let listening_address = listening.local_addr().unwrap();
                let refusing = "127.0.0.1:1".parse().unwrap();
                let set = set(&[listening_address, refusing]);
                let poll = Poll::new().unwrap();
                let mut checking = HealthChecker {
                    upstreams: Arc::clone(&set),
                    stop: Arc::new(StopSignal::new(&poll).unwrap()),
                    poll,
                    events: Events::with_capacity(64),
                };
                let mut check = || {
                    checking.check_all(Duration::from_millis(200)).unwrap();
                    let turns = (0..2).filter_map(|_| set.choose());
                    let mut up: Vec<_> = turns.map(|guard| guard.address()).collect();
                    up.sort_unstable();
                    up.dedup();
                    up
                };
                assert_eq!(check().len(), 2, "one failure is not enough");
                assert_eq!(check(), [listening_address]);
                let again = TcpListener::bind(refusing).unwrap();
                assert_eq!(check().len(), 2);
                drop(again);
            });
        });
    }

    #[test]
    fn checks_end_at_once_while_others_hold_the_upstreams() {
        isolated(|| {
            let host = Host::new("upstreams").unwrap();
            host.run(|| {
                let full = silent();
                let (asleep, waiting) = (set(&[]), set(&[full.local_addr()]));
                for set in [asleep, waiting] {
                    let hour = Duration::from_secs(3600);
                    let checks = HealthChecks::start(&set, hour, hour).unwrap();
                    thread::sleep(Duration::from_millis(20));
                    drop(checks);
                    let start = Instant::now();
                    while Arc::strong_count(&set) > 1 {
                        assert!(start.elapsed() < Duration::from_secs(20));
                        thread::sleep(Duration::from_millis(1));
                    }
                    let failed: u64 = set.states().map(|state| state.failed).sum();
                    assert_eq!(failed, 0, "an unfinished check is not a failure");
                }
            });
        });
    }

    /// Returns a listener that drops SYNs because its accept queue is full.
    fn silent() -> FastOpenListener {
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = FastOpenListener::builder(any).backlog(1).listen().unwrap();
        let address = listener.local_addr();
        for _ in 0..2 {
            std::mem::forget(std::net::TcpStream::connect(address).unwrap());
        }
        listener
    }
}
