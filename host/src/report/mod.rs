//! What people look at: a run's assignments and the agent's course, as pictures (SVG) and as plain data.

mod episodes;
mod frontier;
mod probabilities;

pub use episodes::{Episodes, episodes};
pub use frontier::frontier_svg;
pub use probabilities::{probabilities_csv, probabilities_svg};

/// The size of every picture, in pixels.
const SIZE: (u32, u32) = (900, 560);
