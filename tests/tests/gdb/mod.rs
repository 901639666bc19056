//! An emulated chip behind a debug probe: QEMU's gdb server on its standard input and output.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use releq::device::probe::{Piece, Probe, ProbeError};

/// Bytes of one request to read or write.
const CHUNK: usize = 1024;

/// A chip in QEMU, with empty flash. Dropping it ends the emulator.
pub(crate) struct GdbProbe {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
    running: bool,
}

fn failed(reason: impl ToString) -> ProbeError {
    ProbeError::Access { what: "reach the emulator", reason: reason.to_string() }
}

impl GdbProbe {
    /// Starts a machine whose core stands still.
    pub(crate) fn start(qemu: &Path, machine: &str) -> Self {
        let mut command = Command::new(qemu);
        command.args(["-machine", machine, "-S", "-gdb", "stdio", "-display", "none"]);
        command.args(["-monitor", "none", "-serial", "none"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, to, from, running: false }
    }

    /// Sends a packet and returns the answer.
    fn ask(&mut self, packet: &str) -> Result<String, ProbeError> {
        self.send(packet)?;
        self.answer()
    }

    fn send(&mut self, packet: &str) -> Result<(), ProbeError> {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        write!(self.to, "${packet}#{sum:02x}").and_then(|()| self.to.flush()).map_err(failed)
    }

    fn byte(&mut self) -> Result<u8, ProbeError> {
        let mut byte = [0];
        self.from.read_exact(&mut byte).map_err(failed)?;
        Ok(byte[0])
    }

    /// The next packet, which is acknowledged.
    fn answer(&mut self) -> Result<String, ProbeError> {
        while self.byte()? != b'$' {}
        let mut text = String::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => text.push(char::from(byte)),
            }
        }
        self.byte()?;
        self.byte()?;
        self.to.write_all(b"+").and_then(|()| self.to.flush()).map_err(failed)?;
        Ok(text)
    }

    /// Does something while the core stands still: QEMU serves no requests while it runs.
    fn stopped<R>(&mut self, act: impl FnOnce(&mut Self) -> Result<R, ProbeError>) -> Result<R, ProbeError> {
        let was_running = self.running;
        self.halt()?;
        let done = act(self)?;
        if was_running {
            self.run()?;
        }
        Ok(done)
    }

    fn halt(&mut self) -> Result<(), ProbeError> {
        if self.running {
            self.to.write_all(&[3]).and_then(|()| self.to.flush()).map_err(failed)?;
            self.answer()?;
            self.running = false;
        }
        Ok(())
    }

    fn write_all(&mut self, address: u64, bytes: &[u8]) -> Result<(), ProbeError> {
        for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
            let hexadecimal: String = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let start = address + (index * CHUNK) as u64;
            let answer = self.ask(&format!("M{start:x},{:x}:{hexadecimal}", chunk.len()))?;
            if answer != "OK" {
                return Err(failed(format!("{answer} to a write of {} bytes at {start:#x}", chunk.len())));
            }
        }
        Ok(())
    }
}

impl Probe for GdbProbe {
    fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), ProbeError> {
        self.stopped(|probe| {
            for (index, chunk) in bytes.chunks_mut(CHUNK).enumerate() {
                let start = address + (index * CHUNK) as u64;
                let answer = probe.ask(&format!("m{start:x},{:x}", chunk.len()))?;
                if answer.len() != chunk.len() * 2 {
                    return Err(failed(format!("{answer} to a read of {} bytes at {start:#x}", chunk.len())));
                }
                for (place, byte) in chunk.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&answer[place * 2..place * 2 + 2], 16).map_err(failed)?;
                }
            }
            Ok(())
        })
    }

    fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), ProbeError> {
        self.stopped(|probe| probe.write_all(address, bytes))
    }

    /// The emulator's flash takes debuggers' writes without being erased.
    fn program(&mut self, pieces: &[Piece]) -> Result<(), ProbeError> {
        self.halt()?;
        pieces.iter().try_for_each(|piece| self.write_all(piece.address, &piece.bytes))
    }

    fn reset_and_halt(&mut self) -> Result<(), ProbeError> {
        self.halt()?;
        let command: String = "system_reset".bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut answer = self.ask(&format!("qRcmd,{command}"))?;
        // What the monitor prints comes first.
        while answer.starts_with('O') && answer != "OK" {
            answer = self.answer()?;
        }
        if answer == "OK" { Ok(()) } else { Err(failed(format!("{answer} to a reset"))) }
    }

    fn run(&mut self) -> Result<(), ProbeError> {
        self.send("c")?;
        self.running = true;
        Ok(())
    }
}

impl Drop for GdbProbe {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
