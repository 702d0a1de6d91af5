//! Probes on the client, mirrors on the server, and what is judged of them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tfo_core::diagnosis::{
    Blame, Cause, ClientEvidence, Evidence, Outcome, ServerEvidence, Verdict, judge,
};
use tfo_core::probe::mirror::{self, Answer};
use tfo_core::probe::{Probe, Series, serve_mirror};
use tfo_core::socket::{FastOpenListener, ListenerBuilder};

use crate::support::Net;

/// Bytes of the request, if nothing else is said. Enough for an answer with all of its parts.
pub(crate) const SIZE: usize = 100;

/// One connection, judged from each side.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) evidence: ClientEvidence,
    pub(crate) mirrored: Option<ServerEvidence>,
    /// By both halves, as `tfo-client` does; without a mirror by the client's half.
    pub(crate) joined: Verdict,
    pub(crate) client: Verdict,
    pub(crate) server: Option<Verdict>,
}

impl Judged {
    /// Holds a verdict against outcome, cause and blame.
    #[track_caller]
    pub(crate) fn joined(&self, outcome: Outcome, cause: Option<Cause>, blame: Option<Blame>) {
        assert_eq!(words(&self.joined), (outcome, cause, blame), "{self:#?}");
        assert_eq!(self.joined.candidates, [], "both halves settle it: {self:#?}");
    }

    /// Holds the verdict of the client's half against outcome and cause, and what else it may be.
    #[track_caller]
    pub(crate) fn client(&self, outcome: Outcome, cause: Option<Cause>, among: &[Cause]) {
        let Verdict { outcome: seen, cause: why, candidates, .. } = &self.client;
        assert_eq!((*seen, *why), (outcome, cause), "{self:#?}");
        for cause in among {
            assert!(candidates.contains(cause), "{cause} is not excluded: {self:#?}");
        }
        assert!(!among.is_empty() || candidates.is_empty(), "it is known: {self:#?}");
    }

    /// Holds the verdict of the server's half against outcome and cause.
    #[track_caller]
    pub(crate) fn server(&self, outcome: Outcome, cause: Option<Cause>) {
        let verdict = self.server.as_ref().expect("a mirror answered");
        assert_eq!((verdict.outcome, verdict.cause), (outcome, cause), "{self:#?}");
    }

    /// All three agree that fast open worked.
    #[track_caller]
    pub(crate) fn fast_open(&self) {
        self.joined(Outcome::FastOpen, None, None);
        self.client(Outcome::FastOpen, None, &[]);
        self.server(Outcome::FastOpen, None);
        assert!(self.evidence.tcp.is_some_and(|tcp| tcp.syn_data), "{self:#?}");
    }

    /// All three agree that a cookie was granted; the server's half alone can't know whether it
    /// arrived, and says only what it did.
    #[track_caller]
    pub(crate) fn cookie_granted(&self) {
        self.joined(Outcome::CookieGranted, None, None);
        self.client(Outcome::CookieGranted, None, &[]);
        self.server(Outcome::CookieGranted, None);
    }

    /// What the joined verdict says, and advises.
    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) {
        let text = format!("{} {}", self.joined.finding, self.joined.advice);
        for word in words {
            assert!(text.contains(word), "`{word}` is missing: {text}");
        }
    }
}

fn words(verdict: &Verdict) -> (Outcome, Option<Cause>, Option<Blame>) {
    (verdict.outcome, verdict.cause, verdict.blame)
}

/// A listener of the server, with a mirror behind it.
pub(crate) type Mirror = Arc<FastOpenListener>;

impl Net {
    /// Serves a mirror on the server.
    pub(crate) fn mirror(&self, builder: ListenerBuilder) -> Mirror {
        let listener = Arc::new(self.listen(builder));
        let served = Arc::clone(&listener);
        self.server.run(|| drop(thread::spawn(move || serve_mirror(&served))));
        listener
    }

    /// Serves each connection of the server in turn by this.
    pub(crate) fn serve(
        &self,
        builder: ListenerBuilder,
        serve: impl Fn(tfo_core::socket::FastOpenStream) + Send + 'static,
    ) -> SocketAddr {
        let listener = self.listen(builder);
        let address = listener.local_addr();
        thread::spawn(move || {
            while let Ok(accepted) = listener.accept() {
                serve(accepted.stream);
            }
        });
        address
    }

    /// Makes one connection from the client and judges it.
    pub(crate) fn probe(&self, mirror: &Mirror) -> Judged {
        self.probe_with(SIZE, probe(mirror.local_addr()))
    }

    /// Makes one connection from the client, with this many bytes, and judges it.
    pub(crate) fn probe_with(&self, size: usize, probe: Probe) -> Judged {
        let token = "abc123";
        let series = Arc::clone(&self.series);
        let both = self.client.run(move || {
            let seen = probe.run(&mirror::request(token, size));
            let mirrored = Answer::parse(&seen.answer).ok().map(|answer| {
                let of_request = (answer.token.as_str(), answer.received);
                assert_eq!(of_request, (token, size), "this request's");
                answer.evidence
            });
            let mut both = Evidence::new(Some(seen.evidence), mirrored);
            series.lock().expect("no test has failed").complete(&probe, &mut both);
            both
        });
        let alone = |client, server| judge(&Evidence::new(client, server));
        Judged {
            joined: judge(&both),
            client: alone(both.client.clone(), None),
            server: both.server.clone().map(|server| alone(None, Some(server))),
            evidence: both.client.expect("it was watched"),
            mirrored: both.server,
        }
    }

    /// Forgets what earlier connections showed: they were on another path.
    pub(crate) fn new_series(&self) {
        *self.series.lock().expect("no test has failed") = Series::default();
    }

    /// Repeats a connection that meets a fault until the regular connections beside it are enough to tell why.
    pub(crate) fn repeated(&self, size: usize, probe: &Probe) -> Judged {
        self.new_series();
        for _ in 0..2 {
            self.probe_with(size, probe.clone());
        }
        self.probe_with(size, probe.clone())
    }

    /// Makes connections until a cookie is cached, which the first of them fetches.
    pub(crate) fn fetch_cookie(&self, mirror: &Mirror) {
        self.probe(mirror).cookie_granted();
    }
}

/// A probe that waits for a mirror's answer.
pub(crate) fn probe(server: SocketAddr) -> Probe {
    Probe::new(server).reply_timeout(Duration::from_secs(10)).until(Answer::is_complete)
}

/// An address of `ip`, at a port where nobody listens.
pub(crate) fn closed_port(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 9)
}

/// Reads a request's line, and answers it.
pub(crate) fn answer(mut stream: impl Read + Write) {
    let mut bytes = [0; 4096];
    let mut last = 0;
    while last != b'\n' {
        match stream.read(&mut bytes) {
            Ok(len) if len > 0 => last = bytes[len - 1],
            _ => return,
        }
    }
    let _ = stream.write_all(b"hello\n");
}
