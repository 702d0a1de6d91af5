//! Upstreams of the tests.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tfo_core::lab::Host;
use tfo_core::socket::{Accepted, Arrival, FastOpenListener, FastOpenStream};

/// Much longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// An upstream whose connections the test handles itself.
pub(crate) struct Upstream {
    listener: Arc<FastOpenListener>,
}

impl Upstream {
    pub(crate) fn on(host: &Host, address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let listener = host.run(move || FastOpenListener::bind(address)).unwrap();
        Self { listener: Arc::new(listener) }
    }

    /// Accepts the next connection, except health checks.
    pub(crate) fn accept(&self) -> Accepted {
        let accepted = self.listener.accept().unwrap();
        accepted.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        accepted.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        accepted
    }

    /// Answers each connection's first message with `name` and that message, and closes.
    pub(crate) fn answer(self, name: &'static str) -> Answering {
        let answering = Answering { seen: Arc::default(), count: Arc::default() };
        let recorder = answering.clone();
        thread::spawn(move || {
            loop {
                let Ok(Accepted { mut stream, arrival, .. }) = self.listener.accept() else {
                    return;
                };
                let recorder = recorder.clone();
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut message = [0; 4096];
                    let len = stream.read(&mut message).unwrap_or(0);
                    if len == 0 {
                        return;
                    }
                    recorder.count.fetch_add(1, Ordering::SeqCst);
                    let message = message[..len].to_vec();
                    let answer = [name.as_bytes(), b":", &message].concat();
                    recorder.seen.lock().unwrap().push((arrival, message));
                    let _ = stream.write_all(&answer);
                    let _ = stream.shutdown(Shutdown::Write);
                    let _ = stream.read(&mut [0]);
                });
            }
        });
        answering
    }
}

/// How a connection arrived, and its message.
type Seen = (Arrival, Vec<u8>);

/// An upstream that answers by itself.
#[derive(Clone)]
pub(crate) struct Answering {
    seen: Arc<Mutex<Vec<Seen>>>,
    count: Arc<AtomicUsize>,
}

impl Answering {
    /// Returns how many connections sent a message.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Returns how each of them arrived, and its message.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// Reads exactly this many bytes.
pub(crate) fn read(stream: &mut FastOpenStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// An upstream that does not answer: its accept queue is full, so the kernel drops SYNs.
pub(crate) struct Silent {
    _listener: FastOpenListener,
    _queue: Vec<TcpStream>,
}

impl Silent {
    pub(crate) fn on(host: &Host, address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        host.run(move || {
            let listener = FastOpenListener::builder(address).backlog(1).listen().unwrap();
            let queue = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
            Self { _listener: listener, _queue: queue }
        })
    }
}
