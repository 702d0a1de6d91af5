use super::*;
use crate::host::features::Support;

fn ready() -> ServerFacts {
    ServerFacts {
        tcp_fastopen: Some(FastOpenFlags::new(3)),
        somaxconn: Some(4096),
        syncookies: Some(1),
        unprivileged_port_start: 1024,
        may_bind_low_ports: false,
        address_is_local: Some(true),
        occupant: None,
        load: None,
        listener: Support::Yes,
        min_ttl: Support::Yes,
    }
}

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 2222);

#[test]
fn a_ready_host_has_no_findings() {
    assert_eq!(ready().findings(ADDRESS.into(), 256, 1024), []);
}

#[test]
fn each_lack_is_a_finding_with_its_fix() {
    let bits = Some(FastOpenFlags::new(1));
    let low_port = ([127, 0, 0, 1], 80);
    let cases = [
        (
            ServerFacts { tcp_fastopen: bits, ..ready() },
            ADDRESS,
            256,
            1024,
            "net.ipv4.tcp_fastopen=3",
        ),
        (ServerFacts { tcp_fastopen: None, ..ready() }, ADDRESS, 256, 1024, "findmnt"),
        (
            ServerFacts { syncookies: Some(2), ..ready() },
            ADDRESS,
            256,
            1024,
            "net.ipv4.tcp_syncookies=1",
        ),
        (
            ServerFacts { address_is_local: Some(false), ..ready() },
            ADDRESS,
            256,
            1024,
            "ip address",
        ),
        (ready(), ADDRESS, 0, 1024, "listen.fastopen-queue"),
        (ready(), ADDRESS, 5000, 1024, "net.core.somaxconn=5000"),
        (ready(), ADDRESS, 256, 5000, "net.core.somaxconn=5000"),
        (ready(), low_port, 256, 1024, "setcap"),
        (ServerFacts { min_ttl: Support::Refused(1), ..ready() }, ADDRESS, 256, 1024, "IP_MINTTL"),
    ];
    for (facts, address, queue, backlog, fix) in cases {
        let findings = facts.findings(address.into(), queue, backlog);
        assert_eq!(findings.len(), 1, "{fix}: {findings:?}");
        assert!(findings[0].to_string().contains(fix), "{}", findings[0]);
    }
}

mod host_as_a_whole {
    use std::collections::HashSet;
    use std::time::Duration;

    use crate::host::environment::Containment;
    use crate::host::features::{Feature, Support};
    use crate::host::readiness::{Finding, HitRates, HostFacts, Level, ListenerLoad, Part, Role};
    use crate::host::{
        CounterChange, Counters, FastOpenFlags, Listener, NamespaceKey, Owners, RuntimeEnvironment,
    };

    fn facts() -> HostFacts {
        HostFacts {
            tcp_fastopen: Some(FastOpenFlags::new(3)),
            somaxconn: Some(4096),
            syncookies: Some(1),
            key: Some(NamespaceKey::Set),
            blackhole_timeout: Some(Duration::ZERO),
            features: Vec::new(),
            routes: Some(Vec::new()),
            cookies: Some(Vec::new()),
            counters: Some(Counters::default()),
            listeners: Some(vec![listener(256)]),
            load: Some(ListenerLoad::default()),
            connections: Some(Vec::new()),
            owners: Owners::default(),
            unread: Vec::new(),
        }
    }

    fn listener(fast_open_queue: u32) -> Listener {
        Listener {
            address: ([0, 0, 0, 0], 80).into(),
            uid: 0,
            inode: 1,
            fast_open_queue,
            accept_queue: 0,
        }
    }

    fn counters(change: impl FnOnce(&mut Counters)) -> HostFacts {
        let mut counters = Counters::default();
        change(&mut counters);
        HostFacts { counters: Some(counters), ..facts() }
    }

    #[test]
    fn a_ready_host_is_all_ok() {
        let findings = facts().findings();
        assert!(findings.iter().all(|finding| finding.level() == Level::Ok), "{findings:?}");
        let codes: Vec<_> = findings.iter().map(Finding::code).collect();
        let expected = [
            "client-on",
            "blackhole-off",
            "server-on",
            "syncookies",
            "somaxconn",
            "key-set",
            "listeners",
        ];
        assert_eq!(codes, expected);
        assert!(
            [Role::Client, Role::Server, Role::Both].iter().all(|half| facts().is_ready(*half))
        );
    }

    #[test]
    fn each_state_is_found() {
        let bits = |bits| HostFacts { tcp_fastopen: Some(FastOpenFlags::new(bits)), ..facts() };
        let missing = |support| HostFacts {
            tcp_fastopen: None,
            features: vec![(Feature::Connect, support), (Feature::Listener, support)],
            ..facts()
        };
        let early = |queues: &[u32]| HostFacts {
            listeners: Some(queues.iter().map(|queue| listener(*queue)).collect()),
            ..bits(0x403)
        };
        let overload = |counters| HostFacts {
            load: Some(ListenerLoad { counters, ..ListenerLoad::default() }),
            ..facts()
        };
        let overflows = Counters { accept_overflows: 2, ..Counters::default() };
        let syncookies = Counters { syncookies_sent: 2, ..Counters::default() };
        let key = |key| HostFacts { key: Some(key), ..facts() };
        let timer = Duration::from_secs(60);
        let none = || HostFacts { listeners: Some(vec![listener(0)]), ..facts() };
        let lacks = |support| HostFacts { features: vec![(Feature::Connect, support)], ..facts() };
        let cases = vec![
            (bits(2), "client-bit-off", "the client's bit (0x1) is off"),
            (bits(1), "server-bit-off", "the server's bit (0x2) is off"),
            (bits(7), "client-without-cookies", "bit 0x4"),
            (bits(5), "client-data-without-cookies", "documented"),
            (missing(Support::Yes), "client-setting-missing", "the client's half is on"),
            (missing(Support::SwitchedOff), "client-setting-missing", "the client's half is off"),
            (missing(Support::No), "client-setting-missing", "no TCP_FASTOPEN_CONNECT either"),
            (missing(Support::Yes), "server-setting-missing", "by default they may not"),
            (missing(Support::No), "server-setting-missing", "no TCP_FASTOPEN either"),
            (early(&[0, 256]), "restart-listeners", "0.0.0.0:80 (of user 0) listens without"),
            (early(&[0, 0]), "restart-listeners", "listen without"),
            (overload(overflows), "accept-queue-overflowed", "2 SYNs and final ACKs"),
            (overload(syncookies), "syncookies-sent", "2 SYNs were answered"),
            (bits(0x203), "no-cookies", "forged ones included"),
            (bits(0x403), "all-listeners", "bit 0x400"),
            (HostFacts { syncookies: Some(2), ..facts() }, "syncookies-always", "SYN cookies"),
            (HostFacts { somaxconn: Some(0), ..facts() }, "somaxconn-zero", "capped at 0"),
            (HostFacts { somaxconn: Some(16), ..facts() }, "somaxconn-small", "is 16"),
            (key(NamespaceKey::Zeros), "key-is-zeros", "anyone can make valid cookies"),
            (HostFacts { key: Some(NamespaceKey::Zeros), ..none() }, "key-unset", "at random"),
            (key(NamespaceKey::SetWithBackup), "key-set", "backup"),
            (key(NamespaceKey::NotReadable), "key-not-readable", "only root"),
            (HostFacts { blackhole_timeout: Some(timer), ..facts() }, "blackhole-on", "60 s"),
            (
                HostFacts { blackhole_timeout: Some(timer), ..counters(|c| c.blackhole = 2) },
                "blackhole-paused",
                "2 times",
            ),
            (counters(|c| c.blackhole = 1), "blackhole-paused", "off now"),
            (none(), "no-listener", "1 listener has no fast open"),
            (
                HostFacts { listeners: Some(Vec::new()), ..facts() },
                "no-listener",
                "nothing listens",
            ),
            (counters(|c| c.active_fail = 1), "data-not-taken", "of 0 of 1 SYN: without that a"),
            (counters(|c| c.passive_fail = 3), "invalid-cookies", "3 SYNs"),
            (counters(|c| c.listen_overflow = 1), "queue-full", "1 time: that of 0.0.0.0:80"),
            (counters(|c| c.cookie_reqd = 1), "cookies-never-used", "came only once"),
            (
                HostFacts {
                    tcp_fastopen: Some(FastOpenFlags::new(1)),
                    ..counters(|c| c.cookie_reqd = 4)
                },
                "cookies-never-used",
                "4 times and no connection ever used one: the server's bit is off",
            ),
            (
                HostFacts { listeners: none().listeners, ..counters(|c| c.cookie_reqd = 4) },
                "cookies-never-used",
                "no listener has a fast open queue",
            ),
            (counters(|c| c.passive_alt_key = 1), "backup-key-used", "1 time"),
            (lacks(Support::No), "feature-missing", "no TCP_FASTOPEN_CONNECT"),
            (lacks(Support::Refused(1)), "feature-missing", "errno 1"),
            (
                HostFacts { unread: vec![(Part::Routes, "no".to_owned())], ..facts() },
                "unreadable",
                "the routes can't be read: no",
            ),
        ];
        for (facts, code, text) in cases {
            let findings = facts.findings();
            let found = findings.iter().find(|finding| finding.code() == code);
            let found = found.unwrap_or_else(|| panic!("{code}: {findings:?}"));
            let document = serde_json::to_value(found).expect("it can be written").to_string();
            assert!(document.contains(&format!("\"{code}\"")), "one word everywhere: {document}");
            assert!(found.what().contains(text), "{code}: {}", found.what());
            assert!(findings.is_sorted_by_key(Finding::level), "problems first: {findings:?}");
            let problem = found.is_problem();
            let problems = findings.iter().any(Finding::is_problem);
            assert_eq!(facts.is_ready(Role::Both), !problems, "{code}: problems decide");
            let pod = RuntimeEnvironment::new(Containment::Pod, true);
            for environment in [RuntimeEnvironment::HOST, pod] {
                let fix = found.fix(&environment);
                assert!(!problem || fix.iter().any(|step| step.contains('`')), "{code}: {fix:?}");
            }
        }
    }

    #[test]
    fn bad_value_of_the_setting_has_one_command_for_both_halves() {
        for bits in [0, 1, 2, 4, 6, 7, 0x201, 0x207, 0x400, 0x607, u32::MAX, 1 << 31, 0x1000] {
            let tcp_fastopen = Some(FastOpenFlags::new(bits));
            let findings = HostFacts { tcp_fastopen, ..facts() }.findings();
            let problems = findings.iter().filter(|finding| finding.is_problem());
            let fixes: HashSet<_> =
                problems.map(|finding| finding.fix(&RuntimeEnvironment::HOST)).collect();
            assert_eq!(fixes.len(), 1, "{bits:#x}: {fixes:?}");
            let step = fixes.iter().flatten().next().expect("a command");
            let value = step.trim_end_matches('`').rsplit('=').next().expect("a value");
            let tcp_fastopen = Some(FastOpenFlags::new(value.parse().expect("a number")));
            let after = HostFacts { tcp_fastopen, ..facts() };
            assert!(after.is_ready(Role::Both), "{bits:#x} to {value}");
        }
    }

    #[test]
    fn documented_setting_of_clients_is_a_note() {
        let facts = HostFacts { tcp_fastopen: Some(FastOpenFlags::new(5)), ..facts() };
        assert!(facts.is_ready(Role::Client) && !facts.is_ready(Role::Server));
    }

    #[test]
    fn zeros_are_the_key_in_use_once_a_listener_existed() {
        let zeros = |counters| HostFacts {
            key: Some(NamespaceKey::Zeros),
            listeners: Some(Vec::new()),
            counters: Some(counters),
            ..facts()
        };
        let code = |facts: HostFacts| {
            let findings = facts.findings();
            findings.iter().map(Finding::code).find(|code| code.starts_with("key-")).unwrap()
        };
        assert_eq!(code(zeros(Counters::default())), "key-unset");
        for passed in [
            Counters { passive: 1, ..Counters::default() },
            Counters { passive_fail: 1, ..Counters::default() },
        ] {
            assert_eq!(code(zeros(passed)), "key-is-zeros");
        }
        let asked = Counters { cookie_reqd: 9, ..Counters::default() };
        assert_eq!(code(zeros(asked)), "key-unset", "requests are counted without a listener");
    }

    #[test]
    fn a_problem_of_one_half_leaves_the_other_ready() {
        let facts = HostFacts { tcp_fastopen: Some(FastOpenFlags::new(1)), ..facts() };
        assert!(facts.is_ready(Role::Client) && !facts.is_ready(Role::Server));
    }

    #[test]
    fn a_few_failures_among_many_are_no_finding() {
        let many = counters(|c| {
            (c.active, c.active_fail) = (100, 5);
            (c.passive, c.passive_fail, c.cookie_reqd) = (100, 11, 50);
        });
        assert!(many.findings().iter().all(|finding| finding.level() == Level::Ok));
        let more = counters(|c| (c.passive, c.passive_fail) = (100, 12));
        assert!(more.findings().iter().any(|finding| finding.code() == "invalid-cookies"));
    }

    #[test]
    fn feature_that_the_setting_forbids_is_not_missing() {
        let off = vec![(Feature::Connect, Support::SwitchedOff), (Feature::Key, Support::Yes)];
        let facts = HostFacts { features: off, ..facts() };
        assert!(facts.findings().iter().all(|finding| finding.code() != "feature-missing"));
    }

    #[test]
    fn hit_rates_are_shares_of_what_could_have_hit() {
        let mut counts = CounterChange::default();
        assert_eq!(HitRates::of(&counts), HitRates::default(), "there was nothing");
        (counts.active, counts.active_fail) = (3, 1);
        (counts.passive, counts.passive_fail, counts.listen_overflow) = (2, 1, 1);
        let rates = HitRates::of(&counts);
        assert_eq!((rates.outgoing, rates.incoming), (Some(0.75), Some(0.5)));
    }

    #[test]
    fn each_finding_has_its_own_code() {
        let codes: HashSet<_> = Finding::CODES.iter().collect();
        assert_eq!(codes.len(), Finding::CODES.len());
    }
}
