//! Weight quantisers and the activation quantiser, as arithmetic on slices.
