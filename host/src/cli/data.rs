//! `releq data`: the data sets on this machine.

use clap::{Args, Subcommand};

use crate::data::{self, cache_folder};
use crate::progress::Progress;

/// Show the data sets, or fetch one
#[derive(Args, Debug)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the known data sets and where they are
    List,
    /// Fetch a data set into the user's cache, checked and resumed where it stopped
    Fetch {
        /// The data set
        name: String,
    },
}

pub(super) fn run(args: &DataArgs) -> anyhow::Result<()> {
    match &args.action {
        None | Some(Action::List) => {
            for name in data::NAMES {
                match data::locate(name) {
                    Ok(location) => {
                        let set = data::load_from(name, &location, 1)?;
                        let [train, validation, test] = [set.train.len(), set.validation.len(), set.test.len()];
                        let shape = set.train.shape;
                        println!(
                            "{name:<10} {}x{}x{}, {} classes, {train} + {validation} + {test} images, {location}",
                            shape.height,
                            shape.width,
                            shape.channels,
                            set.classes.len()
                        );
                    }
                    Err(error) => println!("{name:<10} {error}"),
                }
            }
            println!("folder:PATH images of your own, a folder for each class (docs/data.md)");
            Ok(())
        }
        Some(Action::Fetch { name }) => {
            // Unknown names are refused with a suggestion before anything is fetched.
            if let Err(error @ data::DataError::Unknown { .. }) = data::locate(name) {
                return Err(error.into());
            }
            let folder = cache_folder(name).ok_or_else(|| anyhow::anyhow!("this system has no cache folder"))?;
            data::fetch(name, &folder, Progress::new())?;
            println!("{name} is in {}", folder.display());
            Ok(())
        }
    }
}
