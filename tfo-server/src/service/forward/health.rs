//! Asks the upstreams whether they are there: a connection to each, again and again.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tfo_core::program::one_line;
use tfo_core::socket::{Connector, FastOpenStream, Method};

use super::is_of_this_host;
use super::upstreams::Upstreams;

/// Starts a thread that checks each upstream every `interval`. It ends when nobody uses them.
pub(super) fn watch(
    upstreams: &Arc<Upstreams>,
    interval: Duration,
    timeout: Duration,
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let timeout = timeout.min(interval);
    let upstreams = Arc::downgrade(upstreams);
    thread::Builder::new().name("health".to_owned()).spawn(move || {
        loop {
            let next = Instant::now() + interval;
            let Some(upstreams) = upstreams.upgrade() else { return };
            if let Err(e) = check_all(&mut poll, &upstreams, timeout) {
                log::error!("upstreams can't be checked: {e}");
            }
            // Asleep it must not be the last who holds them.
            drop(upstreams);
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    })?;
    Ok(())
}

/// Connects to all of them side by side.
fn check_all(poll: &mut Poll, upstreams: &Upstreams, timeout: Duration) -> io::Result<()> {
    let deadline = Instant::now() + timeout;
    let mut waiting = Vec::new();
    for (index, address) in upstreams.addresses().enumerate() {
        waiting.push(match connect(address) {
            Ok(stream) => {
                let fd = stream.as_fd().as_raw_fd();
                poll.registry().register(&mut SourceFd(&fd), Token(index), Interest::WRITABLE)?;
                Some(stream)
            }
            Err(e) => {
                // Without a socket nothing is known of the upstream.
                if !is_of_this_host(&e) {
                    upstreams.failed(index, &one_line(&e), false);
                }
                None
            }
        });
    }
    let mut events = Events::with_capacity(64);
    while waiting.iter().any(Option::is_some) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match poll.poll(&mut events, Some(left)) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        for event in &events {
            let Token(index) = event.token();
            if let Some(stream) = waiting.get_mut(index).and_then(Option::take) {
                // How the handshake ended shows at the first read.
                match (&stream).read(&mut [0]) {
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock => {
                        upstreams.failed(index, &e, false);
                    }
                    _ => upstreams.succeeded(index),
                }
            }
        }
    }
    for (index, _) in waiting.iter().enumerate().filter(|(_, stream)| stream.is_some()) {
        upstreams.failed(index, &format_args!("no answer within {timeout:?}"), false);
    }
    Ok(())
}

/// A regular connection, which is closed without a byte.
fn connect(address: SocketAddr) -> tfo_core::Result<FastOpenStream> {
    Connector::default().method(Method::Off).connect_nonblocking(address, b"")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tfo_core::lab::{Host, isolated};

    use super::*;
    use crate::config::ForwardSettings;
    use crate::config::values::{Balance, ProxyOut};

    fn set(upstreams: Vec<SocketAddr>) -> Arc<Upstreams> {
        Arc::new(Upstreams::new(&ForwardSettings {
            upstreams,
            balance: Balance::RoundRobin,
            fast_open: true,
            proxy_protocol: ProxyOut::Off,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(1),
            health_interval: Some(Duration::from_secs(1)),
        }))
    }

    #[test]
    fn who_refuses_or_does_not_answer_goes_down_and_comes_up_again() {
        isolated(|| {
            let host = Host::new("upstreams").unwrap();
            host.run(|| {
                let listening = TcpListener::bind("127.0.0.1:0").unwrap();
                let there = listening.local_addr().unwrap();
                let refusing = "127.0.0.1:1".parse().unwrap();
                let set = set(vec![there, refusing]);
                let mut poll = Poll::new().unwrap();
                let mut check = || {
                    check_all(&mut poll, &set, Duration::from_millis(200)).unwrap();
                    let turns = (0..2).filter_map(|_| set.choose());
                    let mut up: Vec<_> = turns.map(|lease| lease.address()).collect();
                    up.sort_unstable();
                    up.dedup();
                    up
                };
                assert_eq!(check().len(), 2, "once is no rule");
                assert_eq!(check(), [there]);
                let again = TcpListener::bind(refusing).unwrap();
                assert_eq!(check().len(), 2);
                drop(again);
            });
        });
    }

    #[test]
    fn the_thread_ends_when_nobody_uses_the_upstreams() {
        let set = set(vec![]);
        watch(&set, Duration::from_millis(1), Duration::from_millis(1)).unwrap();
        let weak = Arc::downgrade(&set);
        drop(set);
        while weak.upgrade().is_some() {
            thread::yield_now();
        }
    }
}
