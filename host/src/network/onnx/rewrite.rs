//! Forms that frameworks write and the integer engine has in another order.

use super::translate::{LayerId, Translated};
use crate::network::Op;

/// Moves each ReLU that alone reads a max pooling or flattening in front of it. Both ways give the same numbers, and behind a
/// convolution a ReLU joins it.
pub(super) fn swap_relu_and_pooling(network: &mut Translated) {
    while let Some((first, second)) = swappable(network) {
        let input = network.layers[first].inputs[0];
        let shape = network.layers[input].shape;
        let (front, back) = network.layers.split_at_mut(second);
        let (first, second) = (&mut front[first], &mut back[0]);
        std::mem::swap(&mut first.op, &mut second.op);
        std::mem::swap(&mut first.name, &mut second.name);
        std::mem::swap(&mut first.source, &mut second.source);
        // The second one gives what the first one gave.
        first.shape = shape;
    }
}

fn swappable(network: &Translated) -> Option<(LayerId, LayerId)> {
    let layers = &network.layers;
    layers.iter().enumerate().find_map(|(second, layer)| {
        let &[first] = &layer.inputs[..] else { return None };
        let readers = layers.iter().filter(|layer| layer.inputs.contains(&first)).count();
        let moves = layer.op == Op::Relu && matches!(layers[first].op, Op::MaxPool { .. } | Op::Flatten);
        (moves && readers == 1 && network.output != first).then_some((first, second))
    })
}
