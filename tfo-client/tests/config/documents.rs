//! The commands of the documents about this program, run on a host of the lab beside one with `tfo-server`.

use std::fs;
use std::path::Path;
use std::process::Command;

use tfo_core::lab::{self, Host, Program, isolated};

use crate::checkout::{Checkout, Rules};
use crate::support::program::clean;

const RULES: Rules = Rules {
    skipped: &[
        ("cargo test --workspace", "runs this test"),
        ("docker ", "needs a container engine; .ci/full runs the images without one"),
        ("apt-get ", "changes this host; .ci/full does it in a root of its own"),
        ("systemctl ", "needs systemd; .ci/full boots one"),
        ("/usr/share/doc/", "needs the package; .ci/full installs it"),
        ("man tfo-client", "needs the package; .ci/full installs it"),
    ],
    replaced: &[
        ("mail.example.org", "192.0.2.2"),
        ("example.org:https", "example.org:443"),
        ("example.org", "192.0.2.2"),
        ("HOST", "192.0.2.2"),
        ("/etc/", "etc/"),
        ("/var/lib/prometheus/node-exporter/", ""),
        ("--duration 10s", "--duration 300ms"),
        ("--duration 3s", "--duration 300ms"),
    ],
    shortened: &[
        ("compare --lab$", "-n 3"),
        ("--box drop-syn-data -n 10", "-n 1"),
        ("--rtt 100ms --box drop-syn-data$", "-n 1"),
        ("-- lab$", "-n 2"),
        ("--rtt 100ms --loss 5%", "-n 1"),
        ("--pcap lab.pcapng", "-n 2"),
        ("compare 192.0.2.2", "-n 3"),
        ("load 192.0.2.2 --rate", "--duration 300ms"),
    ],
    interrupted: &["--forever", "--watch", "--bin tfo-server$"],
    statuses: &[
        ("tfo-client 127.0.0.1:9", &[3]),
        // Too few pairs for an answer, where the document makes more of them.
        ("compare", &[0, 1]),
        ("drop-syn-data", &[1]),
        ("--box strip-syn-option", &[1]),
        ("--loss 5%", &[0, 1]),
        // An ordinary user, who is root only in the namespace of the test, may not.
        ("cookies forget", &[0, 2]),
        ("doctor --watch", &[130]),
        ("--metrics", &[130]),
    ],
};

#[test]
fn commands_of_the_documents_work() {
    isolated(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_tfo-client")).parent().unwrap();
        let server = built.join("tfo-server");
        if !server.is_file() {
            return lab::skip("tfo-server is not built: cargo test --workspace builds it");
        }
        if !["ip", "curl", "sysctl"].into_iter().all(lab::require) {
            return;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let (client, other) = (Host::new("client").unwrap(), Host::new("server").unwrap());
        lab::join(&client, &other).unwrap();
        let checkout = Checkout::new(built, root);
        let _server = serve(&other, &server, &checkout);
        let names = [
            "README.md",
            "tfo-client/README.md",
            "tfo-client/guides/fast-open.md",
            "tfo-client/guides/path.md",
            "tfo-client/packaging/README.md",
        ];
        let texts = names.map(|name| fs::read_to_string(root.join(name)).unwrap());
        let documents: Vec<_> = names.into_iter().zip(texts.iter().map(String::as_str)).collect();
        checkout.run(&client, &documents, &RULES);
    });
}

/// Starts a server on the ports that the documents name.
fn serve(host: &Host, server: &Path, checkout: &Checkout) -> Program {
    let listeners =
        [2222, 443, 25].map(|port| format!("[[listen]]\naddress = \"::\"\nport = {port}\n"));
    let config = checkout.path("documents.toml");
    fs::write(&config, listeners.concat()).unwrap();
    let mut command = clean(Command::new(server));
    command.arg("--config").arg(config);
    let program = Program::start(host, command).unwrap();
    let _ = program.err().expect(&["listening on [::]:25"]);
    program
}
