//! Where the body of a request ends. Its content is of no use here, and is dropped as it comes.

use super::answer::Status;
use super::head::{Body, MAX_FIELDS, MAX_HEAD, Refusal};

/// The most bytes of a body, the sizes of its chunks included.
pub(super) const MAX_BODY: u64 = 1024 * 1024;
/// The most bytes of a line that tells a chunk's size.
const MAX_LINE: usize = 256;

/// What is still to come of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    part: Part,
    /// How many bytes it may still have.
    allowed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// So many bytes, and no more.
    Length(u64),
    /// A line with the size of the next chunk.
    Size,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The end of a chunk's line.
    ChunkEnd,
    /// Fields, and an empty line.
    Trailers,
    End,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// So many bytes were of the body, which goes on.
    More(usize),
    /// So many bytes were of the body, which has ended.
    Whole(usize),
}

impl Rest {
    pub(super) fn new(body: Body) -> Self {
        Self { part: body.length.map_or(Part::Size, Part::Length), allowed: MAX_BODY }
    }

    /// `input` is what has come and was not taken before.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<Progress, Refusal> {
        let mut taken = 0;
        loop {
            match self.part {
                Part::End => return Ok(Progress::Whole(taken)),
                Part::Length(left) | Part::Chunk(left) if left > self.allowed => {
                    return Err(TOO_LARGE);
                }
                _ => {}
            }
            let input = input.get(taken..).unwrap_or_default();
            let Some((len, next)) = self.part.read(input)? else {
                return Ok(Progress::More(taken));
            };
            self.part = next;
            self.allowed = self.allowed.checked_sub(len as u64).ok_or(TOO_LARGE)?;
            taken += len;
        }
    }
}

impl Part {
    /// How many bytes are taken, and what comes then; `None`: that can't be told yet.
    fn read(self, input: &[u8]) -> Result<Option<(usize, Self)>, Refusal> {
        let bad = |why| Err((Status::BadRequest, why));
        // As many bytes as there are, and what is left then.
        let some = |left: u64| {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
            (len, left - len as u64)
        };
        match self {
            Self::Length(0) | Self::End => Ok(Some((0, Self::End))),
            Self::Chunk(0) => Ok(Some((0, Self::ChunkEnd))),
            Self::Length(_) | Self::Chunk(_) if input.is_empty() => Ok(None),
            Self::Length(left) => {
                let (len, left) = some(left);
                Ok(Some((len, Self::Length(left))))
            }
            Self::Chunk(left) => {
                let (len, left) = some(left);
                Ok(Some((len, Self::Chunk(left))))
            }
            Self::ChunkEnd => match input {
                [] | [b'\r'] => Ok(None),
                [b'\r', b'\n', ..] => Ok(Some((2, Self::Size))),
                _ => bad("a chunk is longer than its size says"),
            },
            Self::Size => {
                let input = input.get(..MAX_LINE).unwrap_or(input);
                let end = input.iter().position(|byte| *byte == b'\n');
                // The parser lets a line without digits, and a bare LF in an extension, pass.
                let digits = input.first().is_none_or(u8::is_ascii_hexdigit);
                match httparse::parse_chunk_size(input) {
                    Ok(httparse::Status::Complete((len, size)))
                        if digits && end.is_some_and(|end| end + 1 == len) =>
                    {
                        let next = if size == 0 { Self::Trailers } else { Self::Chunk(size) };
                        Ok(Some((len, next)))
                    }
                    Ok(httparse::Status::Partial)
                        if digits && end.is_none() && input.len() < MAX_LINE =>
                    {
                        Ok(None)
                    }
                    _ => bad("a chunk without a size"),
                }
            }
            Self::Trailers => {
                let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
                let input = input.get(..MAX_HEAD).unwrap_or(input);
                match httparse::parse_headers(input, &mut fields) {
                    Ok(httparse::Status::Complete((len, _))) => Ok(Some((len, Self::End))),
                    Ok(httparse::Status::Partial) if input.len() < MAX_HEAD => Ok(None),
                    Ok(_) | Err(httparse::Error::TooManyHeaders) => {
                        Err((Status::HeaderFieldsTooLarge, "too many fields after the chunks"))
                    }
                    Err(_) => bad("what follows the chunks is no field"),
                }
            }
        }
    }
}

const TOO_LARGE: Refusal = (Status::ContentTooLarge, "the body is larger than 1 MiB");
