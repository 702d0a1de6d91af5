//! Tests of cases that cannot be caused from outside: a worker that fails.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use tfo_core::probe::ServerObserver;
use tfo_core::socket::FastOpenListener;

use super::*;
use crate::arrival::cookie_origin::RecentClients;
use crate::config::file::Limits;
use crate::config::values::ServiceKind;
use crate::connection::listener::ListenerContext;
use crate::connection::turn::TurnBudget;
use crate::keys::{KeySource, Keys};
use crate::service::Service;
use crate::service::forward::Forward;
use crate::service::respond::Respond;

const LARGE: usize = 20 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns a worker with one connection to this service, which has had its first turns, and the client.
fn worker_and_client(service: Service) -> (Worker, TcpStream) {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let keys = Keys::load(&KeySource::Kernel, SystemTime::now()).unwrap().view();
    let forensics = CookieForensics::new(Arc::new(RecentClients::new(1)), 0);
    let shared = Arc::new(SharedState::new(8, 1, waker));
    let mut worker = Worker::new(shared, keys, forensics, None).unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = FastOpenListener::builder(address).nonblocking(true).listen().unwrap();
    let observer = ServerObserver::new(&listener);
    let limits = Limits::default();
    let context = ListenerContext::internal(listener.local_addr(), service, &limits, observer);
    let mut client = TcpStream::connect(listener.local_addr()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"a request").unwrap();
    worker.listen(0, Arc::new(listener), Box::new(context)).unwrap();
    worker.accept_some(0, 1);
    assert_eq!(worker.connections.len(), 1, "the connection is still open");
    (worker, client)
}

fn forward_to(upstream: SocketAddr) -> Service {
    let settings = toml::from_str(&format!("upstreams = [\"{upstream}\"]")).unwrap();
    Service::Forward(Arc::new(Forward::new(&settings)))
}

fn is_reset(client: &mut TcpStream) -> bool {
    let end = client.read_to_end(&mut Vec::new());
    end.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset)
}

#[test]
fn failed_worker_resets_incomplete_answers() {
    let service = Service::Respond(Arc::new(Respond::Once(vec![b'x'; LARGE].into())));
    let (worker, mut client) = worker_and_client(service.clone());
    drop(worker);
    assert!(is_reset(&mut client), "by an error");
    let (worker, mut client) = worker_and_client(service);
    let panicked = catch_unwind(AssertUnwindSafe(move || {
        let _worker = worker;
        panic!("as a bug would");
    }));
    assert!(panicked.is_err());
    assert!(is_reset(&mut client), "by a panic");
}

#[test]
fn failed_worker_resets_both_legs_of_forwarded_connection() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let service = forward_to(upstream.local_addr().unwrap());
    let (worker, mut client) = worker_and_client(service);
    let (mut there, _) = upstream.accept().unwrap();
    there.set_read_timeout(Some(PATIENCE)).unwrap();
    drop(worker);
    assert!(is_reset(&mut client));
    assert!(is_reset(&mut there), "an incomplete upload must not look complete");
}

/// A turn is bounded, and a connection has one turn per pass.
#[test]
fn connection_with_much_input_has_one_bounded_turn_per_pass() {
    let sink = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = forward_to(sink.local_addr().unwrap());
    for service in [Service::Discard, Service::Echo, forward] {
        let kind = service.kind();
        let (mut worker, client) = worker_and_client(service);
        let mut reading = client.try_clone().unwrap();
        thread::spawn(move || io::copy(&mut reading, &mut io::sink()));
        if kind == ServiceKind::Forward {
            let (mut stream, _) = sink.accept().unwrap();
            thread::spawn(move || io::copy(&mut stream, &mut io::sink()));
        }
        let sending = thread::spawn(move || (&client).write_all(&vec![b'x'; LARGE]));
        let moved = |worker: &Worker| worker.connections.get(0).map(|one| one.bytes_in);
        let mut events = Events::with_capacity(16);
        let start = Instant::now();
        while let Some(before) = moved(&worker).filter(|bytes| *bytes < LARGE as u64) {
            assert!(start.elapsed() < PATIENCE, "{before} bytes");
            worker.pass(&mut events).unwrap();
            let turn = moved(&worker).map_or(0, |after| after - before);
            // The last step may exceed the budget.
            let max = TurnBudget::BYTES + INPUT_BUFFER;
            assert!(turn <= max as u64, "{kind}: {turn} bytes in one pass");
            assert!(worker.again.len() <= 1, "{:?}", worker.again);
        }
        sending.join().unwrap().unwrap();
    }
}
