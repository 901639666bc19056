//! Frames and messages between host and device.
