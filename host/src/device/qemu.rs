//! A board in QEMU: the emulator as a child process, its semihosting channel as our link.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::board::Emulated;
use super::link::Transport;
use super::{Board, DeviceError};

/// A running emulator. Dropping it ends the process.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    stdin: ChildStdin,
    received: Receiver<Vec<u8>>,
    /// What QEMU complained about.
    complaints: Arc<Mutex<String>>,
    /// The model in its flash: the emulator loads it again whenever the board starts again.
    _stored: Option<tempfile::NamedTempFile>,
}

impl Qemu {
    /// Starts a board with a firmware image, and with `stored`, if it is given, in the flash set aside for a model.
    ///
    /// # Errors
    /// If QEMU cannot be started.
    pub fn start(program: &Path, board: &Board, elf: &Path, stored: Option<&[u8]>) -> Result<Self, DeviceError> {
        let io = |source| DeviceError::Io { path: program.to_owned(), source };
        let Emulated { machine, arguments, .. } = board.emulated()?;
        let stored = stored.map(|model| {
            let mut file = tempfile::NamedTempFile::new()?;
            file.write_all(model)?;
            Ok(file)
        });
        let stored = stored.transpose().map_err(io)?;
        let mut command = Command::new(program);
        command.args(["-machine", machine]).args(arguments);
        command.args(["-display", "none", "-monitor", "none", "-serial", "none"]);
        // The board reads our pipe as the emulator's standard input, many bytes a call. When the pipe ends, so does the emulator.
        command.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(elf);
        if let Some(file) = &stored {
            // In QEMU's options a comma within a value is doubled.
            let path = file.path().display().to_string().replace(',', ",,");
            let address = board.stored.address;
            command.arg("-device").arg(format!("loader,file={path},addr={address:#x},force-raw=on"));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        own_group(&mut command);
        let mut child = command.spawn().map_err(io)?;
        let closed = || io(std::io::Error::other("a pipe is missing"));
        let stdin = child.stdin.take().ok_or_else(closed)?;
        let mut stdout = child.stdout.take().ok_or_else(closed)?;
        let mut stderr = child.stderr.take().ok_or_else(closed)?;
        let (sender, received) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let complaints = Arc::new(Mutex::new(String::new()));
        let heard = complaints.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stderr.read(&mut buffer) {
                if let Ok(mut heard) = heard.lock() {
                    heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
                }
            }
        });
        Ok(Self { child, stdin, received, complaints, _stored: stored })
    }
}

impl Qemu {
    /// Ends the emulator at once, as a board ends whose power fails.
    pub fn cut_power(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the terminal's Ctrl-C from the emulator: the program ends it when it is done.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn own_group(_command: &mut Command) {}

impl Transport for Qemu {
    fn send(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        let lost = |error: std::io::Error| DeviceError::LinkLost(format!("QEMU has ended ({error})"));
        self.stdin.write_all(bytes).and_then(|()| self.stdin.flush()).map_err(lost)
    }

    fn receive(&mut self, timeout: Duration) -> Result<Vec<u8>, DeviceError> {
        match self.received.recv_timeout(timeout) {
            Ok(bytes) => Ok(bytes),
            Err(RecvTimeoutError::Timeout) => Ok(Vec::new()),
            Err(RecvTimeoutError::Disconnected) => {
                Err(DeviceError::LinkLost(format!("QEMU has ended{}", self.detail())))
            }
        }
    }

    fn detail(&self) -> String {
        let heard = self.complaints.lock().map(|heard| heard.trim().to_owned()).unwrap_or_default();
        if heard.is_empty() { heard } else { format!(" (QEMU says: {heard})") }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.cut_power();
    }
}
