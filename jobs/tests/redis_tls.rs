//! The Redis store over TLS. The test makes a certificate for its server; only a process that is configured to trust this certificate can connect.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use retraced_jobs::job::{InstanceId, JobId, JobState, NewJob, QueueName, RunAt};
use retraced_jobs::store::redis::{RedisOptions, RedisStore, TlsOptions};
use retraced_jobs::store::{
    Admin, ClaimRequest, Enqueued, Hint, ReplaySlots, Settled, Settlement, Store, StoreError, Transitions, Verdict,
};
use support::tls_server::{Authority, TlsServer, Valid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The variable with the server's URL. It is set in the process that connects.
const URL: &str = "RETRACED_TEST_TLS_URL";
/// What the certificates of servers are for.
const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

/// Runs one test of this file again in a process of its own, which trusts this authority, or only those of the system.
fn run_again(test: &str, server: &TlsServer, trusted: Option<&Authority>) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture"]).env(URL, server.url());
    if let Some(authority) = trusted {
        child.env("SSL_CERT_FILE", server.file("trusted.pem", &authority.pem()));
    }
    child.output().unwrap()
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the test did not run");
}

/// Goal: everything that works over TCP works over TLS: calls, hints, and a connection per purpose. Method: this process starts the server; a second one, whose
/// environment names the certificate, runs a job over `rediss://`.
#[tokio::test]
async fn a_job_is_enqueued_run_and_settled_over_tls() {
    let Ok(url) = std::env::var(URL) else {
        let authority = Authority::new("ours");
        let server = TlsServer::start(&authority.sign(&LOCAL, Valid::Now), None);
        return succeeded(&run_again("a_job_is_enqueued_run_and_settled_over_tls", &server, Some(&authority)));
    };
    let store = RedisStore::connect(&url).await.unwrap();
    let queue = QueueName::new("email").unwrap();
    let mut hints = store.hints(std::slice::from_ref(&queue)).await.unwrap();
    let mut replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
    let lease = Duration::from_secs(30);
    let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease, nonce: *b"8 random", numbered: false };
    let nothing = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap();
    assert_eq!(nothing.jobs, []);

    let id = JobId::parse("welcome-42").unwrap();
    let job = NewJob { id: id.clone(), run_at: RunAt::Now, envelope: "sealed".into() };
    let created = store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
    assert_eq!(created, [Enqueued::Created { state: JobState::Pending }]);
    let hint = tokio::time::timeout(Duration::from_secs(20), hints.next()).await.unwrap();
    assert_eq!(hint, Some(Hint::Pending(queue.clone())));

    let claimed = store.claim(replay_slot.next_call(), &queue, &request).await.unwrap().jobs.remove(0);
    assert_eq!(claimed.envelope, "sealed");
    let done =
        Settlement { id, token: claimed.token, verdict: Verdict::Complete { keep: true }, record: Default::default() };
    let settled = store.settle(replay_slot.next_call(), &queue, &[done]).await.unwrap();
    assert_eq!(settled, [Settled::Done { state: JobState::Completed }]);
    assert!(store.check_counts(&queue).await.unwrap().adds_up());
}

/// What the check of the server says at this URL.
async fn refusal(url: &str, tls: TlsOptions) -> String {
    let store = match RedisStore::open(url, RedisOptions::default().tls(tls)) {
        Ok(store) => store,
        Err(error) => return error.to_string(),
    };
    store.probe().await.expect_err("the server was accepted").to_string()
}

async fn accepted(url: &str, tls: TlsOptions) {
    let store = RedisStore::open(url, RedisOptions::default().tls(tls)).unwrap();
    store.probe().await.unwrap().usable().unwrap();
    drop(store.hints(&[QueueName::new("email").unwrap()]).await.unwrap());
}

fn trusting(authority: &Authority) -> TlsOptions {
    TlsOptions::default().authority(authority.pem())
}

#[tokio::test]
async fn a_certificate_nobody_trusts_is_refused_with_what_to_do() {
    let Ok(url) = std::env::var(URL) else {
        let server = TlsServer::start(&Authority::new("ours").sign(&LOCAL, Valid::Now), None);
        return succeeded(&run_again("a_certificate_nobody_trusts_is_refused_with_what_to_do", &server, None));
    };
    let refused = RedisStore::connect(&url).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("no authority that is trusted here has signed its certificate"), "{refused}");
    assert!(refused.to_string().contains("SSL_CERT_FILE"), "{refused}");
}

#[tokio::test]
async fn a_server_that_is_not_what_the_options_expect_is_not_accepted() {
    let (ours, theirs, renewed) = (Authority::new("ours"), Authority::new("theirs"), Authority::new("ours"));
    let server = TlsServer::start(&ours.sign(&LOCAL, Valid::Now), None);
    accepted(&server.url(), trusting(&ours)).await;
    accepted(&server.url(), trusting(&ours).server_name("localhost")).await;

    for other in [&theirs, &renewed] {
        let unknown = refusal(&server.url(), trusting(other)).await;
        assert!(
            unknown.contains(
                "no authority that is trusted here has signed its certificate; name its authority (TlsOptions::authority)"
            ),
            "{unknown}"
        );
    }
    let other_name = refusal(&server.url(), trusting(&ours).server_name("redis.example")).await;
    assert!(other_name.contains("its certificate is not for redis.example, but for "), "{other_name}");
    assert!(other_name.contains("localhost") && other_name.contains("TlsOptions::server_name"), "{other_name}");

    for (valid, said) in [(Valid::Past, "has expired"), (Valid::Future, "is not valid yet")] {
        let server = TlsServer::start(&ours.sign(&LOCAL, valid), None);
        let refused = refusal(&server.url(), trusting(&ours)).await;
        assert!(refused.contains(&format!("its certificate {said}; renew it on the server")), "{refused}");
    }
}

#[tokio::test]
async fn a_client_without_the_certificate_that_the_server_asks_for_is_not_left_guessing() {
    let (ours, theirs, renewed) = (Authority::new("ours"), Authority::new("theirs"), Authority::new("ours"));
    let server = TlsServer::start(&ours.sign(&LOCAL, Valid::Now), Some(&ours));
    let with = |authority: &Authority, valid| {
        let client = authority.sign(&["worker"], valid);
        trusting(&ours).client_certificate(client.certificate, client.key)
    };
    accepted(&server.url(), with(&ours, Valid::Now)).await;
    for _ in 0..20 {
        let missing = refusal(&server.url(), trusting(&ours)).await;
        assert!(
            missing.contains("it asks for a client certificate")
                || missing.contains("if it asks for a client certificate"),
            "{missing}"
        );
        assert!(missing.contains("(TlsOptions::client_certificate)") && !missing.contains("--"), "{missing}");
    }
    for (authority, valid) in [(&theirs, Valid::Now), (&renewed, Valid::Now), (&ours, Valid::Past)] {
        let foreign = refusal(&server.url(), with(authority, valid)).await;
        assert!(foreign.contains("client certificate"), "{foreign}");
    }
}

#[tokio::test]
async fn plain_text_at_a_tls_port_and_tls_at_a_plain_port_are_not_reported_as_an_outage_alone() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(&ours.sign(&LOCAL, Valid::Now), None);
    let plain = refusal(&format!("redis://127.0.0.1:{}", server.tls_port), TlsOptions::default()).await;
    assert!(plain.contains("if its port speaks TLS, write rediss:// in the URL"), "{plain}");
    let encrypted = refusal(&format!("rediss://127.0.0.1:{}", server.plain_port), trusting(&ours)).await;
    assert!(encrypted.contains("if its port has no TLS, write redis:// in the URL"), "{encrypted}");
}

#[tokio::test]
async fn tls_options_that_cannot_be_used_are_not_ignored() {
    let ours = Authority::new("ours");
    let (one, other) = (ours.sign(&["a"], Valid::Now), ours.sign(&["a"], Valid::Now));
    let mut alone = TlsOptions::default();
    alone.client_key = Some(one.key.clone().into());
    for (url, tls, said) in [
        ("redis://127.0.0.1:1", trusting(&ours), "TLS options need a rediss:// URL"),
        ("redis+unix:///s", trusting(&ours), "TLS options need a rediss:// URL"),
        (
            "rediss://127.0.0.1:1",
            TlsOptions::default().authority("canary"),
            "TlsOptions::authority is not a certificate in PEM form",
        ),
        (
            "rediss://127.0.0.1:1",
            trusting(&ours).client_certificate("canary", one.key.clone()),
            "TlsOptions::client_certificate is not a certificate",
        ),
        (
            "rediss://127.0.0.1:1",
            trusting(&ours).client_certificate(one.certificate.clone(), "canary"),
            "TlsOptions::client_key is not a private key",
        ),
        (
            "rediss://127.0.0.1:1",
            trusting(&ours).client_certificate(one.certificate.clone(), other.key),
            "TlsOptions::client_key does not belong to TlsOptions::client_certificate",
        ),
        ("rediss://127.0.0.1:1", alone, "TlsOptions::client_key needs its certificate"),
        (
            "rediss://127.0.0.1:1",
            trusting(&ours).server_name("a b"),
            "TlsOptions::server_name \"a b\" is neither a host name nor an address",
        ),
    ] {
        let refused = refusal(url, tls.clone()).await;
        assert!(refused.contains(said) && !refused.contains("canary"), "{url}: {refused}");
        assert!(!format!("{tls:?}").contains("BEGIN"), "{tls:?}");
    }
}

/// What a proxy answers in place of its server, and no TLS.
const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\n\r\n";

/// A fatal TLS alert.
fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

/// A proxy in front of a server. Once `in_place_of_a_reply` holds bytes, it forwards a request, throws the reply away, sends these bytes in its place, and closes.
struct Proxy {
    url: String,
    in_place_of_a_reply: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Proxy {
    async fn to(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("rediss://{}", listener.local_addr().unwrap());
        let in_place_of_a_reply = Arc::new(Mutex::new(None));
        let spoiled = in_place_of_a_reply.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(("127.0.0.1", server_port)).await.unwrap();
                tokio::spawn(forward(client, server, spoiled.clone()));
            }
        });
        Self { url, in_place_of_a_reply }
    }

    fn spoil_next_reply(&self, bytes: &[u8]) {
        *self.in_place_of_a_reply.lock().unwrap() = Some(bytes.to_owned());
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, spoiled: Arc<Mutex<Option<Vec<u8>>>>) {
    let (mut request, mut reply) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => match read {
                Ok(read) if read > 0 => server.write_all(&request[..read]).await.unwrap(),
                _ => return,
            },
            read = server.read(&mut reply) => {
                let Ok(read @ 1..) = read else { return };
                let other = spoiled.lock().unwrap().take();
                if let Some(bytes) = other {
                    client.write_all(&bytes).await.unwrap();
                    client.shutdown().await.unwrap();
                    return;
                }
                if client.write_all(&reply[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Goal: nobody takes a call that was applied for one that was refused, and sends it again under another id. Method: the reply of an enqueue is replaced by what is no TLS, or by an
/// alert; the same call is then sent again.
#[tokio::test]
async fn a_call_whose_reply_tls_cannot_read_is_never_reported_as_refused() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(&ours.sign(&LOCAL, Valid::Now), None);
    let proxy = Proxy::to(server.tls_port).await;
    let options = RedisOptions::default().tls(trusting(&ours));
    let store = RedisStore::open(&proxy.url, options).unwrap();
    let queue = QueueName::new("email").unwrap();
    let mut replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
    for (n, bytes) in [BAD_GATEWAY.to_owned(), alert(80), alert(40), alert(42)].into_iter().enumerate() {
        store.stats(&queue).await.unwrap();
        let job = [NewJob { id: JobId::parse(&n.to_string()).unwrap(), run_at: RunAt::Now, envelope: "sealed".into() }];
        let call = replay_slot.next_call();
        proxy.spoil_next_reply(&bytes);
        let error = store.enqueue(call, &queue, &job).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{n}: {error:?}");
        let again = store.enqueue(call, &queue, &job).await.unwrap();
        assert_eq!(again, [Enqueued::Created { state: JobState::Pending }], "{n}");
        assert_eq!(store.stats(&queue).await.unwrap().enqueued_total, n as u64 + 1, "{n}: {error}");
    }
}

/// Goal: a server or a proxy that is in trouble for a moment does not look like one that nobody can use before its configuration is changed, and the reverse.
#[tokio::test]
async fn a_handshake_that_fails_for_a_moment_is_not_reported_as_a_refusal() {
    let ours = Authority::new("ours");
    let server = TlsServer::start(&ours.sign(&LOCAL, Valid::Now), None);
    let proxy = Proxy::to(server.tls_port).await;
    for (bytes, refused, said) in [
        (BAD_GATEWAY.to_owned(), false, "if its port has no TLS, write redis:// in the URL"),
        (alert(80), false, "it ended TLS with the alert InternalError"),
        (alert(40), true, "it refuses the TLS handshake"),
        (alert(70), true, "it allows neither TLS 1.2 nor TLS 1.3"),
        (alert(48), true, "it does not accept the client certificate"),
        (alert(116), true, "it asks for a client certificate"),
    ] {
        let store = RedisStore::open(&proxy.url, RedisOptions::default().tls(trusting(&ours))).unwrap();
        proxy.spoil_next_reply(&bytes);
        let error = store.probe().await.unwrap_err();
        assert_eq!(matches!(error, StoreError::Refused { .. }), refused, "{error:?}");
        assert_eq!(matches!(error, StoreError::Unavailable { .. }), !refused, "{error:?}");
        let shown = std::error::Error::source(&error).map_or(error.to_string(), |cause| format!("{error}: {cause}"));
        assert!(shown.contains(said), "{shown}");
        store.probe().await.unwrap();
    }
}
