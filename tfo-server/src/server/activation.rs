//! Inherited sockets: socket activation by systemd, or by any program that implements its protocol (`LISTEN_FDS`).

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::{env, error, fmt, io};

use listenfd::ListenFd;
use tfo_core::socket::FastOpenListener;

use crate::config::{ListenSettings, Settings};
use crate::output::Failure;

/// The number of the first inherited descriptor.
///
/// # References
/// - [`sd_listen_fds(3)`](https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html)
const FIRST_DESCRIPTOR: usize = 3;

/// The inherited sockets that no listener has taken yet.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets {
    sockets: Vec<PassedSocket>,
}

#[derive(Debug)]
struct PassedSocket {
    /// The name used in messages: `descriptor 3 (web)`.
    name: String,
    address: SocketAddr,
    fd: OwnedFd,
}

/// Why the inherited sockets cannot be used.
#[derive(Debug)]
pub(crate) enum ActivationError {
    /// The socket does not listen, or is not a TCP socket.
    NoListener { socket: String, source: io::Error },
    /// No `[[listen]]` table has the socket's address.
    NoTable { socket: String, address: SocketAddr },
    /// More sockets with one address than workers.
    TooMany { address: SocketAddr, sockets: usize, workers: usize },
}

impl InheritedSockets {
    /// Takes the inherited sockets of this process, grouped by listener. Must be called only once, as
    /// [`from_environment`](Self::from_environment).
    pub(super) fn for_listeners(settings: &Settings) -> Result<Vec<Vec<OwnedFd>>, ActivationError> {
        let mut inherited = Self::from_environment()?;
        let take = |listen: &ListenSettings| inherited.take(listen.address, settings.workers);
        let sockets = settings.listeners.iter().map(take).collect::<Result<_, _>>()?;
        inherited.all_taken().map(|()| sockets)
    }

    /// Takes the inherited sockets of this process. Must be called only once, before other threads read the
    /// environment: the variables are removed, so that no child process takes the sockets for its own.
    fn from_environment() -> Result<Self, ActivationError> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(passed.len());
        for index in 0..passed.len() {
            let name = match names.next() {
                Some(name) if !name.is_empty() => {
                    format!("descriptor {} ({name})", FIRST_DESCRIPTOR + index)
                }
                _ => format!("descriptor {}", FIRST_DESCRIPTOR + index),
            };
            let no_listener = |source| ActivationError::NoListener { socket: name.clone(), source };
            let Some(listener) = passed.take_tcp_listener(index).map_err(no_listener)? else {
                continue;
            };
            let address =
                FastOpenListener::address_of(&listener).map_err(|e| no_listener(e.into()))?;
            sockets.push(PassedSocket { name, address, fd: listener.into() });
        }
        Ok(Self { sockets })
    }

    /// Takes the sockets of one listener. If there are none, the listener has to bind its own.
    ///
    /// With fewer sockets than workers, some workers share a socket, and the kernel wakes each of them for every
    /// connection.
    fn take(
        &mut self,
        address: SocketAddr,
        workers: usize,
    ) -> Result<Vec<OwnedFd>, ActivationError> {
        let (matching, others) = std::mem::take(&mut self.sockets)
            .into_iter()
            .partition::<Vec<_>, _>(|socket| is_same_address(socket.address, address));
        self.sockets = others;
        if matching.len() > workers {
            return Err(ActivationError::TooMany { address, sockets: matching.len(), workers });
        }
        for socket in &matching {
            log::info!("inherited {} for {address}", socket.name);
        }
        if (1..workers).contains(&matching.len()) {
            log::info!(
                "{workers} workers share {} inherited for {address}; a socket per worker is faster: set ReusePort=yes and \
                 ListenStream={address} {workers} times",
                if matching.len() == 1 {
                    "the one socket".to_owned()
                } else {
                    format!("{} sockets", matching.len())
                },
            );
        }
        Ok(matching.into_iter().map(|socket| socket.fd).collect())
    }

    /// Fails if a socket is left: without a listener its clients would wait forever.
    fn all_taken(&self) -> Result<(), ActivationError> {
        match self.sockets.first() {
            None => Ok(()),
            Some(PassedSocket { name, address, .. }) => {
                Err(ActivationError::NoTable { socket: name.clone(), address: *address })
            }
        }
    }
}

/// Compares without the zone of a link-local address, which settings cannot contain.
fn is_same_address(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

impl fmt::Display for ActivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoListener { socket, .. } => {
                write!(f, "socket activation: {socket}: expected a listening TCP socket")
            }
            Self::NoTable { socket, address } => write!(
                f,
                "socket activation: {socket} listens on {address}, which is in no [[listen]] table: expected \
                 one with address = \"{}\" and port = {}",
                address.ip(),
                address.port()
            ),
            Self::TooMany { address, sockets, workers } => write!(
                f,
                "socket activation: {sockets} sockets listen on {address}: expected at most one for each \
                 of the {workers} workers (engine.workers)"
            ),
        }
    }
}

impl error::Error for ActivationError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::NoListener { source, .. } => Some(source),
            Self::NoTable { .. } | Self::TooMany { .. } => None,
        }
    }
}

impl From<ActivationError> for Failure {
    fn from(error: ActivationError) -> Self {
        Self::settings(&error)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn inherited(listeners: &[TcpListener]) -> InheritedSockets {
        let sockets = listeners.iter().enumerate().map(|(index, listener)| PassedSocket {
            name: format!("descriptor {}", FIRST_DESCRIPTOR + index),
            address: listener.local_addr().unwrap(),
            fd: listener.try_clone().unwrap().into(),
        });
        InheritedSockets { sockets: sockets.collect() }
    }

    #[test]
    fn listeners_take_sockets_by_address_and_the_rest_is_reported() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [one, other] = [0, 1].map(|index| listeners[index].local_addr().unwrap());
        let mut inherited = inherited(&listeners);
        assert_eq!(inherited.take("127.0.0.1:1".parse().unwrap(), 1).unwrap().len(), 0);
        assert_eq!(inherited.take(other, 1).unwrap().len(), 1);
        assert_eq!(inherited.take(other, 1).unwrap().len(), 0, "already taken");
        let left = inherited.all_taken().unwrap_err().to_string();
        let expected = format!(
            "socket activation: descriptor 3 listens on {one}, which is in no [[listen]] table: expected one \
             with address = \"127.0.0.1\" and port = {}",
            one.port()
        );
        assert_eq!(left, expected);
        inherited.take(one, 4).unwrap();
        inherited.all_taken().unwrap();
    }

    #[test]
    fn sockets_exceeding_the_workers_are_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let twice = [listener.try_clone().unwrap(), listener];
        assert_eq!(inherited(&twice).take(address, 2).unwrap().len(), 2);
        let error = inherited(&twice).take(address, 1).unwrap_err().to_string();
        assert!(error.contains("2 sockets") && error.contains("the 1 workers"), "{error}");
    }
}
