//! A host: a thread in a network namespace of its own.

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

/// A host of the lab: loopback is up, and client and server may use fast open.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: File,
    /// Nothing is ever written: its reader waits until the host goes.
    alive: (PipeReader, PipeWriter),
    /// `None` only while it is dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Host {
    /// Makes a host.
    ///
    /// # Errors
    /// This process may not make network namespaces; see [`explain_denied`](super::explain_denied).
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

    /// The name given to [`new`](Self::new).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a piece of code on this host, and returns its result.
    ///
    /// Sockets that it makes belong to this host for life, and may be used from anywhere. A
    /// thread that it starts runs on this host as well.
    ///
    /// # Panics
    /// When the code panics.
    pub fn run<T: Send + 'static>(&self, code: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || {
            let outcome = panic::catch_unwind(AssertUnwindSafe(code));
            // Fails only when `run` has panicked in between.
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

    /// Starts a program on this host. It is killed when the host goes.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        namespace::end_with_this_thread(&mut command);
        self.run(move || command.spawn())
    }

    /// Starts a program on this host, and lets nothing that it starts outlive it: all of them are killed
    /// when it ends, when the host goes, and when this process is killed.
    ///
    /// It is the first process of a PID namespace: a signal that it does not handle is ignored, other than
    /// SIGKILL.
    ///
    /// # Errors
    /// As [`Command::spawn`], and when a PID namespace can't be made.
    pub fn spawn_tree(&self, mut command: Command) -> io::Result<Child> {
        namespace::end_with_this_thread(&mut command);
        let mut alive = self.alive.0.try_clone()?;
        let (started, child) = mpsc::channel();
        // A thread of its own: after this one could start no threads. It lives as long as the host,
        // because the program ends with it.
        self.run(move || {
            let keep = thread::Builder::new().name("program".to_owned());
            keep.spawn(move || {
                let spawned = namespace::unshare(Namespace::Pid).and_then(|()| command.spawn());
                if started.send(spawned).is_ok() {
                    // Ends when the host closes the other end.
                    let _ = alive.read(&mut [0]);
                }
            })
        })?;
        child.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?
    }

    /// Runs a program on this host, waits for its end, and returns what it wrote.
    ///
    /// # Errors
    /// As [`Command::output`].
    pub fn output(&self, mut command: Command) -> io::Result<Output> {
        namespace::end_with_this_thread(&mut command);
        self.run(move || command.output())
    }

    /// Gives this host another address on its loopback interface.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn add_address(&self, address: IpAddr) -> Result<()> {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        self.run(move || interface::add_address(interface::LOOPBACK, address, prefix))
    }

    /// Sets `net.ipv4.tcp_fastopen` of this host.
    ///
    /// # Errors
    /// The setting can't be written.
    pub fn set_tcp_fastopen(&self, bits: FastOpenFlags) -> Result<()> {
        self.run(move || sysctl::set_tcp_fastopen(bits))
    }
}

impl AsFd for Host {
    /// Its network namespace.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // Jobs catch their panics, so that the thread has none to hand over.
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
