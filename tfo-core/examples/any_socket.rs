//! Turns fast open on for the sockets of others: std, socket2, mio and tokio, one line for each end.
//!
//! `cargo run -p tfo-core --example any_socket`
//!
//! Each listener gets two connections over loopback. The first one fetches a cookie, the second one sends its message in the
//! SYN, if both bits of `net.ipv4.tcp_fastopen` are set.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use socket2::{Domain, Socket, Type};
use tfo_core::socket::option;
use tokio::net::TcpSocket;

const ANY_PORT: &str = "127.0.0.1:0";

fn main() -> Result<(), Box<dyn Error>> {
    let std = TcpListener::bind(ANY_PORT)?;
    option::set_fastopen(&std, 256)?;
    talk("std", std)?;

    let socket2 = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    option::set_fastopen(&socket2, 256)?;
    socket2.bind(&ANY_PORT.parse::<SocketAddr>()?.into())?;
    socket2.listen(128)?;
    talk("socket2", socket2)?;

    let mio = mio::net::TcpListener::bind(ANY_PORT.parse()?)?;
    option::set_fastopen(&mio, 256)?;
    talk("mio", mio)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let tokio = runtime.block_on(async {
        let tokio = tokio::net::TcpListener::bind(ANY_PORT).await?;
        option::set_fastopen(&tokio, 256)?;
        tokio.into_std().map_err(Box::<dyn Error>::from)
    })?;
    talk("tokio", tokio)
}

/// Accepts two connections, one by a client of socket2 and one by a client of tokio.
fn talk(name: &str, listener: impl Into<OwnedFd>) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::from(listener.into());
    listener.set_nonblocking(false)?;
    let server = listener.local_addr()?;

    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    option::set_fastopen_connect(&socket, true)?;
    socket.connect(&server.into())?;
    exchange(name, socket.into(), &listener)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        option::set_fastopen_connect(&socket, true)?;
        socket.connect(server).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    exchange(name, stream, &listener)
}

fn exchange(
    name: &str,
    mut client: TcpStream,
    listener: &TcpListener,
) -> Result<(), Box<dyn Error>> {
    // The first write leaves with the SYN, if a cookie is cached.
    client.write_all(b"hello")?;
    let (mut accepted, _) = listener.accept()?;
    let mut message = [0; 5];
    accepted.read_exact(&mut message)?;
    println!("{name}: data in the SYN: {}", option::tcp_bits(&accepted)?.syn_data);
    Ok(())
}
