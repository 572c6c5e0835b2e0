//! A relay between the store and its server, on a unix socket, that can freeze: connections which exist then stay open and carry nothing any more, as behind a
//! firewall that has forgotten them. New connections work. It can also do something before each request that it carries. Dropping [`Relay`] closes it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// How often a waiting thread looks whether it should end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

type Interlude = Box<dyn FnMut() + Send>;

#[derive(Default)]
struct State {
    before_requests: Mutex<Option<Interlude>>,
    /// Connections accepted before the latest freeze carry nothing.
    freezes: AtomicU64,
    closed: AtomicBool,
}

pub struct Relay {
    folder: TempDir,
    state: Arc<State>,
}

impl Relay {
    /// Starts a relay to the server that listens on this socket.
    pub fn to(server: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let state = Arc::new(State::default());
        let accepting = state.clone();
        thread::spawn(move || {
            while !accepting.closed.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((client, _)) => connect(client, UnixStream::connect(&server).unwrap(), &accepting),
                    Err(_) => thread::sleep(LOOK_EVERY),
                }
            }
        });
        Self { folder, state }
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("s").display())
    }

    /// Freezes the connections that exist now.
    pub fn freeze(&self) {
        self.state.freezes.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on does this before it carries a request to the server.
    pub fn before_requests(&self, interlude: impl FnMut() + Send + 'static) {
        *self.state.before_requests.lock().unwrap() = Some(Box::new(interlude));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Relaxed);
    }
}

fn connect(client: UnixStream, server: UnixStream, state: &Arc<State>) {
    client.set_nonblocking(false).unwrap();
    let accepted_at = state.freezes.load(Ordering::Relaxed);
    for (from, to, requests) in [(&client, &server, true), (&server, &client, false)] {
        let (from, to, state) = (from.try_clone().unwrap(), to.try_clone().unwrap(), state.clone());
        from.set_read_timeout(Some(LOOK_EVERY)).unwrap();
        thread::spawn(move || carry(from, to, &state, accepted_at, requests));
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, state: &State, accepted_at: u64, requests: bool) {
    let mut buffer = [0; 16 * 1024];
    while !state.closed.load(Ordering::Relaxed) {
        if state.freezes.load(Ordering::Relaxed) > accepted_at {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) if state.freezes.load(Ordering::Relaxed) == accepted_at => {
                if requests && let Some(interlude) = &mut *state.before_requests.lock().unwrap() {
                    interlude();
                }
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}
