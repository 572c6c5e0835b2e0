//! The health checks of `retraced work --health`: the built binary, a Redis of its own, and requests over TCP.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/gate.rs"]
mod gate;
#[path = "support/harness.rs"]
mod harness;
#[path = "support/hook.rs"]
mod hook;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use gate::Gate;
use harness::{EVENT_MAX, Harness, Worker};
use hook::{Hook, response};
use serde_json::{Value, json};

/// A worker that answers health checks at a port that the system chose.
struct Checked {
    worker: Worker,
    address: String,
}

impl Checked {
    /// Does not wait until the worker has started.
    fn launch(harness: &Harness, hook: &str) -> Self {
        let mut command = harness.command(&["work", "q", "--allow-private", "--webhook", hook]);
        command.env("RETRACED_HEALTH", "127.0.0.1:0");
        Self::of(Worker::launch(command.stdout(Stdio::piped()).stderr(Stdio::piped())))
    }

    /// Waits until the worker says where it answers.
    fn of(worker: Worker) -> Self {
        let line = worker.wait_for("health checks at http://");
        let address = line.split(['/', ' ']).find(|part| part.starts_with("127.")).unwrap().to_owned();
        Self { worker, address }
    }

    fn start(harness: &Harness, hook: &str) -> Self {
        let checked = Self::launch(harness, hook);
        checked.worker.wait_for("working ");
        checked
    }

    fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(EVENT_MAX)).unwrap();
        // A server that has heard enough may close before it has read all.
        let _ = stream.write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    /// The status and the body.
    fn get(&self, path: &str) -> (u16, Value) {
        let response = self.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n"));
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{response:?}"));
        assert!(head.contains("content-type: application/json"), "{head}");
        (status_of(head), serde_json::from_str(body).unwrap())
    }

    fn wait_for(&self, path: &str, status: u16, body: &Value) {
        let deadline = Instant::now() + EVENT_MAX;
        loop {
            let found = self.get(path);
            if found == (status, body.clone()) {
                return;
            }
            assert!(Instant::now() < deadline, "{path} is {found:?} and not {status} {body}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn status_of(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head:?}"))
}

const ALIVE: fn() -> Value = || json!({"status": "running"});
const READY: fn() -> Value = || json!({"ready": true, "status": "running", "store": "up"});

#[test]
fn a_worker_that_drains_is_not_ready_but_alive() {
    let (harness, gate) = (Harness::new(), Gate::default());
    let hook = {
        let gate = gate.clone();
        Hook::start(move |_| {
            gate.wait();
            response(200, "", "")
        })
    };
    let checked = Checked::start(&harness, &hook.url());
    assert_eq!(checked.get("/healthz"), (200, ALIVE()));
    assert_eq!(checked.get("/readyz"), (200, READY()));
    assert_eq!(checked.get("/metrics").0, 404);
    let post = checked.send("POST /readyz HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
    assert!(status_of(&post) == 405 && post.contains("allow: GET, HEAD"), "{post}");
    let head = checked.send("HEAD /healthz HTTP/1.0\r\n\r\n");
    assert!(status_of(&head) == 200 && head.ends_with("\r\n\r\n"), "{head}");

    harness.enqueue("q", "slow", "a-1", &[]);
    hook.wait_for_requests(1);
    checked.worker.signal("-TERM");
    checked.worker.wait_for("draining: 1 job running");
    assert_eq!(checked.get("/healthz"), (200, json!({"status": "draining"})));
    assert_eq!(checked.get("/readyz"), (503, json!({"ready": false, "status": "draining", "store": "up"})));
    gate.open();
    assert_eq!(checked.worker.ended(), Some(0));
}

#[test]
fn a_worker_without_its_store_is_not_ready() {
    let harness = Harness::new();
    let checked = Checked::start(&harness, "http://127.0.0.1:1/");
    harness.redis.freeze();
    checked.wait_for("/readyz", 503, &json!({"ready": false, "status": "running", "store": "unreachable"}));
    assert_eq!(checked.get("/healthz"), (200, ALIVE()));
    harness.redis.thaw();
    checked.wait_for("/readyz", 200, &READY());

    harness.redis.demote(true);
    let blocked = json!({
        "ready": false, "status": "running", "store": "blocked",
        "blocked_by": "it is a replica; connect to its primary",
    });
    checked.wait_for("/readyz", 503, &blocked);
    assert_eq!(checked.get("/healthz"), (200, ALIVE()));
    harness.redis.demote(false);
    checked.wait_for("/readyz", 200, &READY());
}

#[test]
fn a_worker_that_starts_is_neither_alive_nor_ready() {
    let harness = Harness::new();
    harness.redis.freeze();
    let checked = Checked::launch(&harness, "http://127.0.0.1:1/");
    assert_eq!(checked.get("/healthz"), (503, json!({"status": "starting"})));
    assert_eq!(checked.get("/readyz"), (503, json!({"ready": false, "status": "starting"})));
    harness.redis.thaw();
}

#[test]
fn an_address_in_use_does_not_leave_a_worker_without_health_checks() {
    let harness = Harness::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let work = ["work", "q", "--webhook", "https://h.example/", "--health"];
    let finished = harness.run(&[&work[..], &[&address]].concat());
    assert_eq!(finished.status, Some(1), "{finished:?}");
    let words = finished.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains(&format!("the health checks cannot listen on {address}: Address already in use")),
        "{words}"
    );
    assert!(words.contains("give another address with --health ADDRESS:PORT"), "{words}");
    for wrong in ["8081", "localhost:8081", "127.0.0.1", ""] {
        let finished = harness.run(&[&work[..], &[wrong]].concat());
        assert_eq!(finished.status, Some(2), "{wrong:?}: {finished:?}");
        assert!(finished.stderr.contains("127.0.0.1:8081"), "{wrong:?}: {finished:?}");
    }
}

#[test]
fn clients_that_say_nothing_or_too_much_do_not_stop_health_checks() {
    let harness = Harness::new();
    let checked = Checked::start(&harness, "http://127.0.0.1:1/");
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(&checked.address).unwrap()).collect();
    let asked = Instant::now();
    assert_eq!(checked.get("/healthz"), (200, ALIVE()));
    // If each waited for those before it, this would take 10 s.
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    // Each is closed by the worker.
    for mut stream in silent {
        stream.set_read_timeout(Some(EVENT_MAX)).unwrap();
        let closed = stream.read(&mut [0]);
        assert!(
            matches!(closed, Ok(0)) || closed.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
            "{closed:?}"
        );
    }
    let long = checked.send(&format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000)));
    assert!(long.is_empty() || status_of(&long) == 431, "{long}");
    let many = checked.send(&format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1_000)));
    assert!(many.is_empty() || status_of(&many) == 431, "{many}");
    assert_eq!(checked.get("/healthz"), (200, ALIVE()));
}

#[test]
fn checks_at_the_same_time_do_not_close_each_other() {
    const CHECKS: usize = 50;
    let harness = Harness::new();
    let checked = Checked::start(&harness, "http://127.0.0.1:1/");
    let mut streams: Vec<_> = (0..CHECKS).map(|_| TcpStream::connect(&checked.address).unwrap()).collect();
    for stream in &mut streams {
        // One that was closed already is noticed below.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n");
    }
    let answered = streams.into_iter().filter_map(|mut stream| {
        stream.set_read_timeout(Some(EVENT_MAX)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok().filter(|_| answer.starts_with("HTTP/1.1 200 "))
    });
    assert_eq!(answered.count(), CHECKS);
}
