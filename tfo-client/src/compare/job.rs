//! The job of each connection of a comparison: its first bytes, and the dialogue that follows.

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};
use tfo_core::cli::Expected;
use tfo_core::probe::{Dialogue, Next};

use super::dns;
use super::reply::{Reply, ReplyTo};
use super::sample::Times;
use super::tls::{self, Trust};
use crate::config::Settings;
use crate::first_bytes;

/// The job that the flags describe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobSettings {
    /// The certificates that are trusted; `None`: without TLS.
    pub(crate) tls: Option<Trust>,
    pub(crate) request: Request,
}

/// The request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// The first bytes of the settings.
    Message,
    Http(HttpPath),
    Dns(DnsName),
    /// No request: the job ends with the TLS handshake.
    Nothing,
}

/// The path of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpPath(String);

/// A valid DNS name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DnsName(String);

impl FromStr for HttpPath {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let fits = text.starts_with('/') && text.len() <= 8000;
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Expected::new(r#"a path that begins with a slash, such as "/index.html?q=1""#))
        }
    }
}

impl FromStr for DnsName {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        if dns::query(text, 1).is_some() {
            Ok(Self(text.to_owned()))
        } else {
            Err(Expected::new(
                r#"a domain name of at most 253 ASCII characters, such as "example.org""#,
            ))
        }
    }
}

impl JobSettings {
    /// Returns whether the first bytes are those of the settings.
    pub(crate) fn sends_message(&self) -> bool {
        self.request == Request::Message
    }
}

impl fmt::Display for JobSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.request {
            Request::Message => f.write_str("first bytes")?,
            Request::Http(HttpPath(path)) => write!(f, "GET {path}")?,
            Request::Dns(DnsName(name)) => write!(f, "DNS query for {name}")?,
            Request::Nothing => return f.write_str("TLS handshake"),
        }
        f.write_str(if self.tls.is_some() { " over TLS" } else { "" })
    }
}

/// The job for one host.
#[derive(Clone)]
pub(crate) struct Job {
    request: Request,
    host: String,
    settings: Settings,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Job {
    /// Creates the job. An error says what is wrong with the host's name, or with this host's settings.
    pub(super) fn new(job: &JobSettings, host: &str, settings: &Settings) -> Result<Self, String> {
        let with_http = matches!(job.request, Request::Http(_));
        let tls = match job.tls {
            None => None,
            Some(trust) => Some(tls::client(trust, host, with_http)?),
        };
        Ok(Self {
            request: job.request.clone(),
            host: host.to_owned(),
            settings: settings.clone(),
            tls,
        })
    }

    /// Returns the first bytes of a new connection, and the dialogue that follows them.
    pub(super) fn start(&self) -> Result<(Vec<u8>, JobDialogue), String> {
        let token = first_bytes::token();
        let (request, to) = match &self.request {
            Request::Message => (first_bytes::message(&self.settings, &token), ReplyTo::Message),
            Request::Http(HttpPath(path)) => (self.get(path), ReplyTo::Http),
            Request::Dns(DnsName(name)) => {
                let id = fastrand::u16(..);
                (dns::query(name, id).unwrap_or_default(), ReplyTo::Dns(id))
            }
            Request::Nothing => (Vec::new(), ReplyTo::Message),
        };
        let mut dialogue = JobDialogue {
            token,
            reply: Reply::new(to),
            pending: Vec::new(),
            tls: None,
            times: Times::default(),
            fault: None,
        };
        let Some((config, name)) = &self.tls else { return Ok((request, dialogue)) };
        let mut connection = ClientConnection::new(Arc::clone(config), name.clone())
            .map_err(|e| format!("TLS: {e}"))?;
        let hello = tls::outgoing(&mut connection);
        dialogue.tls = Some(Box::new(connection));
        dialogue.pending = request;
        Ok((hello, dialogue))
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let port = self.settings.target.port;
        let port = match (port, &self.tls) {
            (80, None) | (443, Some(_)) => String::new(),
            _ => format!(":{port}"),
        };
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}{port}\r\nUser-Agent: tfo-client/{}\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        )
        .into_bytes()
    }
}

/// The dialogue on one connection.
pub(super) struct JobDialogue {
    token: String,
    reply: Reply,
    /// The request, until the TLS handshake completes.
    pending: Vec<u8>,
    tls: Option<Box<ClientConnection>>,
    times: Times,
    /// A reply of the peer that makes the job impossible.
    fault: Option<String>,
}

impl JobDialogue {
    pub(super) fn times(&self) -> Times {
        self.times
    }

    pub(super) fn tls_version(&self) -> Option<&'static str> {
        match self.tls.as_ref()?.protocol_version()? {
            ProtocolVersion::TLSv1_2 => Some("1.2"),
            ProtocolVersion::TLSv1_3 => Some("1.3"),
            _ => None,
        }
    }

    pub(super) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Returns the beginning of the reply, and the token of the request to a mirror.
    pub(super) fn reply_and_token(&self) -> (&[u8], &str) {
        (self.reply.beginning(), &self.token)
    }

    fn on_plain(&mut self, bytes: &[u8], at: Duration) -> bool {
        self.times.first_byte.get_or_insert(at);
        match self.reply.take(bytes) {
            Ok(false) => false,
            Ok(true) => {
                self.times.reply = Some(at);
                true
            }
            Err(fault) => {
                self.fault = Some(fault);
                true
            }
        }
    }

    fn on_encrypted(&mut self, mut bytes: &[u8], at: Duration) -> Next {
        let Some(mut tls) = self.tls.take() else { return Next::End };
        let (mut plain, mut ended) = (Vec::new(), false);
        while !bytes.is_empty() && !ended {
            // Reading from a slice does not fail, but the peer's bytes may be invalid.
            if tls.read_tls(&mut bytes).is_err() {
                break;
            }
            if let Err(e) = tls.process_new_packets() {
                self.fault = Some(tls::explain(&e));
                // Sends an alert to the peer.
                return Next::SendLast(tls::outgoing(&mut tls));
            }
            // An error means that there is no more data for now, or that the peer has closed.
            let _ = tls.reader().read_to_end(&mut plain);
        }
        if !tls.is_handshaking() && self.times.handshake.is_none() {
            self.times.handshake = Some(at);
            if self.pending.is_empty() {
                self.times.first_byte = Some(at);
                tls.send_close_notify();
                ended = true;
            } else if let Err(e) = tls.writer().write_all(&self.pending) {
                self.fault = Some(format!("TLS: {e}"));
                ended = true;
            }
        }
        if !plain.is_empty() {
            ended |= self.on_plain(&plain, at);
        }
        let outgoing = tls::outgoing(&mut tls);
        self.tls = Some(tls);
        match (ended, outgoing.is_empty()) {
            (true, _) => Next::SendLast(outgoing),
            (false, false) => Next::Send(outgoing),
            (false, true) => Next::Read,
        }
    }
}

impl Dialogue for JobDialogue {
    fn received(&mut self, bytes: &[u8], at: Duration) -> Next {
        if self.tls.is_some() {
            self.on_encrypted(bytes, at)
        } else if self.on_plain(bytes, at) {
            Next::End
        } else {
            Next::Read
        }
    }

    fn closed(&mut self, at: Duration) {
        if self.times.reply.is_none() && self.reply.ends_with_the_connection() {
            self.times.reply = Some(at);
        }
    }
}
