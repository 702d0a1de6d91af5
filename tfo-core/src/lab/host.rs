//! A host: a thread in its own network namespace.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{self, AssertUnwindSafe};
use std::process::{Child, Command, Output};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use super::interface;
use crate::error::{Error, Result};
use crate::host::{FastOpenFlags, sysctl};
use crate::sys::namespace::{self, Namespace};

/// A host of the lab. Loopback is up, and both halves of fast open are allowed.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: File,
    /// Nothing is written to this pipe: its reader waits until the host ends.
    alive: (PipeReader, PipeWriter),
    /// `None` only while the host is dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Host {
    /// Creates a host.
    ///
    /// # Errors
    /// This process may not create network namespaces; see [`explain_denied`](super::explain_denied).
    pub fn new(name: &str) -> Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, started) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("host-{name}")).spawn(move || {
            let start = start();
            let go_on = start.is_ok();
            if ready.send(start).is_ok() && go_on {
                for job in inbox {
                    job();
                }
            }
        });
        let thread = thread.map_err(|e| Error::system("starting a thread for host", name, e))?;
        let namespace = started.recv().map_err(|_| ended(name))??;
        let (name, jobs, thread) = (name.to_owned(), Some(jobs), Some(thread));
        let alive = io::pipe().map_err(|e| Error::system("pipe", "", e))?;
        Ok(Self { name, namespace, alive, jobs, thread })
    }

    /// Returns the name given to [`new`](Self::new).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs code on this host, and returns its result.
    ///
    /// Sockets that the code creates belong to this host for their lifetime, and may be used from anywhere. Threads
    /// that it starts run on this host as well.
    ///
    /// # Panics
    /// When the code panics.
    pub fn run<T: Send + 'static>(&self, code: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(code));
            // Fails only if `run` has panicked meanwhile.
            let _ = done.send(outcome);
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        assert!(sent, "the thread of host {} has ended", self.name);
        match result.recv() {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => panic::resume_unwind(panic),
            Err(mpsc::RecvError) => panic!("the thread of host {} has ended", self.name),
        }
    }

    /// Starts a program on this host. The program is killed when the host ends.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        namespace::end_with_this_thread(&mut command);
        self.run(move || command.spawn())
    }

    /// Starts a program on this host, and lets no process that it starts outlive it: all are killed when the
    /// program ends, when the host ends, and when this process is killed.
    ///
    /// The program is the first process of a PID namespace: a signal that it does not handle is ignored, except
    /// SIGKILL.
    ///
    /// # Errors
    /// As [`Command::spawn`], and if a PID namespace cannot be created.
    pub fn spawn_tree(&self, mut command: Command) -> io::Result<Child> {
        namespace::end_with_this_thread(&mut command);
        let mut alive = self.alive.0.try_clone()?;
        let (started, child) = mpsc::channel();
        // In its own thread, because after this call a thread can start no threads. The thread lives as long as the
        // host, because the program ends with it.
        self.run(move || {
            let keep = thread::Builder::new().name("program".to_owned());
            keep.spawn(move || {
                let spawned = namespace::unshare(Namespace::Pid).and_then(|()| command.spawn());
                if started.send(spawned).is_ok() {
                    // Returns when the host closes the other end.
                    let _ = alive.read(&mut [0]);
                }
            })
        })?;
        child.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    /// Runs a program on this host, waits for it to end, and returns its output.
    ///
    /// # Errors
    /// As [`Command::output`].
    pub fn output(&self, mut command: Command) -> io::Result<Output> {
        namespace::end_with_this_thread(&mut command);
        self.run(move || command.output())
    }

    /// Adds an address to this host's loopback interface.
    ///
    /// # Errors
    /// The kernel refused the address.
    pub fn add_address(&self, address: IpAddr) -> Result<()> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        self.run(move || interface::add_address(interface::LOOPBACK, address, prefix))
    }

    /// Adds a route to this address with `fastopen_no_cookie`, by the interface that leads to the others.
    ///
    /// # Errors
    /// The kernel refused the route.
    pub fn route_without_cookies(&self, destination: IpAddr) -> Result<()> {
        self.run(move || interface::add_route_without_cookies(interface::ETH0, destination))
    }

    /// Sets `net.ipv4.tcp_fastopen` of this host.
    ///
    /// # Errors
    /// The setting cannot be written.
    pub fn set_tcp_fastopen(&self, bits: FastOpenFlags) -> Result<()> {
        self.run(move || sysctl::set_tcp_fastopen(bits))
    }
}

impl AsFd for Host {
    /// Returns the host's network namespace.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Jobs catch their panics, so that the thread returns none.
            let _ = thread.join();
        }
    }
}

/// Moves the calling thread into a new network namespace that is ready to use.
fn start() -> Result<File> {
    namespace::unshare(Namespace::Net)
        .map_err(|e| Error::system("making a network namespace", "", e))?;
    prepare()?;
    let path = "/proc/thread-self/ns/net";
    File::open(path).map_err(|e| Error::system("open", path, e))
}

/// Brings loopback up and allows both halves of fast open, in the calling thread's new namespace.
pub(super) fn prepare() -> Result<()> {
    interface::loopback_up()?;
    sysctl::set_tcp_fastopen(FastOpenFlags::new(3))
}

fn ended(name: &str) -> Error {
    Error::system("starting host", name, io::ErrorKind::BrokenPipe.into())
}
