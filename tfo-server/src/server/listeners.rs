//! Binds the listeners: for each worker a socket of its own, so that the kernel divides the connections
//! and no worker waits for another.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tfo_core::cli::error_chain;
use tfo_core::probe::ServerObserver;
use tfo_core::socket::FastOpenListener;

use crate::config::ListenSettings;
use crate::keys::Keys;
use crate::output::Failure;
use crate::service::Service;

/// A listener's sockets: one for each worker, or those that were passed to this process, which the workers then
/// share.
pub(super) struct BoundListener {
    /// What the workers know it by.
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
        let wish = settings.wish(if passed.is_empty() { workers } else { passed.len() });
        let builder = FastOpenListener::builder(wish.address)
            .backlog(wish.backlog)
            .queue(wish.queue)
            .reuse_port(workers > 1)
            // An answer in several pieces must not wait for the peer's acknowledgment.
            .nodelay(true)
            .nonblocking(true);
        let builder = keys.configure(builder);
        let sockets: tfo_core::Result<Vec<_>> = if passed.is_empty() {
            if workers > 1 {
                // Sockets that share a port would share it with another server's too.
                builder.check_free()?;
            }
            (0..workers).map(|_| builder.listen().map(Arc::new)).collect()
        } else {
            passed.into_iter().map(|fd| builder.adopt(fd).map(Arc::new)).collect()
        };
        Ok(Self { number, address: settings.address, service, sockets: sockets? })
    }

    /// Whether its sockets were passed to this process.
    pub(super) fn is_inherited(&self) -> bool {
        self.sockets.iter().any(|socket| socket.is_inherited())
    }

    /// Changes the queue of each live socket.
    pub(super) fn set_queue(&self, queue: u32) -> tfo_core::Result<()> {
        self.sockets.iter().try_for_each(|socket| socket.set_queue(queue))
    }

    /// An observer of each worker's socket, without an end; all share what they know of the host.
    pub(super) fn observers(
        &self,
        first: &mut Option<ServerObserver>,
    ) -> impl Iterator<Item = ServerObserver> {
        self.sockets.iter().cycle().map(move |socket| match first {
            Some(first) => first.for_listener(socket),
            None => first.insert(ServerObserver::new(socket)).clone(),
        })
    }

    /// The fast open queue and the backlog in force, of all sockets together.
    pub(super) fn queue_and_backlog(&self) -> (u32, u32) {
        let sum = |of: fn(&FastOpenListener) -> tfo_core::Result<u32>| {
            self.sockets.iter().map(|socket| of(socket).unwrap_or(0)).sum()
        };
        (sum(FastOpenListener::effective_queue), sum(FastOpenListener::effective_backlog))
    }
}

/// Why it can't listen, and what to do. `setting` is what chooses the port.
pub(super) fn cannot_listen(
    address: SocketAddr,
    setting: &str,
    found: &tfo_core::Error,
) -> Failure {
    let port = address.port();
    let advice = match found.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "see who listens there: ss -ltnp 'sport = :{port}'; or choose another port: {setting}"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            "it is not an address of this host: `ip address` lists them, 0.0.0.0 or :: means all"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            let grant = "sudo setcap cap_net_bind_service=+ep \"$(command -v tfo-server)\"";
            format!("port {port} needs CAP_NET_BIND_SERVICE: {grant}; or choose a port from 1024")
        }
        _ => "`tfo-server check` says what this host lacks".to_owned(),
    };
    Failure::new(format_args!("can't listen on {address}: {}. {advice}", error_chain(found)))
}
