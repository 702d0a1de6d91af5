//! A client and a server with a path between them, each with a runtime of its own.

use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::process::exit;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tfo_core::host::FastOpenFlags;
use tfo_core::lab::{Network, PathSettings};
use tfo_core::socket::Arrival;
use tfo_core::tokio::{Accepted, FastOpenListener, FastOpenStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

/// Long enough to act while a SYN is under way.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(20);
/// No test takes a tenth of this.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn network() -> Network {
    thread::spawn(|| {
        thread::sleep(PATIENCE);
        let _ = writeln!(std::io::stderr(), "no end after {PATIENCE:?}");
        exit(101);
    });
    Network::new(PathSettings::new().round_trip(ROUND_TRIP)).expect("namespaces can be made here")
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Runs a server on the server's host, until the test ends.
pub(crate) fn serve<F>(
    net: &Network,
    server: impl FnOnce(FastOpenListener) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()>,
{
    net.server().run(move || {
        let (ready, address) = mpsc::channel();
        thread::spawn(move || {
            runtime().block_on(async {
                let any = SocketAddr::new(Network::server_address(false), 0);
                let listener = FastOpenListener::bind(any).expect("a free port");
                ready.send(listener.local_addr()).expect("the test waits");
                server(listener).await;
            });
        });
        address.recv().expect("it listens")
    })
}

/// Runs a server that hands each connection to `talk`, and reports how each arrived.
pub(crate) fn serve_each<F>(
    net: &Network,
    talk: impl Fn(Accepted) -> F + Send + 'static,
) -> (SocketAddr, mpsc::Receiver<Arrival>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (report, arrivals) = mpsc::channel();
    let address = serve(net, async move |listener| {
        loop {
            let accepted = listener.accept().await.expect("a connection");
            let _ = report.send(accepted.arrival);
            tokio::spawn(talk(accepted));
        }
    });
    (address, arrivals)
}

/// Answers with all that came, once the client has shut down.
pub(crate) async fn echo(mut accepted: Accepted) {
    let mut all = Vec::new();
    if accepted.read_to_end(&mut all).await.is_ok() {
        let _ = accepted.write_all(&all).await;
    }
}

/// Runs a client on the client's host.
pub(crate) fn client<T, F>(net: &Network, code: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    net.client().run(move || runtime().block_on(code()))
}

/// Makes the client's kernel ask for a cookie.
pub(crate) async fn fetch_cookie(server: SocketAddr) {
    let mut stream = FastOpenStream::connect(server, b"?").await.expect("it listens");
    stream.shutdown().await.expect("connected");
    assert!(!stream.info().unwrap().syn_data, "no cookie was cached");
}

pub(crate) fn set_client_bits(net: &Network, bits: u32) {
    net.client().set_tcp_fastopen(FastOpenFlags::new(bits)).expect("its own setting");
}

/// Returns the number of data bytes in the SYN, as it arrived.
pub(crate) fn in_syn(arrival: &Arrival) -> usize {
    arrival.syn.saved().expect("it is saved").payload_bytes.into()
}
