//! Weight layouts.
