//! Who is measured: one entry a server.

use std::fs;
use std::process::Command;

use crate::Result;
use crate::ground::{Ground, find};

/// A server, and how it is started. In the texts `PORT` and `UPSTREAM` are the ports given.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    start: Start,
}

#[derive(Debug)]
enum Start {
    /// `limit.c` in this mode.
    Limit(&'static [&'static str]),
    /// The program under test with this configuration.
    TfoServer(&'static str),
    /// A block of the configuration. For nginx `TEMPORARY` stands for its folders.
    Nginx(&'static str),
    Haproxy(&'static str),
}

/// 64 bytes, as `limit.c` answers.
const REPLY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub(crate) const TFO_SERVER: &str = "tfo-server";
pub(crate) const TFO_SERVER_COUNTERS: &str = "tfo-server, counters";
pub(crate) const LIMIT: &str = "limit, epoll-more";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const HAPROXY: &str = "HAProxy";

const fn peer(name: &'static str, start: Start) -> Peer {
    Peer { name, start }
}

/// A reply of 64 bytes, then the server closes.
pub(crate) const ONE_SHOT: &[Peer] = &[
    peer(LIMIT, Start::Limit(&["epoll-more"])),
    peer("limit, blocking", Start::Limit(&["blocking"])),
    peer("limit, epoll", Start::Limit(&["epoll"])),
    peer("limit, epoll-batch", Start::Limit(&["epoll-batch"])),
    peer("limit, epoll-batch, evidence", Start::Limit(&["epoll-batch", "evidence"])),
    peer("limit, io_uring", Start::Limit(&["uring"])),
    peer("limit, io_uring-more", Start::Limit(&["uring-more"])),
    peer("limit, io_uring-more, evidence", Start::Limit(&["uring-more", "evidence"])),
    peer(
        TFO_SERVER,
        Start::TfoServer(
            "[listen]\nservice = \"respond\"\n[respond]\nbody = \"REPLY\"\n[engine]\nevidence = \"full\"\n",
        ),
    ),
    peer(
        TFO_SERVER_COUNTERS,
        Start::TfoServer(
            "[listen]\nservice = \"respond\"\n[respond]\nbody = \"REPLY\"\n[engine]\nevidence = \"counters\"\n",
        ),
    ),
    HTTP_TFO_SERVER,
    HTTP_NGINX,
    HTTP_HAPROXY,
];

const HTTP_TFO_SERVER: Peer = peer(
    "tfo-server, http",
    Start::TfoServer(
        "[listen]\nservice = \"respond\"\n[respond]\nbody = \"REPLY\"\nhttp = true\n[engine]\nevidence = \"full\"\n",
    ),
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

/// To an upstream that is given, 64 bytes each way, or much of it, or nothing for long.
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
        Start::TfoServer(
            "[listen]\nservice = \"forward\"\n[forward]\nupstreams = [\"127.0.0.1:UPSTREAM\"]\n[engine]\nevidence = \"full\"\n",
        ),
    ),
];

/// Connections without a request, or with a part of one.
pub(crate) const IDLE: &[Peer] = &[HTTP_TFO_SERVER, HTTP_NGINX, HTTP_HAPROXY];

impl Peer {
    /// What starts it, with so many workers.
    pub(crate) fn command(
        &self,
        ground: &Ground,
        port: u16,
        upstream: u16,
        workers: usize,
    ) -> Result<Command> {
        let fill = |text: &str| {
            let text =
                text.replace("PORT", &port.to_string()).replace("UPSTREAM", &upstream.to_string());
            text.replace("REPLY", REPLY)
        };
        let file = |kind: &str, text: &str| ground.file(&format!("{port}.{kind}"), &fill(text));
        match &self.start {
            Start::Limit(mode) => {
                if mode.iter().any(|word| word.starts_with("uring")) && !ground.has_uring {
                    return Err("liburing is not installed".into());
                }
                let mut command = ground.built("limit");
                command.arg(mode[0]).arg(port.to_string()).args(&mode[1..]);
                Ok(command)
            }
            Start::TfoServer(text) => {
                let text = text.replace(
                    "[listen]\n",
                    "[listen]\nport = PORT\nbacklog = 4096\nfastopen-queue = 4096\n",
                );
                let text = text.replace("[engine]\n", &format!("[engine]\nworkers = {workers}\n"));
                let text = text
                    + "[limits]\nconnections = 100000\nidle-timeout = \"5m\"\n[output]\nconnections = false\n";
                let mut command = Command::new(env!("CARGO_BIN_EXE_tfo-server"));
                command.arg("--address").arg("0.0.0.0").arg("--config").arg(file("toml", &text)?);
                Ok(command)
            }
            Start::Nginx(text) => {
                let mut command = Command::new(find("nginx").ok_or("nginx is not installed")?);
                let folder = ground.folder.path().join(format!("nginx-{port}"));
                fs::create_dir_all(&folder)?;
                let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
                let temporary = temporary
                    .map(|name| format!("{name}_temp_path {}/{name};", folder.display()))
                    .concat();
                let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
                let module = if fs::exists(module)? {
                    format!("load_module {module};\n")
                } else {
                    String::new()
                };
                let text = format!(
                    "{module}user root root;\nworker_processes 1;\npid {}/pid;\nerror_log stderr warn;\n\
                     events {{ worker_connections 40000; }}\n{}\n",
                    folder.display(),
                    text.replace("TEMPORARY", &temporary)
                );
                command.arg("-c").arg(file("nginx", &text)?).arg("-p").arg(&folder);
                command.args(["-g", "daemon off; master_process off;"]);
                Ok(command)
            }
            Start::Haproxy(text) => {
                let mut command = Command::new(find("haproxy").ok_or("HAProxy is not installed")?);
                let text = format!(
                    "global\n maxconn 20000\n maxpipes 50\n no strict-limits\n nbthread {workers}\ndefaults\n \
                     timeout client 60s\n timeout server 60s\n timeout connect 10s\n{text}"
                );
                command.arg("-db").arg("-f").arg(file("haproxy", &text)?);
                Ok(command)
            }
        }
    }
}
