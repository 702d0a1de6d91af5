//! A server that answers and records what it saw.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tfo_core::diagnosis::{CookieOrigin, ServerEvidence};
use tfo_core::probe::ServerObserver;
use tfo_core::probe::mirror::{Answer, Progress, RequestReader};
use tfo_core::socket::{Accepted, FastOpenListener, FastOpenStream};

/// What a server's program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// The mirror.
    Mirror,
    /// The mirror, after this time.
    Slow(Duration),
    /// The mirror, which takes this time for each `accept`.
    Stalled(Duration),
    /// Accepts, and sends nothing.
    Silent,
    /// Nothing listens.
    Closed,
}

/// What the server saw of one connection.
#[derive(Debug)]
pub(crate) struct Record {
    /// Of the request, where one was read.
    pub(crate) token: Option<String>,
    /// When it answered, or would have.
    pub(crate) evidence: ServerEvidence,
    stream: FastOpenStream,
}

pub(crate) type Records = Arc<Mutex<Vec<Record>>>;
/// What the server knows of the keys that made a cookie.
pub(crate) type Forensics = Arc<dyn Fn(&ServerEvidence) -> Option<CookieOrigin> + Send + Sync>;

impl Record {
    /// Returns the evidence with what the kernel reports about the connection now.
    pub(crate) fn now(&self) -> ServerEvidence {
        let mut evidence = self.evidence.clone();
        if let Ok(info) = self.stream.info() {
            evidence.tcp = (&info).into();
        }
        evidence
    }
}

/// What a server looks at beside the connection itself.
#[derive(Clone)]
pub(crate) struct Look {
    /// Reads the counters for each connection; else only the settings.
    pub(crate) counters: bool,
    pub(crate) forensics: Option<Forensics>,
}

/// Serves the connections of a listener in threads of the calling thread's host, until the listener is [stopped](stop).
pub(crate) fn serve(
    listener: &Arc<FastOpenListener>,
    service: Service,
    records: &Records,
    look: Look,
) {
    let listener = Arc::clone(listener);
    let records = Arc::clone(records);
    // Created before any client connects: the change of the counters is measured from here on.
    let observer = ServerObserver::new(&listener);
    thread::spawn(move || {
        while let Ok(accepted) = listener.accept() {
            if let Service::Stalled(time) = service {
                thread::sleep(time);
            }
            if !look.counters {
                observer.refresh();
            }
            observer.accepted();
            let (observer, records) = (observer.clone(), Arc::clone(&records));
            let place = Place { records, observer, look: look.clone() };
            thread::spawn(move || place.serve(accepted, service));
        }
    });
}

/// Ends the service of a listener.
pub(crate) fn stop(listener: &FastOpenListener) {
    let copy = listener.as_fd().try_clone_to_owned().unwrap();
    let _ = TcpStream::from(copy).shutdown(Shutdown::Both);
}

struct Place {
    records: Records,
    observer: ServerObserver,
    look: Look,
}

impl Place {
    fn serve(self, accepted: Accepted, service: Service) {
        let Accepted { mut stream, arrival, .. } = accepted;
        let received = match service {
            Service::Silent => None,
            _ => read_request(&mut stream),
        };
        if let Service::Slow(time) = service {
            thread::sleep(time);
        }
        let mut evidence = match (service, &received) {
            (Service::Silent, _) | (_, Some(_)) if self.look.counters => {
                self.observer.evidence_with_counters(&arrival)
            }
            _ => self.observer.evidence(&arrival),
        };
        evidence.cookie_origin = self.look.forensics.and_then(|origin| origin(&evidence));
        let token = received.as_ref().map(|(token, _)| token.clone());
        let answer = received.map(|(token, len)| Answer::new(token, len, evidence.clone()));
        // Recorded before the answer is sent: a client that has the answer finds the record.
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answer {
            let _ = stream.write_all(&answer.to_line().unwrap());
        }
        records.push(Record { token, evidence, stream });
    }
}

fn read_request(stream: &mut FastOpenStream) -> Option<(String, usize)> {
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut reader = RequestReader::default();
    let mut buffer = [0; 4096];
    loop {
        let len = stream.read(&mut buffer).ok().filter(|len| *len > 0)?;
        match reader.read(&buffer[..len]) {
            Progress::More => {}
            Progress::Request { token, received, .. } => return Some((token, received)),
            other => panic!("no request: {other:?}"),
        }
    }
}
