//! A fixed answer: as it is, or as the body of HTTP responses.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use tfo_core::cli::file::open_regular;

use super::http::{Content, Handler, Request, Status};
use crate::config::file::Respond as RespondSettings;
use crate::output::Failure;

/// The largest file that is held in memory.
const MAX_FILE: u64 = 64 << 20;

/// The answer.
#[derive(Debug)]
pub(crate) enum Respond {
    Once(Arc<[u8]>),
    Http {
        found: Content,
        other_method: Content,
    },
    /// Made when it is asked for.
    Made(Box<dyn Handler>),
}

impl Respond {
    /// Reads the file, where there is one.
    pub(super) fn new(settings: &RespondSettings) -> Result<Self, Failure> {
        let body: Arc<[u8]> = match settings.file.get() {
            None => settings.body.as_bytes().into(),
            Some(path) => read(path)?.into(),
        };
        Ok(if settings.http.get() {
            let found = Content::new(Status::Ok, settings.content_type.get(), body);
            let why = "GET and HEAD are answered here";
            Self::Http { found, other_method: Content::line(Status::MethodNotAllowed, why) }
        } else {
            Self::Once(body)
        })
    }
}

impl Respond {
    /// Whether it answers HTTP requests, and not whatever comes first.
    pub(crate) const fn is_http(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::Made(_))
    }
}

/// Reads a file of at most [`MAX_FILE`] bytes.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let name = path.display();
    let cannot_read = |e: &dyn Display| Failure::usage(format_args!("can't read {name}: {e}"));
    let file = open_regular(path).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidInput => cannot_read(&"expected a regular file"),
        _ => cannot_read(&e),
    })?;
    let mut content = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(|e| cannot_read(&e))?;
    if content.len() as u64 > MAX_FILE {
        return Err(Failure::usage(format_args!("{name} is larger than 64 MiB")));
    }
    Ok(content)
}

impl Handler for Respond {
    fn answer(&self, request: &Request<'_>) -> Cow<'_, Content> {
        match self {
            Self::Http { other_method, .. } if request.other_method => Cow::Borrowed(other_method),
            Self::Http { found, .. } => Cow::Borrowed(found),
            Self::Made(handler) => handler.answer(request),
            // No such session speaks HTTP.
            Self::Once(_) => Cow::Owned(Content::line(Status::NotFound, "nothing is here")),
        }
    }
}
