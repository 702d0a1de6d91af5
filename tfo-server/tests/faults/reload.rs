//! Reloading the settings while the server is running.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use tfo_core::lab::isolated;

use crate::load::Load;
use crate::support::{Lab, SERVER, answer, ask, until};

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(SERVER.ip(), port)
}

fn connect(lab: &Lab, port: u16) -> std::io::Result<TcpStream> {
    lab.host.run(move || TcpStream::connect(at(port)))
}

#[test]
fn invalid_settings_under_load_change_nothing() {
    isolated(|| {
        let lab = Lab::new();
        let good = "[listen]\nservice = \"echo\"\n[engine]\nworkers = 2\n";
        let server = lab.serve(good, &[]);
        let load = Load::start(&lab.host, SERVER, 6);
        load.more(100);
        let taken = lab.host.run(|| TcpListener::bind(at(2230))).unwrap();
        let bad: &[(&str, &[&str])] = &[
            ("[listen]\nservice = \"ech", &["server.toml:2:15: "]),
            ("[listen]\nservice = \"discard\"\nport = 0\n", &["server.toml:3:8: listen.port"]),
            // Valid, but the port is in use.
            (
                "[[listen]]\nservice = \"discard\"\n[[listen]]\nport = 2231\n[[listen]]\nport = 2230\n",
                &["can't listen on 127.0.0.1:2230: ", "Address already in use"],
            ),
            (
                "[listen]\nservice = \"respond\"\n[respond]\nfile = \"/nowhere\"\n",
                &["/nowhere", "No such file or directory"],
            ),
            (
                "[listen]\nservice = \"discard\"\n[keys]\nmode = \"file\"\nfile = \"/nowhere/keys\"\n",
                &["/nowhere/keys", "No such file or directory"],
            ),
        ];
        for (number, (config, expected)) in bad.iter().enumerate() {
            lab.config(config);
            server.signal("HUP").unwrap();
            until("the server answers", || {
                server.err().count("keeping the previous configuration") > number
            });
            let log = server.err().to_string();
            let line = log.lines().rfind(|line| line.contains("keeping the previous")).unwrap();
            assert!(line.contains("error: "), "{line}");
            for piece in *expected {
                assert!(line.contains(piece), "{piece}: {line}");
            }
            load.more(100);
        }
        drop(taken);
        connect(&lab, 2231).expect_err("bound during the reload, and closed with the others");
        lab.config(good);
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["info: settings reloaded"]);
        load.more(100);
        let tally = load.stop();
        assert!(tally.lost.is_empty() && tally.turned_away == 0, "{tally:?}");
        server.signal("TERM").unwrap();
        let ended = server.finish();
        let total = format!("total: {} connections", tally.answered);
        assert!(ended.out.contains(&total), "{tally:?}, and {:?}", ended.out.lines().last());
    });
}

#[test]
fn reload_adds_and_removes_listeners_and_keeps_connections() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve(
            "[[listen]]\nservice = \"echo\"\n[[listen]]\nport = 2223\nservice = \"echo\"\n",
            &[],
        );
        let load = Load::start(&lab.host, SERVER, 4);
        let mut on_removed = connect(&lab, 2223).unwrap();
        on_removed.write_all(b"before ").unwrap();
        on_removed.read_exact(&mut [0; 7]).unwrap();
        load.more(100);
        lab.config(
            "[[listen]]\nport = 2224\nservice = \"discard\"\n[[listen]]\nservice = \"echo\"\n\
             fastopen-queue = 64\n[limits]\nconnections = 100\n",
        );
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["no longer listening on 127.0.0.1:2223"]);
        let _ = server.err().expect(&["listening on 127.0.0.1:2224 (discard)"]);
        let _ = server.err().expect(&["info: settings reloaded"]);
        load.more(100);
        until("the listener is closed", || connect(&lab, 2223).is_err());
        assert_eq!(ask(&mut connect(&lab, 2224).unwrap(), b"discarded"), b"");
        on_removed.write_all(b"after").unwrap();
        on_removed.shutdown(Shutdown::Write).unwrap();
        assert_eq!(answer(&mut on_removed), b"after", "served with the settings at its start");
        load.more(100);
        let tally = load.stop();
        assert!(tally.lost.is_empty() && tally.turned_away == 0, "{tally:?}");
        assert!(tally.in_syn > 100, "{tally:?}");

        // Add it again, on a port that this server had before.
        lab.config("[[listen]]\nport = 2223\nservice = \"echo\"\n");
        server.signal("HUP").unwrap();
        until("the server answers", || server.err().count("settings reloaded") == 2);
        assert_eq!(ask(&mut connect(&lab, 2223).unwrap(), b"again"), b"again");
        server.signal("TERM").unwrap();
        assert_eq!(server.finish().code, Some(0));
    });
}

#[test]
fn connection_keeps_its_service_across_a_reload() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("[listen]\nservice = \"echo\"\n", &[]);
        let mut old = lab.connect();
        old.write_all(b"x").unwrap();
        old.read_exact(&mut [0]).unwrap();
        lab.config("[listen]\nservice = \"discard\"\n");
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["info: settings reloaded"]);
        until("new connections use the new settings", || ask(&mut lab.connect(), b"y").is_empty());
        assert_eq!(ask(&mut old, b"still echoed"), b"still echoed");
    });
}

#[test]
fn changes_that_need_a_restart_are_logged_and_ignored() {
    isolated(|| {
        let lab = Lab::new();
        let server = lab.serve("[listen]\nservice = \"echo\"\n[engine]\nworkers = 1\n", &[]);
        let threads = || {
            let path = format!("/proc/{}/task", server.id());
            std::fs::read_dir(path).unwrap().count()
        };
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        let before = threads();
        lab.config(
            "[listen]\nservice = \"echo\"\nbacklog = 99\n[engine]\nworkers = 3\n[metrics]\nport = 9090\n\
             [process]\nuser = \"nobody\"\n[output]\nformat = \"json\"\n",
        );
        server.signal("HUP").unwrap();
        let _ = server.err().expect(&["info: settings reloaded"]);
        for what in ["engine.workers", "listen.backlog", "metrics", "process", "output"] {
            let line = server.err().expect(&[what, "needs a restart"]);
            assert!(line.contains("warn: "), "{line}");
        }
        assert_eq!(threads(), before);
        assert_eq!(ask(&mut lab.connect(), b"served"), b"served");
        server.signal("TERM").unwrap();
        let ended = server.finish();
        assert!(
            ended.out.contains("\ntotal: 2 connections"),
            "the format is unchanged: {}",
            ended.out
        );
    });
}
