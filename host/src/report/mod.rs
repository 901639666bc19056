//! What people look at: a run's assignments and the agent's course, as pictures (SVG and PNG) and as plain data, and all that
//! a run has shown as one page.

mod episodes;
mod frontier;
mod page;
mod picture;
mod probabilities;

pub use episodes::{Episodes, episodes};
pub use frontier::frontier;
pub use page::{Layer, Page};
pub use picture::Picture;
pub use probabilities::{probabilities, probabilities_csv};

/// The size of every picture, in pixels.
const SIZE: (u32, u32) = (900, 560);
