//! Sockets that listen before the server starts: socket activation by systemd, or by whoever keeps its
//! protocol (`LISTEN_FDS`).

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::{env, error, fmt, io};

use listenfd::ListenFd;
use tfo_core::socket::FastOpenListener;

use crate::config::{ListenSettings, Settings};
use crate::output::Failure;

/// The number of the first descriptor that is passed on.
///
/// # References
/// - [`sd_listen_fds(3)`](https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html)
const FIRST_DESCRIPTOR: usize = 3;

/// The sockets that were passed on and are not taken yet.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets {
    sockets: Vec<PassedSocket>,
}

#[derive(Debug)]
struct PassedSocket {
    /// What a message calls it: `descriptor 3 (web)`.
    name: String,
    address: SocketAddr,
    fd: OwnedFd,
}

/// Why the sockets that were passed on can't be used.
#[derive(Debug)]
pub(crate) enum ActivationError {
    /// It does not listen, or not on TCP.
    NoListener { socket: String, source: io::Error },
    /// No `[[listen]]` table has its address.
    NoTable { socket: String, address: SocketAddr },
    /// There are more of one address than there are workers.
    TooMany { address: SocketAddr, sockets: usize, workers: usize },
}

impl InheritedSockets {
    /// Takes the sockets that this process was given, by listener. To be called once, as
    /// [`from_environment`](Self::from_environment).
    pub(super) fn for_listeners(settings: &Settings) -> Result<Vec<Vec<OwnedFd>>, ActivationError> {
        let mut inherited = Self::from_environment()?;
        let take = |listen: &ListenSettings| inherited.take(listen.address, settings.workers);
        let sockets = settings.listeners.iter().map(take).collect::<Result<_, _>>()?;
        inherited.all_taken().map(|()| sockets)
    }

    /// Takes what this process was given. To be called once, while no other thread looks at the variables: they go,
    /// so that no program that it starts takes them for its own.
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

    /// Those of one listener; none: it has to bind for itself.
    ///
    /// With fewer than there are workers some of them share one: the kernel then wakes each of these for
    /// each connection.
    fn take(
        &mut self,
        address: SocketAddr,
        workers: usize,
    ) -> Result<Vec<OwnedFd>, ActivationError> {
        let (its, others) = std::mem::take(&mut self.sockets)
            .into_iter()
            .partition::<Vec<_>, _>(|socket| is_same_address(socket.address, address));
        self.sockets = others;
        if its.len() > workers {
            return Err(ActivationError::TooMany { address, sockets: its.len(), workers });
        }
        for socket in &its {
            log::info!("{} listens on {address} already", socket.name);
        }
        if (1..workers).contains(&its.len()) {
            log::info!(
                "{workers} workers share {} inherited for {address}; one each is faster: ReusePort=yes, and \
                 ListenStream={address} {workers} times",
                if its.len() == 1 {
                    "the one socket".to_owned()
                } else {
                    format!("{} sockets", its.len())
                },
            );
        }
        Ok(its.into_iter().map(|socket| socket.fd).collect())
    }

    /// Whether all have found their listener: one that nobody serves would let clients wait for ever.
    fn all_taken(&self) -> Result<(), ActivationError> {
        match self.sockets.first() {
            None => Ok(()),
            Some(PassedSocket { name, address, .. }) => {
                Err(ActivationError::NoTable { socket: name.clone(), address: *address })
            }
        }
    }
}

/// The zone of a link-local address is not part of a setting.
fn is_same_address(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

impl fmt::Display for ActivationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoListener { socket, .. } => {
                write!(f, "socket activation: {socket}: expected a TCP socket that listens")
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
    fn each_listener_gets_the_sockets_of_its_address_and_what_is_left_is_told() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [one, other] = [0, 1].map(|index| listeners[index].local_addr().unwrap());
        let mut inherited = inherited(&listeners);
        assert_eq!(inherited.take("127.0.0.1:1".parse().unwrap(), 1).unwrap().len(), 0);
        assert_eq!(inherited.take(other, 1).unwrap().len(), 1);
        assert_eq!(inherited.take(other, 1).unwrap().len(), 0, "it is taken");
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
    fn more_sockets_than_workers_are_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let twice = [listener.try_clone().unwrap(), listener];
        assert_eq!(inherited(&twice).take(address, 2).unwrap().len(), 2);
        let error = inherited(&twice).take(address, 1).unwrap_err().to_string();
        assert!(error.contains("2 sockets") && error.contains("the 1 workers"), "{error}");
    }
}
