//! Dropping privileges.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::unistd::{Group, User, geteuid};
use tfo_core::lab::{Program, isolated, require, skip};

use crate::load::Load;
use crate::support::{Lab, SERVER, answer, ask, clean};

/// Returns whether other users exist: in a user namespace of an unprivileged user there are none.
pub(crate) fn is_root_of_the_host() -> bool {
    let denied = fs::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny");
    geteuid().is_root() && !denied
}

/// As [`is_root_of_the_host`]; skips the test if not.
pub(crate) fn may_switch_users() -> bool {
    let may = is_root_of_the_host();
    if !may {
        skip("switching users needs root");
    }
    may
}

/// Lets other users read the folder of the configuration.
pub(crate) fn open_to_others(lab: &Lab) {
    let folder = lab.path("");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}

/// Returns the status of each thread of the process.
fn status(program: &Program) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", program.id())).unwrap();
    tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap()).collect()
}

#[test]
fn server_started_by_root_drops_all_other_privileges() {
    isolated(|| {
        if !may_switch_users() {
            return;
        }
        let lab = Lab::new();
        let config = "[listen]\nport = 80\nservice = \"echo\"\n[engine]\nworkers = 2\n\
            [process]\nuser = \"nobody\"\n";
        open_to_others(&lab);
        let server = lab.serve(config, &[]);
        let _ = server.err().expect(&["switched to user nobody"]);
        let user = User::from_name("nobody").unwrap().unwrap();
        let (uid, gid) = (user.uid, user.gid);
        let threads = status(&server);
        assert!(threads.len() >= 3, "a supervisor and its workers: {}", threads.len());
        for text in threads {
            for line in [
                format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"),
                format!("Gid:\t{gid}\t{gid}\t{gid}\t{gid}"),
                format!("Groups:\t{gid} "),
                "CapPrm:\t0000000000000000".to_owned(),
                "CapEff:\t0000000000000000".to_owned(),
            ] {
                assert!(text.lines().any(|found| found == line), "{line} in {text}");
            }
        }
        let load = Load::start(&lab.host, std::net::SocketAddr::new(SERVER.ip(), 80), 2);
        load.more(50);

        // Privileges are dropped: another privileged port cannot be bound, and existing listeners remain.
        lab.config(
            &format!("{config}[respond]\n")
                .replacen("[listen]", "[[listen]]", 1)
                .replace("[respond]", "[[listen]]\nport = 81\n"),
        );
        server.signal("HUP").unwrap();
        let error = server.err().expect(&["error: reload failed: can't listen on 127.0.0.1:81: "]);
        assert!(
            error.contains("needs a restart") && error.contains("keeping the previous"),
            "{error}"
        );
        load.more(50);
        let tally = load.stop();
        assert!(tally.lost.is_empty() && tally.turned_away == 0, "{tally:?}");
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}

#[test]
fn group_may_differ_from_the_users_group() {
    isolated(|| {
        if !may_switch_users() {
            return;
        }
        let lab = Lab::new();
        let config = "[process]\nuser = \"nobody\"\ngroup = \"daemon\"\n";
        let server = lab.serve(config, &["--service", "echo"]);
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        let gid = Group::from_name("daemon").unwrap().unwrap().gid;
        for text in status(&server) {
            let line = format!("Groups:\t{gid} ");
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    });
}

#[test]
fn unknown_user_and_missing_privileges_stop_the_start() {
    isolated(|| {
        let lab = Lab::new();
        for arguments in [&[][..], &["check"]] {
            let ended = lab.start("[process]\nuser = \"no-such-user\"\n", arguments).finish();
            assert_eq!(ended.code, Some(2), "{}", ended.err);
            let error = ended.err.lines().last().unwrap();
            let expected = "error: process.user: unknown user \"no-such-user\"";
            assert!(error.starts_with(expected), "{error}");
        }

        if !require("setpriv") || !may_switch_users() {
            return;
        }
        let path = lab.config("[process]\nuser = \"daemon\"\n");
        open_to_others(&lab);
        let mut command = clean(Command::new("setpriv"));
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(env!("CARGO_BIN_EXE_tfo-server")).arg("--config").arg(&path);
        let ended = Program::start(&lab.host, command).unwrap().finish();
        assert_eq!(ended.code, Some(1), "{}", ended.err);
        let error = ended.err.lines().last().unwrap();
        assert!(
            error.contains("can't switch to \"daemon\"") && error.contains("only root"),
            "{error}"
        );
        assert!(error.contains("Start the server as root"), "{error}");
    });
}

#[test]
fn origin_is_unknown_once_the_kernel_key_can_not_be_read_again() {
    isolated(|| {
        if !may_switch_users() {
            return;
        }
        let lab = Lab::new();
        open_to_others(&lab);
        let write = |word: &'static str| {
            let text = [word; 4].join("-");
            lab.host.run(|| fs::write("/proc/sys/net/ipv4/tcp_fastopen_key", text)).unwrap();
        };
        write("000000a1");
        let config = "[listen]\nservice = \"respond\"\n[process]\nuser = \"nobody\"\n\
            [metrics]\nport = 9413\n";
        let server = lab.serve(config, &[]);
        let _ = server.err().expect(&["switched to user nobody"]);
        let visit = || drop(answer(&mut lab.fast_open(b"hello")));
        visit();
        visit();
        write("000000b2");
        // Refused, though the key that is known made it; then accepted, though it did not.
        visit();
        visit();
        let lines = server.out().first(4);
        assert!(lines[1].contains(" fast-open, 5 B in the SYN, cookie 8 B, "), "{}", lines[1]);
        for line in &lines[2..] {
            assert!(line.contains(", cookie 8 B of unknown origin, "), "{line}");
        }
        let mut metrics = lab.host.run(|| TcpStream::connect("127.0.0.1:9413")).unwrap();
        let text = ask(&mut metrics, b"GET /metrics HTTP/1.0\r\n\r\n");
        let text = String::from_utf8(text).unwrap();
        let cookies: Vec<_> = text.lines().filter(|line| line.contains("origin=")).collect();
        let of = |origin: &str| {
            let label = format!("origin=\"{origin}\"");
            let found = cookies.iter().filter(|line| line.contains(&label));
            found.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
        };
        assert_eq!((of("primary"), of("unknown")), (1, 2), "{cookies:?}");
    });
}
