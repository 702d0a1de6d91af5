//! The first bytes of a connection, how they are sent, and what a mirror answers to them.

use std::hash::{BuildHasher, RandomState};

use tfo_core::diagnosis::ServerEvidence;
use tfo_core::probe::mirror::{self, Answer};
use tfo_core::socket::Method;

use crate::config::file::Mode;
use crate::config::{Payload, Settings};

/// Returns how the library sends the first bytes in this mode.
pub(crate) fn method(mode: Mode) -> Method {
    match mode {
        Mode::Auto => Method::Auto,
        Mode::Sendto => Method::SendTo,
        Mode::Connect => Method::Connect,
        Mode::Off => Method::Off,
    }
}

/// The first bytes: a request to a mirror, unless the settings say others.
pub(crate) fn message(settings: &Settings, token: &str) -> Vec<u8> {
    match &settings.payload {
        Payload::Text(text) => text.clone().into_bytes(),
        // Too short for a mirror's request: such a probe has the client's half alone.
        Payload::Generated(size) if *size < mirror::request_len(token) => vec![b'.'; *size],
        Payload::Generated(size) => mirror::request(token, *size),
    }
}

/// The server's half of the evidence, if a mirror answered this very request.
pub(crate) fn server_evidence(answer: &[u8], token: &str) -> Option<ServerEvidence> {
    if !answer.starts_with(mirror::ANSWER) {
        return None;
    }
    match Answer::parse(answer) {
        Ok(answer) if answer.token == token => Some(answer.evidence),
        Ok(_) => {
            log::warn!("the mirror answered with the token of another request: not used");
            None
        }
        Err(e) => {
            log::warn!("{e}: not used");
            None
        }
    }
}

/// Six characters that tell this request from others. No secret: chance is enough.
pub(crate) fn token() -> String {
    let chance = RandomState::new().hash_one(std::process::id());
    format!("{:06x}", chance & 0xff_ffff)
}
