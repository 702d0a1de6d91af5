//! Signals: none is raised, and signals of others break no connection.

use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::process::{Command, id};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use signal_hook::consts::{SIGPIPE, SIGUSR1};
use tfo_core::lab::isolated;
use tfo_core::socket::Attempt;
use tfo_core::socket::{ConnectError, Connector, FastOpenListener, FastOpenStream, Method, option};

use crate::exchange::by;
use crate::support::{Net, SERVERS, on, until};
use crate::trouble::deaf_listener;

/// The state in `/proc/net/tcp`.
const SYN_SENT: &str = "02";
/// The peer has shut down its sending half.
const CLOSE_WAIT: &str = "08";

/// Whether the signal was handled since the last check.
struct Handled(Arc<AtomicBool>);

impl Handled {
    fn register(signal: i32) -> Self {
        let flag = Arc::default();
        signal_hook::flag::register(signal, Arc::clone(&flag)).expect("a signal for programs");
        Self(flag)
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

fn send(signal: &str, thread: u32) {
    let status = Command::new("sh").args(["-c", &format!("kill -{signal} {thread}")]).status();
    assert!(status.expect("there is a shell").success());
}

type Connecting = JoinHandle<Result<FastOpenStream, ConnectError>>;

/// Connects in a thread of the client's host, and returns the thread's number, to which signals are sent.
fn connecting(
    net: &Net,
    connector: Connector,
    listener: &FastOpenListener,
    first: &'static [u8],
) -> (Connecting, u32) {
    let server = listener.local_addr();
    let (started, number) = mpsc::channel();
    let thread = net.client.run(move || {
        thread::spawn(move || {
            let link = std::fs::read_link("/proc/thread-self").expect("as of Linux 3.17");
            let number = link.file_name().and_then(|name| name.to_str()?.parse().ok());
            started.send(number.expect("a number")).expect("the test waits");
            connector.connect(server, first)
        })
    });
    (thread, number.recv().expect("it starts"))
}

/// Sends the signal to this thread until it has been handled a few times.
fn interrupt(thread: u32, handled: &Handled) {
    for _ in 0..3 {
        send("USR1", thread);
        until("a handler that runs", || handled.take());
    }
}

#[test]
fn interrupted_calls_end_by_the_deadline_all_the_same() {
    isolated(|| {
        let handled = Handled::register(SIGUSR1);
        for method in [Method::SendTo, Method::Connect, Method::Off] {
            let net = Net::new();
            let (listener, _filler) = deaf_listener(&net, SERVERS[0]);
            let connector = by(method).timeout(Duration::from_millis(800));
            let (connecting, thread) = connecting(&net, connector, &listener, b"hello?");
            until("a SYN that waits", || net.client_states().iter().any(|s| s == SYN_SENT));
            interrupt(thread, &handled);
            let error = connecting.join().expect("no panic").expect_err("nobody answers");
            assert_eq!(error.error.kind(), std::io::ErrorKind::TimedOut, "{error:?}");
        }
    });
}

#[test]
fn interrupted_calls_connect_once_the_server_answers() {
    isolated(|| {
        let handled = Handled::register(SIGUSR1);
        let net = Net::new();
        let (listener, _filler) = deaf_listener(&net, SERVERS[0]);
        let (connecting, thread) = connecting(&net, Connector::default(), &listener, b"hello?");
        until("a SYN that waits", || net.client_states().iter().any(|s| s == SYN_SENT));
        interrupt(thread, &handled);
        // Frees a place in the accept queue, so that the next SYN is answered.
        let _filler = listener.accept().expect("the filler waits");
        let client = connecting.join().expect("no panic").expect("it goes on");
        assert_eq!(client.attempt(), Some(Attempt::InSyn(6)), "what it had started with");
        let mut accepted = listener.accept().expect("a connection waits");
        let mut received = [0; 6];
        accepted.stream.read_exact(&mut received).expect("the message was sent");
        assert_eq!(&received, b"hello?", "once, and whole");
    });
}

#[test]
fn interrupted_sending_loses_and_repeats_nothing() {
    isolated(|| {
        let handled = Handled::register(SIGUSR1);
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        net.fetch_cookie(&listener);
        let message: Vec<u8> = (0..32_u32 * 1024 * 1024 / 4).flat_map(u32::to_be_bytes).collect();
        let message: &'static [u8] = message.leak();
        let (connecting, thread) = connecting(&net, Connector::default(), &listener, message);
        let mut accepted = listener.accept().expect("a connection comes");
        // More than the buffers hold, so that it waits for a reader.
        interrupt(thread, &handled);
        let mut received = vec![0; message.len()];
        accepted.stream.read_exact(&mut received).expect("it comes whole");
        assert!(received == message, "in its order");
        let client = connecting.join().expect("no panic").expect("all of it was taken");
        assert!(client.info().unwrap().syn_data, "its first part in the SYN");
    });
}

#[test]
fn writing_to_a_peer_that_is_gone_raises_no_signal() {
    isolated(|| {
        let raised = Handled::register(SIGPIPE);
        let net = Net::new();
        let listener = net.listen(on(SERVERS[0]));
        for _ in ["regular", "fast open"] {
            let (mut client, server) = net.exchange(&listener, &Connector::default(), b"hello");
            option::set_linger(&server.stream, Some(Duration::ZERO)).unwrap();
            drop(server);
            client.read(&mut [0; 8]).expect_err("a reset");
            for _ in 0..2 {
                let error = client.write(b"more").expect_err("it is closed");
                assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
                let error = client.write_vectored(&[IoSlice::new(b"m"), IoSlice::new(b"ore")]);
                assert_eq!(error.expect_err("it is closed").kind(), std::io::ErrorKind::BrokenPipe);
            }
        }
        let message: &'static [u8] = vec![b'x'; 32 * 1024 * 1024].leak();
        for method in [Method::SendTo, Method::Connect, Method::Off] {
            let (connecting, _) = connecting(&net, by(method), &listener, message);
            let server = listener.accept().expect("a connection comes");
            // Linux reports a reset after an orderly end as EPIPE, the error that comes with the signal.
            server.stream.shutdown(Shutdown::Write).unwrap();
            until("the end is known", || net.client_states().iter().any(|s| s == CLOSE_WAIT));
            option::set_linger(&server.stream, Some(Duration::ZERO)).unwrap();
            drop(server);
            let error = connecting.join().expect("no panic").expect_err("the peer is gone");
            assert_eq!(error.error.kind(), std::io::ErrorKind::BrokenPipe, "{error:?}");
            assert!(error.established, "{error:?}");
        }
        assert!(!raised.take(), "SIGPIPE ends programs that do not expect it");
        send("PIPE", id());
        until("a handler that would have noticed", || raised.take());
    });
}
