//! The command line over TLS: the built binary, a Redis of its own, and certificates made by the test.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/hook.rs"]
mod hook;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../../jobs/tests/support/tls_server.rs"]
mod tls_server;

use std::process::{Command, Stdio};

use harness::{COMMAND_MAX, Worker, objects, retraced};
use hook::{Hook, response};
use support::{Finished, finish, redis_server};
use tls_server::{Authority, TlsServer, Valid};

/// What the certificates of servers are for.
const LOCAL: [&str; 1] = ["127.0.0.1"];

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = retraced();
    command.args(arguments).env("RETRACED_REDIS_URL", url);
    command
}

fn run(url: &str, arguments: &[&str]) -> Finished {
    finish(command(url, arguments), COMMAND_MAX)
}

#[test]
fn a_job_is_not_stopped_by_a_server_that_asks_for_a_client_certificate() {
    let authority = Authority::new("ours");
    let server = TlsServer::start(&authority.sign(&["redis.internal"], Valid::Now), Some(&authority));
    let client = authority.sign(&["worker"], Valid::Now);
    let (ca, cert, key) = (
        server.file("ca.pem", &authority.pem()),
        server.file("client.pem", &client.certificate),
        server.file("client.key", &client.key),
    );
    let given = [
        ("RETRACED_TLS_CA", ca.to_str().unwrap()),
        ("RETRACED_TLS_CERT", cert.to_str().unwrap()),
        ("RETRACED_TLS_KEY", key.to_str().unwrap()),
        ("RETRACED_TLS_SERVER_NAME", "redis.internal"),
    ];
    let hook = Hook::start(|_| response(200, "", ""));
    let mut work = command(&server.url(), &["work", "q", "--allow-private", "--webhook", &hook.url()]);
    let worker = Worker::spawn(work.envs(given).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut enqueue = command(&server.url(), &["enqueue", "q", "--kind", "k", "--payload", "1"]);
    enqueue.envs(given);
    assert_eq!(finish(enqueue, COMMAND_MAX).status, Some(0));
    hook.wait_for_requests(1);
    worker.signal("-TERM");
    assert_eq!(worker.ended(), Some(0));

    // The same by a settings file, and by flags.
    let file = server.file(
        "retraced.toml",
        &format!(
            "redis = \"{}\"\ntls-ca = {ca:?}\ntls-cert = {cert:?}\ntls-key = {key:?}\ntls-server-name = \"redis.internal\"\n",
            server.url()
        ),
    );
    let mut by_file = retraced();
    by_file.args(["queues", "--json", "--config", file.to_str().unwrap()]);
    let by_file = finish(by_file, COMMAND_MAX);
    let flags =
        ["--tls-ca", given[0].1, "--tls-cert", given[1].1, "--tls-key", given[2].1, "--tls-server-name", given[3].1];
    let by_flags = run(&server.url(), &[&["queues", "--json"], &flags[..]].concat());
    for shown in [by_file, by_flags] {
        assert_eq!(shown.status, Some(0), "{shown:?}");
        let queues = objects(&shown.stdout);
        assert_eq!((&queues[0]["queue"], &queues[0]["completed"]), (&"q".into(), &1.into()), "{queues:?}");
    }
}

#[test]
fn a_tls_connection_is_not_refused_without_what_to_do() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = TlsServer::start(&ours.sign(&LOCAL, Valid::Now), None);
    let strict = TlsServer::start(&ours.sign(&LOCAL, Valid::Now), Some(&ours));
    let expired = TlsServer::start(&ours.sign(&LOCAL, Valid::Past), None);
    let ca = server.file("ca.pem", &ours.pem());
    let ca = ca.to_str().unwrap();
    let other = server.file("other.pem", &theirs.pem());
    let other = other.to_str().unwrap();
    let (plain_at_tls, tls_at_plain) =
        (format!("redis://127.0.0.1:{}", server.tls_port), format!("rediss://127.0.0.1:{}", server.plain_port));
    for (url, flags, status, said) in [
        (server.url(), &["--tls-ca", ca][..], 0, ""),
        (server.url(), &["--tls-ca", other], 1, "name its authority (--tls-ca FILE"),
        (server.url(), &["--tls-ca", ca, "--tls-server-name", "h.example"], 1, "not for h.example, but for "),
        (expired.url(), &["--tls-ca", ca], 1, "its certificate has expired; renew it on the server"),
        (strict.url(), &["--tls-ca", ca], 1, "client certificate"),
        (plain_at_tls, &[], 1, "if its port speaks TLS, write rediss:// in the URL"),
        (tls_at_plain, &["--tls-ca", ca], 1, "if its port has no TLS, write redis:// in the URL"),
        (server.url(), &["--tls-ca", "/no/such/file"], 2, "/no/such/file (--tls-ca) cannot be read: "),
        (server.url(), &["--tls-ca", "/dev/zero"], 2, "/dev/zero (--tls-ca) has more than 1048576 bytes"),
        (server.url(), &["--tls-ca", "/dev/null"], 2, "--tls-ca /dev/null is not a certificate in PEM form"),
        (server.url(), &["--tls-cert", ca, "--tls-key", ca], 2, "is not a private key in PEM form"),
        (server.url(), &["--tls-ca", ca, "--tls-server-name", "a b"], 2, "--tls-server-name \"a b\" is neither"),
        (server.url(), &["--tls-key", ca], 2, "--tls-key needs --tls-cert FILE"),
        (server.url(), &["--tls-cert", ca], 2, "--tls-cert needs --tls-key FILE"),
        ("redis://127.0.0.1:1".into(), &["--tls-ca", ca], 2, "TLS options need a rediss:// URL"),
    ] {
        let finished = run(&url, &[&["queues"], flags].concat());
        assert_eq!(finished.status, Some(status), "{url} {flags:?}: {finished:?}");
        let words = finished.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(said), "{url} {flags:?}: {words}");
        // The command line has no such options, and the URL is only to blame if it is.
        assert!(!words.contains("TlsOptions"), "{url} {flags:?}: {words}");
        let blames_the_url = words.contains("RETRACED_REDIS_URL)");
        assert_eq!(blames_the_url, status == 2 && said.contains("rediss:// URL"), "{url} {flags:?}: {words}");
    }
}

#[test]
fn a_bench_over_tls_is_not_begun() {
    let finished = run("rediss://127.0.0.1:1", &["bench"]);
    assert_eq!(finished.status, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("bench measures no server over TLS"), "{finished:?}");
}
