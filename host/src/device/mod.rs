//! Boards, the tools that build and run their firmware, and the link to it.
