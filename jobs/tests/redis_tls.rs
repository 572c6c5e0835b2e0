//! The Redis store over TLS. The test makes a certificate for its server; only a process that is configured to trust this certificate can connect.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use futures_util::StreamExt;
use retraced_jobs::job::{InstanceId, JobId, JobState, NewJob, QueueName, RunAt};
use retraced_jobs::store::redis::RedisStore;
use retraced_jobs::store::{
    Admin, ClaimRequest, Enqueued, Hint, ReplaySlots, Settled, Settlement, Store, StoreError, Transitions, Verdict,
};
use support::redis_server::RedisServer;
use tempfile::TempDir;

/// The variable with the server's URL. It is set in the process that connects.
const URL: &str = "RETRACED_TEST_TLS_URL";

/// A server behind TLS, and the folder with its certificate.
struct TlsServer {
    _server: RedisServer,
    folder: TempDir,
    port: u16,
}

impl TlsServer {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let number = port.to_string();
        let options = [
            ["--tls-port", &number],
            ["--tls-cert-file", &cert],
            ["--tls-key-file", &key],
            ["--tls-ca-cert-file", &cert],
            ["--tls-auth-clients", "no"],
        ];
        Self { _server: RedisServer::start_with(options.as_flattened()), folder, port }
    }

    /// Runs one test of this file again in a process of its own, which trusts the certificate of this server or only the certificates of the system.
    fn run(&self, test: &str, trusted: bool) -> Output {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", test, "--nocapture"]).env(URL, format!("rediss://127.0.0.1:{}", self.port));
        if trusted {
            child.env("SSL_CERT_FILE", self.folder.path().join("cert.pem"));
        }
        child.output().unwrap()
    }
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
        return succeeded(&TlsServer::start().run("a_job_is_enqueued_run_and_settled_over_tls", true));
    };
    let store = RedisStore::connect(&url).await.unwrap();
    let queue = QueueName::new("email").unwrap();
    let mut hints = store.hints(std::slice::from_ref(&queue)).await.unwrap();
    let mut replay_slot = ReplaySlots::new(InstanceId::from(uuid::Uuid::new_v4()), 1).take().await;
    let lease = Duration::from_secs(30);
    let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease, nonce: *b"8 random" };
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

#[tokio::test]
async fn a_certificate_nobody_trusts_is_refused_with_what_to_do() {
    let Ok(url) = std::env::var(URL) else {
        return succeeded(&TlsServer::start().run("a_certificate_nobody_trusts_is_refused_with_what_to_do", false));
    };
    let refused = RedisStore::connect(&url).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused:?}");
    assert!(refused.to_string().contains("SSL_CERT_FILE"), "{refused}");
}
