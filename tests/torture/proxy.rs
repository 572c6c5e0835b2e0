//! A proxy between a worker and its Redis server that understands what passes: it knows the script calls by their verbs and loses, delays or cuts those it is told to.
//!
//! A reply that is dropped takes everything behind it on its connection with it, as on a real one: the connection is cut, or goes mute.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::unix;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::resp;

/// What happens to one call.
pub(crate) enum Fault {
    Pass,
    /// The request is lost, and its connection cut.
    CutBefore,
    /// Applied; the reply is lost, and its connection cut.
    CutAfter,
    /// The request is lost; its connection stays open and says nothing any more.
    MuteBefore,
    /// Applied; its connection stays open and says nothing any more.
    MuteAfter,
    /// Half of the request arrives, then the connection is cut.
    CutRequest,
    /// Applied; half of the reply arrives, then the connection is cut.
    CutReply,
    /// Applied; the connection's way back is closed before the reply, its way there stays open.
    HalfClose,
    /// The reply, and all behind it, takes this much longer.
    Delay(Duration),
    /// The request waits for a word.
    Hold(oneshot::Receiver<()>),
    /// Applied; then this is done, and only then the reply goes on.
    Then(Box<dyn FnOnce() + Send>),
}

impl Fault {
    fn name(&self) -> Option<&'static str> {
        Some(match self {
            Fault::Pass => return None,
            Fault::CutBefore => "request lost, cut",
            Fault::CutAfter => "reply lost, cut",
            Fault::MuteBefore => "request lost, silence",
            Fault::MuteAfter => "reply lost, silence",
            Fault::CutRequest => "request cut in the middle",
            Fault::CutReply => "reply cut in the middle",
            Fault::HalfClose => "reply lost, half closed",
            Fault::Delay(_) => "reply late",
            Fault::Hold(_) => "request held",
            Fault::Then(_) => "reply held",
        })
    }

    /// Whether the caller has to send the call again.
    fn loses(&self) -> bool {
        !matches!(self, Fault::Pass | Fault::Delay(_) | Fault::Hold(_) | Fault::Then(_))
    }
}

/// A script call on its way to the server.
pub(crate) struct Call<'a> {
    /// The script's file, without `.lua`.
    pub(crate) verb: &'a str,
    /// Which of its verb since the plan was made, from 1.
    pub(crate) nth: u64,
}

type Plan = Box<dyn FnMut(&Call) -> Fault + Send>;
/// ReplaySlot and number of a mutating call: the same when it is sent again.
type CallId = Vec<u8>;

pub(crate) struct Proxy {
    url: String,
    shared: Arc<Shared>,
    end: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    server: PathBuf,
    plan: Mutex<(Plan, HashMap<String, u64>)>,
    verbs: Mutex<HashMap<Vec<u8>, String>>,
    seen: Mutex<Seen>,
    hints_muted: AtomicBool,
    hints_cut: Notify,
}

#[derive(Default)]
struct Seen {
    faults: BTreeMap<String, u64>,
    lost: HashMap<CallId, (String, Instant)>,
    recovery: Vec<(String, Duration)>,
    hints_dropped: u64,
}

impl Proxy {
    pub(crate) fn start(server: PathBuf) -> Self {
        let shared = Arc::new(Shared {
            server,
            plan: Mutex::new((Box::new(|_| Fault::Pass), HashMap::new())),
            verbs: Mutex::default(),
            seen: Mutex::default(),
            hints_muted: AtomicBool::new(false),
            hints_cut: Notify::new(),
        });
        let end = CancellationToken::new();
        let (ready, port) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let (shared, end) = (shared.clone(), end.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    ready.send(listener.local_addr().unwrap().port()).unwrap();
                    tokio::select! {
                        () = end.cancelled() => {}
                        () = listen(listener, shared) => {}
                    }
                });
            }
        });
        let url = format!("redis://127.0.0.1:{}", port.recv().unwrap());
        Self { url, shared, end, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on this decides on every script call.
    pub(crate) fn plan(&self, plan: impl FnMut(&Call) -> Fault + Send + 'static) {
        *self.shared.plan.lock().unwrap() = (Box::new(plan), HashMap::new());
    }

    /// The n-th call of this verb from now on meets this fault.
    pub(crate) fn once(&self, verb: &'static str, nth: u64, fault: impl FnOnce() -> Fault + Send + 'static) {
        let mut fault = Some(fault);
        self.plan(move |call| match fault.take_if(|_| call.verb == verb && call.nth == nth) {
            Some(fault) => fault(),
            None => Fault::Pass,
        });
    }

    /// No more faults.
    pub(crate) fn heal(&self) {
        self.plan(|_| Fault::Pass);
        self.mute_hints(false);
    }

    /// Whether wake-ups are dropped.
    pub(crate) fn mute_hints(&self, muted: bool) {
        self.shared.hints_muted.store(muted, Ordering::SeqCst);
    }

    /// Cuts all subscriptions.
    pub(crate) fn cut_hints(&self) {
        self.shared.hints_cut.notify_waiters();
        *self.shared.seen.lock().unwrap().faults.entry("subscription cut".into()).or_default() += 1;
    }

    pub(crate) fn hints_dropped(&self) -> u64 {
        self.shared.seen.lock().unwrap().hints_dropped
    }

    /// How many faults there were, by verb and kind.
    pub(crate) fn faults(&self) -> BTreeMap<String, u64> {
        self.shared.seen.lock().unwrap().faults.clone()
    }

    /// For each call that was lost: how long until it was answered after all.
    pub(crate) fn recovery(&self) -> Vec<(String, Duration)> {
        self.shared.seen.lock().unwrap().recovery.clone()
    }

    /// Lost calls nobody has had an answer to yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.shared.seen.lock().unwrap().lost.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What becomes of a reply.
enum Rule {
    /// We answer ourselves.
    Answer(Vec<u8>),
    Pass(Option<CallId>),
    Cut,
    CutMiddle,
    HalfClose,
    Mute,
    Delay(Duration, Option<CallId>),
    Then(Box<dyn FnOnce() + Send>),
    /// From here on the connection hears messages.
    Listen,
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        tokio::spawn(serve(client, shared.clone()));
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    // Nobody there: the client's connection is closed too.
    let Ok(server) = UnixStream::connect(&shared.server).await else { return };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let (rules, ruled) = mpsc::unbounded_channel();
    let cut = CancellationToken::new();
    let there = requests(client_in, server_out, rules, &shared, &cut);
    let back = replies(server_in, client_out, ruled, &shared, &cut);
    tokio::select! {
        () = cut.cancelled() => {}
        ((), ()) = async { tokio::join!(there, back) } => {}
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: unix::OwnedWriteHalf,
    rules: mpsc::UnboundedSender<Rule>,
    shared: &Shared,
    cut: &CancellationToken,
) {
    let mut buffer = Vec::new();
    let mut mute = false;
    loop {
        while let Some(len) = (!buffer.is_empty()).then(|| resp::frame_len(&buffer)).flatten() {
            let frame: Vec<u8> = buffer.drain(..len).collect();
            if mute {
                continue;
            }
            let (fault, id) = match shared.look(&frame) {
                Look::Unknown => {
                    let _ = rules.send(Rule::Answer(b"-NOSCRIPT No matching script.\r\n".to_vec()));
                    continue;
                }
                Look::Subscribe => {
                    let _ = rules.send(Rule::Listen);
                    (Fault::Pass, None)
                }
                Look::Call(fault, id) => (fault, id),
            };
            let rule = match fault {
                Fault::CutBefore => return cut.cancel(),
                Fault::CutRequest => {
                    let _ = server.write_all(&frame[..frame.len() / 2]).await;
                    return cut.cancel();
                }
                Fault::MuteBefore => {
                    mute = true;
                    let _ = rules.send(Rule::Mute);
                    continue;
                }
                Fault::Hold(word) => {
                    let _ = word.await;
                    Rule::Pass(id)
                }
                Fault::Pass => Rule::Pass(id),
                Fault::CutAfter => Rule::Cut,
                Fault::CutReply => Rule::CutMiddle,
                Fault::HalfClose => Rule::HalfClose,
                Fault::MuteAfter => Rule::Mute,
                Fault::Delay(by) => Rule::Delay(by, id),
                Fault::Then(what) => Rule::Then(what),
            };
            let _ = rules.send(rule);
            if server.write_all(&frame).await.is_err() {
                return cut.cancel();
            }
        }
        match client.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return cut.cancel(),
            Ok(_) => {}
        }
    }
}

async fn replies(
    mut server: unix::OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mut rules: mpsc::UnboundedReceiver<Rule>,
    shared: &Shared,
    cut: &CancellationToken,
) {
    let mut buffer = Vec::new();
    loop {
        // A server that goes away is noticed also while nobody asks it anything.
        let rule = tokio::select! {
            biased;
            rule = rules.recv() => rule,
            read = server.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => return cut.cancel(),
                Ok(_) => continue,
            },
        };
        let frame = match &rule {
            None | Some(Rule::Answer(_) | Rule::Listen | Rule::Mute) => Vec::new(),
            Some(_) => match frame(&mut server, &mut buffer).await {
                Some(frame) => frame,
                None => return cut.cancel(),
            },
        };
        let sent = match rule {
            None => return,
            Some(Rule::Answer(bytes)) => client.write_all(&bytes).await,
            Some(Rule::Pass(id)) => {
                shared.answered(id);
                client.write_all(&frame).await
            }
            Some(Rule::Delay(by, id)) => {
                tokio::time::sleep(by).await;
                shared.answered(id);
                client.write_all(&frame).await
            }
            Some(Rule::Then(what)) => {
                what();
                client.write_all(&frame).await
            }
            Some(Rule::Cut) => return cut.cancel(),
            Some(Rule::CutMiddle) => {
                let _ = client.write_all(&frame[..frame.len() / 2]).await;
                return cut.cancel();
            }
            Some(Rule::HalfClose) => client.shutdown().await,
            Some(Rule::Mute) => return std::future::pending().await,
            Some(Rule::Listen) => return messages(server, client, buffer, shared, cut).await,
        };
        if sent.is_err() {
            return cut.cancel();
        }
    }
}

async fn frame(server: &mut unix::OwnedReadHalf, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(len) = (!buffer.is_empty()).then(|| resp::frame_len(buffer)).flatten() {
            return Some(buffer.drain(..len).collect());
        }
        if server.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// A subscription: everything passes but the wake-ups that are to be dropped.
async fn messages(
    mut server: unix::OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mut buffer: Vec<u8>,
    shared: &Shared,
    cut: &CancellationToken,
) {
    loop {
        let next = tokio::select! {
            () = shared.hints_cut.notified() => None,
            next = frame(&mut server, &mut buffer) => next,
        };
        let Some(next) = next else { return cut.cancel() };
        let is_hint = next[0] == b'*' && resp::words(&next).first().is_some_and(|word| *word == b"message");
        if is_hint && shared.hints_muted.load(Ordering::SeqCst) {
            shared.seen.lock().unwrap().hints_dropped += 1;
        } else if client.write_all(&next).await.is_err() {
            return cut.cancel();
        }
    }
}

enum Look {
    /// A script whose verb we have not learnt: whoever calls it must send its text first.
    Unknown,
    Subscribe,
    Call(Fault, Option<CallId>),
}

impl Shared {
    fn look(&self, frame: &[u8]) -> Look {
        let words = resp::words(frame);
        let is = |name: &[u8]| words[0].eq_ignore_ascii_case(name);
        let verb = if is(b"EVALSHA") {
            match self.verbs.lock().unwrap().get(words[1]) {
                Some(verb) => verb.clone(),
                None => return Look::Unknown,
            }
        } else if is(b"EVAL") {
            self.learn(words[1])
        } else if is(b"SUBSCRIBE") {
            return Look::Subscribe;
        } else {
            return Look::Call(Fault::Pass, None);
        };
        let id = call_id(&words);
        let fault = {
            let (plan, counts) = &mut *self.plan.lock().unwrap();
            let nth = counts.entry(verb.clone()).or_default();
            *nth += 1;
            plan(&Call { verb: &verb, nth: *nth })
        };
        if let Some(name) = fault.name() {
            let mut seen = self.seen.lock().unwrap();
            *seen.faults.entry(format!("{verb}: {name}")).or_default() += 1;
            if let Some(id) = id.clone().filter(|_| fault.loses()) {
                seen.lost.entry(id).or_insert((verb, Instant::now()));
            }
        }
        Look::Call(fault, id)
    }

    /// A script's verb is the last file its text is made of.
    fn learn(&self, text: &[u8]) -> String {
        let text = std::str::from_utf8(text).unwrap();
        let named = |line: &str| Some(line.strip_prefix("-- ")?.split_once(".lua:")?.0.to_owned());
        let verb = text.lines().filter_map(named).next_back().expect("a script says its name");
        let hash = redis::Script::new(text).get_hash().as_bytes().to_vec();
        self.verbs.lock().unwrap().insert(hash, verb.clone());
        verb
    }

    fn answered(&self, id: Option<CallId>) {
        let Some(id) = id else { return };
        let mut seen = self.seen.lock().unwrap();
        if let Some((verb, lost)) = seen.lost.remove(&id) {
            seen.recovery.push((format!("{verb} sent again and answered"), lost.elapsed()));
        }
    }
}

/// The first two arguments of a mutating script are its replay slot, 18 bytes, and its number and verb, 7.
fn call_id(words: &[&[u8]]) -> Option<CallId> {
    let keys: usize = std::str::from_utf8(words.get(2)?).ok()?.parse().ok()?;
    let (replay_slot, number) = (words.get(3 + keys)?, words.get(4 + keys)?);
    (replay_slot.len() == 18 && number.len() == 7).then(|| [*replay_slot, *number].concat())
}
