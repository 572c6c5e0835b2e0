//! A proxy between a worker and its Redis server. It recognizes script calls by their verbs, and loses, delays or truncates the calls that a plan selects.
//!
//! When a reply is lost, everything after it on the same connection is lost too, as in a real network: the connection is cut or goes silent.

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

/// The fault injected into one call.
pub(crate) enum Fault {
    /// No fault.
    Pass,
    /// The request is lost, and its connection is cut.
    RequestLostCut,
    /// The call is applied; its reply is lost, and the connection is cut.
    ReplyLostCut,
    /// The request is lost; the connection stays open and silent.
    RequestLostSilent,
    /// The call is applied; its reply is lost, and the connection stays open and silent.
    ReplyLostSilent,
    /// Half of the request arrives, then the connection is cut.
    RequestTruncated,
    /// The call is applied; half of the reply arrives, then the connection is cut.
    ReplyTruncated,
    /// The call is applied; before its reply the connection is closed from server to client. It stays open in the other direction.
    ReplyLostHalfClosed,
    /// The reply, and everything after it, is delayed by this much.
    ReplyDelayed(Duration),
    /// The request is held back until the sender is used or dropped.
    RequestHeld(oneshot::Receiver<()>),
    /// The call is applied; its reply is held back until this function has run.
    ReplyHeld(Box<dyn FnOnce() + Send>),
}

impl Fault {
    fn name(&self) -> Option<&'static str> {
        Some(match self {
            Fault::Pass => return None,
            Fault::RequestLostCut => "request lost, connection cut",
            Fault::ReplyLostCut => "reply lost, connection cut",
            Fault::RequestLostSilent => "request lost, connection silent",
            Fault::ReplyLostSilent => "reply lost, connection silent",
            Fault::RequestTruncated => "request truncated",
            Fault::ReplyTruncated => "reply truncated",
            Fault::ReplyLostHalfClosed => "reply lost, connection half closed",
            Fault::ReplyDelayed(_) => "reply delayed",
            Fault::RequestHeld(_) => "request held",
            Fault::ReplyHeld(_) => "reply held",
        })
    }

    /// Whether the caller has to send the call again.
    fn loses(&self) -> bool {
        !matches!(self, Fault::Pass | Fault::ReplyDelayed(_) | Fault::RequestHeld(_) | Fault::ReplyHeld(_))
    }
}

/// A script call on its way to the server.
pub(crate) struct Call<'a> {
    /// The script's file, without `.lua`.
    pub(crate) verb: &'a str,
    /// The number of the call among the calls of this verb since the plan was set, from 1.
    pub(crate) nth: u64,
}

type Plan = Box<dyn FnMut(&Call) -> Fault + Send>;
/// Replay slot, sequence and verb of a call that changes something. They are the same when the call is sent again.
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
    drops_hints: AtomicBool,
    subscriptions_cut: Notify,
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
            drops_hints: AtomicBool::new(false),
            subscriptions_cut: Notify::new(),
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

    /// From now on `plan` decides about every script call.
    pub(crate) fn plan(&self, plan: impl FnMut(&Call) -> Fault + Send + 'static) {
        *self.shared.plan.lock().unwrap() = (Box::new(plan), HashMap::new());
    }

    /// Injects this fault into one call: the `nth` call of this verb from now on.
    pub(crate) fn once(&self, verb: &'static str, nth: u64, fault: impl FnOnce() -> Fault + Send + 'static) {
        let mut fault = Some(fault);
        self.plan(move |call| match fault.take_if(|_| call.verb == verb && call.nth == nth) {
            Some(fault) => fault(),
            None => Fault::Pass,
        });
    }

    /// Ends all faults.
    pub(crate) fn clear_faults(&self) {
        self.plan(|_| Fault::Pass);
        self.drop_hints(false);
    }

    /// Sets whether hints are dropped.
    pub(crate) fn drop_hints(&self, drop: bool) {
        self.shared.drops_hints.store(drop, Ordering::SeqCst);
    }

    /// Cuts all subscriptions.
    pub(crate) fn cut_subscriptions(&self) {
        self.shared.subscriptions_cut.notify_waiters();
        *self.shared.seen.lock().unwrap().faults.entry("subscription cut".into()).or_default() += 1;
    }

    pub(crate) fn hints_dropped(&self) -> u64 {
        self.shared.seen.lock().unwrap().hints_dropped
    }

    /// The number of faults, by verb and kind.
    pub(crate) fn faults(&self) -> BTreeMap<String, u64> {
        self.shared.seen.lock().unwrap().faults.clone()
    }

    /// For each lost call that was sent again, the time until its answer.
    pub(crate) fn recovery(&self) -> Vec<(String, Duration)> {
        self.shared.seen.lock().unwrap().recovery.clone()
    }

    /// The number of lost calls that are not answered yet.
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

/// What happens to the next reply.
enum ReplyAction {
    /// The proxy answers in place of the server.
    Answer(Vec<u8>),
    Pass(Option<CallId>),
    Cut,
    CutMiddle,
    HalfClose,
    /// This reply and all later ones are withheld.
    Mute,
    Delay(Duration, Option<CallId>),
    /// The reply passes after this function has run.
    PassAfter(Box<dyn FnOnce() + Send>),
    /// From here on the connection is a subscription.
    Subscribe,
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        tokio::spawn(serve(client, shared.clone()));
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    // Without a server the client's connection is closed.
    let Ok(server) = UnixStream::connect(&shared.server).await else { return };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let (actions, action_receiver) = mpsc::unbounded_channel();
    let cut = CancellationToken::new();
    let to_server = requests(client_in, server_out, actions, &shared, &cut);
    let to_client = replies(server_in, client_out, action_receiver, &shared, &cut);
    tokio::select! {
        () = cut.cancelled() => {}
        ((), ()) = async { tokio::join!(to_server, to_client) } => {}
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: unix::OwnedWriteHalf,
    actions: mpsc::UnboundedSender<ReplyAction>,
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
            let (fault, id) = match shared.inspect(&frame) {
                Request::UnknownScript => {
                    let _ = actions.send(ReplyAction::Answer(b"-NOSCRIPT No matching script.\r\n".to_vec()));
                    continue;
                }
                Request::Subscribe => {
                    let _ = actions.send(ReplyAction::Subscribe);
                    (Fault::Pass, None)
                }
                Request::Call(fault, id) => (fault, id),
            };
            let action = match fault {
                Fault::RequestLostCut => return cut.cancel(),
                Fault::RequestTruncated => {
                    let _ = server.write_all(&frame[..frame.len() / 2]).await;
                    return cut.cancel();
                }
                Fault::RequestLostSilent => {
                    mute = true;
                    let _ = actions.send(ReplyAction::Mute);
                    continue;
                }
                Fault::RequestHeld(released) => {
                    let _ = released.await;
                    ReplyAction::Pass(id)
                }
                Fault::Pass => ReplyAction::Pass(id),
                Fault::ReplyLostCut => ReplyAction::Cut,
                Fault::ReplyTruncated => ReplyAction::CutMiddle,
                Fault::ReplyLostHalfClosed => ReplyAction::HalfClose,
                Fault::ReplyLostSilent => ReplyAction::Mute,
                Fault::ReplyDelayed(by) => ReplyAction::Delay(by, id),
                Fault::ReplyHeld(run) => ReplyAction::PassAfter(run),
            };
            let _ = actions.send(action);
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
    mut actions: mpsc::UnboundedReceiver<ReplyAction>,
    shared: &Shared,
    cut: &CancellationToken,
) {
    let mut buffer = Vec::new();
    loop {
        // The read notices a server that closes the connection while no call is in flight.
        let action = tokio::select! {
            biased;
            action = actions.recv() => action,
            read = server.read_buf(&mut buffer) => match read {
                Ok(0) | Err(_) => return cut.cancel(),
                Ok(_) => continue,
            },
        };
        let frame = match &action {
            None | Some(ReplyAction::Answer(_) | ReplyAction::Subscribe | ReplyAction::Mute) => Vec::new(),
            Some(_) => match frame(&mut server, &mut buffer).await {
                Some(frame) => frame,
                None => return cut.cancel(),
            },
        };
        let sent = match action {
            None => return,
            Some(ReplyAction::Answer(bytes)) => client.write_all(&bytes).await,
            Some(ReplyAction::Pass(id)) => {
                shared.answered(id);
                client.write_all(&frame).await
            }
            Some(ReplyAction::Delay(by, id)) => {
                tokio::time::sleep(by).await;
                shared.answered(id);
                client.write_all(&frame).await
            }
            Some(ReplyAction::PassAfter(run)) => {
                run();
                client.write_all(&frame).await
            }
            Some(ReplyAction::Cut) => return cut.cancel(),
            Some(ReplyAction::CutMiddle) => {
                let _ = client.write_all(&frame[..frame.len() / 2]).await;
                return cut.cancel();
            }
            Some(ReplyAction::HalfClose) => client.shutdown().await,
            Some(ReplyAction::Mute) => return std::future::pending().await,
            Some(ReplyAction::Subscribe) => return messages(server, client, buffer, shared, cut).await,
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

/// Forwards the messages of a subscription. Hints are left out while they are to be dropped.
async fn messages(
    mut server: unix::OwnedReadHalf,
    mut client: OwnedWriteHalf,
    mut buffer: Vec<u8>,
    shared: &Shared,
    cut: &CancellationToken,
) {
    loop {
        let next = tokio::select! {
            () = shared.subscriptions_cut.notified() => None,
            next = frame(&mut server, &mut buffer) => next,
        };
        let Some(next) = next else { return cut.cancel() };
        let is_hint = next[0] == b'*' && resp::arguments(&next).first().is_some_and(|word| *word == b"message");
        if is_hint && shared.drops_hints.load(Ordering::SeqCst) {
            shared.seen.lock().unwrap().hints_dropped += 1;
        } else if client.write_all(&next).await.is_err() {
            return cut.cancel();
        }
    }
}

enum Request {
    /// A script whose verb the proxy does not know yet: the client must send the text of the script first.
    UnknownScript,
    Subscribe,
    Call(Fault, Option<CallId>),
}

impl Shared {
    fn inspect(&self, frame: &[u8]) -> Request {
        let words = resp::arguments(frame);
        let is = |name: &[u8]| words[0].eq_ignore_ascii_case(name);
        let verb = if is(b"EVALSHA") {
            match self.verbs.lock().unwrap().get(words[1]) {
                Some(verb) => verb.clone(),
                None => return Request::UnknownScript,
            }
        } else if is(b"EVAL") {
            self.register_script(words[1])
        } else if is(b"SUBSCRIBE") {
            return Request::Subscribe;
        } else {
            return Request::Call(Fault::Pass, None);
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
        Request::Call(fault, id)
    }

    /// Remembers the verb of a script: the name of the last Lua file in its text.
    fn register_script(&self, text: &[u8]) -> String {
        let text = std::str::from_utf8(text).unwrap();
        let file_named = |line: &str| Some(line.strip_prefix("-- ")?.split_once(".lua:")?.0.to_owned());
        let verb = text.lines().filter_map(file_named).next_back().expect("every script names its file");
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

/// The first two arguments of a script that changes something are its replay slot (18 bytes), and its sequence, verb and content (15 bytes).
fn call_id(words: &[&[u8]]) -> Option<CallId> {
    let keys: usize = std::str::from_utf8(words.get(2)?).ok()?.parse().ok()?;
    let (replay_slot, call) = (words.get(3 + keys)?, words.get(4 + keys)?);
    (replay_slot.len() == 18 && call.len() == 15).then(|| [*replay_slot, *call].concat())
}
