//! Delivers signals to an event loop.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use signal_hook::low_level;

pub(super) struct Signals {
    pipe: UnixStream,
}

impl Signals {
    pub(super) fn new(registry: &Registry, token: Token, numbers: &[i32]) -> io::Result<Self> {
        let (pipe, write) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        for number in numbers {
            low_level::pipe::register(*number, write.try_clone()?)?;
        }
        registry.register(&mut SourceFd(&pipe.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { pipe })
    }

    /// Returns how many signals have arrived since the last call.
    pub(super) fn take(&mut self) -> usize {
        let mut buffer = [0; 64];
        let mut count = 0;
        while let Ok(len @ 1..) = self.pipe.read(&mut buffer) {
            count += len;
        }
        count
    }
}
