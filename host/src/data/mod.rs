//! Data sets: where they are found, how they are fetched and checked, how they are split and batched.
