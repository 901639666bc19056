//! Which layers of a model to lower to how many bits, so that it takes fewer bytes.

use releq_shared::blob::Blob;

/// A layer and the bits that it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lowered {
    name: String,
    from: u8,
    to: u8,
    weights: u64,
}

impl Lowered {
    fn saved_bits(&self) -> u64 {
        self.weights * u64::from(self.from - self.to)
    }
}

/// Advice on how to make a model smaller by `bytes`: takes a bit at a time off the layer that then takes the most bytes.
#[must_use]
pub fn advice(blob: &Blob<'_>, bytes: u64) -> String {
    let layers = blob.ops().filter_map(|op| {
        let ((rows, columns), bits) = (op.weight_shape()?, op.weights()?.bits.get());
        Some(Lowered { name: op.name().to_owned(), from: bits, to: bits, weights: u64::from(rows) * columns })
    });
    lower(layers.collect(), bytes)
}

fn lower(mut layers: Vec<Lowered>, bytes: u64) -> String {
    let saved = |layers: &[Lowered]| layers.iter().map(Lowered::saved_bits).sum::<u64>() / 8;
    while saved(&layers) < bytes {
        let lowerable = layers.iter_mut().filter(|layer| layer.to > 1);
        let Some(heaviest) = lowerable.max_by_key(|layer| layer.weights * u64::from(layer.to)) else {
            let most = saved(&layers);
            return format!(
                "one bit a weight in every layer saves {most} bytes: choose a smaller network or a larger board"
            );
        };
        heaviest.to -= 1;
    }
    let lowered = layers.iter().filter(|layer| layer.to < layer.from);
    let each = lowered.map(|layer| format!("{} from {} to {} bits", layer.name, layer.from, layer.to));
    format!("lower {} (about {} bytes less)", each.collect::<Vec<_>>().join(", "), saved(&layers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, bits: u8, weights: u64) -> Lowered {
        Lowered { name: name.to_owned(), from: bits, to: bits, weights }
    }

    #[test]
    fn the_heaviest_layers_are_lowered_until_it_is_enough() {
        let layers = || vec![layer("conv", 5, 800), layer("fc1", 4, 8000), layer("fc2", 3, 4000)];
        assert_eq!(lower(layers(), 900), "lower fc1 from 4 to 3 bits (about 1000 bytes less)");
        let both = "lower fc1 from 4 to 1 bits, fc2 from 3 to 2 bits (about 3500 bytes less)";
        assert_eq!(lower(layers(), 3200), both);
        let most = (800 * 4 + 8000 * 3 + 4000 * 2) / 8;
        assert!(lower(layers(), most).contains("conv from 5 to 1 bits"));
        assert!(lower(layers(), most + 1).starts_with("one bit a weight in every layer saves 4400 bytes"));
    }
}
