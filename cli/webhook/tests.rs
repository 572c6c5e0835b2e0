//! Hostile URLs, names and servers: URLs that lead to private addresses (*inside*), names that resolve to another address each time, and servers that send malformed,
//! endless or no responses.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Proxy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use retraced::Code;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::client::{Client, Roots, Timeouts};
use super::destination::Destination;
use super::resolver::PublicOnly;
use super::{Addresses, Failure, Webhook};
use crate::limits::{BODY_BYTES_MAX, RESEND_WITHIN};

/// Timeouts for tests in which none may be reached.
const GENEROUS: Timeouts =
    Timeouts { connect: Duration::from_secs(30), whole: Duration::from_secs(60), silence: Duration::from_secs(60) };

/// A resolver that answers as a test says.
struct FakeResolver<F>(F);

impl<F: Fn(&str) -> Vec<IpAddr> + Send + Sync> Resolve for FakeResolver<F> {
    fn resolve(&self, name: Name) -> Resolving {
        let found: Vec<_> = (self.0)(name.as_str()).into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
    }
}

fn no_names() -> Arc<dyn Resolve> {
    Arc::new(FakeResolver(|name: &str| panic!("{name} is asked for")))
}

/// The webhook, as the command line creates it, but with this resolver and without root certificates.
fn webhook(url: &str, addresses: Addresses, timeouts: Timeouts, names: Arc<dyn Resolve>) -> Result<Webhook, String> {
    Webhook::with_resolver(names, Destination::parse(url, addresses)?, timeouts, Roots::None)
}

/// A listener on loopback, which a webhook must not reach without `--allow-private`.
struct Inside {
    port: u16,
    accepted: Arc<AtomicUsize>,
    accepting: Vec<JoinHandle<()>>,
}

impl Inside {
    async fn listen() -> Self {
        let v4 = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = v4.local_addr().unwrap().port();
        let v6 = TcpListener::bind(("::1", port)).await.expect("IPv6 on loopback, and the same port free there");
        let accepted = Arc::new(AtomicUsize::new(0));
        let accepting = [v4, v6].map(|listener| {
            let accepted = accepted.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    accepted.fetch_add(1, Ordering::SeqCst);
                    drop(stream);
                }
            })
        });
        Self { port, accepted, accepting: accepting.into() }
    }

    /// How many connections webhooks have made so far. Connections are accepted in order: two connections made here, which are not counted, are the last ones.
    async fn reached(&self) -> usize {
        let before = self.accepted.load(Ordering::SeqCst);
        for host in ["127.0.0.1", "::1"] {
            let mut stream = TcpStream::connect((host, self.port)).await.unwrap();
            let _ = stream.read(&mut [0]).await;
        }
        let all = self.accepted.load(Ordering::SeqCst);
        assert!(all >= before + 2);
        self.accepted.fetch_sub(2, Ordering::SeqCst) - 2
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

/// The addresses to which the names below resolve.
fn leads_to(name: &str) -> Vec<IpAddr> {
    let addresses: &[&str] = match name {
        "localhost" | "localhost." | "a.localhost" | "inside.test" | "inside.test." | "127.0.0.1.nip.test" => {
            &["127.0.0.1"]
        }
        "inside6.test" | "xn--nside-4za.test" => &["::1"],
        "mapped.test" => &["::ffff:127.0.0.1"],
        "both.test" => &["127.0.0.1", "::1"],
        "metadata.test" => &["169.254.169.254"],
        "metadata6.test" => &["fd00:ec2::254", "fe80::1"],
        "private.test" => &["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1"],
        "translated.test" => &["64:ff9b::7f00:1"],
        "6to4.test" => &["2002:7f00:1::1"],
        "zero.test" => &["0.0.0.0"],
        "nowhere.test" => &[],
        name => panic!("{name} is asked for"),
    };
    addresses.iter().map(|text| text.parse().unwrap()).collect()
}

/// URLs that lead to the listener unless they are refused; PORT is its port.
const TO_THE_LISTENER: [&str; 43] = [
    "https://127.0.0.1:PORT/",
    "https://127.0.0.1.:PORT/",
    "https://127.1:PORT/",
    "https://127.0.1:PORT/",
    "https://2130706433:PORT/",
    "https://2130706433.:PORT/",
    "https://0x7f000001:PORT/",
    "https://0X7F000001:PORT/",
    "https://0x7f.1:PORT/",
    "https://0x7f.0x0.0x0.0x1:PORT/",
    "https://0x7f.0.0x0.1:PORT/",
    "https://0177.0.0.1:PORT/",
    "https://0177.1:PORT/",
    "https://0000177.0x0.0.01:PORT/",
    "https://017700000001:PORT/",
    "https://00000000000000000000000000000017700000001:PORT/",
    "https://%31%32%37.0.0.1:PORT/",
    "https://127%2E0%2E0%2E1:PORT/",
    "https://１２７.０.０.１:PORT/",
    "https://①②⑦.⓪.⓪.①:PORT/",
    "https://127。0。0。1:PORT/",
    "https://127.0.0\u{ad}.1:PORT/",
    "https://127.0.0.1\t:PORT/",
    " https://127.0.0.1:PORT/ ",
    "https:127.0.0.1:PORT/",
    "https:\\\\127.0.0.1:PORT\\",
    "https:////127.0.0.1:PORT/",
    "HTTPS://127.0.0.1:PORT/",
    "https://@127.0.0.1:PORT/",
    "https://127.0.0.1:PORT\\@example.com/",
    "https://127.0.0.1:PORT?@example.com/",
    "https://127.0.0.1:PORT#@example.com/",
    "https://[::1]:PORT/",
    "https://[0:0:0:0:0:0:0:1]:PORT/",
    "https://[0000::0001]:PORT/",
    "https://[::0.0.0.1]:PORT/",
    "https://[::ffff:127.0.0.1]:PORT/",
    "https://[::FFFF:7f00:1]:PORT/",
    "https://[0:0:0:0:0:ffff:127.0.0.1]:PORT/",
    "https://0.0.0.0:PORT/",
    "https://0:PORT/",
    "https://0x0:PORT/",
    "https://[::]:PORT/",
];

/// URLs with names that lead to the listener unless they are refused.
const NAMES_TO_THE_LISTENER: [&str; 12] = [
    "https://localhost:PORT/",
    "https://LOCALHOST:PORT/",
    "https://localhost.:PORT/",
    "https://a.localhost:PORT/",
    "https://ⓛocalhost:PORT/",
    "https://inside.test:PORT/",
    "https://inside.test.:PORT/",
    "https://127.0.0.1.nip.test:PORT/",
    "https://inside6.test:PORT/",
    "https://mapped.test:PORT/",
    "https://both.test:PORT/",
    "https://zero.test:PORT/",
];

/// URLs that lead to other private addresses, or nowhere. They are never tried with `--allow-private`, because nobody knows what listens there.
const ELSEWHERE: [&str; 42] = [
    "http://127.0.0.1:PORT/",
    "http://example.com:PORT/",
    "https://127.0.0.2:PORT/",
    "https://127.255.255.254:PORT/",
    "https://10.0.0.1:PORT/",
    "https://012.0.0.1:PORT/",
    "https://172.16.0.1:PORT/",
    "https://192.168.0.1:PORT/",
    "https://0xc0a80001:PORT/",
    "https://100.64.0.1:PORT/",
    "https://169.254.169.254/latest/meta-data/",
    "https://2852039166/latest/meta-data/",
    "https://0xa9fea9fe/",
    "https://0251.0376.0251.0376/",
    "https://169.254.43518/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25lo]/",
    "https://[fe80::1%lo]/",
    "https://[::1%25lo]/",
    "https://[fc00::1]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::169.254.169.254]/",
    "https://[2002:7f00:1::1]/",
    "https://[2001:0:7f00:1::]/",
    "https://[2001:db8::1]/",
    "https://[::127.0.0.1]/",
    "https://224.0.0.1:PORT/",
    "https://240.0.0.1:PORT/",
    "https://255.255.255.255:PORT/",
    "https://168.63.129.16/",
    "https://192.0.0.192/",
    "https://metadata.test/",
    "https://metadata6.test/",
    "https://private.test:PORT/",
    "https://translated.test:PORT/",
    "https://6to4.test:PORT/",
    "https://nowhere.test:PORT/",
];

/// What is refused with or without `--allow-private`.
const NOWHERE: [&str; 13] = [
    "https://me:secret@127.0.0.1:PORT/",
    "https://example.com@127.0.0.1:PORT/",
    "https://example.com:443@127.0.0.1:PORT/",
    "https://256.256.256.256:PORT/",
    "https://127.0.0.1.0.1:PORT/",
    "https://127.0.0.0x100000000:PORT/",
    "https://08.0.0.1:PORT/",
    "https://[127.0.0.1]:PORT/",
    "https://[::1:PORT/",
    "https://127.0.0.1:PORT:PORT/",
    "https://127.0.0.1 :PORT/",
    "gopher://127.0.0.1:PORT/",
    "file:///etc/passwd",
];

/// Method: every URL is tried without `--allow-private`, and none reaches the listener. Then the URLs that lead to the listener are tried with it, and each must reach
/// the listener: otherwise the first half would prove nothing.
#[tokio::test]
async fn no_url_that_leads_inside_reaches_a_listener_there_unless_the_operator_allows_it() {
    let inside = Inside::listen().await;
    let names: Arc<dyn Resolve> = Arc::new(FakeResolver(leads_to));
    let at = |url: &str| url.replace("PORT", &inside.port.to_string());
    let to_the_listener = || TO_THE_LISTENER.iter().chain(&NAMES_TO_THE_LISTENER);
    for url in to_the_listener().chain(&ELSEWHERE).chain(&NOWHERE) {
        if let Ok(webhook) = webhook(&at(url), Addresses::Public, GENEROUS, names.clone()) {
            let failure = webhook.deliver("a-1", b"{}".to_vec()).await.unwrap_err();
            assert_eq!(failure.code(), Code::NetworkError, "{url}: {}", failure.message());
        }
        assert_eq!(inside.reached().await, 0, "{url} led inside");
    }
    for (before, url) in to_the_listener().enumerate() {
        let webhook =
            webhook(&at(url), Addresses::Any, GENEROUS, names.clone()).unwrap_or_else(|why| panic!("{url}: {why}"));
        webhook.deliver("a-1", b"{}".to_vec()).await.unwrap_err();
        assert!(inside.reached().await > before, "{url} leads nowhere, so that it proves nothing");
        inside.accepted.store(before + 1, Ordering::SeqCst);
    }
    for url in NOWHERE {
        assert!(webhook(&at(url), Addresses::Any, GENEROUS, names.clone()).is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_on_its_second_look_up_is_refused() {
    let inside = Inside::listen().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let asks = asked.clone();
    let rebinding = Arc::new(FakeResolver(move |_: &str| {
        let public = asks.fetch_add(1, Ordering::SeqCst) == 0;
        vec![if public { "8.8.8.8" } else { "127.0.0.1" }.parse().unwrap()]
    }));
    let webhook =
        webhook(&format!("https://rebinding.test:{}/", inside.port), Addresses::Public, GENEROUS, rebinding).unwrap();
    webhook.check_host_name().await.unwrap();
    let failure = webhook.deliver("a-1", b"{}".to_vec()).await.unwrap_err();
    assert_eq!(failure.code(), Code::NetworkError);
    assert_eq!(
        failure.message(),
        "the webhook's address was refused: rebinding.test (127.0.0.1) is a loopback address; jobs go to public addresses only, unless --allow-private is given"
    );
    assert!(
        webhook
            .check_host_name()
            .await
            .unwrap_err()
            .to_string()
            .starts_with("--webhook: rebinding.test (127.0.0.1) is a")
    );
    assert_eq!((asked.load(Ordering::SeqCst), inside.reached().await), (3, 0));
}

#[tokio::test]
async fn of_a_name_with_public_and_private_addresses_only_the_public_ones_are_used() {
    let names = PublicOnly(Arc::new(FakeResolver(|_: &str| {
        ["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"].map(|text| text.parse().unwrap()).into()
    })));
    let left: Vec<_> =
        names.resolve("mixed.test".parse().unwrap()).await.unwrap().map(|a| a.ip().to_string()).collect();
    assert_eq!(left, ["8.8.8.8", "2606:4700::1111"]);
}

/// What a server saw of its connections.
#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    /// How many connections have ended.
    ended: usize,
    /// Bytes sent on all connections.
    sent: usize,
}

/// A server that sends the same pieces on every connection. If `endless`, it repeats the last piece; if it `hangs`, it does not close the connection afterwards.
#[derive(Clone, Default)]
struct Server {
    pieces: Vec<Vec<u8>>,
    endless: bool,
    pause: Duration,
    hangs: bool,
    /// It reads only the beginning of the request.
    deaf: bool,
    /// It ends the connection by a reset.
    resets: bool,
}

impl Server {
    /// One piece, and then the connection is closed.
    fn says(text: impl AsRef<[u8]>) -> Self {
        Self { pieces: vec![text.as_ref().to_vec()], ..Self::default() }
    }

    fn then_forever(mut self, piece: impl AsRef<[u8]>) -> Self {
        self.pieces.push(piece.as_ref().to_vec());
        Self { endless: true, ..self }
    }

    fn every(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    fn then_hangs(self) -> Self {
        Self { hangs: true, ..self }
    }

    /// Resets the connection when the client has had time to read the pieces: a reset discards what is not read yet.
    fn then_resets(self) -> Self {
        Self { resets: true, ..self.every(Duration::from_millis(200)) }
    }

    /// Responds when it has read the beginning of the request, and never reads the rest.
    fn without_listening(self) -> Self {
        Self { deaf: true, ..self }
    }

    async fn start(self) -> (SocketAddr, Arc<Mutex<Seen>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Seen::default())));
        let record = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                record.lock().unwrap().connections += 1;
                let (server, record) = (self.clone(), record.clone());
                tokio::spawn(async move {
                    server.serve(stream, &record).await;
                    record.lock().unwrap().ended += 1;
                });
            }
        });
        (address, seen)
    }

    async fn serve(self, mut stream: TcpStream, seen: &Mutex<Seen>) {
        let mut request = Vec::new();
        while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
            if self.deaf || request.ends_with(b"}") {
                break;
            }
        }
        let mut pieces = self.pieces.iter();
        let mut piece = pieces.next();
        while let Some(bytes) = piece {
            if stream.write_all(bytes).await.is_err() {
                return;
            }
            seen.lock().unwrap().sent += bytes.len();
            tokio::time::sleep(self.pause).await;
            piece = pieces.next().or(piece.filter(|_| self.endless));
        }
        if self.resets {
            stream.set_zero_linger().unwrap();
        }
        if self.hangs && self.deaf {
            std::future::pending::<()>().await;
        }
        if self.hangs {
            let _ = stream.read(&mut [0; 64]).await;
        }
    }

    /// Sends a job to this server; returns its outcome and what the server saw.
    async fn deliver(self, timeouts: Timeouts, body: Vec<u8>) -> (Result<(), Failure>, Arc<Mutex<Seen>>) {
        let (address, seen) = self.start().await;
        let webhook = webhook(&format!("http://{address}/"), Addresses::Any, timeouts, no_names()).unwrap();
        (webhook.deliver("a-1", body).await, seen)
    }
}

async fn verdict(server: Server, timeouts: Timeouts) -> Option<(Code, String)> {
    let (ended, _) = server.deliver(timeouts, b"{}".to_vec()).await;
    ended.err().map(|failure| (failure.code(), failure.message().to_owned()))
}

const OK: &str = "HTTP/1.1 200 OK\r\n";

/// How a message begins if the connection ended before the head of a response was there, if that head was malformed, and if the body was cut off or malformed.
const BROKE: &str = "the connection to RECEIVER broke before a response: ";
const MALFORMED: &str = "the response of RECEIVER could not be read: ";
const CUT: &str = "the response of RECEIVER could not be read to its end: ";

#[tokio::test]
async fn malformed_responses_are_temporary_failures() {
    let headers = |count: usize| (0..count).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    for (server, begins, phrase) in [
        (Server::says(""), BROKE, "connection closed before message completed"),
        (Server::says("").then_resets(), BROKE, "Connection reset"),
        (Server::says("SSH-2.0-OpenSSH_9.6\r\n"), MALFORMED, "invalid HTTP version"),
        (Server::says("\x16\x03\x01\x02\x00\x01\x00"), MALFORMED, "invalid HTTP version"),
        (Server::says("<html>hello</html>"), MALFORMED, "invalid HTTP version"),
        (Server::says("HTTP/1.1 abc Nonsense\r\n\r\n"), MALFORMED, "invalid HTTP status-code"),
        (Server::says("HTTP/1.1 99999 Much\r\n\r\n"), MALFORMED, "invalid HTTP status-code"),
        (Server::says("HTTP/2.0 200 OK\r\n\r\n"), MALFORMED, "invalid HTTP version"),
        (Server::says(format!("{OK}no colon\r\n\r\n")), MALFORMED, "invalid HTTP header"),
        (Server::says(format!("{OK}na me: v\r\n\r\n")), MALFORMED, "invalid HTTP header"),
        (Server::says(format!("{OK}content-le")), BROKE, "connection closed before message completed"),
        (Server::says(format!("{OK}content-length: 10\r\n\r\n{{}}")), CUT, "end of file before message length reached"),
        (Server::says(format!("{OK}content-length: 10\r\n\r\n{{}}")).then_resets(), CUT, "Connection reset"),
        (Server::says(format!("{OK}content-length: 1\r\ncontent-length: 2\r\n\r\n{{}}")), MALFORMED, "content-length"),
        (Server::says(format!("{OK}content-length: -1\r\n\r\n")), MALFORMED, "content-length"),
        (Server::says(format!("{OK}content-length: 99999999999999999999\r\n\r\n")), MALFORMED, "content-length"),
        (Server::says(format!("{OK}transfer-encoding: chunked\r\n\r\nzz\r\n")), CUT, "hunk"),
        (Server::says(format!("{OK}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n")), CUT, "hunk"),
        (Server::says(format!("{OK}transfer-encoding: chunked\r\n\r\n2\r\n{{}}")), CUT, "unexpected EOF"),
        (Server::says(format!("{OK}{}\r\n", headers(101))), MALFORMED, "too large"),
        (Server::says(OK).then_forever("x: y\r\n".repeat(512)), MALFORMED, "too large"),
        (Server::says(OK).then_forever("x".repeat(4096)), MALFORMED, "too large"),
        (Server::says(format!("{OK}x: ")).then_forever("x".repeat(4096)), MALFORMED, "too large"),
    ] {
        let shown = String::from_utf8_lossy(&server.pieces.concat()).chars().take(80).collect::<String>();
        let (address, seen) = server.start().await;
        let webhook = webhook(&format!("http://{address}/"), Addresses::Any, GENEROUS, no_names()).unwrap();
        let failure = webhook.deliver("a-1", b"{}".to_vec()).await.expect_err(&shown);
        let (message, begins) = (failure.message(), begins.replace("RECEIVER", &address.to_string()));
        assert_eq!(failure.code(), Code::NetworkError, "{shown}: {message}");
        assert!(message.starts_with(&begins) && message.contains(phrase), "{shown}: {message}");
        assert!(seen.lock().unwrap().sent < 16 * 1024 * 1024, "{shown}");
    }
    let most = Server::says(format!("{OK}{}content-length: 0\r\n\r\n", headers(99)));
    assert_eq!(verdict(most, GENEROUS).await, None);
}

#[tokio::test]
async fn what_fails_behind_a_proxy_is_said_to_have_gone_through_it() {
    let ms = Duration::from_millis;
    let timeouts = |whole, silence| Timeouts { connect: ms(30_000), whole: ms(whole), silence: ms(silence) };
    let cut = Server::says(format!("{OK}content-length: 9\r\n\r\n{{"));
    let deaf = Server::says("").without_listening();
    for (scheme, proxy, timeouts, message) in [
        (
            "http",
            Server::says(""),
            GENEROUS,
            "the connection to receiver.test through the proxy broke before a response: ",
        ),
        (
            "http",
            Server::says("SSH-2.0\r\n"),
            GENEROUS,
            "the response of receiver.test through the proxy could not be read: ",
        ),
        (
            "http",
            cut.clone(),
            GENEROUS,
            "the response of receiver.test through the proxy could not be read to its end: ",
        ),
        (
            "http",
            Server::says("").then_hangs(),
            timeouts(500, 60_000),
            "receiver.test did not respond through the proxy within 500ms",
        ),
        (
            "http",
            cut.clone().then_hangs(),
            timeouts(500, 60_000),
            "the response of receiver.test through the proxy began and did not end within 500ms",
        ),
        (
            "http",
            cut.then_hangs(),
            timeouts(60_000, 500),
            "the response of receiver.test through the proxy began, and then nothing came for 500ms",
        ),
        ("https", deaf.clone(), GENEROUS, "receiver.test cannot be reached through the proxy: "),
        (
            "https",
            deaf.then_hangs(),
            timeouts(500, 60_000),
            "no TLS connection to receiver.test through the proxy within 500ms",
        ),
    ] {
        let (address, _) = proxy.start().await;
        let to = Destination::parse(&format!("{scheme}://receiver.test/"), Addresses::Any).unwrap();
        let proxy = format!("http://{address}").parse().unwrap();
        let webhook = Webhook::through(proxy, to, timeouts, Roots::None).unwrap();
        let failure = webhook.deliver("a-1", b"{}".to_vec()).await.unwrap_err();
        assert!(failure.message().starts_with(message), "{message:?}: {failure:?}");
    }
}

#[tokio::test]
async fn a_truncated_or_malformed_body_does_not_change_the_failure_of_its_status() {
    for rest in ["content-length: 10\r\n\r\nno", "transfer-encoding: chunked\r\n\r\nzz", "\r\nno"] {
        let server = Server::says(format!("HTTP/1.1 500 Oh\r\n{rest}"));
        let (code, message) = verdict(server, GENEROUS).await.unwrap();
        assert_eq!(code, Code::ServiceUnavailable, "{message}");
    }
}

#[tokio::test]
async fn the_body_ends_where_content_length_says() {
    let body = "{\"success\":false}";
    let (code, _) = verdict(Server::says(format!("{OK}content-length: 17\r\n\r\n{body}")), GENEROUS).await.unwrap();
    assert_eq!(code, Code::JobExecutionFailed);
    assert_eq!(verdict(Server::says(format!("{OK}content-length: 2\r\n\r\n{{}}{body}")), GENEROUS).await, None);
    // The surplus bytes are not taken for the response to the next job.
    let (address, seen) = Server::says(format!("{OK}content-length: 2\r\n\r\n{{}}{OK}\r\n")).then_hangs().start().await;
    let webhook = webhook(&format!("http://{address}/"), Addresses::Any, GENEROUS, no_names()).unwrap();
    for job in 1..=2 {
        webhook.deliver("a-1", b"{}".to_vec()).await.unwrap();
        assert_eq!(seen.lock().unwrap().connections, job);
    }
}

#[tokio::test]
async fn an_endless_body_is_read_to_its_bound_and_the_connection_is_closed() {
    let flood = |head: &str| Server::says(head).then_forever("x".repeat(16 * 1024));
    let failing = "{\"success\":false,\"error\":{\"code\":\"TIMEOUT\",\"message\":\"m\"},\"log\":\"";
    for (server, expected) in [
        (flood(&format!("{OK}\r\n")), None),
        (flood(&format!("{OK}content-length: 1000000000000\r\n\r\n")), None),
        (flood(&format!("{OK}\r\n{failing}")), Some(Code::Timeout)),
        (flood("HTTP/1.1 503 No\r\n\r\n"), Some(Code::ServiceUnavailable)),
    ] {
        let (ended, seen) = server.deliver(GENEROUS, b"{}".to_vec()).await;
        assert_eq!(ended.as_ref().err().map(Failure::code), expected);
        let message = ended.map_or_else(|failure| failure.message().to_owned(), |()| String::new());
        assert!(message.len() < 1_000, "{message}");
        // What is beyond the bound stays in the buffers of the two sockets.
        let sent = seen.lock().unwrap().sent;
        assert!((BODY_BYTES_MAX..16 * 1024 * 1024).contains(&sent), "{sent}");
    }
}

#[tokio::test]
async fn nothing_is_decompressed() {
    // {"success":false} in gzip, which nobody asked for.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabV*.MNN-.V\xb2JK\xcc)N\xad\x05\0\xf2\xcaC4\x11\0\0\0";
    let head = format!("{OK}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", gzip.len());
    let server = Server::says([head.as_bytes(), gzip].concat());
    assert_eq!(verdict(server, GENEROUS).await, None);
}

#[tokio::test]
async fn a_slow_server_is_a_timeout() {
    let timeouts = |whole_ms, silence_ms| {
        let ms = Duration::from_millis;
        Timeouts { connect: ms(30_000), whole: ms(whole_ms), silence: ms(silence_ms) }
    };
    let up = " did not respond within 300ms";
    let silent = " began, and then nothing came for 200ms";
    let slow = " began and did not end within 300ms";
    let often = Duration::from_millis(20);
    for (server, timeouts, phrase) in [
        // A server that stops sending: at the beginning, in the status line, in the body.
        (Server::says("").then_hangs(), timeouts(300, 60_000), up),
        (Server::says("HTTP/1.1 2").then_hangs(), timeouts(300, 60_000), up),
        (Server::says(format!("{OK}\r\n{{")).then_hangs(), timeouts(300, 60_000), slow),
        (Server::says(format!("{OK}\r\n{{")).then_hangs(), timeouts(60_000, 200), silent),
        (Server::says(format!("{OK}content-length: 9\r\n\r\n")).then_hangs(), timeouts(60_000, 200), silent),
        // A server that sends slowly and endlessly, in the head and in the body, and is never silent for long.
        (Server::says("HTTP/1.1 200 ").then_forever("x").every(often), timeouts(300, 60_000), up),
        (Server::says(format!("{OK}\r\n")).then_forever(" ").every(often), timeouts(300, 60_000), slow),
        (Server::says("").then_forever("HTTP/1.1 100 Continue\r\n\r\n").every(often), timeouts(300, 60_000), up),
        // Interim responses as fast as they can be sent.
        (Server::says("").then_forever("HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000)), timeouts(300, 60_000), up),
    ] {
        let shown = String::from_utf8_lossy(&server.pieces.concat()).chars().take(60).collect::<String>();
        let (code, message) = verdict(server, timeouts).await.unwrap_or_else(|| panic!("{shown:?} passes"));
        assert_eq!(code, Code::Timeout, "{shown:?}: {message}");
        assert!(message.contains(phrase), "{shown:?}: {message}");
    }
}

#[tokio::test]
async fn endless_interim_responses_are_not_read_past_the_timeout() {
    let timeouts = Timeouts { whole: Duration::from_millis(300), ..GENEROUS };
    let (address, seen) = Server::says("").then_forever("HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000)).start().await;
    let webhook = webhook(&format!("http://{address}/"), Addresses::Any, timeouts, no_names()).unwrap();
    webhook.deliver("a-1", b"{}".to_vec()).await.unwrap_err();
    let deadline = Instant::now() + Duration::from_secs(60);
    while seen.lock().unwrap().ended == 0 {
        assert!(Instant::now() < deadline, "the response is still read");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A resolver that answers the first question if it is `true`, and no other one.
struct AnswersFirst(AtomicBool);

impl AnswersFirst {
    fn new(answers_first: bool) -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(answers_first)))
    }
}

impl Resolve for AnswersFirst {
    fn resolve(&self, _: Name) -> Resolving {
        let answers = self.0.swap(false, Ordering::SeqCst);
        Box::pin(async move {
            if !answers {
                std::future::pending::<()>().await;
            }
            let found: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap()];
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[tokio::test]
async fn resolving_and_connecting_have_a_timeout_of_their_own() {
    let timeouts = Timeouts { connect: Duration::from_millis(100), ..GENEROUS };
    let webhook = webhook("https://slow.test/", Addresses::Public, timeouts, AnswersFirst::new(false)).unwrap();
    let failure = webhook.deliver("a-1", b"{}".to_vec()).await.unwrap_err();
    assert_eq!((failure.code(), failure.message()), (Code::Timeout, "no TLS connection to slow.test within 100ms"));
}

#[tokio::test]
async fn a_timeout_while_connecting_is_not_taken_for_a_missing_response() {
    let (address, _) = Server::says("").without_listening().then_hangs().start().await;
    // The timeout of connecting is the longer one, as with `--timeout 2s`, or as long.
    for connect in [GENEROUS.connect, Duration::from_millis(200)] {
        let timeouts = Timeouts { connect, whole: Duration::from_millis(200), ..GENEROUS };
        for (url, no_connection) in [
            // The TLS handshake is not answered; the name is not resolved.
            (format!("https://{address}/"), format!("no TLS connection to {address} within 200ms")),
            ("http://slow.test/".to_owned(), "no connection to slow.test within 200ms".to_owned()),
        ] {
            let webhook = webhook(&url, Addresses::Any, timeouts, AnswersFirst::new(false)).unwrap();
            let failure = webhook.deliver("a-1", b"{}".to_vec()).await.unwrap_err();
            assert_eq!((failure.code(), failure.message()), (Code::Timeout, no_connection.as_str()));
        }
    }
}

/// The second request begins to open a connection, which never succeeds. It goes out on that of the first request, when this has got its response, and gets none itself.
#[tokio::test]
async fn a_timeout_on_a_kept_connection_is_a_missing_response_even_if_another_was_being_opened() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut requests = Vec::new();
        while !requests.ends_with(b"}") {
            stream.read_buf(&mut requests).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        stream.write_all(format!("{OK}content-length: 0\r\n\r\n").as_bytes()).await.unwrap();
        requests.clear();
        while !requests.ends_with(b"}") {
            stream.read_buf(&mut requests).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    let timeouts = Timeouts { whole: Duration::from_secs(1), ..GENEROUS };
    let url = format!("http://receiver.test:{port}/");
    let webhook = webhook(&url, Addresses::Any, timeouts, AnswersFirst::new(true)).unwrap();
    let (first, second) = tokio::join!(webhook.deliver("a-1", b"{}".to_vec()), webhook.deliver("a-2", b"{}".to_vec()));
    first.unwrap();
    let message = format!("receiver.test:{port} did not respond within 1s");
    assert_eq!(second.unwrap_err().message(), message);
    receiver.abort();
}

#[tokio::test]
async fn redirects_are_never_followed() {
    let inside = Inside::listen().await;
    for status in [301, 302, 303, 307, 308] {
        for location in [
            "http://169.254.169.254/latest/meta-data/",
            &format!("http://127.0.0.1:{}/", inside.port),
            "/again",
            "\\\\x",
            "",
        ] {
            let answer = format!("HTTP/1.1 {status} There\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
            let (ended, seen) = Server::says(answer).deliver(GENEROUS, b"{}".to_vec()).await;
            let failure = ended.unwrap_err();
            assert_eq!(failure.code(), Code::ServiceUnavailable);
            assert!(failure.message().ends_with("redirects are not followed; configure the target URL"), "{failure:?}");
            let connections = seen.lock().unwrap().connections;
            assert_eq!((connections, inside.reached().await), (1, 0), "{status} {location}");
        }
    }
}

#[tokio::test]
async fn an_unreachable_server_is_a_temporary_failure() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let webhook = webhook(&format!("http://{gone}/"), Addresses::Any, GENEROUS, no_names()).unwrap();
    let failure = webhook.deliver("a-1", b"{}".to_vec()).await.unwrap_err();
    assert_eq!(failure.code(), Code::NetworkError);
    let refused = format!("{gone} cannot be reached: Connection refused");
    assert!(failure.message().starts_with(&refused), "{}", failure.message());
}

#[tokio::test]
async fn a_response_that_comes_before_the_request_was_read_counts() {
    let refusal = Server::says("HTTP/1.1 413 Much\r\ncontent-length: 0\r\n\r\n").without_listening().then_hangs();
    let job = vec![b' '; 8 * 1024 * 1024];
    let (ended, _) = refusal.deliver(GENEROUS, job).await;
    let failure = ended.unwrap_err();
    assert_eq!(failure.code(), Code::InvalidJobData, "{}", failure.message());
}

/// Method: each connection answers its first request; what it does with a second one is up to the case. The delivery that reuses the connection must fail, and be its only request.
/// If `proxied`, the connections are those of a proxy.
async fn requests_when_a_kept_connection_ends(
    names: Arc<dyn Resolve>,
    pause: Duration,
    proxied: bool,
) -> (usize, Option<Failure>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = requests.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                for first in [true, false] {
                    let mut request = Vec::new();
                    while !request.ends_with(b"}") {
                        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    seen.fetch_add(1, Ordering::SeqCst);
                    if first {
                        stream.write_all(format!("{OK}content-length: 0\r\n\r\n").as_bytes()).await.unwrap();
                    } else {
                        tokio::time::sleep(pause).await;
                    }
                }
            });
        }
    });
    let url = format!("http://receiver.test:{port}/");
    let mut webhook = webhook(&url, Addresses::Any, GENEROUS, names.clone()).unwrap();
    if proxied {
        let proxy = Proxy::all(format!("http://proxy.test:{port}")).unwrap();
        webhook.client = Client::new(GENEROUS, names, Roots::None, Some(proxy)).unwrap();
    }
    webhook.deliver("a-1", b"{}".to_vec()).await.unwrap();
    let ended = webhook.deliver("a-2", b"{}".to_vec()).await;
    (requests.load(Ordering::SeqCst), ended.err())
}

#[tokio::test]
async fn a_request_that_was_worked_on_is_not_sent_a_second_time() {
    let names = || Arc::new(FakeResolver(|_: &str| vec!["127.0.0.1".parse().unwrap()]));
    let (requests, failure) =
        requests_when_a_kept_connection_ends(names(), RESEND_WITHIN + Duration::from_millis(100), false).await;
    assert_eq!((requests, failure.map(|failure| failure.code())), (2, Some(Code::NetworkError)));
    let (requests, failure) = requests_when_a_kept_connection_ends(names(), Duration::ZERO, false).await;
    assert_eq!(
        (requests, failure.map(|failure| failure.code())),
        (3, None),
        "the connection was not kept: the test proves nothing"
    );
}

#[tokio::test]
async fn a_request_that_went_out_is_not_said_to_have_stayed_for_want_of_files() {
    /// Resolves once, and then has no file left.
    struct Once(AtomicUsize);
    impl Resolve for Once {
        fn resolve(&self, _: Name) -> Resolving {
            let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
            Box::pin(async move {
                let found: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap()];
                if first {
                    Ok(Box::new(found.into_iter()) as Addrs)
                } else {
                    Err(std::io::Error::from_raw_os_error(24).into())
                }
            })
        }
    }
    for (proxied, through) in [(false, ""), (true, " through the proxy")] {
        let names = Arc::new(Once(AtomicUsize::new(0)));
        let (requests, failure) = requests_when_a_kept_connection_ends(names, Duration::ZERO, proxied).await;
        let failure = failure.unwrap();
        assert_eq!((requests, failure.code(), failure.exhausted()), (2, Code::NetworkError, None), "{failure:?}");
        let message = failure.message();
        let broke = format!("{through} broke before a response, and the request could not be sent again: ");
        assert!(message.starts_with("the connection to receiver.test:") && message.contains(&broke), "{message}");
    }
}
