//! Known networks, a file each.

mod alexnet;
mod blocks;
mod lenet;
mod mobilenet;
mod resnet20;
mod resnet8;
mod simplenet;
mod svhn10;
mod svhn8;
mod vgg;

use super::{Graph, GraphError};

/// The names that [`by_name`] knows.
pub const NAMES: [&str; 13] = [
    "lenet",
    "simplenet",
    "svhn8",
    "svhn10",
    "resnet8",
    "resnet20",
    "vgg11",
    "vgg16",
    "alexnet",
    "mobilenetv1",
    "mobilenetv1-tiny",
    "alexnet-imagenet",
    "mobilenetv1-imagenet",
];

/// A network that the zoo does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZooError {
    /// No network of that name.
    #[error("there is no network called {name:?}{}; the zoo has {}", crate::suggest::hint(name, &NAMES), NAMES.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The zoo's own description is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Builds the network of a name.
///
/// # Errors
/// [`ZooError::Unknown`] with the known names and the nearest one.
pub fn by_name(name: &str) -> Result<Graph, ZooError> {
    let built = match name {
        "lenet" => lenet::build(),
        "simplenet" => simplenet::build(),
        "svhn8" => svhn8::build(),
        "resnet8" => resnet8::build(),
        "resnet20" => resnet20::build(),
        "svhn10" => svhn10::build(),
        "vgg11" => vgg::build11(),
        "vgg16" => vgg::build16(),
        "alexnet" => alexnet::build(),
        "mobilenetv1" => mobilenet::build(),
        "mobilenetv1-tiny" => mobilenet::build_tiny(),
        "alexnet-imagenet" => alexnet::build_imagenet(),
        "mobilenetv1-imagenet" => mobilenet::build_imagenet(),
        _ => return Err(ZooError::Unknown { name: name.to_owned() }),
    };
    Ok(built?)
}

/// The data set on which the literature trains a network of the zoo.
#[must_use]
pub fn usual_dataset(name: &str) -> &'static str {
    match name {
        "lenet" => "mnist",
        "svhn8" | "svhn10" => "svhn",
        "mobilenetv1-tiny" => "a folder of images",
        name if name.ends_with("-imagenet") => "a folder of images",
        _ => "cifar10",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(name: &str) -> (usize, usize, usize) {
        let layers = by_name(name).unwrap().weight_layers();
        let weights = layers.iter().map(|layer| layer.weights).sum();
        (layers.len(), weights, layers.iter().map(|layer| layer.macs).sum())
    }

    #[test]
    fn lenet_is_the_published_one() {
        let layers = by_name("lenet").unwrap().weight_layers();
        assert_eq!(layers.iter().map(|layer| layer.weights).collect::<Vec<_>>(), [500, 25_000, 400_000, 5_000]);
        assert_eq!(layers.iter().map(|layer| layer.macs).collect::<Vec<_>>(), [288_000, 1_600_000, 400_000, 5_000]);
    }

    #[test]
    fn simplenet_is_the_published_one() {
        let layers = by_name("simplenet").unwrap().weight_layers();
        assert_eq!(layers.iter().map(|layer| layer.weights).collect::<Vec<_>>(), [450, 2_400, 48_000, 10_080, 840]);
        assert_eq!(totals("simplenet").2, 651_720);
    }

    #[test]
    fn the_deeper_networks_have_the_published_sizes() {
        assert_eq!(totals("svhn8").1, 584_032);
        assert_eq!((totals("svhn8").2 as f64 / 1e5).round(), 398.0);
        assert_eq!((totals("resnet20").0, totals("resnet20").1), (22, 270_896));
        assert_eq!((totals("resnet20").2 as f64 / 1e5).round(), 408.0);
        assert_eq!((totals("resnet8").1 as f64 / 1e3).round(), 77.0);
        assert_eq!((totals("resnet8").2 as f64 / 1e5).round(), 125.0);
    }

    #[test]
    fn the_standard_networks_have_their_published_sizes() {
        assert_eq!(totals("vgg11"), (9, 9_222_848, 152_769_536));
        assert_eq!((totals("vgg16").0, totals("vgg16").1), (14, 14_715_584));
        assert_eq!(totals("alexnet-imagenet"), (8, 61_090_496, 714_188_480));
        assert_eq!(totals("mobilenetv1-imagenet"), (28, 4_209_088, 568_740_352));
        assert_eq!(totals("mobilenetv1").0, 28);
        assert_eq!((totals("mobilenetv1-tiny").2 as f64 / 1e5).round(), 75.0);
        assert_eq!(totals("alexnet").0, 6);
        assert_eq!(totals("svhn10").0, 11);
    }

    #[test]
    fn an_unknown_network_is_met_with_a_suggestion() {
        let error = by_name("lenet5").unwrap_err().to_string();
        assert!(error.contains("did you mean \"lenet\"") && error.contains("resnet20"), "{error}");
    }
}
