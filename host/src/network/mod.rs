//! The network as a graph of layers, and the zoo of known networks.
