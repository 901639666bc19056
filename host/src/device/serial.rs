//! The link over a serial port: to an image whose line is the board's UART, or to any firmware that serves releq's requests on one.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use serialport::{ClearBuffer, SerialPort};

use super::link::{Patience, Transport};
use super::{DeviceError, Link};

/// Bits a second where neither the user nor the board says any.
const USUAL_BAUD: u32 = 115_200;
/// How long the port may take no bytes.
const NO_ROOM: Duration = Duration::from_secs(3);

/// A serial port of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortChoice {
    /// Its name, as in /dev/ttyACM0 or COM3.
    pub path: String,
    /// Bits a second, where they are not the board's usual ones.
    pub baud: Option<u32>,
}

/// An open serial port.
pub struct Serial {
    port: Box<dyn SerialPort>,
    path: String,
}

impl Serial {
    /// Opens a port: eight bits, no parity, one stop bit, no flow control. Bytes that have come before are forgotten.
    ///
    /// # Errors
    /// [`DeviceError::Port`] with the ports that there are, or what else is in the way.
    pub fn open(choice: &PortChoice, boards_baud: Option<u32>) -> Result<Self, DeviceError> {
        let path = choice.path.clone();
        let baud = choice.baud.or(boards_baud).unwrap_or(USUAL_BAUD);
        let opened = serialport::new(&path, baud).timeout(NO_ROOM).open();
        let port = opened.map_err(|error| refused(&path, &error))?;
        port.clear(ClearBuffer::Input).map_err(|error| refused(&path, &error))?;
        Ok(Self { port, path })
    }

    fn lost(&self, error: &std::io::Error) -> DeviceError {
        DeviceError::LinkLost(format!("{} has gone ({error})", self.path))
    }
}

fn refused(path: &str, error: &serialport::Error) -> DeviceError {
    let missing =
        matches!(error.kind, serialport::ErrorKind::NoDevice | serialport::ErrorKind::Io(ErrorKind::NotFound));
    let reason = if missing && !std::path::Path::new(path).exists() {
        format!("there is no such port; {}", present())
    } else if error.kind == serialport::ErrorKind::Io(ErrorKind::PermissionDenied) {
        "permission denied; on Linux your user has to be in the port's group, mostly dialout".to_owned()
    } else {
        format!("{error}; is it a serial port, and does no other program use it?")
    };
    DeviceError::Port { path: path.to_owned(), reason }
}

/// The ports of this machine, in a sentence.
fn present() -> String {
    let ports: Vec<String> =
        serialport::available_ports().unwrap_or_default().into_iter().map(|port| port.port_name).collect();
    if ports.is_empty() {
        "this machine has none: is the board plugged in?".to_owned()
    } else {
        format!("there is {}", ports.join(", "))
    }
}

/// The name of the board at a port, as it says itself.
///
/// # Errors
/// [`DeviceError`].
pub fn who(choice: &PortChoice) -> Result<String, DeviceError> {
    Ok(Link::new(Serial::open(choice, None)?, Patience::default()).hello()?.board)
}

impl Transport for Serial {
    fn send(&mut self, bytes: &[u8]) -> Result<(), DeviceError> {
        match self.port.write_all(bytes).and_then(|()| self.port.flush()) {
            // The link will ask again.
            Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
            done => done.map_err(|error| self.lost(&error)),
        }
    }

    fn receive(&mut self, timeout: Duration) -> Result<Vec<u8>, DeviceError> {
        let set = self.port.set_timeout(timeout.max(Duration::from_millis(1)));
        set.map_err(|error| self.lost(&error.into()))?;
        let mut buffer = [0; 4096];
        match self.port.read(&mut buffer) {
            Ok(0) => Err(self.lost(&ErrorKind::UnexpectedEof.into())),
            Ok(count) => Ok(buffer[..count].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => Ok(Vec::new()),
            Err(error) => Err(self.lost(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_not_there_is_told_with_those_that_are() {
        let choice = PortChoice { path: "/dev/no-such-port".to_owned(), baud: None };
        let error = Serial::open(&choice, None).err().unwrap().to_string();
        assert!(error.contains("/dev/no-such-port") && error.contains("there is no such port"), "{error}");
    }
}
