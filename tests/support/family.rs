//! A server that starts workers of its own, as web servers and PHP do. They end with it, whatever becomes of the test:
//! a master that is killed leaves them behind.

use std::io;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// A running server with all its workers.
#[derive(Debug)]
pub(crate) struct Family {
    master: Child,
    group: Option<Pid>,
}

impl Family {
    /// Starts it in a group of its own.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let master = command.process_group(0).spawn()?;
        let group = master.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(Self { master, group })
    }

    /// How the master ended, if it has.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.master.try_wait()
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
