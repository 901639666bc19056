//! Ctrl-C: the first one asks long work to stop at the next safe point, with everything done so far on disk; the second
//! one stops the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Installs the handler. Without one, if the system refuses it, Ctrl-C ends the program as usual.
pub fn install() {
    let handled = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\ninterrupted: stopping at the next safe point (press Ctrl-C again to stop at once)");
    });
    if let Err(error) = handled {
        eprintln!("warning: Ctrl-C will not save the work in progress: {error}");
    }
}

/// Whether Ctrl-C was pressed.
#[must_use]
pub fn requested() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// [`Break`](std::ops::ControlFlow::Break) once Ctrl-C was pressed: what progress callbacks return.
pub fn check() -> std::ops::ControlFlow<()> {
    if requested() { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
}
