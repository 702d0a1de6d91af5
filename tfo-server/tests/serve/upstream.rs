//! Servers to forward to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tfo_core::lab::Host;
use tfo_core::socket::{Accepted, Arrival, FastOpenListener, FastOpenStream};

/// Far more than any of it takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// An upstream that the test plays itself.
pub(crate) struct Upstream {
    listener: Arc<FastOpenListener>,
}

impl Upstream {
    pub(crate) fn on(host: &Host, address: &str) -> Self {
        let address: SocketAddr = address.parse().unwrap();
        let listener = host.run(move || FastOpenListener::bind(address)).unwrap();
        Self { listener: Arc::new(listener) }
    }

    /// The next connection; checks of its health are none.
    pub(crate) fn accept(&self) -> Accepted {
        let accepted = self.listener.accept().unwrap();
        accepted.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        accepted.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        accepted
    }

    /// Answers each connection's first message with its own name and that message, and closes.
    pub(crate) fn answer(self, name: &'static str) -> Answering {
        let answering = Answering { seen: Arc::default(), count: Arc::default() };
        let told = answering.clone();
        thread::spawn(move || {
            loop {
                let Ok(Accepted { mut stream, arrival, .. }) = self.listener.accept() else {
                    return;
                };
                let told = told.clone();
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut message = [0; 4096];
                    let len = stream.read(&mut message).unwrap_or(0);
                    if len == 0 {
                        return;
                    }
                    told.count.fetch_add(1, Ordering::SeqCst);
                    let message = message[..len].to_vec();
                    let answer = [name.as_bytes(), b":", &message].concat();
                    told.seen.lock().unwrap().push((arrival, message));
                    let _ = stream.write_all(&answer);
                    let _ = stream.shutdown(Shutdown::Write);
                    let _ = stream.read(&mut [0]);
                });
            }
        });
        answering
    }
}

/// How a connection arrived, and the message that it brought.
type Seen = (Arrival, Vec<u8>);

/// An upstream that answers by itself.
#[derive(Clone)]
pub(crate) struct Answering {
    seen: Arc<Mutex<Vec<Seen>>>,
    count: Arc<AtomicUsize>,
}

impl Answering {
    /// How many connections brought a message.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// How each of them arrived, and what it brought.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// Reads exactly so many bytes.
pub(crate) fn read(stream: &mut FastOpenStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// An upstream that does not answer: its accept queue is full, and so the kernel drops SYNs.
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
