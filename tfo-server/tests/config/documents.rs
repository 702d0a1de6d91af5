//! The commands of the documents about this program, run on a host of the lab.

use std::fs;
use std::path::Path;

use tfo_core::lab::{self, Host, isolated};

use crate::checkout::{Checkout, Rules};
use crate::support::PROGRAM;

const RULES: Rules = Rules {
    skipped: &[
        ("docker ", "needs a container engine; .ci/full runs the images without one"),
        ("apt-get ", "changes this host; .ci/full does it in a root of its own"),
        ("systemctl ", "needs systemd; .ci/full boots one"),
        ("sysctl --system", "applies all files of /etc/sysctl.d; .ci/full applies the sample"),
        ("sudoedit ", "asks for an editor"),
        ("/usr/share/doc/", "needs the package; .ci/full installs it"),
        ("tfo-client ", "the tests of tfo-client run it"),
    ],
    replaced: &[
        ("/usr/bin/", "usr/bin/"),
        ("/etc/", "etc/"),
        ("compare A B", "compare etc/tfo/keys etc/tfo/keys"),
    ],
    shortened: &[],
    interrupted: &["tfo-server -a 0.0.0.0"],
    statuses: &[("tcp_fastopen=1; tfo-server check", &[1]), ("bad.toml", &[2])],
};

#[test]
fn commands_of_the_documents_work() {
    isolated(|| {
        if !lab::require("sysctl") {
            return;
        }
        let built = Path::new(PROGRAM.path).parent().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let names = ["tfo-server/README.md", "tfo-server/packaging/README.md"];
        let texts = names.map(|name| fs::read_to_string(root.join(name)).unwrap());
        let documents: Vec<_> = names.into_iter().zip(texts.iter().map(String::as_str)).collect();
        Checkout::new(built, root).run(&Host::new("server").unwrap(), &documents, &RULES);
    });
}
