//! What a worker process may run out of. An attempt that fails for this reason says nothing about its job.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use super::causes::causes;
use crate::limits::{OUT_OF_RESOURCES_RELEASES_MAX, PORTS_RELEASES_MAX};

/// What this process has run out of. An attempt that fails for this reason counts no failure: its job is released, and the executor pauses before its next job.
///
/// It is found in the causes of every [`Failure`](super::Failure) that is made of an error; a handler that only has a text says it with
/// [`Failure::out_of`](super::Failure::out_of).
///
/// ```
/// use retraced_jobs::failure::{Code, Failure, Resource};
/// let too_many_open_files = std::io::Error::from_raw_os_error(24);
/// let failure = Failure::temporary(Code::NetworkError, too_many_open_files);
/// assert_eq!(failure.exhausted(), Some(Resource::OpenFiles));
/// assert_eq!(Failure::out_of(Resource::Threads, "no thread for the parser").exhausted(), Some(Resource::Threads));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resource {
    /// File descriptors of this process (`EMFILE`); connections use them too.
    OpenFiles,
    /// File descriptors of the whole machine (`ENFILE`).
    SystemFiles,
    /// Local addresses or ports for connections (`EADDRNOTAVAIL`). The same error comes of a wrong address, such as an IPv6 address on a machine without IPv6, so it
    /// counts as a failure after [`PORTS_RELEASES_MAX`] releases.
    Ports,
    /// Memory (`ENOMEM`).
    Memory,
    /// Threads. The system's error for it (`EAGAIN`) has other meanings as well, so it is never found in causes.
    Threads,
}

/// The numbers of these two errors are the same on all Unix systems; the standard library has no names for them.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

impl Resource {
    /// The resource that is exhausted according to the error or one of its nearest causes; `None` if they name no resource.
    #[must_use]
    pub fn missing_in(error: &(dyn StdError + 'static)) -> Option<Self> {
        std::iter::once(error).chain(causes(error)).find_map(|error| error.downcast_ref().and_then(Self::missing_for))
    }

    fn missing_for(error: &io::Error) -> Option<Self> {
        match (error.raw_os_error(), error.kind()) {
            (Some(EMFILE), _) if cfg!(unix) => Some(Resource::OpenFiles),
            (Some(ENFILE), _) if cfg!(unix) => Some(Resource::SystemFiles),
            (_, io::ErrorKind::AddrNotAvailable) => Some(Resource::Ports),
            (_, io::ErrorKind::OutOfMemory) => Some(Resource::Memory),
            // `io::Error::source` skips the error that is wrapped, and returns the source of that error.
            _ => error.get_ref().and_then(|wrapped| wrapped.downcast_ref()).and_then(Self::missing_for),
        }
    }

    /// After how many releases of a job a lack of this resource counts as a failure.
    pub(crate) fn releases_max(self) -> u32 {
        match self {
            Resource::Ports => PORTS_RELEASES_MAX,
            Resource::OpenFiles | Resource::SystemFiles | Resource::Memory | Resource::Threads => {
                OUT_OF_RESOURCES_RELEASES_MAX
            }
        }
    }

    /// The name used in events, JSON and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::OpenFiles => "open_files",
            Resource::SystemFiles => "system_files",
            Resource::Ports => "ports",
            Resource::Memory => "memory",
            Resource::Threads => "threads",
        }
    }

    /// What an operator can do.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Resource::OpenFiles => "raise the limit of open files (ulimit -n) or lower the concurrency",
            Resource::SystemFiles => "close files on this machine or raise its limit (fs.file-max)",
            Resource::Ports => "lower the concurrency, reuse connections, or widen net.ipv4.ip_local_port_range",
            Resource::Memory => "lower the concurrency or give the process more memory",
            Resource::Threads => "raise the limit of threads (ulimit -u, pids.max) or lower the concurrency",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::failure::{Code, Failure};

    #[test]
    fn an_exhausted_process_is_seen_behind_any_error_and_class() {
        let full = || io::Error::from_raw_os_error(EMFILE);
        let wrapped = io::Error::other(full());
        for failure in [
            Failure::temporary(Code::NetworkError, full()),
            Failure::permanent(Code::InvalidJobData, full()),
            Failure::from(full()),
            Failure::from(wrapped),
            Failure::from(Failure::from(full()).into_error()),
        ] {
            assert_eq!(failure.exhausted(), Some(Resource::OpenFiles), "{failure:?}");
        }
        for (error, resource) in [
            (io::Error::from_raw_os_error(ENFILE), Resource::SystemFiles),
            (io::ErrorKind::AddrNotAvailable.into(), Resource::Ports),
            (io::ErrorKind::OutOfMemory.into(), Resource::Memory),
        ] {
            assert_eq!(Failure::from(error).exhausted(), Some(resource));
        }
    }

    #[test]
    fn errors_of_the_other_side_are_no_fault_of_this_process() {
        for kind in [io::ErrorKind::ConnectionRefused, io::ErrorKind::WouldBlock, io::ErrorKind::PermissionDenied] {
            assert_eq!(Failure::from(io::Error::from(kind)).exhausted(), None);
        }
        assert_eq!(Failure::new(Code::NetworkError, "Too many open files (os error 24)").exhausted(), None);
    }

    #[test]
    fn a_lack_of_each_resource_has_a_name_and_a_remedy_of_its_own() {
        let all = [Resource::OpenFiles, Resource::SystemFiles, Resource::Ports, Resource::Memory, Resource::Threads];
        for (n, resource) in all.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(resource).unwrap(), resource.to_string());
            assert!(all[..n].iter().all(|other| other.remedy() != resource.remedy()), "{resource}");
        }
    }
}
