//! The ReLeQ search: an LSTM agent trained with PPO chooses each layer's bitwidth.
