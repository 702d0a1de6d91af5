//! Binds the listeners. Each worker gets its own socket, so that the kernel distributes the connections and workers do
//! not wait for each other.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tfo_core::cli::error_chain;
use tfo_core::host::Owners;
use tfo_core::host::readiness::NamedListener;
use tfo_core::probe::ServerObserver;
use tfo_core::socket::FastOpenListener;

use crate::config::ListenSettings;
use crate::keys::Keys;
use crate::output::Failure;
use crate::service::Service;

/// The sockets of a listener: one per worker, or the inherited ones, which the workers share.
pub(super) struct BoundListener {
    /// The number by which workers identify the listener.
    pub(super) number: usize,
    pub(super) address: SocketAddr,
    pub(super) service: Service,
    pub(super) sockets: Vec<Arc<FastOpenListener>>,
}

impl BoundListener {
    pub(super) fn new(
        number: usize,
        settings: &ListenSettings,
        service: Service,
        keys: &Keys,
        workers: usize,
        passed: Vec<OwnedFd>,
    ) -> tfo_core::Result<Self> {
        let sockets = if passed.is_empty() { workers } else { passed.len() };
        let (queue, backlog) = settings.queue_and_backlog(sockets);
        let builder = FastOpenListener::builder(settings.address)
            .backlog(backlog)
            .queue(queue)
            .reuse_port(workers > 1)
            // Later pieces of a reply must not wait for the peer's acknowledgments.
            .nodelay(true)
            .nonblocking(true);
        let builder = keys.configure(builder);
        let sockets: tfo_core::Result<Vec<_>> = if passed.is_empty() {
            if workers > 1 {
                // `SO_REUSEPORT` sockets would share the port with those of another server too.
                builder.check_free()?;
            }
            (0..workers).map(|_| builder.listen().map(Arc::new)).collect()
        } else {
            passed.into_iter().map(|fd| builder.adopt(fd).map(Arc::new)).collect()
        };
        Ok(Self { number, address: settings.address, service, sockets: sockets? })
    }

    /// Returns whether the sockets are inherited.
    pub(super) fn is_inherited(&self) -> bool {
        self.sockets.iter().any(|socket| socket.is_inherited())
    }

    /// Changes the fast open queue of the live sockets.
    pub(super) fn set_queue(&self, queue: u32) -> tfo_core::Result<()> {
        self.sockets.iter().try_for_each(|socket| socket.set_queue(queue))
    }

    /// Returns an endless iterator of observers, one for each worker's socket. All share what is known about the host.
    pub(super) fn observers(
        &self,
        first: &mut Option<ServerObserver>,
    ) -> impl Iterator<Item = ServerObserver> {
        self.sockets.iter().cycle().map(move |socket| match first {
            Some(first) => first.for_listener(socket),
            None => first.insert(ServerObserver::new(socket)).clone(),
        })
    }

    /// Returns the effective fast open queue and backlog, as sums over all sockets.
    pub(super) fn queue_and_backlog(&self) -> (u32, u32) {
        let sum = |of: fn(&FastOpenListener) -> tfo_core::Result<u32>| {
            self.sockets.iter().map(|socket| of(socket).unwrap_or(0)).sum()
        };
        (sum(FastOpenListener::effective_queue), sum(FastOpenListener::effective_backlog))
    }
}

/// Returns why listening failed, and what to do. `setting` names the setting that chooses the port.
pub(super) fn cannot_listen(
    address: SocketAddr,
    setting: &str,
    found: &tfo_core::Error,
) -> Failure {
    let port = address.port();
    let advice = match found.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{}; stop it, or choose another port: {setting}", holder(port))
        }
        io::ErrorKind::AddrNotAvailable => {
            "not an address of this host: list them with `ip address`; 0.0.0.0 or :: means all"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            let grant = "sudo setcap cap_net_bind_service=+ep \"$(command -v tfo-server)\"";
            format!("port {port} needs CAP_NET_BIND_SERVICE: {grant}; or choose a port from 1024")
        }
        _ => "run `tfo-server check` to find out what this host lacks".to_owned(),
    };
    Failure::new(format_args!("can't listen on {address}: {}; {advice}", error_chain(found)))
}

/// Returns the sentence that names the listener of this port.
fn holder(port: u16) -> String {
    let listeners = tfo_core::host::listeners().unwrap_or_default();
    match listeners.into_iter().find(|listener| listener.address.port() == port) {
        Some(listener) => {
            format!("{} listens there", NamedListener::new(&listener, &Owners::read()))
        }
        None => "another process has the port; `sudo tfo-client doctor` lists those that listen"
            .to_owned(),
    }
}
