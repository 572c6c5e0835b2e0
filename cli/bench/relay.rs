//! Simulates a longer network round trip: a relay between the measured processes and Redis delays every byte by half a round trip in each direction. It runs in the process
//! of the command itself, which is not measured.
//!
//! Its threads sleep by themselves, because tokio's timers are too coarse: half a millisecond would become two. The threads of a connection end with it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, IntoConnectionInfo, ProtocolVersion};
use url::Url;

use crate::error::CliError;
use crate::limits::{RELAY_ACCEPT_DELAY, RELAY_CHUNK_BYTES_MAX, RELAY_CHUNKS_MAX, SERVER_CONNECT_TIMEOUT};

/// A relay that listens on the loopback interface for as long as this process lives.
pub(super) struct Relay {
    url: String,
}

/// Bytes that are delayed, and when to pass them on.
type Held = (Instant, Vec<u8>);

impl Relay {
    /// Opens a relay that adds this round trip to the connections to a server.
    pub(super) fn open(redis: &str, round_trip: Duration) -> Result<Self, CliError> {
        let unreadable = || CliError::Failed("the Redis URL cannot be read".into());
        let info = redis.into_connection_info().map_err(|_| unreadable())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let settings = info.redis_settings();
        let address = listener.local_addr()?;
        let mut url = Url::parse(&format!("redis://{address}/{}", settings.db())).map_err(|_| unreadable())?;
        url.set_username(settings.username().unwrap_or_default()).map_err(|()| unreadable())?;
        url.set_password(settings.password()).map_err(|()| unreadable())?;
        if settings.protocol() == ProtocolVersion::RESP3 {
            url.set_query(Some("protocol=resp3"));
        }
        let redis = info.addr().clone();
        thread::Builder::new().spawn(move || accept(&listener, &redis, round_trip / 2))?;
        Ok(Self { url: url.into() })
    }

    /// The server's URL through the relay.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

fn accept(listener: &TcpListener, redis: &ConnectionAddr, delay: Duration) {
    loop {
        match listener.accept() {
            // If the server cannot be reached, the client finds its connection closed and reports it.
            Ok((client, _)) => drop(connect_through(client, redis, delay)),
            Err(_) => thread::sleep(RELAY_ACCEPT_DELAY),
        }
    }
}

fn connect_through(client: TcpStream, redis: &ConnectionAddr, delay: Duration) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (client, server) = (Connection::Tcp(client), Connection::to(redis)?);
    pass(client.try_clone()?, server.try_clone()?, delay)?;
    pass(server, client, delay)
}

/// Starts the two threads of one direction: they pass bytes on until `from` closes, then close `to`.
fn pass(from: Connection, to: Connection, delay: Duration) -> io::Result<()> {
    let (held, due) = sync_channel(RELAY_CHUNKS_MAX);
    thread::Builder::new().spawn(move || read(from, &held, delay))?;
    thread::Builder::new().spawn(move || write(&due, to))?;
    Ok(())
}

fn read(mut from: Connection, held: &SyncSender<Held>, delay: Duration) {
    let mut chunk = vec![0; RELAY_CHUNK_BYTES_MAX];
    loop {
        match from.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(bytes) if held.send((Instant::now() + delay, chunk[..bytes].to_vec())).is_err() => return,
            Ok(_) => {}
        }
    }
}

fn write(due: &Receiver<Held>, mut to: Connection) {
    for (at, bytes) in due {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown();
}

/// A TCP or Unix connection.
enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    fn to(redis: &ConnectionAddr) -> io::Result<Self> {
        match redis {
            ConnectionAddr::Unix(path) => UnixStream::connect(path).map(Connection::Unix),
            ConnectionAddr::Tcp(host, port) => {
                let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, SERVER_CONNECT_TIMEOUT) {
                        Ok(stream) => return stream.set_nodelay(true).map(|()| Connection::Tcp(stream)),
                        Err(error) => failed = error,
                    }
                }
                Err(failed)
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Connection::Tcp(stream) => stream.try_clone().map(Connection::Tcp),
            Connection::Unix(stream) => stream.try_clone().map(Connection::Unix),
        }
    }

    /// Closes the direction of writing.
    fn shutdown(&self) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Connection::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(into),
            Connection::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.write(bytes),
            Connection::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(40);
    const READ_TIMEOUT: Duration = Duration::from_secs(30);

    /// A server that sends everything back.
    fn echo() -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut from, _) = listener.accept().unwrap();
            io::copy(&mut from.try_clone().unwrap(), &mut from).unwrap();
        });
        format!("redis://me:p%40ss@{address}/3")
    }

    #[test]
    fn every_byte_is_delayed_by_the_round_trip_and_none_is_lost_or_reordered() {
        let relay = Relay::open(&echo(), ROUND_TRIP).unwrap();
        let url = Url::parse(relay.url()).unwrap();
        assert_eq!((url.username(), url.password(), url.path()), ("me", Some("p%40ss"), "/3"));
        let mut near = TcpStream::connect(("127.0.0.1", url.port().unwrap())).unwrap();
        near.set_read_timeout(Some(READ_TIMEOUT)).unwrap();

        let begun = Instant::now();
        near.write_all(b"1").unwrap();
        near.read_exact(&mut [0]).unwrap();
        assert!(begun.elapsed() >= ROUND_TRIP, "{:?}", begun.elapsed());

        // About 250 chunks; one at a time would take as many round trips.
        let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n / 7) as u8).collect();
        let mut writer = near.try_clone().unwrap();
        let all = sent.clone();
        let writing = thread::spawn(move || {
            writer.write_all(&all).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut came = Vec::new();
        near.read_to_end(&mut came).unwrap();
        writing.join().unwrap();
        assert!(came == sent, "{} bytes came of {}", came.len(), sent.len());
    }
}
