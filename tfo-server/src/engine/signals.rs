//! SIGINT and SIGTERM as something to poll.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

pub(super) struct Signals {
    pipe: mio::net::UnixStream,
}

impl Signals {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        pipe::register(SIGINT, write.try_clone()?)?;
        pipe::register(SIGTERM, write)?;
        let mut pipe = mio::net::UnixStream::from_std(read);
        registry.register(&mut pipe, token, Interest::READABLE)?;
        Ok(Self { pipe })
    }

    /// How many signals have come since the last call.
    pub(super) fn take(&mut self) -> usize {
        let mut buffer = [0; 64];
        let mut count = 0;
        while let Ok(len @ 1..) = self.pipe.read(&mut buffer) {
            count += len;
        }
        count
    }
}
