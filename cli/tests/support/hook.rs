//! The receiver of a webhook: a small HTTP server on loopback that responds as a test says, and records the requests.
#![allow(dead_code)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::EVENT_MAX;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Value,
    /// The raw body.
    pub(crate) bytes: Vec<u8>,
}

impl Request {
    pub(crate) fn kind(&self) -> &str {
        self.body["kind"].as_str().unwrap_or_default()
    }
}

/// A server. Its threads end with the test's process.
pub(crate) struct Hook {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Hook {
    /// A server whose responses are written by `answer` as whole HTTP responses; an empty one closes the connection at once.
    pub(crate) fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serving(move |stream, seen| {
            let Some(request) = read(stream) else { return };
            seen.lock().unwrap().push(request.clone());
            let _ = (&mut &*stream).write_all(&answer(&request));
        })
    }

    /// A server that keeps the n-th connection open after each response, and closes it when it has been idle for as long as `keep` says.
    pub(crate) fn keeping_alive(
        keep: impl Fn(u64) -> Duration + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let connections = AtomicU64::new(0);
        Self::serving(move |stream, seen| {
            let keep = keep(connections.fetch_add(1, Ordering::Relaxed));
            while let Some(request) = read(stream) {
                seen.lock().unwrap().push(request.clone());
                if (&mut &*stream).write_all(&answer(&request)).is_err() {
                    return;
                }
                stream.set_read_timeout(Some(keep)).unwrap();
            }
        })
    }

    /// A server that responds to the first request of each connection, and closes the connection when it has read the second one.
    pub(crate) fn serving_one_request_per_connection() -> Self {
        Self::serving(|stream, seen| {
            let Some(request) = read(stream) else { return };
            seen.lock().unwrap().push(request);
            let _ = (&mut &*stream).write_all(&keep_alive_response(200, ""));
            if let Some(request) = read(stream) {
                seen.lock().unwrap().push(request);
            }
        })
    }

    /// A server that never responds, and says when the other side has closed the connection.
    pub(crate) fn start_noticing_close(closed: Sender<()>) -> Self {
        Self::serving(move |stream, seen| {
            let Some(request) = read(stream) else { return };
            seen.lock().unwrap().push(request);
            // It returns when the connection has ended.
            let _ = (&mut &*stream).read(&mut [0]);
            let _ = closed.send(());
        })
    }

    fn serving(serve: impl Fn(&TcpStream, &Mutex<Vec<Request>>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (serve, seen) = (Arc::new(serve), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serve, seen) = (serve.clone(), seen.clone());
                std::thread::spawn(move || serve(&stream, &seen));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/jobs", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Waits until this many requests have come.
    pub(crate) fn wait_for_requests(&self, count: usize) {
        let deadline = Instant::now() + EVENT_MAX;
        while self.requests.lock().unwrap().len() < count {
            assert!(Instant::now() < deadline, "fewer than {count} requests came");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A response with a body, after which the connection closes.
pub(crate) fn response(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Whatever\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        .into_bytes()
}

/// A response with a body, after which the connection stays open.
pub(crate) fn keep_alive_response(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Request { path, headers, body: serde_json::from_slice(&body).ok()?, bytes: body })
}
