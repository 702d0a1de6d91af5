//! The measured servers, one entry per server.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::ground::{Ground, find};

/// A server, and how to start it. In the texts, `PORT` and `UPSTREAM` are replaced by ports.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    start: Start,
}

#[derive(Debug)]
enum Start {
    /// `limit.c` in this mode.
    Limit(&'static str, &'static [&'static str]),
    /// The program under test with this service, its settings, and this evidence level.
    TfoServer {
        service: &'static str,
        settings: &'static str,
        evidence: &'static str,
    },
    /// A configuration block. For nginx, `TEMPORARY` is replaced by its folders.
    Nginx(&'static str),
    Haproxy(&'static str),
    /// The program under test with these listeners.
    TfoServerListeners(&'static str),
}

/// 64 bytes, as `limit.c` answers.
const REPLY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub(crate) const TFO_SERVER: &str = "tfo-server";
pub(crate) const TFO_SERVER_COUNTERS: &str = "tfo-server, counters";
pub(crate) const LIMIT: &str = "limit, epoll-more";
pub(crate) const LIMIT_BATCH: &str = "limit, epoll-batch, evidence";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const HAPROXY: &str = "HAProxy";

const fn peer(name: &'static str, start: Start) -> Peer {
    Peer { name, start }
}

/// A reply of 64 bytes, after which the server closes.
pub(crate) const ONE_SHOT: &[Peer] = &[
    peer(LIMIT, Start::Limit("epoll-more", &[])),
    peer("limit, blocking", Start::Limit("blocking", &[])),
    peer("limit, epoll", Start::Limit("epoll", &[])),
    peer("limit, epoll-batch", Start::Limit("epoll-batch", &[])),
    peer(LIMIT_BATCH, Start::Limit("epoll-batch", &["evidence"])),
    peer(
        TFO_SERVER,
        Start::TfoServer {
            service: "respond",
            settings: "[respond]\nbody = \"REPLY\"\n",
            evidence: "full",
        },
    ),
    peer(
        TFO_SERVER_COUNTERS,
        Start::TfoServer {
            service: "respond",
            settings: "[respond]\nbody = \"REPLY\"\n",
            evidence: "counters",
        },
    ),
    HTTP_TFO_SERVER,
    HTTP_NGINX,
    HTTP_HAPROXY,
];

const HTTP_TFO_SERVER: Peer = peer(
    "tfo-server, http",
    Start::TfoServer {
        service: "respond",
        settings: "[respond]\nbody = \"REPLY\"\nhttp = true\n",
        evidence: "full",
    },
);
const HTTP_NGINX: Peer = peer(
    NGINX,
    Start::Nginx(
        "http { access_log off; keepalive_timeout 60s; client_header_timeout 60s; TEMPORARY
         server { listen PORT fastopen=4096 backlog=4096; location / { return 200 REPLY; } } }",
    ),
);
const HTTP_HAPROXY: Peer = peer(
    HAPROXY,
    Start::Haproxy(
        "frontend it\n mode http\n timeout http-request 60s\n bind 0.0.0.0:PORT tfo backlog 4096\n \
         http-request return status 200 content-type text/plain string REPLY\n",
    ),
);

/// Forwards to a given upstream: 64 bytes in each direction, a bulk transfer, or idle connections.
pub(crate) const FORWARD: &[Peer] = &[
    peer(
        HAPROXY,
        Start::Haproxy(
            "listen it\n mode tcp\n option splice-auto\n bind 0.0.0.0:PORT tfo backlog 4096\n \
             server up 127.0.0.1:UPSTREAM\n",
        ),
    ),
    peer(
        NGINX,
        Start::Nginx(
            "stream { server { listen PORT fastopen=4096 backlog=4096; proxy_pass 127.0.0.1:UPSTREAM; } }",
        ),
    ),
    peer(
        TFO_SERVER,
        Start::TfoServer {
            service: "forward",
            settings: "[forward]\nupstreams = [\"127.0.0.1:UPSTREAM\"]\n",
            evidence: "full",
        },
    ),
];

pub(crate) const MIRROR: Peer = peer(
    "tfo-server, mirror",
    Start::TfoServer { service: "mirror", settings: "", evidence: "full" },
);

/// Short answers, and bulk transfers on port `second(PORT)` in the same worker.
pub(crate) const NEIGHBOURS: &[Peer] = &[
    peer(
        HAPROXY,
        Start::Haproxy(
            "frontend it\n mode http\n timeout http-request 60s\n bind 0.0.0.0:PORT tfo backlog 4096\n \
             http-request return status 200 content-type text/plain string REPLY\n\
             listen bulk\n mode tcp\n option splice-auto\n bind 0.0.0.0:SECOND tfo backlog 4096\n \
             server up 127.0.0.1:UPSTREAM\n",
        ),
    ),
    peer(
        NGINX,
        Start::Nginx(
            "http { access_log off; keepalive_timeout 60s; client_header_timeout 60s; TEMPORARY
             server { listen PORT fastopen=4096 backlog=4096; location / { return 200 REPLY; } } }
             stream { server { listen SECOND fastopen=4096 backlog=4096; proxy_pass 127.0.0.1:UPSTREAM; } }",
        ),
    ),
    peer(
        TFO_SERVER,
        Start::TfoServerListeners(
            "[[listen]]\naddress = \"0.0.0.0\"\nport = PORT\nservice = \"respond\"\nfastopen-queue = 4096\n\
             [[listen]]\naddress = \"0.0.0.0\"\nport = SECOND\nservice = \"forward\"\n\
             [forward]\nupstreams = [\"127.0.0.1:UPSTREAM\"]\n[respond]\nbody = \"REPLY\"\nhttp = true\n",
        ),
    ),
];

/// The same with senders whose bytes are discarded, which no other server supports.
pub(crate) const DISCARDING: &[Peer] = &[peer(
    TFO_SERVER,
    Start::TfoServerListeners(
        "[[listen]]\naddress = \"0.0.0.0\"\nport = PORT\nservice = \"respond\"\nfastopen-queue = 4096\n\
         [[listen]]\naddress = \"0.0.0.0\"\nport = SECOND\nservice = \"discard\"\n\
         [respond]\nbody = \"REPLY\"\nhttp = true\n",
    ),
)];

/// Returns the port of the second listener of [`NEIGHBOURS`].
pub(crate) const fn second(port: u16) -> u16 {
    port + 50
}

/// Connections without a request, or with a part of one.
pub(crate) const IDLE: &[Peer] = &[HTTP_TFO_SERVER, HTTP_NGINX, HTTP_HAPROXY];

impl Peer {
    /// Returns the command that starts the server with this many workers.
    pub(crate) fn command(
        &self,
        ground: &Ground,
        port: u16,
        upstream: u16,
        workers: usize,
    ) -> Result<Command> {
        let file = |kind: &str, text: &str| {
            let text = text.replace("PORT", &port.to_string()).replace("REPLY", REPLY);
            let text = text.replace("UPSTREAM", &upstream.to_string());
            let text = text.replace("SECOND", &second(port).to_string());
            ground.file(&format!("{port}.{kind}"), &text)
        };
        let installed = |program| find(program).ok_or(format!("{program} is not installed"));
        Ok(match &self.start {
            Start::Limit(mode, options) => {
                let mut command = ground.built("limit");
                command.arg(mode).arg(port.to_string()).args(*options);
                command
            }
            Start::TfoServer { service, settings, evidence } => {
                let text = format!(
                    "{settings}[engine]\nworkers = {workers}\nevidence = \"{evidence}\"\n{TFO_SERVER_REST}"
                );
                let mut command = Command::new(env!("CARGO_BIN_EXE_tfo-server"));
                command.arg("--config").arg(file("toml", &text)?);
                command.args(["--address", "0.0.0.0", "--port", &port.to_string()]);
                command.args(["--service", service]);
                command
            }
            Start::TfoServerListeners(text) => {
                let rest = "[limits]\nconnections = 100000\n[output]\nlines = false\n";
                let text = format!("{text}[engine]\nworkers = {workers}\n{rest}");
                let mut command = Command::new(env!("CARGO_BIN_EXE_tfo-server"));
                command.arg("--config").arg(file("toml", &text)?);
                command
            }
            Start::Nginx(block) => {
                let folder = ground.folder.path().join(format!("nginx-{port}"));
                fs::create_dir_all(&folder)?;
                let mut command = Command::new(installed("nginx")?);
                command.arg("-c").arg(file("nginx", &nginx_config(&folder, block)?)?);
                command.arg("-p").arg(&folder).args(["-g", "daemon off; master_process off;"]);
                command
            }
            Start::Haproxy(section) => {
                let text = HAPROXY_GLOBAL.replace("WORKERS", &workers.to_string()) + section;
                let mut command = Command::new(installed("haproxy")?);
                command.arg("-db").arg("-f").arg(file("haproxy", &text)?);
                command
            }
        })
    }
}

/// No timeout closes a connection early, and no lines are printed.
const TFO_SERVER_REST: &str = "[listen]
backlog = 4096
fastopen-queue = 4096
[limits]
connections = 100000
header-timeout = \"5m\"
idle-timeout = \"5m\"
[output]
lines = false
";

const HAPROXY_GLOBAL: &str = "global
 maxconn 20000
 maxpipes 50
 no strict-limits
 nbthread WORKERS
defaults
 timeout client 60s
 timeout server 60s
 timeout connect 10s
";

fn nginx_config(folder: &Path, block: &str) -> Result<String> {
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let own = folders.map(|name| format!("{name}_temp_path {}/{name};", folder.display()));
    // Needed if the package builds it as a module.
    let stream = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if fs::exists(stream)? { format!("load_module {stream};") } else { String::new() };
    Ok(format!(
        "{load}\nuser root root;\nworker_processes 1;\npid {}/pid;\nerror_log stderr error;\n\
         events {{ worker_connections 40000; }}\n{}\n",
        folder.display(),
        block.replace("TEMPORARY", &own.concat())
    ))
}
