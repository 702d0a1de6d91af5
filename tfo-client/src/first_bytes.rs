//! The first bytes of a connection: their content, how they are sent, and the mirror's answer.

use std::hash::{BuildHasher, RandomState};

use tfo_core::diagnosis::ServerEvidence;
use tfo_core::probe::mirror::{self, Answer};
use tfo_core::socket::Method;

use crate::config::file::Mode;
use crate::config::{Payload, Settings};

/// Returns the library's method for sending the first bytes in this mode.
pub(crate) fn method(mode: Mode) -> Method {
    match mode {
        Mode::Auto => Method::Auto,
        Mode::Sendto => Method::SendTo,
        Mode::Connect => Method::Connect,
        Mode::Off => Method::Off,
    }
}

/// Returns the first bytes: those of the settings, or by default a request to a mirror.
pub(crate) fn message(settings: &Settings, token: &str) -> Vec<u8> {
    match &settings.payload {
        Payload::Text(text) => text.clone().into_bytes(),
        // Too short for a request to a mirror: the probe gets the client's half of the evidence only.
        Payload::Generated(size) if *size < mirror::request_len(token) => vec![b'.'; *size],
        Payload::Generated(size) => mirror::request(token, *size),
    }
}

/// Returns the server's half of the evidence, if a mirror answered the request with this token.
pub(crate) fn server_evidence(answer: &[u8], token: &str) -> Option<ServerEvidence> {
    if !answer.starts_with(mirror::ANSWER) {
        return None;
    }
    match Answer::parse(answer) {
        Ok(answer) if answer.token == token => Some(answer.evidence),
        Ok(_) => {
            log::warn!("ignoring the mirror's answer: it has the token of another request");
            None
        }
        Err(e) => {
            log::warn!("ignoring the mirror's answer: {e}");
            None
        }
    }
}

/// Returns six random characters that identify a request. They need not be secret.
pub(crate) fn token() -> String {
    let random = RandomState::new().hash_one(std::process::id());
    format!("{:06x}", random & 0xff_ffff)
}
